//! Settings of the recordings.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Recordings of calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// The folder that holds a folder for each day.
    pub folder: PathBuf,
    /// Days that recordings are kept; 0 for ever.
    pub keep_days: u32,
    /// Megabytes that must stay free on the disk; the oldest recordings make way.
    pub min_free_mb: u64,
    /// A file with the key that seals recordings; without one they are plain WAV files.
    pub key_file: Option<PathBuf>,
    /// A WAV file that the caller hears before the operator: that the call is recorded.
    pub announcement: Option<PathBuf>,
    /// Whether he hears it while the operator's phone rings, as early media, and not only after the answer.
    pub announce_early: bool,
    /// Whether the recording is silent while card, identity and secret numbers are read.
    pub pause_for_numbers: bool,
    /// For how long at most.
    pub pause_longest_s: u64,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            enabled: false,
            folder: "data/recordings".into(),
            keep_days: 90,
            min_free_mb: 1_024,
            key_file: None,
            announcement: None,
            announce_early: false,
            pause_for_numbers: true,
            pause_longest_s: 60,
        }
    }
}

impl Recording {
    /// For how long at most a number is kept out of the recording, if it is.
    #[must_use]
    pub fn hides_numbers(&self) -> Option<Duration> {
        let hides = self.enabled && self.pause_for_numbers;
        hides.then(|| Duration::from_secs(self.pause_longest_s))
    }
}
