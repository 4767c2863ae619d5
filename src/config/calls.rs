//! `[calls]`: how many at once, what may happen in one, and how it ends.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::recognition::refused;

/// RFC 4028 §4: no shorter interval may be asked for or granted.
const SHORTEST_SESSION: u32 = 90;

/// Admission, what may happen in a call, and its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Past it, a new call gets 503 with Retry-After.
    pub max: usize,
    /// How long running calls may go on after the first SIGTERM.
    pub drain_s: u64,
    /// How long the last words of a call may take to be recognised after its end.
    pub flush_s: u64,
    /// Whether the caller hears what the operator's side plays before it answers.
    pub early_media: bool,
    /// How long a call may last; 0 for ever.
    pub max_duration_s: u64,
    /// How long both sides may send nothing, while neither holds, before the call is ended; 0 for ever.
    pub media_timeout_s: u64,
    /// The same for one side while the other one sends; 0 for ever.
    pub leg_media_timeout_s: u64,
    /// How long a session lasts without a refresh (RFC 4028); 0 without session timers.
    pub session_expires_s: u32,
    /// The shortest such time that a peer may ask for.
    pub min_se_s: u32,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            max: 200,
            drain_s: 30,
            flush_s: 10,
            early_media: true,
            max_duration_s: 14_400,
            media_timeout_s: 60,
            leg_media_timeout_s: 600,
            session_expires_s: 1_800,
            min_se_s: SHORTEST_SESSION,
        }
    }
}

impl Calls {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let (key, value, why) = if self.max == 0 {
            ("calls.max", 0, "it must be 1 or more")
        } else if self.min_se_s < SHORTEST_SESSION {
            (
                "calls.min_se_s",
                self.min_se_s,
                "RFC 4028 allows no session timer below 90 seconds",
            )
        } else if self.session_expires_s != 0 && self.session_expires_s < self.min_se_s {
            (
                "calls.session_expires_s",
                self.session_expires_s,
                "it must be 0 or at least calls.min_se_s",
            )
        } else {
            return Ok(());
        };
        Err(refused(key, &value.to_string(), why))
    }
}

/// What to write instead, for the keys of this section.
pub(super) fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "calls.min_se_s" => "write 90 or more",
        "calls.session_expires_s" => "write e.g. 1800, or 0 for no session timers",
        _ => return None,
    })
}
