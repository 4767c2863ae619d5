//! How well drafts agree with the tickets that good operators wrote: a score for each field.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::noise::{Dice, spoiled};
use super::{Drafter, jsonl::JsonlError};
use super::{FieldName, FieldValue, TicketDraft, jsonl};
use crate::private::Private;
use crate::transcript::{Line, Transcript};

/// The ticket that a good operator wrote; a field that is absent or null is to stay empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Gold {
    request_type: Option<String>,
    category: Vec<String>,
    departments: Vec<String>,
    caller_name: Option<String>,
    contact_phone: Option<String>,
    address: Option<String>,
    district: Option<String>,
    subject: Option<String>,
    amount_yuan: Option<f64>,
    demand: Option<String>,
    event_time: Option<String>,
    urgency: Option<String>,
    confidential: Option<bool>,
}

impl Gold {
    /// The same for a call that takes place now: a day told as 上个礼拜 is another one today.
    #[must_use]
    pub fn of_another_day(self) -> Self {
        Self {
            event_time: None,
            ..self
        }
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

/// The fields whose mean is the field score.
const JUDGED: [&str; 10] = [
    "request_type",
    "category",
    "lead_department",
    "caller_name",
    "contact_phone",
    "address",
    "subject",
    "amount_yuan",
    "urgency",
    "confidential",
];

impl Report {
    /// The mean over the judged fields, each counting the same.
    pub fn total(&self) -> f64 {
        let judged: Vec<f64> = self
            .scores
            .iter()
            .filter(|(name, _)| JUDGED.contains(name))
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
        let text = |name: FieldName| match draft.fields.get(&name).map(|field| &field.value) {
            Some(FieldValue::Text(text)) => text.reveal().clone(),
            _ => String::new(),
        };
        let list = |name: FieldName| match draft.fields.get(&name).map(|field| &field.value) {
            Some(FieldValue::List(list)) => list.clone(),
            _ => Vec::new(),
        };
        let first = |list: &[String]| list.first().cloned().unwrap_or_default();
        let (category, departments) = (list(FieldName::Category), list(FieldName::Departments));
        let exact = [
            (
                "request_type",
                gold.request_type.clone().unwrap_or_default(),
                text(FieldName::RequestType),
            ),
            ("category1", first(&gold.category), first(&category)),
            ("category", gold.category.join("/"), category.join("/")),
            (
                "lead_department",
                first(&gold.departments),
                first(&departments),
            ),
            (
                "contact_phone",
                gold.contact_phone.clone().unwrap_or_default(),
                text(FieldName::ContactPhone),
            ),
            (
                "district",
                gold.district.clone().unwrap_or_default(),
                text(FieldName::District),
            ),
            (
                "urgency",
                gold.urgency.clone().unwrap_or_default(),
                text(FieldName::Urgency),
            ),
        ];
        for (field, expected, drafted) in exact {
            let points = f64::from(u8::from(expected == drafted));
            self.add(id, field, points, expected, drafted);
        }
        let phone = draft.fields.get(&FieldName::ContactPhone);
        if phone.is_some_and(|field| field.confidence >= SURE)
            && text(FieldName::ContactPhone) != gold.contact_phone.clone().unwrap_or_default()
        {
            self.sure_but_wrong_phones += 1;
        }
        if let Some(expected) = &gold.event_time {
            let drafted = text(FieldName::EventTime);
            self.add(
                id,
                "event_time",
                f64::from(u8::from(*expected == drafted)),
                expected.clone(),
                drafted,
            );
        }
        let alike = [
            (
                "caller_name",
                &gold.caller_name,
                text(FieldName::CallerName),
            ),
            ("address", &gold.address, text(FieldName::Address)),
            ("subject", &gold.subject, text(FieldName::Subject)),
        ];
        for (field, expected, drafted) in alike {
            let expected = expected.clone().unwrap_or_default();
            let points = f64::from(u8::from(similarity(&expected, &drafted) >= CLOSE));
            self.add(id, field, points, expected, drafted);
        }
        let expected = gold.demand.clone().unwrap_or_default();
        let drafted = text(FieldName::Demand);
        self.add(
            id,
            "demand",
            similarity(&expected, &drafted),
            expected,
            drafted,
        );
        let sum = match draft
            .fields
            .get(&FieldName::AmountYuan)
            .map(|field| &field.value)
        {
            Some(FieldValue::Number(sum)) => Some(*sum),
            _ => None,
        };
        let same = match (sum, gold.amount_yuan) {
            (Some(sum), Some(gold)) => (sum - gold).abs() < 0.005,
            (sum, gold) => sum.is_none() && gold.is_none(),
        };
        self.add(
            id,
            "amount_yuan",
            f64::from(u8::from(same)),
            format!("{:?}", gold.amount_yuan),
            format!("{sum:?}"),
        );
        let wish = matches!(
            draft
                .fields
                .get(&FieldName::Confidential)
                .map(|field| &field.value),
            Some(FieldValue::Flag(true))
        );
        let expected = gold.confidential.unwrap_or(false);
        self.add(
            id,
            "confidential",
            f64::from(u8::from(wish == expected)),
            expected.to_string(),
            wish.to_string(),
        );
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
) -> impl Iterator<Item = Result<(jsonl::Dialogue, Gold), JsonlError>> + '_ {
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
    mut prepare: impl FnMut(&mut jsonl::Dialogue) -> bool,
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
pub fn spoil(dialogue: &mut jsonl::Dialogue, share: f64, dice: &mut Dice) {
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
