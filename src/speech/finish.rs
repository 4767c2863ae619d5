//! From what was recognised to what is written: the one seam where text is worked on.
//!
//! Behind the recogniser and before the transcript stands one [`Finish`]: it writes numbers as an operator would,
//! corrects names by their sound, and says for each change what was heard. [`AsHeard`] changes nothing.

use serde::{Deserialize, Serialize};

use crate::private::Private;
use crate::speech::Leg;
use crate::speech::words::{Word, carry_along};

/// What was recognised in one utterance, or so far in it.
#[derive(Clone, Copy, Debug)]
pub struct Spoken<'a> {
    /// Who spoke.
    pub leg: Leg,
    /// As the recogniser wrote it.
    pub text: &'a Private<String>,
    /// Its words.
    pub words: &'a [Word],
    /// Whether this is the last version; partial ones should be written as the last one will be.
    pub is_final: bool,
}

/// What kind of change was made to what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A spoken number, written in digits.
    Number,
    /// A word of a list, restored by its sound.
    Hotword,
}

/// A stretch of the written text that differs in content from what was heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its first character in the written text.
    pub from: u32,
    /// Behind its last character.
    pub to: u32,
    /// What was heard in its place.
    pub said: Private<String>,
    /// What kind of change it is.
    pub kind: ChangeKind,
    /// The list that the word stands in, e.g. `行政区划`; empty for a number.
    #[serde(default)]
    pub list: String,
    /// What was written there before an operator undid the change; what was heard stands in the text then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Private<String>>,
}

/// A stretch of the text that a supervisor should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its first character.
    pub from: u32,
    /// Behind its last character.
    pub to: u32,
    /// What it is about, e.g. `自伤自杀`.
    pub category: String,
}

/// An utterance as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// The text.
    pub text: Private<String>,
    /// Its words, with the times of what was heard.
    pub words: Vec<Word>,
    /// Where it differs from what was heard, in order.
    pub changes: Vec<Change>,
}

/// Writes what was recognised. Pure and fast: it runs between two packets of a call.
pub trait Finish: Send + Sync {
    /// Writes it.
    fn finish(&self, spoken: Spoken<'_>) -> Written;

    /// The sensitive words of a text, in order.
    fn marks(&self, text: &Private<String>) -> Vec<Mark> {
        let _ = text;
        Vec::new()
    }

    /// What the decoder should expect from this leg, as it would read it in a text before; short, because each pass pays
    /// for every token. `names` are the words of the lists that were misheard in this call before.
    fn hints(&self, leg: Leg, names: &[Private<String>]) -> Private<String> {
        let _ = (leg, names);
        Private::default()
    }
}

/// Writes what was recognised as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsHeard;

impl Finish for AsHeard {
    fn finish(&self, spoken: Spoken<'_>) -> Written {
        Written {
            text: spoken.text.clone(),
            words: spoken.words.to_vec(),
            changes: Vec::new(),
        }
    }
}

impl Written {
    /// `text`, written in place of what was `spoken`; each of its characters stands for a stretch of the characters that
    /// were heard (`source`), whose time its word gets.
    #[must_use]
    pub fn instead_of(
        spoken: Spoken<'_>,
        text: &[char],
        source: &[(usize, usize)],
        changes: Vec<Change>,
    ) -> Self {
        Self {
            words: carry_along(spoken.words, text, source),
            text: Private::new(text.iter().collect()),
            changes,
        }
    }
}
