//! How calls' audio flows: `[media]`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::recognition::refused;

/// Audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// The address that session descriptions name; without one, that of `sip.listen`.
    pub address: Option<IpAddr>,
    /// First UDP port; RTP takes the even one, RTCP the next.
    pub first_port: u16,
    /// Last UDP port.
    pub last_port: u16,
    /// How long a closed call's ports stay bound, so that stale media cannot enter a new call.
    pub quiet_s: u64,
    /// Threads that carry media; 0 for one for every two cores.
    pub threads: usize,
    /// What calls speak, in order of preference; what the caller offers goes before.
    pub codecs: Vec<Codec>,
    /// Whether audio is encrypted.
    pub srtp: Srtp,
    /// The same for the operators' side, where it is another.
    pub operator_srtp: Option<Srtp>,
    /// Whether its keys may stand in signalling that is not encrypted itself.
    pub keys_without_tls: bool,
    /// Where a leg's audio may come from, beside the address that its session description names.
    pub sources: Sources,
}

/// A codec of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// G.711 A-law.
    #[serde(rename = "PCMA")]
    Pcma,
    /// G.711 µ-law.
    #[serde(rename = "PCMU")]
    Pcmu,
    /// G.722.
    G722,
    /// Opus.
    #[serde(rename = "opus")]
    Opus,
}

/// Whether audio is encrypted (SRTP with keys in the session description, RFC 4568).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Srtp {
    /// Never.
    Off,
    /// With peers that can.
    Optional,
    /// Always; other peers are refused.
    Required,
}

/// Where audio may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sources {
    /// From the named address and port only.
    Signalled,
    /// From another port of that address, or of the one that the leg signals from.
    Address,
    /// From their networks: the same /24 of IPv4, or /64 of IPv6.
    Network,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            address: None,
            first_port: 20_000,
            last_port: 21_999,
            quiet_s: 5,
            threads: 0,
            codecs: vec![Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus],
            srtp: Srtp::Optional,
            operator_srtp: None,
            keys_without_tls: false,
            sources: Sources::Address,
        }
    }
}

impl Media {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Self {
            first_port,
            last_port,
            ref codecs,
            ..
        } = *self;
        if codecs.is_empty() {
            return Err(refused("media.codecs", "[]", "calls must speak something"));
        }
        if first_port < 1_024 || last_port <= first_port {
            return Err(refused(
                "media.last_port",
                &format!("{first_port}–{last_port}"),
                "the range must begin at 1024 or above and hold two ports or more",
            ));
        }
        Ok(())
    }
}
