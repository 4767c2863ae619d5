//! The contract of a ticket: its fields and their kinds, the standard words, the draft. Everybody who reads or writes
//! a ticket takes names, labels and bounds from here.

mod draft;
mod field;
mod limits;
mod standard;

pub use draft::{Basis, CallFacts, Evidence, Field, Likely, Reason, TicketDraft};
pub use field::{FIELDS, FieldName, FieldSpec, FieldValue, Form, Kind, Writer};
pub use limits::{Limits, Span};
pub use standard::{RequestType, Urgency};
