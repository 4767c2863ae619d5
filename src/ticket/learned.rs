//! What was learned from labelled texts, beside the phrases: a classifier's guess as a hint at the category.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::classifier::Classifier;
use super::taxonomy::Taxonomy;
use super::{Evidence, matter};
use crate::speech::Leg;
use crate::transcript::Transcript;

/// A classifier, and which categories each of its labels stands for.
pub(super) struct Learned {
    classifier: Arc<Classifier>,
    meanings: Vec<Vec<usize>>,
}

/// How much of what the caller says the classifier reads; the matter is told at the start.
const READ: usize = 1_000;
/// A less likely label is no hint.
const LIKELY: f32 = 0.1;

impl Learned {
    /// What `classifier` can say of the categories of `taxonomy`.
    ///
    /// # Errors
    /// [`ForeignClassifier`] when none of its labels stands for one.
    pub fn new(
        classifier: Arc<Classifier>,
        taxonomy: &Taxonomy,
    ) -> Result<Self, ForeignClassifier> {
        let meanings: Vec<Vec<usize>> = classifier
            .labels()
            .iter()
            .map(|label| taxonomy.meaning(label))
            .collect();
        if meanings.iter().all(Vec::is_empty) {
            return Err(ForeignClassifier {
                label: classifier.labels()[0].clone(),
            });
        }
        Ok(Self {
            classifier,
            meanings,
        })
    }

    /// Adds what the classifier makes of what the caller says to `weights`.
    pub fn hint(&self, transcript: &Transcript, weights: &mut matter::Weights) {
        // The lines one behind the other, and where each begins.
        let (mut text, mut starts, mut length) = (String::new(), Vec::new(), 0);
        for line in transcript.final_lines() {
            if line.leg != Leg::Operator && length < READ {
                starts.push((length, line.id));
                text.push_str(line.text.reveal());
                text.push('。');
                length += line.text.reveal().chars().count() + 1;
            }
        }
        let Some(verdict) = self.classifier.judge(&text, 3) else {
            return;
        };
        let place = |range: &Range<usize>| {
            let (start, utterance) = *starts.iter().rfind(|(start, _)| *start <= range.start)?;
            let next = starts.iter().find(|(next, _)| *next > start);
            let whole = next.is_none_or(|(next, _)| range.end < *next);
            whole.then(|| Evidence {
                utterance,
                start: (range.start - start) as u32,
                end: (range.end - start) as u32,
            })
        };
        let because: Vec<Evidence> = verdict
            .reasons
            .iter()
            .filter_map(|reason| place(reason.places.first()?))
            .collect();
        let likely = verdict.ranked.iter().filter(|(_, likely)| *likely > LIKELY);
        for (place, (label, likely)) in likely.enumerate() {
            // The reasons are the first one's.
            let because = if place == 0 { &because[..] } else { &[] };
            weights.hint(&self.meanings[*label], *likely, because);
        }
    }
}

/// No label of a classifier stands for a category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignClassifier {
    /// One of its labels.
    label: String,
}

impl fmt::Display for ForeignClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no label of the classifier ({}, …) is a category; add its labels to `labels` of the categories that they stand for",
            self.label
        )
    }
}

impl std::error::Error for ForeignClassifier {}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::classifier::samples;
    use super::super::{Basis, CallFacts, Drafter, FieldName, FieldValue, Taxonomy, TicketDraft};
    use crate::audio::MediaTime;
    use crate::speech::{CallId, Leg};
    use crate::transcript::{Line, Transcript};

    fn draft(drafter: &Drafter, said: &str) -> TicketDraft {
        let mut transcript = Transcript::default();
        transcript.apply(Line::plain(
            1,
            Leg::Caller,
            said,
            MediaTime::ZERO,
            MediaTime::ZERO + Duration::from_secs(5),
        ));
        let facts = CallFacts {
            call: CallId::new("a"),
            caller_number: None,
            started_at: SystemTime::UNIX_EPOCH,
        };
        drafter.draft(&transcript, &facts)
    }

    fn category(draft: &TicketDraft) -> String {
        match draft
            .fields
            .get(&FieldName::Category)
            .map(|field| &field.value)
        {
            Some(FieldValue::List(levels)) => levels.join("/"),
            _ => String::new(),
        }
    }

    /// What callers open with, told by somebody who saw neither the phrases nor the examples.
    const OPENINGS: &str = include_str!("../../tests/data/openings.csv");

    #[test]
    fn what_callers_open_with_tells_the_matter_though_no_phrase_was_made_for_it() {
        let drafter = Drafter::new(Taxonomy::embedded());
        let openings = samples::read(OPENINGS.as_bytes()).expect("samples");
        let right = (openings.iter())
            .filter(|opening| category(&draft(&drafter, &opening.text)) == opening.label)
            .count();
        let share = right as f32 / openings.len() as f32;
        println!("{share:.4} of {}", openings.len());
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn a_matter_that_only_the_examples_know_shows_its_words() {
        let found = draft(
            &Drafter::new(Taxonomy::embedded()),
            "孩子的疫苗本丢了，打到第几针查不着。",
        );
        let reasons = found.likely.iter().flat_map(|likely| &likely.because);
        assert!(
            reasons
                .clone()
                .any(|because| because.basis == Basis::Classifier),
            "{found:?}"
        );
    }
}
