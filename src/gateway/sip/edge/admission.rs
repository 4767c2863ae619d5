//! Who may do what: scanners are not answered, trunks are known by address or password, extensions by password.
//!
//! Everybody else is challenged, whether his name exists or not, and whatever he asks for. While no trunk is set up,
//! this machine itself may call; anybody may where the configuration says so. What is held against a source meets its unauthenticated new requests only; a packet that anybody
//! may have written another's address on is held against nobody but the socket that it names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter};
use tracing::Dispatch;

use crate::gateway::sip::edge::config::{SipConfig, Trunk};
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::edge::wire::Message;
use crate::gateway::sip::lock::locked;
use crate::sip::digest::{Credentials, Guard, Several, Verdict};
use crate::sip::limits::{GuessGuard, Place, ScanGuard};
use crate::sip::registrar::Flow;
use crate::telemetry::Sparse;

/// Wrong passwords that were judged.
const WRONG: &str = "xinqiao_sip_wrong_passwords_total";
/// Sources that were shut out, by `why`: they asked for too many things, or guessed passwords.
const BANS: &str = "xinqiao_sip_bans_total";
/// How often the log tells of one kind of trouble.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Somebody, where he may call.
    Anybody,
    /// The trunk of this number in the configuration.
    Trunk(usize),
    /// The extension of this name.
    Extension(String),
}

/// Status and headers of an answer without the stack.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>);

/// What becomes of a request.
pub(crate) enum Admitted {
    /// It is served.
    As(Who),
    /// It is answered so.
    Not(Answer),
    /// It is not answered.
    Dropped,
}

/// The knowledge about peers.
pub(crate) struct Admission {
    guard: Mutex<Guard<Who>>,
    scans: Mutex<ScanGuard>,
    guesses: Mutex<GuessGuard>,
    scanners: Vec<String>,
    trunks: Vec<Trunk>,
    strangers: Option<usize>,
    realm: String,
    wrong_said: Sparse,
    bans_said: Sparse,
    log: Dispatch,
}

impl Admission {
    pub(crate) fn new(config: &SipConfig, now: Instant, log: Dispatch) -> Self {
        describe_counter!(WRONG, "wrong passwords that were judged");
        describe_counter!(
            BANS,
            "sources that are not heard or not judged for a while, by why"
        );
        let mut guard = Guard::new(
            &config.realm,
            &config.digest,
            config.nonce_life,
            rand::random(),
            now,
        );
        for extension in &config.extensions {
            guard.admit(
                &extension.name,
                extension.secret.clone(),
                Who::Extension(extension.name.clone()),
            );
        }
        for (index, trunk) in config.trunks.iter().enumerate() {
            if let Some((user, secret)) = &trunk.peer {
                guard.admit(user, secret.clone(), Who::Trunk(index));
            }
        }
        Self {
            guard: Mutex::new(guard),
            scans: Mutex::new(ScanGuard::new(config.scans, now)),
            guesses: Mutex::new(GuessGuard::new(config.guesses)),
            scanners: config.scanners.clone(),
            trunks: config.trunks.clone(),
            strangers: config.strangers,
            realm: config.realm.clone(),
            wrong_said: Sparse::new(LOG_EVERY),
            bans_said: Sparse::new(LOG_EVERY),
            log,
        }
    }

    /// Whether a request calls itself a scanner.
    pub(crate) fn is_scanner(&self, message: &Message) -> bool {
        message.header("User-Agent").is_some_and(|agent| {
            let agent = agent.to_ascii_lowercase();
            self.scanners
                .iter()
                .any(|scanner| agent.contains(scanner.as_str()))
        })
    }

    /// Whether strangers at a source are heard.
    pub(crate) fn hears(&self, now: Instant, source: SocketAddr) -> bool {
        self.is_trunk(source.ip()) || locked(&self.scans).hears(now, source)
    }

    /// Whether a request comes from where it says, because it bears a nonce that we gave there.
    pub(crate) fn vouches(&self, now: Instant, message: &Message, source: IpAddr) -> bool {
        let guard = locked(&self.guard);
        let picked = guard.pick(message.all("Authorization"));
        picked.is_ok_and(|picked| {
            picked.is_some_and(|credentials| guard.vouches(now, source, &credentials))
        })
    }

    fn is_trunk(&self, source: IpAddr) -> bool {
        self.trunks.iter().any(|trunk| has(trunk, source))
    }

    /// Who sent a new INVITE or a REGISTER; `is_ours` knows our own names.
    pub(crate) fn admit(
        &self,
        now: Instant,
        message: &Message,
        flow: Flow,
        is_ours: impl Fn(&str, Option<u16>) -> bool,
    ) -> Admitted {
        let source = flow.source.ip();
        let is_invite = message.method() == Some("INVITE");
        let by_address = self
            .trunks
            .iter()
            .position(|trunk| trunk.peer.is_none() && has(trunk, source));
        if let (Some(trunk), true) = (by_address, is_invite) {
            return Admitted::As(Who::Trunk(trunk));
        }
        let picked = locked(&self.guard).pick(message.all("Authorization"));
        let credentials = match picked {
            Ok(credentials) => credentials,
            Err(Several) => return Admitted::Not((400, vec![])),
        };
        let Some(credentials) = credentials else {
            return self.admit_stranger(now, message, flow, false);
        };
        if !locked(&self.guard).vouches(now, source, &credentials) {
            return self.admit_stranger(now, message, flow, true);
        }
        let is_ours = |host: &str, port| host == self.realm || is_ours(host, port);
        if !wire::names_the_same(
            credentials.uri(),
            message.uri().unwrap_or_default(),
            is_ours,
        ) {
            return Admitted::Not((400, vec![]));
        }
        if !locked(&self.guesses).allows(now, credentials.user(), flow.source) {
            return Admitted::Dropped;
        }
        let method = message.method().unwrap_or_default();
        let verdict = locked(&self.guard).judge(now, source, method, &credentials);
        match verdict {
            Verdict::Known(Who::Trunk(trunk)) if !is_invite || self.is_elsewhere(trunk, source) => {
                Admitted::Not(self.challenge(now, source, false))
            }
            Verdict::Known(who) => {
                locked(&self.guesses).authenticated(now, credentials.user(), flow.source);
                locked(&self.scans).forgive(now, flow.source);
                Admitted::As(who)
            }
            Verdict::Stale => Admitted::Not(self.challenge(now, source, true)),
            Verdict::Wrong => {
                self.note_wrong(now, &credentials, flow);
                Admitted::Not(self.challenge(now, source, false))
            }
        }
    }

    /// A challenge, where anybody has a password.
    pub(crate) fn asks_for_credentials(&self, now: Instant, flow: Flow) -> Option<Answer> {
        let nobody_has_one = locked(&self.guard).is_empty();
        (!nobody_has_one).then(|| self.challenge(now, flow.source.ip(), false))
    }

    /// Who has shown nothing that proves even where he is.
    fn admit_stranger(
        &self,
        now: Instant,
        message: &Message,
        flow: Flow,
        is_stale: bool,
    ) -> Admitted {
        let source = flow.source.ip();
        let may_call = match self.strangers {
            Some(calls) => calls > 0,
            None => self.trunks.is_empty() && source.to_canonical().is_loopback(),
        };
        let is_served = message.method() == Some("INVITE") && may_call && !is_stale;
        // An answer that costs nothing and says nothing is no reason to shut out a whole network.
        let place = if is_served {
            Place::network(source)
        } else {
            Place::socket(flow.source)
        };
        let target = message.target().and_then(wire::user).unwrap_or_default();
        if !self.is_trunk(source) && locked(&self.scans).note(now, place, &target) {
            counter!(BANS, "why" => "scan").increment(1);
            self.say(&self.bans_said, now, |unsaid| {
                tracing::warn!(
                    source = %flow.source,
                    unsaid,
                    "a source asked for too many numbers or names and is not answered for a while"
                );
            });
            return Admitted::Dropped;
        }
        if is_served {
            Admitted::As(Who::Anybody)
        } else {
            Admitted::Not(self.challenge(now, source, is_stale))
        }
    }

    fn note_wrong(&self, now: Instant, credentials: &Credentials, flow: Flow) {
        counter!(WRONG).increment(1);
        let is_over = locked(&self.guesses).failed(now, credentials.user(), flow.source);
        // Only a name of ours is told: others may be anything.
        let account = if locked(&self.guard).knows(credentials.user()) {
            credentials.user()
        } else {
            "(unknown)"
        };
        self.say(&self.wrong_said, now, |unsaid| {
            tracing::info!(source = %flow.source, account, unsaid, "a wrong password");
        });
        if is_over {
            counter!(BANS, "why" => "guesses").increment(1);
            self.say(&self.bans_said, now, |unsaid| {
                tracing::warn!(
                    source = %flow.source,
                    account,
                    unsaid,
                    "too many wrong passwords: more are not judged for a while"
                );
            });
        }
    }

    fn say(&self, kind: &Sparse, now: Instant, line: impl FnOnce(u64)) {
        if let Some(unsaid) = kind.take(now) {
            tracing::dispatcher::with_default(&self.log, || line(unsaid));
        }
    }

    /// Whether a trunk's password comes from where the trunk is not.
    fn is_elsewhere(&self, trunk: usize, source: IpAddr) -> bool {
        let trunk = &self.trunks[trunk];
        !trunk.addresses.is_empty() && !has(trunk, source)
    }

    fn challenge(&self, now: Instant, source: IpAddr, stale: bool) -> Answer {
        let challenges = locked(&self.guard).challenge(now, source, stale);
        let headers = challenges
            .into_iter()
            .map(|value| ("WWW-Authenticate", value))
            .collect();
        (401, headers)
    }
}

fn has(trunk: &Trunk, source: IpAddr) -> bool {
    trunk
        .addresses
        .iter()
        .any(|network| network.contains(source))
}
