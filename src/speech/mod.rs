//! What is said: utterances cut from the audio of a leg, and what a recogniser makes of them.
//!
//! The recogniser itself is behind the [`Recognizer`] seam; the real one lives in `recognition/`.

pub mod finish;
pub mod passage;
pub mod segmenter;
mod sound;
pub mod window;
pub mod words;

pub use sound::Sound;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audio::MediaTime;
use crate::private::Private;
use crate::speech::words::Word;

/// The identity of a call in this gateway, unique for ever (not the SIP Call-ID, which the peer chose).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId(Arc<str>);

impl CallId {
    /// Takes an identifier as it is.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is heard: the leg names the speaker, so no diarisation is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// The citizen.
    Caller,
    /// The hotline's operator.
    Operator,
    /// A recording with one channel, in which the speakers are not separated.
    Mono,
}

impl Leg {
    /// The leg on the other side of the bridge; a mono recording has only itself.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Operator,
            Self::Operator => Self::Caller,
            Self::Mono => Self::Mono,
        }
    }

    /// The stable lower-case name used in every contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Operator => "operator",
            Self::Mono => "mono",
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an utterance goes to the recogniser, hence how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// The speaker is still speaking; a newer one replaces it while it waits.
    Partial,
    /// The speaker has just paused: if nothing more is said until the end-pointer is sure,
    /// this very result becomes the final line, and the wait for it is already over.
    Endpoint,
    /// The utterance has ended; this result is what will stand in the transcript.
    Final,
    /// Utterances that have their text are heard once more, in one piece (see [`window`]); only while nothing else is
    /// to be done.
    Review,
}

/// Which pass over which utterance of which leg: the key that a result carries back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UtteranceKey {
    /// The call it was said in.
    pub call: CallId,
    /// Who said it.
    pub leg: Leg,
    /// The utterance's number within the call, from 0 in order of start, over both legs.
    pub id: u32,
    /// Counts the passes over this utterance from 1; a higher one replaces a lower one.
    pub revision: u32,
}

/// A stretch of one leg's speech on its way to the recogniser.
#[derive(Clone)]
pub struct Utterance {
    /// Which utterance and which pass over it.
    pub key: UtteranceKey,
    /// How urgent it is.
    pub pass: Pass,
    /// What is heard.
    pub samples: Sound,
    /// When its first sample was heard.
    pub start: MediaTime,
    /// When its first voice was heard.
    pub voice: MediaTime,
    /// When its last voice was heard.
    pub end: MediaTime,
    /// What the decoder may take for what was written before.
    pub prompt: Prompt,
}

/// What a decoder is told before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Words to expect.
    pub hints: Private<String>,
    /// What the leg said just before these samples, in the same sentence.
    pub said: Private<String>,
}

impl fmt::Debug for Utterance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Utterance")
            .field("key", &self.key)
            .field("pass", &self.pass)
            .field("start", &self.start)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// What the recogniser heard in one utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Punctuated text; empty when the recogniser heard no words.
    pub text: Private<String>,
    /// Its words, on the call's clock; empty when the recogniser gives no times.
    pub words: Vec<Word>,
    /// Mean token probability, 0.0 to 1.0.
    pub confidence: f32,
    /// How long the recogniser worked on it.
    pub took: Duration,
}

/// Why an utterance has no text.
#[derive(Debug)]
pub enum RecognizerError {
    /// The pass was given up because a more urgent one needed the worker.
    Aborted,
    /// The engine reported a fault; the sentence names it.
    Engine(String),
}

impl fmt::Display for RecognizerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("the recognition was given up for a more urgent one"),
            Self::Engine(what) => write!(f, "the recognition engine failed: {what}"),
        }
    }
}

impl std::error::Error for RecognizerError {}

/// What became of a recognition.
#[derive(Debug)]
pub enum Outcome {
    /// Recognised.
    Recognized(Hypothesis),
    /// A newer pass over the same leg took its place, or a more urgent job its worker.
    Superseded,
    /// There was no room for it.
    Shed,
    /// The engine failed on it.
    Failed(RecognizerError),
}

/// Turns speech into text. Synchronous: one worker thread owns one recogniser.
pub trait Recognizer: Send {
    /// Recognises one utterance.
    ///
    /// # Errors
    /// [`RecognizerError`] when the engine fails or the pass was given up; the caller decides what that means.
    fn transcribe(&mut self, utterance: &Utterance) -> Result<Hypothesis, RecognizerError>;

    /// Whether the passes that come now are to be quick rather than careful, because others wait; they are careful until
    /// it says so.
    fn hurry(&mut self, _hurried: bool) {}

    /// Set by another thread to give up the pass that is running; `None` when that is not possible.
    fn abort_flag(&self) -> Option<Arc<AtomicBool>> {
        None
    }
}
