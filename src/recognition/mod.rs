//! Recognition on this machine: the models, the whisper.cpp engine behind the `Recognizer` seam, and its workers.

mod admission;
mod guard;
mod measures;
pub mod models;
mod pool;
mod remote;
mod shape;
mod tokens;
mod whisper;

pub use measures::describe;
pub use pool::{Job, Load, RecognitionPool, Reply};
pub use remote::{RecognizerService, Recognizers, Remote, RemoteError};
pub use whisper::{Engine, LoadError, WhisperModel, WhisperRecognizer};
