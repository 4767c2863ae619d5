//! Why the gateway does not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::word_lists::ListsError;
use crate::access;
use crate::config::ConfigError;
use crate::gateway::ServeError;
use crate::gateway::sip::BindError;
use crate::gateway::wav::WavError;
use crate::grpc::EndpointError;
use crate::grpc::tls::TlsError;
use crate::language_model::KeyError;
use crate::recognition;
use crate::recording::RecordingError;
use crate::store::StoreError;
use crate::ticket::classifier::file::ModelError;
use crate::ticket::{ForeignClassifier, TaxonomyError};
use crate::ticketing::BookError;
use crate::webhook::WebhookError;

/// Why the gateway does not start; every sentence names the thing and the remedy.
#[derive(Debug)]
pub enum StartError {
    /// Speech cannot be recognised.
    Recognition(recognition::LoadError),
    /// The settings do not say where the records are.
    Records(ConfigError),
    /// The calls cannot be recorded.
    Recording(RecordingError),
    /// The announcement cannot be played.
    Announcement(WavError),
    /// The threads that carry media cannot be started.
    Threads(io::Error),
    /// The gateway's records cannot be opened or written.
    Store(StoreError),
    /// The reference backend's records cannot be opened.
    Book(BookError),
    /// A file of the taxonomy cannot be read.
    TaxonomyFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The taxonomy cannot be used.
    Taxonomy(TaxonomyError),
    /// The word lists cannot be used.
    Lists(ListsError),
    /// The classifier's file cannot be read.
    ClassifierFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The classifier's file is none.
    Classifier(ModelError),
    /// The classifier knows other categories.
    ForeignClassifier(ForeignClassifier),
    /// The backend's address cannot be used.
    Endpoint(EndpointError),
    /// A certificate or key cannot be used.
    Tls(TlsError),
    /// The first administrator cannot be made.
    People(access::Refusal),
    /// The token of a gRPC client cannot be read.
    Token {
        /// Its file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The webhook cannot be set up.
    Webhook(WebhookError),
    /// The language model's key cannot be read.
    ModelKey(KeyError),
    /// The SIP address cannot be taken.
    Sip(BindError),
    /// The address of another listener cannot be taken.
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Why.
        source: ServeError,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announcement(error) => write!(f, "recording.announcement: {error}"),
            Self::Threads(source) => write!(
                f,
                "the media threads cannot be started ({source}); allow the process more threads and open files"
            ),
            Self::TaxonomyFile { file, source } => write!(
                f,
                "taxonomy file {} cannot be read ({source}); deploy/examples/yantai shows the four that are needed",
                file.display()
            ),
            Self::ClassifierFile { file, source } => write!(
                f,
                "ticketing.classifier {} cannot be read ({source}); write it with `xinqiao taxonomy train`, or leave the key out",
                file.display()
            ),
            Self::Token { file, source } => write!(
                f,
                "the token_file {} of a [[grpc.client]] cannot be used ({source}); write a long random word into it that this user may read",
                file.display()
            ),
            Self::People(error) => write!(f, "the first administrator cannot be made: {error}"),
            Self::Classifier(error) => write!(f, "ticketing.classifier: {error}"),
            Self::ForeignClassifier(error) => write!(f, "ticketing.classifier: {error}"),
            Self::Listen { key, source } => write!(f, "{key}: {source}"),
            Self::Recognition(_)
            | Self::Records(_)
            | Self::Recording(_)
            | Self::Store(_)
            | Self::Book(_)
            | Self::Taxonomy(_)
            | Self::Lists(_)
            | Self::Endpoint(_)
            | Self::Tls(_)
            | Self::Webhook(_)
            | Self::ModelKey(_)
            | Self::Sip(_) => write!(f, "{}", self.cause()),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause())
    }
}

impl StartError {
    fn cause(&self) -> &(dyn std::error::Error + 'static) {
        match self {
            Self::Recognition(error) => error,
            Self::Records(error) => error,
            Self::ClassifierFile { source, .. }
            | Self::TaxonomyFile { source, .. }
            | Self::Token { source, .. }
            | Self::Threads(source) => source,
            Self::Store(error) => error,
            Self::Recording(error) => error,
            Self::Announcement(error) => error,
            Self::Book(error) => error,
            Self::Taxonomy(error) => error,
            Self::Lists(error) => error,
            Self::Classifier(error) => error,
            Self::ForeignClassifier(error) => error,
            Self::Endpoint(error) => error,
            Self::Tls(error) => error,
            Self::People(error) => error,
            Self::Webhook(error) => error,
            Self::ModelKey(error) => error,
            Self::Sip(error) => error,
            Self::Listen { source, .. } => source,
        }
    }
}
