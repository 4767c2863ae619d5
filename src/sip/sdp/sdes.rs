//! Keys in session descriptions: `a=crypto` (RFC 4568).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::rtp::srtp::{Key, Suite};

/// The longest key identifier (RFC 4568 §6.1).
const LONGEST_MKI: usize = 128;

/// One `a=crypto` line that we can use.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line, so that an answer can refer to it.
    pub tag: u32,
    /// What the side that says it encrypts with.
    pub key: Key,
    /// The key's identifier, which then stands in each packet.
    pub mki: Vec<u8>,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({}, {:?})", self.tag, self.key)
    }
}

impl fmt::Display for Crypto {
    /// The attribute's value, as it goes out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (suite, master) = (self.key.suite().name(), STANDARD.encode(self.key.master()));
        write!(f, "{} {suite} inline:{master}", self.tag)
    }
}

impl Crypto {
    /// Reads the attribute's value; `None` for a suite or a parameter that we cannot serve, which is no error: the
    /// peer may have other lines.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let suite = Suite::from_name(words.next()?)?;
        // Several keys, joined by semicolons, would be told apart by identifiers in each packet.
        let inline = words.next()?.strip_prefix("inline:")?;
        if inline.contains(';') || !words.all(is_harmless) {
            return None;
        }
        let mut parts = inline.split('|');
        let text = parts.next()?;
        let master = STANDARD
            .decode(text)
            .or_else(|_| STANDARD_NO_PAD.decode(text))
            .ok()?;
        // A lifetime has no colon; no call lives long enough to reach one.
        let mki = parts.find(|part| part.contains(':'));
        Some(Self {
            tag,
            key: Key::new(suite, master)?,
            mki: match mki {
                Some(mki) => identifier(mki)?,
                None => Vec::new(),
            },
        })
    }
}

/// A parameter that changes nothing: the size of the peer's window, and what may be ignored by its minus sign.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with('-') || parameter.starts_with("WSH=") || parameter == "KDR=0"
}

/// `1:4` is the number 1 in four octets.
fn identifier(text: &str) -> Option<Vec<u8>> {
    let (number, length) = text.split_once(':')?;
    let (number, length): (u64, usize) = (number.parse().ok()?, length.parse().ok()?);
    if length == 0 || length > LONGEST_MKI {
        return None;
    }
    let mut octets = vec![0; length.saturating_sub(8)];
    let number = number.to_be_bytes();
    let (high, low) = number.split_at(8 - length.min(8));
    octets.extend_from_slice(low);
    high.iter().all(|octet| *octet == 0).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        for suite in Suite::ALL {
            let master = (0..suite.master_length() as u8).collect();
            let crypto = Crypto {
                tag: 7,
                key: Key::new(suite, master).expect("of the right length"),
                mki: Vec::new(),
            };
            assert_eq!(Crypto::parse(&crypto.to_string()), Some(crypto));
        }
    }

    #[test]
    fn lifetimes_identifiers_and_harmless_parameters_are_taken() {
        for (line, mki) in [
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), &[][..]),
            (format!("1 aes_cm_128_hmac_sha1_32 inline:{KEY}|2^20"), &[]),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:4 WSH=128"),
                &[0, 0, 0, 1],
            ),
            (
                format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|258:2"),
                &[1, 2],
            ),
        ] {
            let crypto = Crypto::parse(&line).expect(&line);
            assert_eq!(crypto.mki, mki, "{line}");
        }
    }

    #[test]
    fn what_would_weaken_the_call_or_is_unknown_or_broken_is_no_line_of_ours() {
        for line in [
            "",
            "1",
            "1 AES_CM_128_HMAC_SHA1_80",
            "1 AES_CM_128_HMAC_SHA1_80 inline:",
            "1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",
            "1 AES_CM_128_HMAC_SHA1_80 inline:!!!",
            "1 F8_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz UNENCRYPTED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz UNAUTHENTICATED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz KDR=3",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|1:0",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|1:999",
            "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|300:1",
            "99999999999 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        ] {
            assert_eq!(Crypto::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let shown = format!("{:?}", Crypto::parse(&line).expect("a line"));
        assert_eq!(shown, "Crypto(1, Key(AES_CM_128_HMAC_SHA1_80, hidden))");
    }
}
