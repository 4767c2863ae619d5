//! The draft's own types: what a field is, where it came from, what is still missing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::limits::{Limits, URGENCIES};
use super::resemble::Resemblance;
use super::taxonomy::REQUESTS;
use crate::private::Private;
use crate::speech::CallId;

/// What is known of a call before a word is said.
#[derive(Clone, Debug, PartialEq)]
pub struct CallFacts {
    /// The gateway's call id (or the id of a written dialogue).
    pub call: CallId,
    /// The caller's number as the network gave it.
    pub caller_number: Option<Private<String>>,
    /// When the call came in; relative dates (昨天, 上个礼拜) count from it.
    pub started_at: SystemTime,
}

/// The ticket's fields, in the order in which an operator would ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldName {
    /// One line that says what it is about.
    Title,
    /// Two or three sentences for whoever handles it.
    Summary,
    /// 咨询 求助 投诉 举报 建议 表扬.
    RequestType,
    /// Two levels, the broader first.
    Category,
    /// Who handles it, the lead department first.
    Departments,
    /// Name and form of address, e.g. 王先生.
    CallerName,
    /// Eleven-digit mobile number, or a land line's digits.
    ContactPhone,
    /// Where, as it would be written on an envelope.
    Address,
    /// The district within the city.
    District,
    /// The merchant, company or person complained of.
    Subject,
    /// Money at stake, in yuan.
    AmountYuan,
    /// What the caller wants done.
    Demand,
    /// When it happened.
    EventTime,
    /// 一般 紧急 特急.
    Urgency,
    /// Whether the caller wants to stay unnamed towards the subject.
    Confidential,
    /// What the caller holds that proves it: contract, receipt, photographs.
    EvidenceHeld,
    /// Whether it was raised before, here or with whoever is complained of.
    RaisedBefore,
}

/// A field's value in the shape that its name calls for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// Yes or no.
    Flag(bool),
    /// A sum in yuan.
    Number(f64),
    /// One piece of text.
    Text(Private<String>),
    /// Several, the most important first.
    List(Vec<String>),
}

/// Where a value came from: a range of characters (not bytes) in one utterance's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The line's id.
    pub utterance: u32,
    /// First character.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
}

/// A value, how sure we are of it, and the words that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The value.
    pub value: FieldValue,
    /// 0.0 to 1.0.
    pub confidence: f32,
    /// The words it rests on; empty when it came from the network (caller id) or is a default.
    pub evidence: Vec<Evidence>,
}

/// A department that may be the right one to lead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likely {
    /// Its name.
    pub department: String,
    /// 0.0 to 1.0; together no more than 1.0.
    pub confidence: f32,
    /// What speaks for it, the strongest first, at most four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because>,
}

/// Who or what took words for a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A phrase of the taxonomy.
    Phrase,
    /// The trained classifier.
    Classifier,
    /// The operator, who named the department.
    Operator,
}

/// Words that speak for something, and by whose judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// By whose.
    pub basis: Basis,
    /// Which words.
    pub evidence: Evidence,
}

/// The longest text that an operator may put into a field, in characters.
const LONGEST: usize = 2_000;

impl FieldName {
    /// `value` as this field may hold it.
    ///
    /// # Errors
    /// A sentence that says what the field takes.
    pub fn holds(self, value: FieldValue) -> Result<FieldValue, &'static str> {
        match (self, value) {
            (Self::Category, FieldValue::List(levels)) => match levels.len() {
                2 => Ok(FieldValue::List(levels)),
                _ => Err("a category has two levels"),
            },
            (Self::Departments | Self::EvidenceHeld, FieldValue::List(names)) => {
                let fits = names.len() <= 20
                    && names
                        .iter()
                        .all(|name| !name.trim().is_empty() && name.chars().count() <= 100);
                if fits {
                    Ok(FieldValue::List(names))
                } else {
                    Err("the list takes up to 20 names of up to 100 characters")
                }
            }
            (Self::Category | Self::Departments | Self::EvidenceHeld, _) => {
                Err("the field is a list of texts")
            }
            (Self::Confidential | Self::RaisedBefore, FieldValue::Flag(flag)) => {
                Ok(FieldValue::Flag(flag))
            }
            (Self::Confidential | Self::RaisedBefore, _) => Err("the field is true or false"),
            (Self::AmountYuan, FieldValue::Number(sum)) if (0.0..1e12).contains(&sum) => {
                Ok(FieldValue::Number(sum))
            }
            (Self::AmountYuan, _) => Err("the field is a number of yuan"),
            (name, FieldValue::Text(text)) => {
                let text = text.reveal().trim().to_owned();
                let known: &[&str] = match name {
                    Self::RequestType => &REQUESTS,
                    Self::Urgency => &URGENCIES,
                    _ => &[],
                };
                if !known.is_empty() && !known.contains(&text.as_str()) {
                    Err("the field takes one of its standard words")
                } else if text.chars().count() > LONGEST {
                    Err("the text is longer than 2000 characters")
                } else {
                    Ok(FieldValue::Text(Private::new(text)))
                }
            }
            _ => Err("the field is a text"),
        }
    }
}

/// The ticket as far as the conversation has filled it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TicketDraft {
    /// What is known.
    pub fields: BTreeMap<FieldName, Field>,
    /// What this kind of matter still needs, in the order in which to ask.
    pub missing: Vec<FieldName>,
    /// Earlier tickets that may be about the same matter, the likest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resembles: Vec<Resemblance>,
    /// The departments likeliest to lead, at most three, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub likely: Vec<Likely>,
    /// How long it may take, by its category and urgency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The fields that the operator has written: nothing that is said changes them. With each, what was said later and
    /// contradicts it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edited: BTreeMap<FieldName, Option<Field>>,
}
