//! Digest authentication (RFC 7616 with MD5 and SHA-256 as RFC 8760 orders them), as server and as client.
//!
//! A nonce carries its own time and a seal over that and the address that it was given to, so that challenging costs no
//! memory however many strangers ask, and nobody can use, or fail with, what another was given. Only a nonce that was
//! used with the right password is remembered, with the counts that came with it, so that nothing is taken twice. Who is
//! not known, and who has the wrong password, goes the same way through the same work.

mod client;

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use md5::Md5;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use self::client::{Challenge, Keyring, Patience, Realm, Stale};

/// Nonces in use that are remembered; past it the oldest ones become stale.
const MAX_USED: usize = 65_536;

/// How a digest is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// The better one (RFC 8760).
    #[serde(rename = "SHA-256")]
    Sha256,
    /// What every telephone knows.
    #[serde(rename = "MD5")]
    Md5,
}

impl Algorithm {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// Its name on the wire.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    /// Some write `SHA256`.
    fn of(token: &str) -> Option<Self> {
        let plain = |token: &str| token.replace('-', "").to_ascii_uppercase();
        Self::ALL
            .into_iter()
            .find(|algorithm| plain(algorithm.token()) == plain(token))
    }

    /// The hash of the words with colons between them, in small hexadecimal digits.
    #[must_use]
    pub fn hash(self, words: &[&str]) -> String {
        let text = words.join(":");
        match self {
            Self::Sha256 => hex(&<Sha256 as sha2::Digest>::digest(text.as_bytes())),
            Self::Md5 => hex(&<Md5 as md5::Digest>::digest(text.as_bytes())),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What proves who somebody is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Password(String),
    /// The hash of name, realm and password for each algorithm that can be served (HA1).
    Hashes {
        /// For MD5.
        md5: Option<String>,
        /// For SHA-256.
        sha256: Option<String>,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("‹secret›")
    }
}

impl Secret {
    fn ha1(&self, algorithm: Algorithm, user: &str, realm: &str) -> Option<String> {
        match self {
            Self::Password(password) => Some(algorithm.hash(&[user, realm, password])),
            Self::Hashes { md5, sha256 } => match algorithm {
                Algorithm::Md5 => md5.clone(),
                Algorithm::Sha256 => sha256.clone(),
            },
        }
    }
}

/// What an Authorization header says, for our realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    /// Count (as it was written) and the client's nonce, with quality `auth`.
    counted: Option<(String, String)>,
}

/// A request has several credentials for our realm; which of them counts would be a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Several;

impl Credentials {
    fn from_fields(fields: &HashMap<String, String>) -> Option<Self> {
        let get = |name: &str| fields.get(name).cloned();
        let counted = match fields.get("qop").map(|qop| qop.to_ascii_lowercase()) {
            None => None,
            Some(qop) if qop == "auth" => Some((get("nc")?, get("cnonce")?)),
            Some(_) => return None,
        };
        Some(Self {
            user: get("username")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?.to_ascii_lowercase(),
            algorithm: fields
                .get("algorithm")
                .map_or(Some(Algorithm::Md5), |token| Algorithm::of(token))?,
            counted,
        })
    }

    /// The account that they claim.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What they say that they were made for.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn expected(&self, ha1: &str, method: &str) -> String {
        response(
            self.algorithm,
            ha1,
            &self.nonce,
            self.counted
                .as_ref()
                .map(|(count, cnonce)| (count.as_str(), cnonce.as_str())),
            method,
            &self.uri,
        )
    }
}

fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    counted: Option<(&str, &str)>,
    method: &str,
    uri: &str,
) -> String {
    let ha2 = algorithm.hash(&[method, uri]);
    match counted {
        Some((count, cnonce)) => algorithm.hash(&[ha1, nonce, count, cnonce, "auth", &ha2]),
        None => algorithm.hash(&[ha1, nonce, &ha2]),
    }
}

/// The fields of a `Digest` challenge or of its answer, their names in small letters.
fn fields(value: &str) -> Option<HashMap<String, String>> {
    let (scheme, mut rest) = value.trim().split_once(char::is_whitespace)?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut fields = HashMap::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(fields);
        }
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut letters = quoted.char_indices();
            let end = loop {
                match letters.next()? {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(letters.next()?.1),
                    (_, letter) => value.push(letter),
                }
            };
            (value, &quoted[end..])
        } else {
            let end = after.find(',').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        fields.insert(name.trim().to_ascii_lowercase(), value);
        rest = next;
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// What credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<K> {
    /// The right password, fresh: from whom.
    Known(K),
    /// The nonce is not one that this address may use now; with a new one they may be right.
    Stale,
    /// The nonce is good, and the password is wrong.
    Wrong,
}

/// The counts that came with a nonce: the highest, and which of the 64 up to it.
struct Counts {
    highest: u32,
    seen: u64,
}

impl Counts {
    /// Whether the count is new.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.seen = if step < 64 { self.seen << step } else { 0 } | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let fresh = behind < 64 && self.seen & (1 << behind) == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

/// Checks credentials of those who may be known as `K`.
pub struct Guard<K> {
    realm: String,
    /// Those that are offered, the preferred first.
    algorithms: Vec<Algorithm>,
    accounts: HashMap<String, (Secret, K)>,
    /// Whose password nobody has: the work for an unknown name.
    decoy: Secret,
    seal: hmac::Key,
    began: Instant,
    issued: u64,
    lifetime: Duration,
    used: HashMap<String, Counts>,
    /// The nonces in `used` with the time of their issue, in the order of their first use.
    order: VecDeque<(u64, String)>,
    /// Nonces issued before it (in milliseconds since the beginning) are stale.
    floor: u64,
}

impl<K: Clone> Guard<K> {
    /// `seal` is from a cryptographic generator; a nonce is good for `lifetime`.
    #[must_use]
    pub fn new(
        realm: &str,
        algorithms: &[Algorithm],
        lifetime: Duration,
        seal: [u8; 32],
        now: Instant,
    ) -> Self {
        Self {
            realm: realm.to_owned(),
            algorithms: algorithms.to_vec(),
            accounts: HashMap::new(),
            decoy: Secret::Password(hex(&seal)),
            seal: hmac::Key::new(hmac::HMAC_SHA256, &seal),
            began: now,
            issued: 0,
            lifetime,
            used: HashMap::new(),
            order: VecDeque::new(),
            floor: 0,
        }
    }

    /// Lets somebody in.
    pub fn admit(&mut self, user: &str, secret: Secret, who: K) {
        self.accounts.insert(user.to_owned(), (secret, who));
    }

    /// Whether the account is one of ours.
    #[must_use]
    pub fn knows(&self, user: &str) -> bool {
        self.accounts.contains_key(user)
    }

    /// Whether anybody can prove anything here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The values of the WWW-Authenticate headers for somebody at `source`, the preferred first.
    pub fn challenge(&mut self, now: Instant, source: IpAddr, stale: bool) -> Vec<String> {
        let nonce = self.issue(now, source);
        self.algorithms
            .iter()
            .map(|algorithm| {
                Challenge {
                    realm: self.realm.clone(),
                    nonce: nonce.clone(),
                    opaque: None,
                    algorithm: *algorithm,
                    counted: true,
                    stale,
                }
                .to_string()
            })
            .collect()
    }

    /// The credentials that a request is judged by: the only ones for our realm among its Authorization headers.
    ///
    /// # Errors
    /// [`Several`], broken ones included.
    pub fn pick<'a>(
        &self,
        headers: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Credentials>, Several> {
        let mut ours = headers
            .filter_map(fields)
            .filter(|fields| fields.get("realm") == Some(&self.realm));
        let first = ours.next();
        if ours.next().is_some() {
            return Err(Several);
        }
        let credentials = first.and_then(|fields| Credentials::from_fields(&fields));
        Ok(credentials.filter(|credentials| self.algorithms.contains(&credentials.algorithm)))
    }

    /// Whether we gave the nonce to somebody at `source`, and lately: who sends it is where he says that he is.
    #[must_use]
    pub fn vouches(&self, now: Instant, source: IpAddr, credentials: &Credentials) -> bool {
        self.issued_at(&credentials.nonce, source)
            .is_some_and(|at| self.is_fresh(now, at))
    }

    /// Judges credentials; the password is only looked at with a nonce that we vouch for.
    pub fn judge(
        &mut self,
        now: Instant,
        source: IpAddr,
        method: &str,
        credentials: &Credentials,
    ) -> Verdict<K> {
        let issued = self.issued_at(&credentials.nonce, source);
        let Some(issued) = issued.filter(|at| self.is_fresh(now, *at)) else {
            return Verdict::Stale;
        };
        let account = self.accounts.get(&credentials.user);
        let secret = account.map_or(&self.decoy, |(secret, _)| secret);
        let ha1 = secret
            .ha1(credentials.algorithm, &credentials.user, &self.realm)
            // A hash of the other kind is all that there is; nobody has this one either.
            .unwrap_or_else(|| credentials.algorithm.hash(&[&self.sealed("", source)]));
        let matches = same(&credentials.expected(&ha1, method), &credentials.response);
        match account {
            Some((_, who)) if matches => {
                let who = who.clone();
                if self.take(now, credentials, issued) {
                    Verdict::Known(who)
                } else {
                    Verdict::Stale
                }
            }
            _ => Verdict::Wrong,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    fn issue(&mut self, now: Instant, source: IpAddr) -> String {
        self.issued += 1;
        let head = format!("{:012x}{:08x}", self.millis(now), self.issued as u32);
        let seal = self.sealed(&head, source);
        head + &seal
    }

    fn sealed(&self, head: &str, source: IpAddr) -> String {
        let sealed = format!("{head}@{}", source.to_canonical());
        hex(&hmac::sign(&self.seal, sealed.as_bytes()).as_ref()[..16])
    }

    /// When a nonce was issued to somebody at `source`.
    fn issued_at(&self, nonce: &str, source: IpAddr) -> Option<u64> {
        let (head, seal) = nonce
            .is_ascii()
            .then(|| nonce.split_at_checked(20))
            .flatten()?;
        same(&self.sealed(head, source), seal)
            .then(|| u64::from_str_radix(&head[..12], 16).ok())
            .flatten()
    }

    fn is_fresh(&self, now: Instant, issued: u64) -> bool {
        issued >= self.floor && issued + self.lifetime.as_millis() as u64 >= self.millis(now)
    }

    /// Whether the nonce is still remembered and its count new; then it is used up.
    fn take(&mut self, now: Instant, credentials: &Credentials, issued: u64) -> bool {
        let now = self.millis(now);
        let lifetime = self.lifetime.as_millis() as u64;
        while let Some((at, _)) = self.order.front()
            && (at + lifetime < now || self.order.len() > MAX_USED)
        {
            let (at, nonce) = self.order.pop_front().expect("there is a front");
            self.floor = self.floor.max(at + 1);
            self.used.remove(&nonce);
        }
        if issued < self.floor {
            return false;
        }
        let count = match &credentials.counted {
            // Eight digits, as RFC 7616 wants, and never zero.
            Some((count, _)) => match u32::from_str_radix(count, 16) {
                Ok(count @ 1..) => count,
                _ => return false,
            },
            // Without counts a nonce is good for one request.
            None => u32::MAX,
        };
        if let Some(counts) = self.used.get_mut(&credentials.nonce) {
            return counts.take(count);
        }
        self.order.push_back((issued, credentials.nonce.clone()));
        self.used.insert(
            credentials.nonce.clone(),
            Counts {
                highest: count,
                seen: 1,
            },
        );
        true
    }
}

impl<K> fmt::Debug for Guard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("realm", &self.realm)
            .field("accounts", &self.accounts.len())
            .finish_non_exhaustive()
    }
}

/// Compares without stopping at the first difference.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |difference, (one, other)| difference | (one ^ other))
            == 0
}

#[cfg(test)]
mod tests;
