//! How well drafts agree with the tickets that good operators wrote: a score for each field.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::noise::{Dice, spoiled};
use super::{Drafter, jsonl::JsonlError};
use super::{FieldName, FieldValue, TicketDraft, jsonl};
use crate::private::Private;
use crate::transcript::{Line, Transcript};

/// The ticket that a good operator wrote; a field that is absent or null is to stay empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gold(BTreeMap<FieldName, FieldValue>);

impl<'de> Deserialize<'de> for Gold {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written: BTreeMap<String, Value> = BTreeMap::deserialize(from)?;
        let mut gold = BTreeMap::new();
        for (name, value) in written {
            // What is not judged may be there too, in any shape.
            let judged = SCORED.iter().find(|(name_of, ..)| name_of.wire() == name);
            let Some((name, ..)) = judged.filter(|_| !value.is_null()) else {
                continue;
            };
            let value: FieldValue = serde_json::from_value(value).map_err(D::Error::custom)?;
            if !name.spec().kind.has_shape_of(&value) {
                let what = format!("{} is of the wrong shape", name.wire());
                return Err(D::Error::custom(what));
            }
            gold.insert(*name, value);
        }
        Ok(Self(gold))
    }
}

impl Gold {
    /// The same for a call that takes place now: a day told as 上个礼拜 is another one today.
    #[must_use]
    pub fn of_another_day(mut self) -> Self {
        self.0.remove(&FieldName::EventTime);
        self
    }
}

/// How many characters two texts share: the harmonic mean of precision and recall, 0.0 to 1.0.
pub fn similarity(left: &str, right: &str) -> f64 {
    let letters = |text: &str| {
        let mut count: BTreeMap<char, usize> = BTreeMap::new();
        for letter in text.chars().filter(|letter| letter.is_alphanumeric()) {
            *count.entry(letter).or_default() += 1;
        }
        count
    };
    let (left, right) = (letters(left), letters(right));
    let shared: usize = left
        .iter()
        .map(|(letter, count)| *count.min(right.get(letter).unwrap_or(&0)))
        .sum();
    let total = left.values().sum::<usize>() + right.values().sum::<usize>();
    if total == 0 {
        1.0
    } else {
        2.0 * shared as f64 / total as f64
    }
}

/// The similarity from which a name, an address or a subject counts as right.
pub const CLOSE: f64 = 0.8;

/// A field's score: points out of how many dialogues.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// 1.0 for each right field, 0.0 for each wrong one; for the demand, the similarity.
    pub points: f64,
    /// How many were judged.
    pub count: usize,
}

impl Score {
    /// Points per dialogue, 0.0 to 1.0.
    pub fn mean(self) -> f64 {
        if self.count == 0 {
            1.0
        } else {
            self.points / self.count as f64
        }
    }
}

/// One field that came out differently, for a developer's eyes: it quotes the dialogue.
#[derive(Clone, Debug)]
pub struct Miss {
    /// The dialogue.
    pub id: String,
    /// The field.
    pub field: &'static str,
    /// What the operator wrote.
    pub expected: String,
    /// What the draft says.
    pub drafted: String,
}

/// The scores over a set of dialogues.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// By field, in a fixed order.
    pub scores: Vec<(&'static str, Score)>,
    /// Every difference.
    pub misses: Vec<Miss>,
    /// Wrong numbers to call back that the draft was sure of: the one mistake that nobody would notice.
    pub sure_but_wrong_phones: usize,
}

/// The confidence from which nobody checks a value.
pub const SURE: f32 = 0.8;

/// How a field is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// The same text.
    Exact,
    /// The same text, where the operator wrote one.
    ExactWhereGiven,
    /// About the same text: a name, a place.
    Close,
    /// As far as the texts are alike.
    Similarity,
    /// The same first of the list.
    First(&'static str),
    /// The same list.
    Whole,
    /// The same sum to the cent.
    Sum,
    /// The same wish, which is no where none was expressed.
    Wish,
}

/// What is judged, how, and whether it counts in the field score, in the order of the report.
const SCORED: [(FieldName, Measure, bool); 14] = [
    (FieldName::RequestType, Measure::Exact, true),
    (FieldName::Category, Measure::First("category1"), false),
    (FieldName::Category, Measure::Whole, true),
    (
        FieldName::Departments,
        Measure::First("lead_department"),
        true,
    ),
    (FieldName::ContactPhone, Measure::Exact, true),
    (FieldName::District, Measure::Exact, false),
    (FieldName::Urgency, Measure::Exact, true),
    (FieldName::EventTime, Measure::ExactWhereGiven, false),
    (FieldName::CallerName, Measure::Close, true),
    (FieldName::Address, Measure::Close, true),
    (FieldName::Subject, Measure::Close, true),
    (FieldName::Demand, Measure::Similarity, false),
    (FieldName::AmountYuan, Measure::Sum, true),
    (FieldName::Confidential, Measure::Wish, true),
];

/// What a score is called: by its field, or by the part of it that is judged.
fn title(name: FieldName, measure: Measure) -> &'static str {
    match measure {
        Measure::First(title) => title,
        _ => name.wire(),
    }
}

impl Measure {
    /// The points, and both values as a developer reads them.
    fn points(
        self,
        drafted: Option<&FieldValue>,
        gold: Option<&FieldValue>,
    ) -> (f64, String, String) {
        let whole = |same: bool| f64::from(u8::from(same));
        let both = |read: fn(Option<&FieldValue>) -> String| (read(gold), read(drafted));
        match self {
            Self::Exact | Self::ExactWhereGiven | Self::Close | Self::Similarity => {
                let (expected, drafted) = both(|value| {
                    let text = value.and_then(FieldValue::text);
                    text.unwrap_or_default().to_owned()
                });
                let points = match self {
                    Self::Close => whole(similarity(&expected, &drafted) >= CLOSE),
                    Self::Similarity => similarity(&expected, &drafted),
                    _ => whole(expected == drafted),
                };
                (points, expected, drafted)
            }
            Self::First(_) | Self::Whole => {
                let (expected, drafted) = if self == Self::Whole {
                    both(|value| value.map_or(&[][..], FieldValue::list).join("/"))
                } else {
                    both(|value| {
                        let first = value.and_then(|value| value.list().first());
                        first.cloned().unwrap_or_default()
                    })
                };
                (whole(expected == drafted), expected, drafted)
            }
            Self::Sum => {
                let sum = |value: Option<&FieldValue>| match value {
                    Some(FieldValue::Number(sum)) => Some(*sum),
                    _ => None,
                };
                let same = match (sum(drafted), sum(gold)) {
                    (Some(sum), Some(gold)) => (sum - gold).abs() < 0.005,
                    (sum, gold) => sum.is_none() && gold.is_none(),
                };
                let shown = |value| format!("{:?}", sum(value));
                (whole(same), shown(gold), shown(drafted))
            }
            Self::Wish => {
                let wish = |value: Option<&FieldValue>| value == Some(&FieldValue::Flag(true));
                let (expected, drafted) = (wish(gold), wish(drafted));
                (
                    whole(expected == drafted),
                    expected.to_string(),
                    drafted.to_string(),
                )
            }
        }
    }
}

impl Report {
    /// The mean over the judged fields, each counting the same.
    pub fn total(&self) -> f64 {
        let judged: Vec<f64> = self
            .scores
            .iter()
            .filter(|(name, _)| {
                let counts = |(field, measure, counts): &(FieldName, Measure, bool)| {
                    *counts && title(*field, *measure) == *name
                };
                SCORED.iter().any(counts)
            })
            .map(|(_, score)| score.mean())
            .collect();
        judged.iter().sum::<f64>() / judged.len().max(1) as f64
    }

    /// The score of one field.
    pub fn score(&self, field: &str) -> Score {
        self.scores
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, score)| *score)
            .unwrap_or_default()
    }

    fn add(
        &mut self,
        id: &str,
        field: &'static str,
        points: f64,
        expected: String,
        drafted: String,
    ) {
        let at = self
            .scores
            .iter()
            .position(|(name, _)| *name == field)
            .unwrap_or_else(|| {
                self.scores.push((field, Score::default()));
                self.scores.len() - 1
            });
        self.scores[at].1.points += points;
        self.scores[at].1.count += 1;
        if points < CLOSE {
            self.misses.push(Miss {
                id: id.to_owned(),
                field,
                expected,
                drafted,
            });
        }
    }

    /// Judges one draft.
    pub fn judge(&mut self, id: &str, draft: &TicketDraft, gold: &Gold) {
        for (name, measure, _) in SCORED {
            let (field, gold) = (draft.fields.get(&name), gold.0.get(&name));
            if measure == Measure::ExactWhereGiven && gold.is_none() {
                continue;
            }
            let drafted = field.map(|field| &field.value);
            let (points, expected, drafted) = measure.points(drafted, gold);
            if name == FieldName::ContactPhone
                && field.is_some_and(|field| field.confidence >= SURE)
                && points < 1.0
            {
                self.sure_but_wrong_phones += 1;
            }
            self.add(id, title(name, measure), points, expected, drafted);
        }
    }
}

impl fmt::Display for Report {
    /// The table, without any word of the dialogues.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, score) in &self.scores {
            writeln!(
                f,
                "{name:<16} {:>6.3}   {:>6.2} of {}",
                score.mean(),
                score.points,
                score.count
            )?;
        }
        writeln!(
            f,
            "wrong phones of {SURE} or more: {}",
            self.sure_but_wrong_phones
        )?;
        write!(f, "{:<16} {:>6.3}", "field score", self.total())
    }
}

/// The dialogues of a file that have a `gold`, each with it.
///
/// # Errors
/// [`JsonlError`] for a line that is no dialogue or whose `gold` is not of the right shape.
pub fn judged(
    text: &str,
) -> impl Iterator<Item = Result<(jsonl::WrittenDialogue, Gold), JsonlError>> + '_ {
    #[derive(Deserialize)]
    struct Judged {
        gold: Option<Gold>,
    }
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .filter_map(|(index, line)| {
            let dialogue = match jsonl::read(index + 1, line) {
                Ok(dialogue) => dialogue,
                Err(error) => return Some(Err(error)),
            };
            let judged: Result<Judged, _> = serde_json::from_str(line);
            match judged {
                Ok(Judged { gold }) => Some(Ok((dialogue, gold?))),
                Err(_) => Some(Err(JsonlError {
                    line: index + 1,
                    what: format!("gold of {} is of the wrong shape", dialogue.facts.call),
                    remedy: "give texts, lists for category and departments, a number and a truth value",
                })),
            }
        })
}

/// Drafts every dialogue of a file and judges it; a dialogue without `gold` is not judged. `prepare` may change a
/// dialogue first (spoil it, or put in its place what was heard), and says whether it is to be judged.
///
/// # Errors
/// [`JsonlError`] as [`judged`] gives it.
pub fn evaluate(
    drafter: &Drafter,
    text: &str,
    mut prepare: impl FnMut(&mut jsonl::WrittenDialogue) -> bool,
) -> Result<Report, JsonlError> {
    let mut report = Report::default();
    for judged in judged(text) {
        let (mut dialogue, gold) = judged?;
        if prepare(&mut dialogue) {
            let draft = drafter.draft(&dialogue.transcript, &dialogue.facts);
            report.judge(dialogue.facts.call.as_str(), &draft, &gold);
        }
    }
    Ok(report)
}

/// Makes `share` of a dialogue's letters wrong, as a recogniser would.
pub fn spoil(dialogue: &mut jsonl::WrittenDialogue, share: f64, dice: &mut Dice) {
    let mut transcript = Transcript::default();
    for line in dialogue.transcript.lines() {
        transcript.apply(Line {
            text: Private::new(spoiled(line.text.reveal(), share, dice)),
            ..line.clone()
        });
    }
    dialogue.transcript = transcript;
}

#[cfg(test)]
mod tests {
    use super::similarity;

    #[test]
    fn texts_are_as_alike_as_the_characters_that_they_share() {
        assert!((similarity("王先生", "王先生") - 1.0).abs() < 1e-9);
        assert!((similarity("王先生", "王女士") - 1.0 / 3.0).abs() < 1e-9);
        assert!(similarity("南大街128号", "南大街 128 号") > 0.99);
        assert!(similarity("", "王") < 1e-9);
    }
}
