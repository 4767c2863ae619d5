//! An authenticator: six digits that change every 30 s (TOTP, RFC 6238, SHA-1).

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use totp_rs::{Algorithm, Builder, Secret};

use crate::private::Private;

/// Digits of a code, steps before and after now whose codes hold too since clocks differ, and seconds of a step
/// (RFC 6238 §5.2): what all authenticators can do.
const DIGITS: u8 = 6;
const SKEW: u16 = 1;
const STEP: u64 = 30;

/// The secret of an authenticator, and the last of its codes that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    /// 160 bits in base32 (RFC 4648, without padding), as it is typed into the authenticator.
    secret: Private<String>,
    /// The step of the last code that was taken: no code is taken twice (RFC 6238 §5.2).
    #[serde(default)]
    used: u64,
}

impl Totp {
    /// Of 20 random bytes.
    #[must_use]
    pub fn new(random: [u8; 20]) -> Self {
        let secret = Secret::new(Box::new(random)).to_base32();
        Self {
            secret: Private::new(secret),
            used: 0,
        }
    }

    /// As it is typed into the authenticator.
    #[must_use]
    pub const fn secret(&self) -> &Private<String> {
        &self.secret
    }

    /// For a QR code (the key URI format that authenticators read).
    #[must_use]
    pub fn uri(&self, issuer: &str, account: &str) -> Private<String> {
        let totp = self.code(issuer, account);
        Private::new(totp.and_then(|totp| totp.to_url().ok()).unwrap_or_default())
    }

    /// Whether `code` holds at `now`; it then holds no more.
    pub fn take(&mut self, code: &str, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.as_ref().map_or(0, Duration::as_secs);
        let totp = self.code("", "");
        let step = totp.and_then(|totp| totp.check(code.trim(), seconds));
        let is_new = step.is_some_and(|step| step > self.used);
        if let Some(step) = step.filter(|_| is_new) {
            self.used = step;
        }
        is_new
    }

    /// Nothing where what is kept is damaged.
    fn code(&self, issuer: &str, account: &str) -> Option<totp_rs::Totp> {
        // The names stand around a colon in the URI.
        let plain = |name: &str| name.replace(':', " ");
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(SKEW)
            .with_step_duration(STEP)
            .with_secret(Secret::try_from_base32(self.secret.reveal()).ok()?)
            .with_issuer(Some(plain(issuer)).filter(|issuer| !issuer.is_empty()))
            .with_account_name(plain(account))
            .build()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The secret of RFC 6238, appendix B.
    fn of_the_rfc() -> Totp {
        Totp::new(*b"12345678901234567890")
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // Appendix B gives eight digits; six are their last.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert!(of_the_rfc().take(code, at(seconds)), "{code}");
            assert!(!of_the_rfc().take("000000", at(seconds)));
        }
        assert_eq!(
            of_the_rfc().secret().reveal(),
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        );
    }

    #[test]
    fn a_code_is_taken_once_and_a_clock_may_be_half_a_minute_off() {
        let mut totp = of_the_rfc();
        assert!(totp.take(" 287082 ", at(59)));
        assert!(!totp.take("287082", at(59)), "seen over the shoulder");
        assert!(of_the_rfc().take("287082", at(89)));
        assert!(!of_the_rfc().take("287082", at(120)));
        assert!(of_the_rfc().take("287082", at(0)));
        for bad in ["", "28708", "2870821", "abcdef", "２８７０８２"] {
            assert!(!of_the_rfc().take(bad, at(59)), "{bad}");
        }
    }

    #[test]
    fn the_key_uri_has_the_names_escaped_and_debugging_tells_nothing() {
        let uri = of_the_rfc().uri("心桥", "wang li");
        assert!(
            uri.reveal()
                .starts_with("otpauth://totp/%E5%BF%83%E6%A1%A5:wang%20li?secret=GEZD"),
            "{}",
            uri.reveal()
        );
        assert!(!format!("{:?}", of_the_rfc()).contains("GEZD"));
    }
}
