//! From transcript to draft ticket: fields with their evidence, and the seam to the ticketing backend.
//!
//! [`Drafter`] reads the final lines and fills a [`TicketDraft`] by rules and by the phrases of a [`Taxonomy`]; each
//! field has its own file. [`model`] is the contract that all of this fills. [`jsonl`] reads written dialogues and writes drafts, [`eval`] scores them, [`noise`] spoils
//! them first. [`classifier`] learns from labelled texts what a matter is about.

pub mod advice;
mod asr_correction;
mod backing;
pub mod classifier;
pub mod desk;
pub mod dialing;
mod dialogue;
mod drafter;
pub mod eval;
pub mod handover;
pub mod jsonl;
mod learned;
mod lexicon;
mod limits;
mod matter;
pub mod model;
mod money;
pub mod noise;
mod numbers;
mod person;
mod phone;
mod phonetics;
mod place;
pub mod reading;
pub mod resemble;
mod subject;
mod taxonomy;
#[cfg(test)]
mod tests;
mod urgency;
mod when;
mod wording;

pub use dialogue::Dialogue;
pub use drafter::Drafter;
pub use learned::ForeignClassifier;
pub use model::{
    Basis, CallFacts, Evidence, Field, FieldName, FieldValue, Likely, Reason, RequestType,
    TicketDraft, Urgency,
};
pub use taxonomy::{Sources, Taxonomy, TaxonomyError};
