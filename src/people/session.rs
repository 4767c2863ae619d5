//! A session: what its token is, and when it ends.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::account::UserName;

/// What the browser holds: 256 random bits. It is shown to nobody else and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What is kept of it: SHA-256. Whoever reads the records cannot sign in by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl Token {
    /// Of 32 random bytes.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random))
    }

    /// As the browser shows it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl TokenDigest {
    /// Of what somebody shows.
    #[must_use]
    pub fn of(shown: &str) -> Self {
        Self(Sha256::digest(shown.as_bytes()).into())
    }

    /// For the records.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

/// How long a session lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without anything being asked in it.
    pub idle: Duration,
    /// At the most.
    pub absolute: Duration,
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Names it; it is not the token.
    pub id: String,
    /// Whose.
    pub user: UserName,
    /// Whence it was begun.
    pub address: IpAddr,
    /// What the browser or program called itself, shortened.
    pub agent: String,
    /// When it began.
    pub started: SystemTime,
    /// When something was last asked in it, to the minute.
    pub seen: SystemTime,
    /// When it ends at the latest.
    pub until: SystemTime,
}

impl Session {
    /// How exactly `seen` is kept: a write for each request would be many.
    pub const SEEN_EVERY: Duration = Duration::from_mins(1);
    /// What is kept of how a browser calls itself.
    const LONGEST_AGENT: usize = 200;

    /// One that begins at `now`.
    #[must_use]
    pub fn begin(
        id: String,
        user: UserName,
        address: IpAddr,
        agent: &str,
        limits: Limits,
        now: SystemTime,
    ) -> Self {
        let agent = agent.chars().filter(|letter| !letter.is_control());
        Self {
            id,
            user,
            address,
            agent: agent.take(Self::LONGEST_AGENT).collect(),
            started: now,
            seen: now,
            until: now + limits.absolute,
        }
    }

    /// Whether it still holds. A clock that was set back ends nothing.
    #[must_use]
    pub fn holds(&self, limits: Limits, now: SystemTime) -> bool {
        let idle = now.duration_since(self.seen).unwrap_or_default();
        // What was seen may be a minute old.
        now < self.until && idle < limits.idle + Self::SEEN_EVERY
    }

    /// Whether it should be kept that something was asked in it now.
    #[must_use]
    pub fn is_due(&self, now: SystemTime) -> bool {
        let since = now.duration_since(self.seen).unwrap_or_default();
        since >= Self::SEEN_EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        idle: Duration::from_mins(30),
        absolute: Duration::from_hours(12),
    };

    #[test]
    fn a_session_ends_when_nothing_is_asked_and_at_its_end_whatever_is_asked() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let name = UserName::parse("wang").expect("a name");
        let long = format!("Mozilla\r\n{}", "x".repeat(500));
        let mut session = Session::begin(
            "s1".into(),
            name,
            [192, 0, 2, 30].into(),
            &long,
            LIMITS,
            now,
        );
        assert!(session.agent.len() == 200 && !session.agent.contains('\n'));
        let after = |minutes| now + Duration::from_mins(minutes);
        assert!(session.holds(LIMITS, after(30)));
        assert!(!session.holds(LIMITS, after(31)));
        assert!(
            session.holds(LIMITS, now - Duration::from_hours(1)),
            "a clock set back"
        );
        assert!(!session.is_due(now) && session.is_due(after(1)));
        session.seen = after(719);
        assert!(session.holds(LIMITS, after(719)));
        assert!(!session.holds(LIMITS, after(720)));
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_not_told_by_debugging() {
        let token = Token::new([7; 32]);
        assert_eq!(TokenDigest::of(token.reveal()), token.digest());
        assert_ne!(TokenDigest::of("other"), token.digest());
        assert_eq!(token.reveal().len(), 43);
        assert_eq!(token.digest().hex().len(), 64);
        assert!(!format!("{token:?}").contains(token.reveal()));
    }
}
