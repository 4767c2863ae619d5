//! `[audiosocket]`: calls that an Asterisk taps to us over TCP.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::recognition::refused;
use crate::sip::route::Cidr;

/// Where an Asterisk's `AudioSocket` brings the two sides of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioSocket {
    /// Where the callers' sound comes in; without it and `operator`, nowhere.
    pub caller: Option<SocketAddr>,
    /// Where the operators' comes in.
    pub operator: Option<SocketAddr>,
    /// From where.
    pub networks: Vec<String>,
    /// How long a call's first connection waits for the second.
    pub pair_s: u64,
}

impl Default for AudioSocket {
    fn default() -> Self {
        Self {
            caller: None,
            operator: None,
            networks: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
            pair_s: 5,
        }
    }
}

impl AudioSocket {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let ports = [("caller", self.caller), ("operator", self.operator)];
        if let [(_, Some(address)), (missing, None)] | [(missing, None), (_, Some(address))] = ports
        {
            return Err(refused(
                &format!("audiosocket.{missing}"),
                "not set",
                &format!(
                    "who is the caller and who the operator is told by the port alone, and {address} is only one"
                ),
            ));
        }
        if self.caller.is_some()
            && self.caller == self.operator
            && self.caller.map(|a| a.port()) != Some(0)
        {
            return Err(refused(
                "audiosocket.operator",
                &self
                    .operator
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                "it is also audiosocket.caller, and the port tells who speaks",
            ));
        }
        if self.pair_s == 0 {
            return Err(refused("audiosocket.pair_s", "0", "it must be 1 or more"));
        }
        for network in &self.networks {
            if let Err(error) = network.parse::<Cidr>() {
                return Err(refused("audiosocket.networks", network, &error.to_string()));
            }
        }
        Ok(())
    }

    /// Both addresses, if there are any.
    #[must_use]
    pub fn listens(&self) -> Option<[SocketAddr; 2]> {
        self.caller.zip(self.operator).map(Into::into)
    }

    /// The networks, which have been checked.
    #[must_use]
    pub fn allowed(&self) -> Vec<Cidr> {
        self.networks
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect()
    }

    /// How long a call's first connection waits for the second.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        Duration::from_secs(self.pair_s)
    }
}

/// What to write instead, for the keys of this section.
pub(super) fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "audiosocket.caller" => "write e.g. caller = \"192.0.2.10:9019\"",
        "audiosocket.operator" => "write e.g. operator = \"192.0.2.10:9020\"",
        "audiosocket.networks" => "write e.g. networks = [\"192.0.2.5\"]",
        _ => return None,
    })
}
