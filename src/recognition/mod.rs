//! Recognition: the models, the engines behind the `Recognizer` seam, and their workers, here and elsewhere.
//!
//! [`load()`] makes of the settings what recognises. A further engine is a variant of `load::Engine`.

mod admission;
mod guard;
mod load;
mod measures;
pub mod models;
mod pool;
mod remote;
mod shape;
mod tokens;
mod whisper;

pub use load::{LoadError, check, load, load_workers};
pub use measures::describe;
pub use pool::{Job, Load, RecognitionPool, Reply};
pub use remote::{RecognizerService, Recognizers, Remote, RemoteError};
pub use whisper::{WhisperModel, WhisperRecognizer, speaks};
