//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714): packets are authenticated before anything else looks at them.
//!
//! One context for each source: a packet of an unknown source proves itself in a context of its own first, so forged
//! ones leave nothing behind. The replay window is 64 packets.

use std::fmt;

use rtc_srtp::context::Context;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::{Packet, rtcp};

/// How many packets behind the newest one are still told apart from replayed ones (RFC 3711 §3.3.2).
const REPLAY_WINDOW: usize = 64;

/// Sources of one peer under one key. A source that is forgotten could be replayed, so past it new ones are refused.
const MOST_SOURCES: usize = 64;

/// The ciphers and tags that session descriptions name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-256-GCM.
    AeadAes256Gcm,
    /// AES-128-GCM.
    AeadAes128Gcm,
    /// AES-256 in counter mode, tag of 80 bits.
    Aes256CmHmacSha1_80,
    /// AES-256 in counter mode, tag of 32 bits.
    Aes256CmHmacSha1_32,
    /// AES-128 in counter mode, tag of 80 bits; the one that everybody has.
    AesCm128HmacSha1_80,
    /// AES-128 in counter mode, tag of 32 bits.
    AesCm128HmacSha1_32,
}

impl Suite {
    /// Every suite, the strongest first.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmHmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::AesCm128HmacSha1_32,
    ];

    /// The name in session descriptions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name, in capitals or not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name().eq_ignore_ascii_case(name))
    }

    const fn profile(self) -> ProtectionProfile {
        match self {
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
            Self::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
            Self::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        }
    }

    const fn key_length(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Octets of master key and salt together.
    #[must_use]
    pub const fn master_length(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => self.key_length() + 12,
            _ => self.key_length() + 14,
        }
    }

    /// Octets of the tag that ends an SRTP packet, behind the key's identifier where there is one; GCM has its tag inside.
    const fn rtp_trailer(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 0,
            Self::Aes256CmHmacSha1_80 | Self::AesCm128HmacSha1_80 => 10,
            Self::Aes256CmHmacSha1_32 | Self::AesCm128HmacSha1_32 => 4,
        }
    }

    /// The same of an SRTCP packet; its tag has 80 bits with each of the HMAC suites (RFC 4568 §6.2).
    const fn rtcp_trailer(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 0,
            _ => 10,
        }
    }
}

/// A suite with the master key and salt of one direction. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    suite: Suite,
    master: Vec<u8>,
}

impl Key {
    /// `master` is the key and, behind it, the salt; `None` unless it has [`Suite::master_length`] octets.
    #[must_use]
    pub fn new(suite: Suite, master: Vec<u8>) -> Option<Self> {
        (master.len() == suite.master_length()).then_some(Self { suite, master })
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt.
    #[must_use]
    pub fn master(&self) -> &[u8] {
        &self.master
    }

    fn context(&self) -> Context {
        let (key, salt) = self.master.split_at(self.suite.key_length());
        let provider = default_provider().expect("the crate is built with its ring provider");
        Context::new(
            key,
            salt,
            self.suite.profile(),
            Some(srtp_replay_protection(REPLAY_WINDOW)),
            Some(srtcp_replay_protection(REPLAY_WINDOW)),
            provider.crypto(),
        )
        .expect("key and salt have the suite's lengths, which is all that can be wrong with them")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, hidden)", self.suite.name())
    }
}

/// Protects what goes to a leg.
pub struct Protector {
    context: Context,
}

impl Protector {
    /// Protects with `key`.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self {
            context: key.context(),
        }
    }

    /// Encrypts an RTP datagram in its place and appends the tag; one that cannot be is emptied, never left in clear.
    pub fn protect(&mut self, datagram: &mut Vec<u8>) {
        let protected = self.context.encrypt_rtp(datagram);
        datagram.clear();
        if let Ok(protected) = protected {
            datagram.extend_from_slice(&protected);
        }
    }

    /// The same for RTCP.
    pub fn protect_report(&mut self, datagram: &mut Vec<u8>) {
        let protected = self.context.encrypt_rtcp(datagram);
        datagram.clear();
        if let Ok(protected) = protected {
            datagram.extend_from_slice(&protected);
        }
    }
}

/// Authenticates and decrypts what comes from a leg.
pub struct Unprotector {
    key: Key,
    /// The identifier of the key, which then stands in each packet.
    mki: Vec<u8>,
    sources: Vec<(u32, Context)>,
    stripped: Vec<u8>,
}

impl Unprotector {
    /// Takes packets protected with `key`, which carry `mki` if it is not empty.
    #[must_use]
    pub const fn new(key: Key, mki: Vec<u8>) -> Self {
        Self {
            key,
            mki,
            sources: Vec::new(),
            stripped: Vec::new(),
        }
    }

    /// Whether this takes packets protected with this key.
    #[must_use]
    pub fn has(&self, key: &Key, mki: &[u8]) -> bool {
        self.key == *key && self.mki == mki
    }

    /// Puts the RTP packet into `plain`; whether the tag was right and the packet new.
    pub fn unprotect(&mut self, datagram: &[u8], plain: &mut Vec<u8>) -> bool {
        plain.clear();
        // Only the header is in clear: what its padding bit promises is still encrypted.
        let Some(ssrc) = Packet::source_of(datagram) else {
            return false;
        };
        self.open(
            ssrc,
            datagram,
            self.key.suite.rtp_trailer(),
            |context, datagram| match context.decrypt_rtp(datagram) {
                Ok(packet) => {
                    plain.extend_from_slice(&packet);
                    true
                }
                Err(_) => false,
            },
        )
    }

    /// The same for RTCP.
    pub fn unprotect_report(&mut self, datagram: &[u8], plain: &mut Vec<u8>) -> bool {
        plain.clear();
        let Some(ssrc) = rtcp::sender(datagram) else {
            return false;
        };
        self.open(
            ssrc,
            datagram,
            self.key.suite.rtcp_trailer(),
            |context, datagram| match context.decrypt_rtcp(datagram) {
                Ok(packet) => {
                    plain.extend_from_slice(&packet);
                    true
                }
                Err(_) => false,
            },
        )
    }

    fn open(
        &mut self,
        ssrc: u32,
        datagram: &[u8],
        trailer: usize,
        mut decrypt: impl FnMut(&mut Context, &[u8]) -> bool,
    ) -> bool {
        let mut stripped = std::mem::take(&mut self.stripped);
        let opened = self
            .without_mki(datagram, trailer, &mut stripped)
            .is_some_and(|datagram| {
                if let Some((_, context)) =
                    self.sources.iter_mut().find(|(known, _)| *known == ssrc)
                {
                    return decrypt(context, datagram);
                }
                if self.sources.len() == MOST_SOURCES {
                    return false;
                }
                let mut context = self.key.context();
                let proven = decrypt(&mut context, datagram);
                if proven {
                    self.sources.push((ssrc, context));
                }
                proven
            });
        self.stripped = stripped;
        opened
    }

    /// The datagram without the key's identifier before its `trailer`; `None` if that is another one.
    fn without_mki<'a>(
        &self,
        datagram: &'a [u8],
        trailer: usize,
        room: &'a mut Vec<u8>,
    ) -> Option<&'a [u8]> {
        if self.mki.is_empty() {
            return Some(datagram);
        }
        let end = datagram.len().checked_sub(trailer)?;
        let begin = end.checked_sub(self.mki.len())?;
        if datagram[begin..end] != self.mki {
            return None;
        }
        room.clear();
        room.extend_from_slice(&datagram[..begin]);
        room.extend_from_slice(&datagram[end..]);
        Some(room)
    }
}

#[cfg(test)]
mod tests;
