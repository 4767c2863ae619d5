//! The draft's own types: what a field is, where it came from, what is still missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{FieldName, FieldValue, Limits};
use crate::private::Private;
use crate::speech::CallId;
use crate::ticket::resemble::Resemblance;

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
    pub because: Vec<Reason>,
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
pub struct Reason {
    /// By whose.
    pub basis: Basis,
    /// Which words.
    pub evidence: Evidence,
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
    /// The fields that rest on words which were put in place of others that were probably misheard.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mended: BTreeSet<FieldName>,
    /// The fields that the operator has written: nothing that is said changes them. With each, what was said later and
    /// contradicts it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edited: BTreeMap<FieldName, Option<Field>>,
}
