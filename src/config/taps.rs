//! `[taps]`: calls that take place elsewhere and are forked to us by SIPREC.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::recognition::refused;

/// Forked calls. SIPREC needs no setting: an INVITE that requires it is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Taps {
    /// The hotline's own numbers, `*` at the end for the rest: who bears one is the operator.
    pub own_numbers: Vec<String>,
}

impl Taps {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(number) = self.own_numbers.iter().find(|number| {
            number.trim_end_matches('*').is_empty() || number.contains(char::is_whitespace)
        }) {
            return Err(refused(
                "taps.own_numbers",
                number,
                "it would match every number, or none",
            ));
        }
        Ok(())
    }
}
