//! Recognition on this machine: the models, the whisper.cpp engine behind the `Recognizer` seam, and its workers.

mod guard;
pub mod models;
mod pool;
mod whisper;

pub use pool::{Job, Load, RecognitionPool, Reply};
pub use whisper::{LoadError, PROMPT, WhisperModel, WhisperRecognizer};
