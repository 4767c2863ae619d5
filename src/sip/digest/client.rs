//! Digest authentication as client: what a peer that challenges us is answered, now and with the requests that follow.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use super::{Algorithm, escaped, fields, response};

/// The realms that one login is remembered for; a request passes few elements that ask who it is from.
const MAX_REALMS: usize = 4;

/// A challenge that we are to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) counted: bool,
    /// Whether only the nonce was too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads the value of a WWW-Authenticate or Proxy-Authenticate header; `None` when it cannot be answered.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let fields = fields(value)?;
        let qop = fields.get("qop");
        let offers_auth = qop.is_some_and(|qop| {
            qop.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case("auth"))
        });
        if qop.is_some() && !offers_auth {
            return None;
        }
        Self::given(&fields, offers_auth)
    }

    /// What the fields of a challenge, or of an answer to one, say of it.
    fn given(fields: &HashMap<String, String>, counted: bool) -> Option<Self> {
        Some(Self {
            realm: fields.get("realm")?.clone(),
            nonce: fields.get("nonce")?.clone(),
            opaque: fields.get("opaque").cloned(),
            algorithm: fields
                .get("algorithm")
                .map_or(Some(Algorithm::Md5), |token| Algorithm::of(token))?,
            counted,
            stale: fields
                .get("stale")
                .is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The best of several challenges.
    pub fn best<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        values
            .filter_map(Self::parse)
            .min_by_key(|challenge| challenge.algorithm != Algorithm::Sha256)
    }

    /// The value of the header that answers; `count` is how often the nonce has been used with this time.
    #[must_use]
    pub fn answer(
        &self,
        (user, password): (&str, &str),
        method: &str,
        uri: &str,
        cnonce: &str,
        count: u32,
    ) -> String {
        let Self {
            realm,
            nonce,
            algorithm,
            ..
        } = self;
        let ha1 = algorithm.hash(&[user, realm, password]);
        let count = format!("{count:08x}");
        let counted = self.counted.then_some((count.as_str(), cnonce));
        let response = response(*algorithm, &ha1, nonce, counted, method, uri);
        let mut text = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\", algorithm={}",
            escaped(user),
            escaped(realm),
            escaped(nonce),
            algorithm.token()
        );
        if self.counted {
            let _ = write!(text, ", qop=auth, nc={count}, cnonce=\"{cnonce}\"");
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(text, ", opaque=\"{}\"", escaped(opaque));
        }
        text
    }
}

/// The challenge with only what every client understands: quality `auth` alone.
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest realm=\"{}\", nonce=\"{}\", algorithm={}",
            escaped(&self.realm),
            escaped(&self.nonce),
            self.algorithm.token()
        )?;
        if self.counted {
            f.write_str(", qop=\"auth\"")?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque=\"{}\"", escaped(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

/// Who asks: the element that the request is for, or a proxy on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Realm {
    /// 401 with WWW-Authenticate, answered by Authorization.
    Server,
    /// 407 with Proxy-Authenticate, answered by Proxy-Authorization.
    Proxy,
}

impl Realm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Server, Self::Proxy];

    /// Whose challenge a status is.
    #[must_use]
    pub const fn of(status: u16) -> Option<Self> {
        match status {
            401 => Some(Self::Server),
            407 => Some(Self::Proxy),
            _ => None,
        }
    }

    /// The header that asks.
    #[must_use]
    pub const fn asks(self) -> &'static str {
        match self {
            Self::Server => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }

    /// The header that answers.
    #[must_use]
    pub const fn credentials_header(self) -> &'static str {
        match self {
            Self::Server => "Authorization",
            Self::Proxy => "Proxy-Authorization",
        }
    }
}

/// A nonce that we were given.
struct Known {
    by: Realm,
    challenge: Challenge,
    /// How often it has been used.
    count: u32,
}

/// A login, and the nonces that peers have given for it: each serves as long as it is taken, with a count that grows
/// (RFC 7616 §3.4), so that not every request has to be sent twice.
pub struct Keyring {
    login: Option<(String, String)>,
    known: Vec<Known>,
}

impl Keyring {
    /// Name and password; without them no challenge is answered.
    #[must_use]
    pub const fn new(login: Option<(String, String)>) -> Self {
        Self {
            login,
            known: Vec::new(),
        }
    }

    /// Takes over what a request of ours, sent elsewhere, was authenticated with.
    pub fn used(&mut self, by: Realm, credentials: &str) {
        let Some(fields) = fields(credentials) else {
            return;
        };
        let count = match fields.get("nc") {
            Some(count) => u32::from_str_radix(count, 16).unwrap_or(1),
            None => 1,
        };
        let challenge = Challenge::given(&fields, fields.contains_key("nc"));
        if let Some(challenge) = challenge {
            self.keep(by, challenge, count);
        }
    }

    /// Takes a challenge: whether an answer to it is worth sending, and whether only the nonce was too old.
    pub fn challenged<'a>(
        &mut self,
        by: Realm,
        values: impl Iterator<Item = &'a str>,
    ) -> Option<Stale> {
        self.login.as_ref()?;
        let challenge = Challenge::best(values)?;
        let stale = challenge.stale;
        self.keep(by, challenge, 0);
        Some(Stale(stale))
    }

    fn keep(&mut self, by: Realm, challenge: Challenge, count: u32) {
        let same = |known: &Known| known.by == by && known.challenge.realm == challenge.realm;
        let count = match self.known.iter().position(same) {
            Some(at) => {
                let before = self.known.remove(at);
                let again = before.challenge.nonce == challenge.nonce;
                if again {
                    before.count.max(count)
                } else {
                    count
                }
            }
            None => count,
        };
        if self.known.len() == MAX_REALMS {
            self.known.remove(0);
        }
        self.known.push(Known {
            by,
            challenge,
            count,
        });
    }

    /// The headers that prove a request, for every realm that has asked so far.
    pub fn credentials(
        &mut self,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> Vec<(&'static str, String)> {
        let Some((user, password)) = &self.login else {
            return Vec::new();
        };
        self.known
            .iter_mut()
            .map(|known| {
                known.count += 1;
                let answer =
                    known
                        .challenge
                        .answer((user, password), method, uri, cnonce, known.count);
                (known.by.credentials_header(), answer)
            })
            .collect()
    }
}

/// Whether a challenge says that only the nonce was too old, so that the password need not be doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale(pub bool);

/// Which challenges to one request are answered: the first of each kind, and those after it that say that only the
/// nonce was too old, while they are not too many.
#[derive(Debug, Default)]
pub struct Patience {
    answered: [bool; 2],
    rounds: u8,
}

/// Challenges to one request that are answered at most.
const MAX_ROUNDS: u8 = 4;

impl Patience {
    /// Whether one more challenge is answered.
    pub fn allows(&mut self, by: Realm, Stale(stale): Stale) -> bool {
        let before = std::mem::replace(&mut self.answered[by as usize], true);
        self.rounds += 1;
        (!before || stale) && self.rounds <= MAX_ROUNDS
    }
}
