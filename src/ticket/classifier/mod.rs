//! A trained guess at what a text is about: a linear model over runs of one to three characters, which says what it
//! rests on.
//!
//! It learns from labelled texts ([`samples`] reads them, [`train`] learns), is judged by [`score`], and is kept in a
//! file by [`file`]. The same texts always give the same model.

pub mod file;
mod grams;
pub mod samples;
pub mod score;
pub mod train;

use std::collections::HashMap;
use std::ops::Range;

use grams::{BASE, Gram, Letters};

/// A gram's number, which is its row in the table of weights, and how often it stands in a text.
type Counts = Vec<(u32, f32)>;

/// The beginning of a text says what it is about: letters up to here count more.
const HEAD: usize = 25;
/// How much more.
const HEAD_SHARE: f32 = 4.0;

/// What is known of each gram: its number and how telling it is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Vocabulary {
    index: HashMap<Gram, u32>,
    /// By number: rising grams.
    grams: Vec<Gram>,
    /// By number: how telling the gram is, whatever the label.
    scales: Vec<f32>,
}

impl Vocabulary {
    fn new(grams: Vec<Gram>, scales: Vec<f32>) -> Self {
        let index = (0..).zip(&grams).map(|(at, gram)| (*gram, at)).collect();
        Self {
            index,
            grams,
            scales,
        }
    }

    /// The text as numbers and shares, of length 1 altogether; empty when nothing in it is known.
    ///
    /// Every text shares the base, which carries how common each label is. Models of before have none.
    fn vector(&self, letters: &Letters) -> Counts {
        let mut counts: Counts = letters
            .grams()
            .filter_map(|(gram, start)| {
                let share = if start < HEAD { HEAD_SHARE } else { 1.0 };
                Some((*self.index.get(&gram)?, share))
            })
            .collect();
        counts.sort_unstable_by_key(|(row, _)| *row);
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        for (row, count) in &mut counts {
            *count = (1.0 + count.ln()) * self.scales[*row as usize];
        }
        let length = counts
            .iter()
            .map(|(_, share)| share * share)
            .sum::<f32>()
            .sqrt();
        if length == 0.0 {
            return counts;
        }
        let base = self.index.get(&BASE).copied();
        let base = base.map(|row| (row, self.scales[row as usize]));
        let stretch = length * base.map_or(1.0, |(_, share)| share.hypot(1.0));
        for (_, share) in &mut counts {
            *share /= stretch;
        }
        counts.extend(base.map(|(row, share)| (row, share / share.hypot(1.0))));
        counts
    }
}

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    labels: Vec<String>,
    vocabulary: Vocabulary,
    /// A row for each gram, a column for each label.
    weights: Vec<f32>,
    /// What turns margins into honest probabilities.
    sharpness: f32,
}

/// A gram that spoke for the choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The letters, as the model knows them (half width, a number as 0).
    pub gram: String,
    /// What it added to the choice's margin, above what it added to the other labels on average.
    pub weight: f32,
    /// Where it stands: ranges of characters in the text.
    pub places: Vec<Range<usize>>,
}

/// What a model says of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Every label with its probability, the likeliest first.
    pub ranked: Vec<(usize, f32)>,
    /// What spoke for the first, the strongest first.
    pub reasons: Vec<Reason>,
}

impl Classifier {
    /// The labels, by number.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    fn margins(&self, vector: &Counts) -> Vec<f32> {
        let mut margins = vec![0.0; self.labels.len()];
        for (row, share) in vector {
            for (margin, weight) in margins.iter_mut().zip(self.row(*row)) {
                *margin += share * weight;
            }
        }
        margins
    }

    fn row(&self, row: u32) -> &[f32] {
        let from = row as usize * self.labels.len();
        &self.weights[from..from + self.labels.len()]
    }

    /// Probabilities from margins.
    fn probabilities(&self, margins: &[f32]) -> Vec<f32> {
        softmax(margins, self.sharpness)
    }

    /// The labels by probability, the likeliest first; `None` for a text that says nothing the model knows.
    pub fn rank(&self, text: &str) -> Option<Vec<(usize, f32)>> {
        let vector = self.vocabulary.vector(&Letters::of(text));
        (!vector.is_empty()).then(|| self.ranked(&vector))
    }

    fn ranked(&self, vector: &Counts) -> Vec<(usize, f32)> {
        let likely = self.probabilities(&self.margins(vector));
        let mut ranked: Vec<(usize, f32)> = likely.into_iter().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    /// The labels by probability, and the `most` strongest reasons for the first.
    pub fn judge(&self, text: &str, most: usize) -> Option<Verdict> {
        let letters = Letters::of(text);
        let vector = self.vocabulary.vector(&letters);
        if vector.is_empty() {
            return None;
        }
        let ranked = self.ranked(&vector);
        let choice = ranked[0].0;
        let mut strength: Vec<(u32, f32)> = vector
            .iter()
            .map(|(row, share)| {
                let weights = self.row(*row);
                let mean = weights.iter().sum::<f32>() / weights.len() as f32;
                (*row, share * (weights[choice] - mean))
            })
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        // Longer runs say more to a reader than the letters that they are made of.
        strength.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut reasons: Vec<Reason> = Vec::new();
        for (row, weight) in strength {
            let gram = self.vocabulary.grams[row as usize];
            let written = spelled(gram);
            let known = reasons
                .iter()
                .any(|reason| reason.gram.contains(&written) || written.contains(&reason.gram));
            if known || written.chars().count() < 2 {
                continue;
            }
            let places = letters
                .grams()
                .filter(|(other, _)| *other == gram)
                .map(|(gram, start)| letters.place(gram, start))
                .collect();
            reasons.push(Reason {
                gram: written,
                weight,
                places,
            });
            if reasons.len() == most {
                break;
            }
        }
        Some(Verdict { ranked, reasons })
    }
}

/// Probabilities that rise with the margins, the more steeply the sharper.
fn softmax(margins: &[f32], sharpness: f32) -> Vec<f32> {
    let top = margins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f32> = margins
        .iter()
        .map(|margin| ((margin - top) * sharpness).exp())
        .collect();
    let sum: f32 = raised.iter().sum();
    raised.into_iter().map(|one| one / sum).collect()
}

/// A gram's letters.
fn spelled(gram: Gram) -> String {
    (0..grams::length(gram))
        .rev()
        .filter_map(|at| char::from_u32((gram >> (21 * at)) as u32 & 0x1F_FFFF))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::train::train;
    use super::{BASE, Classifier, Letters, Vocabulary, samples::Sample};

    /// Two kinds of complaint, told apart by their words.
    pub(in crate::ticket) fn small() -> Classifier {
        let texts = [
            ("电梯", "小区电梯坏了三天没人修"),
            ("电梯", "电梯困人，物业不来维修"),
            ("电梯", "我们楼的电梯老是停，按钮也坏了"),
            ("快递", "快递丢了，网点不赔"),
            ("快递", "包裹显示签收，我没有收到快递"),
            ("快递", "快递员不送货上门"),
        ];
        let samples: Vec<Sample> = texts
            .iter()
            .cycle()
            .take(60)
            .map(|(label, text)| Sample {
                label: (*label).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        train(&samples).expect("two labels")
    }

    #[test]
    fn a_model_chooses_and_says_what_it_rests_on() {
        let model = small();
        let text = "你好，电梯又坏了";
        let verdict = model.judge(text, 3).expect("known words");
        assert_eq!(model.labels()[verdict.ranked[0].0], "电梯");
        let sum: f32 = verdict.ranked.iter().map(|(_, share)| share).sum();
        assert!(
            (sum - 1.0).abs() < 1e-3 && verdict.ranked[0].1 > 0.6,
            "{verdict:?}"
        );
        let reason = &verdict.reasons[0];
        let said: String = text
            .chars()
            .skip(reason.places[0].start)
            .take(reason.places[0].len())
            .collect();
        assert_eq!(said, reason.gram);
        assert!(
            verdict
                .reasons
                .iter()
                .any(|reason| reason.gram.contains('梯'))
        );
    }

    #[test]
    fn a_text_without_any_known_word_gets_no_guess() {
        assert_eq!(small().judge("，。", 3), None);
        assert_eq!(small().rank("zzz"), None);
    }

    #[test]
    fn every_text_shares_the_base_and_a_model_of_before_answers_without_it() {
        let model = small();
        let letters = Letters::of("电梯又坏了");
        let base = model.vocabulary.index[&BASE];
        let vector = model.vocabulary.vector(&letters);
        let length: f32 = vector.iter().map(|(_, share)| share * share).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        assert!(vector.iter().any(|(row, _)| *row == base));

        let known = &model.vocabulary;
        assert_eq!(base, 0, "grams rise, and the base is the least");
        let before = Classifier {
            vocabulary: Vocabulary::new(known.grams[1..].to_vec(), known.scales[1..].to_vec()),
            weights: model.weights[model.labels.len()..].to_vec(),
            ..model
        };
        let before = Classifier::from_bytes(&before.to_bytes()).expect("sound");
        let vector = before.vocabulary.vector(&letters);
        let length: f32 = vector.iter().map(|(_, share)| share * share).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        let ranked = before.rank("电梯又坏了").expect("known");
        assert_eq!(before.labels()[ranked[0].0], "电梯");
    }
}
