//! How calls are listened to and recognised: `[recognition]` and `[listening]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The engine and its workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recognition {
    /// Whether anything is recognised at all; if not, calls are bridged without a transcript.
    pub enabled: bool,
    /// A name from `xinqiao models list`, or the path of any ggml whisper model.
    pub model: String,
    /// The folder that `xinqiao models pull` filled.
    pub models_dir: PathBuf,
    /// Recognitions at a time; 0 for as many as cores.
    pub workers: usize,
    /// Threads of one recognition.
    pub threads: usize,
    /// What is spoken: a language as whisper abbreviates it, or `auto`.
    pub language: String,
    /// Hypotheses that the last pass over an utterance follows while there is time; 1 is the fastest.
    pub beam: usize,
    /// Whether final lines are heard once more, in longer pieces, while nothing else is to be recognised.
    pub review: bool,
    /// End-points and finals that may wait for a worker.
    pub queue: usize,
    /// Recognisers elsewhere (`xinqiao recognizer`); the workers of this process then only work when all are away.
    pub remotes: Vec<String>,
    /// How they and this gateway prove who they are; without it, they must be on this machine.
    pub tls: Option<RecognizerTls>,
}

/// Certificates between a gateway and its recognisers. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecognizerTls {
    /// The authority that signed the recognisers' certificates, PEM.
    pub ca: PathBuf,
    /// This gateway's certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The name in the recognisers' certificates, where it is not their address's host.
    pub domain: Option<String>,
}

/// When an utterance begins, is passed on and ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listening {
    /// A pause that ends an utterance.
    pub end_pause_ms: u64,
    /// A pause at which its recognition begins, before it is sure that it has ended.
    pub short_pause_ms: u64,
    /// Time between the tentative lines while somebody speaks, when the machine has time.
    pub partial_every_ms: u64,
    /// The longest utterance; past it, it is cut at its quietest place.
    pub longest_s: u64,
}

impl Default for Recognition {
    fn default() -> Self {
        Self {
            enabled: true,
            model: "whisper-base".to_owned(),
            models_dir: "data/models".into(),
            workers: 0,
            threads: 1,
            language: "zh".to_owned(),
            beam: 3,
            review: true,
            queue: 256,
            remotes: Vec::new(),
            tls: None,
        }
    }
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            end_pause_ms: 600,
            short_pause_ms: 200,
            partial_every_ms: 900,
            longest_s: 15,
        }
    }
}

impl Recognition {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        // What callers say must not travel open.
        let is_here = |remote: &String| {
            ["http://127.", "http://[::1]", "http://localhost"]
                .iter()
                .any(|here| remote.starts_with(here))
        };
        if let Some(open) = self
            .remotes
            .iter()
            .find(|remote| self.tls.is_none() && !is_here(remote))
        {
            let why = "a recogniser on another machine needs recognition.tls and an https address";
            return Err(refused("recognition.remotes", open, why));
        }
        let language = &self.language;
        if language != "auto" && !(2..=3).contains(&language.len()) {
            return Err(refused("recognition.language", language, "not a language"));
        }
        for (key, value, most) in [
            ("recognition.queue", self.queue, 100_000),
            ("recognition.threads", self.threads, 256),
            ("recognition.beam", self.beam, 8),
        ] {
            if !(1..=most).contains(&value) {
                let why = format!("it must be 1 to {most}");
                return Err(refused(key, &value.to_string(), &why));
            }
        }
        Ok(())
    }

    /// Recognitions at a time.
    #[must_use]
    pub fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        match self.workers {
            0 => (cores() / self.threads).max(1),
            workers => workers,
        }
    }
}

impl Listening {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Self {
            end_pause_ms,
            short_pause_ms,
            partial_every_ms,
            longest_s,
        } = *self;
        for (key, value, least, most) in [
            ("listening.short_pause_ms", short_pause_ms, 50, 2_000),
            ("listening.end_pause_ms", end_pause_ms, 200, 5_000),
            ("listening.partial_every_ms", partial_every_ms, 200, 10_000),
            // whisper hears 30 s at a time.
            ("listening.longest_s", longest_s, 5, 28),
        ] {
            if !(least..=most).contains(&value) {
                let why = format!("it must be {least} to {most}");
                return Err(refused(key, &value.to_string(), &why));
            }
        }
        if short_pause_ms >= end_pause_ms {
            let why = "it must be shorter than listening.end_pause_ms";
            let value = short_pause_ms.to_string();
            return Err(refused("listening.short_pause_ms", &value, why));
        }
        Ok(())
    }

    /// A pause that ends an utterance.
    #[must_use]
    pub const fn end_pause(&self) -> Duration {
        Duration::from_millis(self.end_pause_ms)
    }

    /// A pause at which its recognition begins.
    #[must_use]
    pub const fn short_pause(&self) -> Duration {
        Duration::from_millis(self.short_pause_ms)
    }

    /// Time between tentative lines.
    #[must_use]
    pub const fn partial_every(&self) -> Duration {
        Duration::from_millis(self.partial_every_ms)
    }

    /// The longest utterance.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        Duration::from_secs(self.longest_s)
    }
}

pub(super) fn refused(key: &str, value: &str, why: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: Some(value.to_owned()),
        origin: None,
        why: why.to_owned(),
    }
}
