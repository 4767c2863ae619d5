//! From the settings to what recognises: the only place that knows which engine is meant.

use std::fmt;
use std::path::PathBuf;

use tracing::warn;

use super::models::{ModelError, ModelStore};
use super::pool::RecognitionPool;
use super::remote::{Recognizers, Remote, RemoteError};
use super::whisper::{Decoding, UnreadableModel, WhisperModel};
use crate::config::Recognition;
use crate::grpc::tls::{Connector, Identity, TlsError};
use crate::speech::RecognizerError;

/// The engine of this process, with what it needs found and not yet loaded.
enum Engine {
    Whisper { model: PathBuf, decoding: Decoding },
}

impl Engine {
    fn named_by(settings: &Recognition) -> Result<Self, LoadError> {
        let models = ModelStore::new(&settings.models_dir);
        Ok(Self::Whisper {
            model: models.path_of(&settings.model).map_err(LoadError::Model)?,
            decoding: Decoding {
                threads: settings.threads,
                language: settings.language.clone(),
                beam: settings.beam,
            },
        })
    }

    fn start(self, workers: usize, queue: usize) -> Result<RecognitionPool, LoadError> {
        match self {
            Self::Whisper { model, decoding } => {
                let model = WhisperModel::load_for(&model, decoding).map_err(LoadError::Whisper)?;
                RecognitionPool::start(workers, queue, move || model.recognizer())
                    .map_err(LoadError::Workers)
            }
        }
    }
}

/// Says whether what the settings name is there, without loading it.
///
/// # Errors
/// [`LoadError`] with the remedy.
pub fn check(settings: &Recognition) -> Result<(), LoadError> {
    if settings.enabled {
        Engine::named_by(settings)?;
    }
    Ok(())
}

/// Loads everybody who recognises for this process: its own workers and the recognisers elsewhere; nobody when
/// recognition is switched off. Needs a running tokio runtime.
///
/// # Errors
/// [`LoadError`] with the remedy; nothing is left running.
pub fn load(settings: &Recognition) -> Result<Option<Recognizers>, LoadError> {
    if !settings.enabled {
        warn!("recognition is switched off by recognition.enabled: calls have no transcript");
        return Ok(None);
    }
    let remotes = remotes(settings)?;
    Ok(Some(Recognizers::new(load_workers(settings)?, remotes)))
}

/// Loads the workers of this process alone, switched off or not.
///
/// # Errors
/// [`LoadError`] with the remedy.
pub fn load_workers(settings: &Recognition) -> Result<RecognitionPool, LoadError> {
    Engine::named_by(settings)?.start(settings.workers(), settings.queue)
}

/// The recognisers elsewhere.
fn remotes(settings: &Recognition) -> Result<Vec<Remote>, LoadError> {
    let tls = match settings.tls.clone() {
        None => None,
        Some(tls) => {
            let identity = Identity {
                cert: tls.cert,
                key: tls.key,
            };
            let connector = Connector::new(tls.ca, Some(identity), tls.domain);
            Some(connector.map_err(LoadError::Tls)?)
        }
    };
    let remote = |address: &String| Remote::new(address, tls.clone()).map_err(LoadError::Remote);
    settings.remotes.iter().map(remote).collect()
}

/// Why nothing can be recognised; every sentence names the thing and the remedy.
#[derive(Debug)]
pub enum LoadError {
    /// The model is missing or damaged.
    Model(ModelError),
    /// whisper.cpp cannot load it.
    Whisper(UnreadableModel),
    /// The workers cannot be started.
    Workers(RecognizerError),
    /// A certificate or key between here and the recognisers elsewhere cannot be used.
    Tls(TlsError),
    /// A recogniser's address cannot be used.
    Remote(RemoteError),
}

impl LoadError {
    fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Model(error) => error,
            Self::Whisper(error) => error,
            Self::Workers(error) => error,
            Self::Tls(error) => error,
            Self::Remote(error) => error,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause())
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause())
    }
}
