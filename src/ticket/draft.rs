//! The draft's own types: what a field is, where it came from, what is still missing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::resemble::Resemblance;
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
}
