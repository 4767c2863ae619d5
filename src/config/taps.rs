//! `[taps]`: calls that take place elsewhere and are forked to us, by SIPREC or by Asterisk's AudioSocket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::recognition::refused;

/// Forked calls. SIPREC needs no setting: an INVITE that requires it is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Taps {
    /// The hotline's own numbers, `*` at the end for the rest: who bears one is the operator.
    pub own_numbers: Vec<String>,
    /// Where Asterisk connects a citizen's channel (AudioSocket over TCP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiosocket_caller: Option<SocketAddr>,
    /// Where it connects the operator's channel of the same call, under the same UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiosocket_operator: Option<SocketAddr>,
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
        if self.audiosocket_operator.is_some() && self.audiosocket_caller.is_none() {
            return Err(refused(
                "taps.audiosocket_operator",
                "set",
                "without taps.audiosocket_caller there is no call to belong to",
            ));
        }
        Ok(())
    }
}
