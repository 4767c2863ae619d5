//! Text as an operator writes it: simplified characters, figures for spoken numbers, and the sound of Chinese words.
//!
//! Pure: nothing here reads a clock, a socket or a file.

pub mod figures;
pub mod numerals;
pub mod pinyin;
pub mod script;
