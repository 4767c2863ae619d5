//! Learning from labelled texts: a linear support vector machine, one label against the rest, by dual coordinate descent.
//!
//! Besides each text it learns from a copy with recognition errors and from a beginning of it, so that it stands
//! errors and answers before everything has been said. Its own probabilities are made honest on a tenth of the texts,
//! which a first model has not seen.

use std::collections::HashMap;
use std::fmt;

use super::grams::{self, BASE, Gram, Letters};
use super::samples::Sample;
use super::{Classifier, Counts, Vocabulary, softmax};
use crate::ticket::noise::{Dice, spoiled};

/// A gram that stands in fewer texts says nothing about other texts.
const FEWEST_TEXTS: u32 = 3;
/// How dear a mistake is to the learner, compared with large weights.
const COST: f32 = 2.0;
/// What a spoiled or shortened copy counts, compared with the text itself.
const COPY_SHARE: f32 = 0.1;
/// What three letters count, compared with one or two: they stand in few texts and repeat what their parts say.
const LONG_SHARE: f32 = 0.7;
/// What the base counts, compared with everything that a text says.
const BASE_SHARE: f32 = 0.3;
/// Passes over all texts: more learn the texts by heart, and are no better at others.
const PASSES: usize = 4;
/// Labels at most: each costs a weight for every gram.
const MOST_LABELS: usize = 400;
/// The learner's dice; the same texts always give the same model.
const SEED: u64 = 20_260_314;

/// Why nothing can be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainError {
    /// All samples have one label.
    OneLabel,
    /// There are too many labels.
    ManyLabels(usize),
    /// No run of letters stands in two texts.
    NothingInCommon,
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneLabel => {
                write!(
                    f,
                    "every sample has the same label; give samples of two labels or more"
                )
            }
            Self::ManyLabels(count) => write!(
                f,
                "the samples have {count} labels, more than {MOST_LABELS}; merge the rare ones"
            ),
            Self::NothingInCommon => {
                write!(f, "no two samples have a word in common; give more samples")
            }
        }
    }
}

impl std::error::Error for TrainError {}

/// Learns a model.
///
/// # Errors
/// [`TrainError`] when there is nothing to tell apart, or too much.
pub fn train(samples: &[Sample]) -> Result<Classifier, TrainError> {
    let mut labels: Vec<String> = samples.iter().map(|sample| sample.label.clone()).collect();
    labels.sort();
    labels.dedup();
    match labels.len() {
        0 | 1 => return Err(TrainError::OneLabel),
        count if count > MOST_LABELS => return Err(TrainError::ManyLabels(count)),
        _ => {}
    }
    let truths: Vec<usize> = samples
        .iter()
        .map(|sample| labels.binary_search(&sample.label).unwrap_or_default())
        .collect();
    let texts: Vec<&str> = samples.iter().map(|sample| sample.text.as_str()).collect();
    let is_kept_back = |index: usize| index % 10 == 9;
    let part = |kept_back: bool| -> (Vec<&str>, Vec<usize>) {
        (0..texts.len())
            .filter(|index| is_kept_back(*index) == kept_back)
            .map(|index| (texts[index], truths[index]))
            .unzip()
    };
    let (seen, unseen) = (part(false), part(true));
    let first = learn(&seen.0, &seen.1, labels.clone());
    let sharpness = first.map_or(DULL, |first| honest(&first, &unseen.0, &unseen.1));
    let model = learn(&texts, &truths, labels).ok_or(TrainError::NothingInCommon)?;
    Ok(Classifier { sharpness, ..model })
}

/// The sharpness when there are too few texts to find it.
const DULL: f32 = 2.0;

/// The sharpness under which the truth of unseen texts is likeliest.
fn honest(model: &Classifier, texts: &[&str], truths: &[usize]) -> f32 {
    let margins: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| model.margins(&model.vocabulary.vector(&Letters::of(text))))
        .collect();
    if margins.len() < 20 {
        return DULL;
    }
    let unlikeliness = |sharpness: f32| -> f32 {
        margins
            .iter()
            .zip(truths)
            .map(|(margins, truth)| -softmax(margins, sharpness)[*truth].max(1e-9).ln())
            .sum()
    };
    (2..60)
        .map(|step| step as f32 * 0.125)
        .min_by(|a, b| unlikeliness(*a).total_cmp(&unlikeliness(*b)))
        .unwrap_or(DULL)
}

/// The grams of enough texts, weighed by how rare they are and by how unevenly they fall on the labels.
fn vocabulary(texts: &[Letters], truths: &[usize], labels: usize) -> Vocabulary {
    let mut seen: HashMap<Gram, (u32, u32)> = HashMap::new();
    for (at, letters) in (1..).zip(texts) {
        for (gram, _) in letters.grams() {
            let (count, last) = seen.entry(gram).or_default();
            if *last != at {
                *last = at;
                *count += 1;
            }
        }
    }
    let mut known: Vec<(Gram, u32)> = seen
        .into_iter()
        .filter(|(_, (count, _))| *count >= FEWEST_TEXTS)
        .map(|(gram, (count, _))| (gram, count))
        .chain([(BASE, texts.len() as u32)])
        .collect();
    known.sort_unstable();
    let grams = known.iter().map(|(gram, _)| *gram).collect();
    let mut vocabulary = Vocabulary::new(grams, vec![1.0; known.len()]);

    let mut by_label = vec![0_f32; known.len() * labels];
    let mut texts_of = vec![0_f32; labels];
    for (letters, truth) in texts.iter().zip(truths) {
        texts_of[*truth] += 1.0;
        for (row, _) in vocabulary.vector(letters) {
            by_label[row as usize * labels + truth] += 1.0;
        }
    }
    for (row, (gram, count)) in known.iter().enumerate() {
        if *gram == BASE {
            vocabulary.scales[row] = BASE_SHARE;
            continue;
        }
        let rates: Vec<f32> = by_label[row * labels..(row + 1) * labels]
            .iter()
            .zip(&texts_of)
            .map(|(there, of)| (there + 0.5) / (of + 1.0))
            .collect();
        let sum: f32 = rates.iter().sum();
        let entropy: f32 = rates
            .iter()
            .map(|rate| rate / sum)
            .map(|share| -share * share.ln())
            .sum();
        let telling = (1.0 - entropy / (labels as f32).ln()).max(0.0).sqrt() + 0.1;
        let rare = ((1.0 + texts.len() as f32) / (1.0 + *count as f32)).ln() + 1.0;
        let share = if grams::length(*gram) > 2 {
            LONG_SHARE
        } else {
            1.0
        };
        vocabulary.scales[row] = rare * telling * share;
    }
    vocabulary
}

/// One text to learn from.
struct Lesson {
    vector: Counts,
    truth: usize,
    share: f32,
}

/// A model without a sharpness of its own; `None` when the texts have nothing in common.
fn learn(texts: &[&str], truths: &[usize], labels: Vec<String>) -> Option<Classifier> {
    let letters: Vec<Letters> = texts.iter().map(|text| Letters::of(text)).collect();
    let vocabulary = vocabulary(&letters, truths, labels.len());
    let mut dice = Dice::new(SEED);
    let mut lessons = Vec::with_capacity(texts.len() * 3);
    for ((text, letters), truth) in texts.iter().zip(letters).zip(truths) {
        let mut lesson = |letters: &Letters, share| {
            lessons.push(Lesson {
                vector: vocabulary.vector(letters),
                truth: *truth,
                share,
            });
        };
        lesson(&letters, 1.0);
        let wrong = 0.08 + 0.02 * dice.below(7) as f64;
        lesson(&Letters::of(&spoiled(text, wrong, &mut dice)), COPY_SHARE);
        let beginning = 14 + dice.below(45);
        if beginning < letters.len() {
            lesson(&letters.first(beginning), COPY_SHARE);
        }
    }
    lessons.retain(|lesson| !lesson.vector.is_empty());
    if lessons.is_empty() {
        return None;
    }
    let weights = descend(&lessons, vocabulary.grams.len(), labels.len(), &mut dice);
    Some(Classifier {
        labels,
        vocabulary,
        weights,
        sharpness: DULL,
    })
}

/// Dual coordinate descent for the squared hinge loss (Hsieh et al., 2008), all labels in one pass over a text.
fn descend(lessons: &[Lesson], grams: usize, labels: usize, dice: &mut Dice) -> Vec<f32> {
    let mut weights = vec![0_f32; grams * labels];
    let mut duals = vec![0_f32; lessons.len() * labels];
    let mut order: Vec<usize> = (0..lessons.len()).collect();
    let mut steps = vec![0_f32; labels];
    for _ in 0..PASSES {
        for last in (1..order.len()).rev() {
            order.swap(last, dice.below(last + 1));
        }
        for &index in &order {
            let lesson = &lessons[index];
            steps.fill(0.0);
            for (row, share) in &lesson.vector {
                let from = *row as usize * labels;
                for (step, weight) in steps.iter_mut().zip(&weights[from..from + labels]) {
                    *step += share * weight;
                }
            }
            let slack = 1.0 / (2.0 * COST * lesson.share);
            let own = &mut duals[index * labels..(index + 1) * labels];
            for (label, (step, dual)) in steps.iter_mut().zip(own).enumerate() {
                let side = if label == lesson.truth { 1.0 } else { -1.0 };
                let slope = side * *step - 1.0 + *dual * slack;
                // Every vector has length 1.
                let moved = (*dual - slope / (1.0 + slack)).max(0.0);
                *step = (moved - *dual) * side;
                *dual = moved;
            }
            if steps.iter().all(|step| *step == 0.0) {
                continue;
            }
            for (row, share) in &lesson.vector {
                let from = *row as usize * labels;
                for (step, weight) in steps.iter().zip(&mut weights[from..from + labels]) {
                    *weight += share * step;
                }
            }
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::super::samples::Sample;
    use super::super::tests::small;
    use super::{TrainError, train};

    #[test]
    fn the_same_texts_give_the_same_model() {
        assert_eq!(small(), small());
    }

    #[test]
    fn there_must_be_something_to_tell_apart() {
        let sample = |label: &str, text: &str| Sample {
            label: label.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(train(&[sample("a", "停水")]), Err(TrainError::OneLabel));
        let strangers = [sample("a", "停水"), sample("b", "断电")];
        assert_eq!(train(&strangers), Err(TrainError::NothingInCommon));
        let many: Vec<Sample> = (0..500).map(|at| sample(&at.to_string(), "停水")).collect();
        assert_eq!(train(&many), Err(TrainError::ManyLabels(500)));
    }
}
