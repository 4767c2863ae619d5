//! From transcript to draft ticket: fields with their evidence, and the seam to the ticketing backend.

pub mod desk;
mod draft;

pub use draft::{CallFacts, Evidence, Field, FieldName, FieldValue, TicketDraft};
