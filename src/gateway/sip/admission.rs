//! Who may do what: scanners are not answered, trunks are known by address or password, extensions by password.
//!
//! Everybody else is challenged, whether his name exists or not, and whatever he asks for. While no trunk is set up,
//! anybody may call.

use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use super::config::{SipConfig, Trunk};
use super::ingress::Answer;
use super::locked;
use super::wire::{self, Message};
use crate::sip::digest::{Guard, Verdict};
use crate::sip::limits::ScanGuard;
use crate::sip::registrar::Flow;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Somebody, while anybody may call.
    Anybody,
    /// The trunk of this number in the configuration.
    Trunk(usize),
    /// The extension of this name.
    Extension(String),
}

/// What becomes of a request.
pub(super) enum Admitted {
    /// It is served.
    As(Who),
    /// It is answered so.
    Not(Answer),
    /// It is not answered.
    Dropped,
}

/// The knowledge about peers.
pub(super) struct Admission {
    guard: Mutex<Guard<Who>>,
    scans: Mutex<ScanGuard>,
    scanners: Vec<String>,
    trunks: Vec<Trunk>,
}

impl Admission {
    pub fn new(config: &SipConfig, now: Instant) -> Self {
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
            scanners: config.scanners.clone(),
            trunks: config.trunks.clone(),
        }
    }

    /// Whether a request is looked at at all.
    pub fn hears(&self, now: Instant, message: &Message, source: IpAddr) -> bool {
        let scans = message.header("User-Agent").is_some_and(|agent| {
            let agent = agent.to_ascii_lowercase();
            self.scanners
                .iter()
                .any(|scanner| agent.contains(scanner.as_str()))
        });
        !scans && (self.is_trunk(source) || locked(&self.scans).hears(now, source))
    }

    fn is_trunk(&self, source: IpAddr) -> bool {
        self.trunks.iter().any(|trunk| has(trunk, source))
    }

    /// Who sent a new INVITE or a REGISTER.
    pub fn admit(&self, now: Instant, message: &Message, flow: Flow) -> Admitted {
        let source = flow.source.ip();
        let is_invite = message.method() == Some("INVITE");
        let by_address = self
            .trunks
            .iter()
            .position(|trunk| trunk.peer.is_none() && has(trunk, source));
        if let (Some(trunk), true) = (by_address, is_invite) {
            return Admitted::As(Who::Trunk(trunk));
        }
        let target = message.target().and_then(wire::user);
        let target = target.as_deref().unwrap_or_default();
        if !self.is_trunk(source) && locked(&self.scans).note(now, source, target) {
            return Admitted::Dropped;
        }
        let verdict = locked(&self.guard).judge(
            now,
            message.method().unwrap_or_default(),
            message.all("Authorization"),
        );
        match verdict {
            Verdict::Known(Who::Trunk(trunk)) if !is_invite || self.is_elsewhere(trunk, source) => {
                Admitted::Not(self.challenge(now, false))
            }
            Verdict::Known(who) => {
                locked(&self.scans).forgive(now, source);
                Admitted::As(who)
            }
            Verdict::Challenge { .. } if is_invite && self.trunks.is_empty() => {
                Admitted::As(Who::Anybody)
            }
            Verdict::Challenge { stale, failed } => {
                // Each wrong password is another thing that was tried.
                let attempt = message.header("Authorization").unwrap_or_default();
                if failed
                    && !self.is_trunk(source)
                    && locked(&self.scans).note_failure(now, source, attempt)
                {
                    return Admitted::Dropped;
                }
                Admitted::Not(self.challenge(now, stale))
            }
        }
    }

    /// Whether a trunk's password comes from where the trunk is not.
    fn is_elsewhere(&self, trunk: usize, source: IpAddr) -> bool {
        let trunk = &self.trunks[trunk];
        !trunk.addresses.is_empty() && !has(trunk, source)
    }

    fn challenge(&self, now: Instant, stale: bool) -> Answer {
        let challenges = locked(&self.guard).challenge(now, stale);
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
