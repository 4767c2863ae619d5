//! How lines are written: `[text]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// From what was recognised to what the operator reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Whether misheard words of the lists are put right and the decoder is told to expect them.
    pub corrections: bool,
    /// The folder of the hotline's word lists (`*.txt`), read again when a file changes; without one, the embedded
    /// example's.
    pub hotwords: Option<PathBuf>,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            corrections: true,
            hotwords: None,
        }
    }
}
