//! Text as an operator writes it: simplified characters, punctuation, figures for spoken numbers, and the hotline's own
//! words where they were misheard.
//!
//! [`formatter::TranscriptFormatter`] is the [`Finish`](crate::speech::finish::Finish) of the gateway and of the tools; the other modules are
//! its steps. Pure: nothing here reads a clock, a socket or a file.

pub mod correct;
pub mod formatter;
pub mod inverse_text_normalization;
pub mod numerals;
pub mod pinyin;
pub mod punctuation;
pub mod score;
pub mod script;
pub mod sensitive;
mod spans;
pub mod spelling;
pub mod vocabulary;
