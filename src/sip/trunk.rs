//! When a trunk is asked whether it lives, and when we register with a PBX: two clocks without a socket.

use std::time::{Duration, Instant};

use super::address::{self, Address, Uri};

/// The first wait after a failed registration; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait after failed registrations.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// A registration is renewed after this part of its time, in hundredths.
const RENEWED_AFTER: u32 = 80;

/// Whether a peer answers, found out by asking now and then.
#[derive(Clone, Debug)]
pub struct Health {
    every: Duration,
    /// Questions in a row that may stay without an answer.
    patience: u32,
    missed: u32,
    is_up: bool,
    next: Instant,
}

/// A peer has just gone or come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It answers again.
    Up,
    /// It does not answer any more.
    Down,
}

impl Health {
    /// Asks `every` so often, faster while answers are missing; a peer counts as up until it has missed `patience`.
    #[must_use]
    pub fn new(now: Instant, every: Duration, patience: u32) -> Self {
        Self {
            every,
            patience: patience.max(1),
            missed: 0,
            is_up: true,
            next: now,
        }
    }

    /// Whether calls may be sent there.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.is_up
    }

    /// When to ask next.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Notes what became of a question.
    pub fn note(&mut self, now: Instant, answered: bool) -> Option<Change> {
        if answered {
            self.missed = 0;
            self.next = now + self.every;
            return (!std::mem::replace(&mut self.is_up, true)).then_some(Change::Up);
        }
        self.missed = self.missed.saturating_add(1);
        // Sure of it sooner, and sooner back.
        self.next = now + self.every / 4;
        let down = self.missed >= self.patience && std::mem::replace(&mut self.is_up, false);
        down.then_some(Change::Down)
    }
}

/// Our registration with a PBX.
#[derive(Clone, Debug)]
pub struct Enrolment {
    wanted: u32,
    failures: u32,
    until: Option<Instant>,
    next: Instant,
    dice: u64,
}

/// What became of a REGISTER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted for so many seconds.
    Granted {
        /// At least one.
        seconds: u32,
    },
    /// 423: at least so many are wanted.
    TooBrief {
        /// Min-Expires.
        least: u32,
    },
    /// Refused, or not answered.
    Failed {
        /// Retry-After, if it was given.
        retry_after: Option<u32>,
    },
}

/// For how many seconds a 2xx to our REGISTER binds us: what it says of our own Contact goes before what holds for all
/// (RFC 3261 §10.2.4).
///
/// Registrars write a Contact anew, with another port or the address that they see. Ours is the one that is the same by
/// §19.1.4, then the only one that leads to the same place, then the only one. Where none of several is known for ours,
/// the first to end is taken, for it is better to renew too early.
#[must_use]
// The closures are more general than the paths of the methods would be.
#[allow(clippy::redundant_closure_for_method_calls)]
pub fn granted(contacts: &[String], for_all: Option<u32>, own: &str) -> Option<u32> {
    let bindings: Vec<Address<'_>> = contacts
        .iter()
        .flat_map(|value| address::items(value))
        .filter_map(Address::parse)
        .collect();
    let ours = |is_ours: fn(&Uri<'_>, &Uri<'_>) -> bool| {
        let own = Uri::parse(own)?;
        let mut found = bindings
            .iter()
            .filter(|binding| Uri::parse(binding.uri).is_some_and(|uri| is_ours(&uri, &own)));
        found.next().filter(|_| found.next().is_none())
    };
    let seconds = |binding: &Address<'_>| {
        let expires = binding.parameter("expires")?;
        expires.trim().parse().ok()
    };
    let ours = ours(|uri, own| uri.is_equivalent(own))
        .or_else(|| ours(|uri, own| uri.is_same_place(own)))
        .or(match &bindings[..] {
            [only] => Some(only),
            _ => None,
        });
    match ours {
        Some(ours) => seconds(ours).or(for_all),
        None => bindings.iter().filter_map(seconds).chain(for_all).min(),
    }
}

impl Enrolment {
    /// To be registered at once, for `wanted` seconds at a time; `seed` spreads the waits of many gateways.
    #[must_use]
    pub const fn new(now: Instant, wanted: u32, seed: u64) -> Self {
        Self {
            wanted,
            failures: 0,
            until: None,
            next: now,
            dice: seed,
        }
    }

    /// When the next REGISTER is due.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// What its Expires says.
    #[must_use]
    pub const fn expires(&self) -> u32 {
        self.wanted
    }

    /// Whether the PBX knows us.
    #[must_use]
    pub fn is_registered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Notes what became of a REGISTER, and plans the next one.
    pub fn note(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Granted { seconds } => {
                let granted = Duration::from_secs(seconds.max(1).into());
                self.failures = 0;
                self.until = Some(now + granted);
                self.next = now + granted * RENEWED_AFTER / 100;
            }
            // The same again would be refused again.
            Outcome::TooBrief { least } if least > self.wanted => {
                self.wanted = least;
                self.next = now;
            }
            Outcome::TooBrief { .. } => self.wait(now, None),
            Outcome::Failed { retry_after } => self.wait(now, retry_after),
        }
    }

    fn wait(&mut self, now: Instant, retry_after: Option<u32>) {
        let doubled = FIRST_WAIT * 2_u32.pow(self.failures.min(10));
        self.failures += 1;
        let longest = doubled.min(LONGEST_WAIT);
        // Between half and the whole of it, so that not all gateways come back at once.
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let part = (self.dice >> 33) as u32 % 51 + 50;
        let asked = Duration::from_secs(retry_after.unwrap_or(0).into());
        self.next = now + (longest * part / 100).max(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_down_after_missed_answers_and_up_with_the_first_one() {
        let mut now = Instant::now();
        let mut health = Health::new(now, Duration::from_secs(20), 3);
        let mut said = Vec::new();
        for answered in [
            true, false, false, true, false, false, false, false, true, true,
        ] {
            now = health.next();
            said.push(health.note(now, answered));
        }
        let (up, down) = (Some(Change::Up), Some(Change::Down));
        assert_eq!(
            said,
            [None, None, None, None, None, None, down, None, up, None]
        );
        assert!(health.is_up());
        assert_eq!(health.next() - now, Duration::from_secs(20));
        health.note(now, false);
        assert_eq!(health.next() - now, Duration::from_secs(5));
    }

    #[test]
    fn a_registration_is_renewed_before_it_ends() {
        let mut now = Instant::now();
        let mut enrolment = Enrolment::new(now, 600, 1);
        assert_eq!((enrolment.next(), enrolment.expires()), (now, 600));
        assert!(!enrolment.is_registered(now));
        enrolment.note(now, Outcome::TooBrief { least: 900 });
        assert_eq!((enrolment.next(), enrolment.expires()), (now, 900));
        enrolment.note(now, Outcome::Granted { seconds: 300 });
        assert_eq!(enrolment.next() - now, Duration::from_mins(4));
        now += Duration::from_secs(299);
        assert!(enrolment.is_registered(now));
        assert!(!enrolment.is_registered(now + Duration::from_secs(1)));
    }

    #[test]
    fn our_own_binding_is_known_however_the_registrar_writes_it() {
        let own = "sip:hotline@127.0.0.1:15100";
        let instance = "+sip.instance=\"<urn:uuid:1>\"";
        for (contacts, for_all, seconds) in [
            (vec![format!("<{own}>;expires=8")], Some(600), Some(8)),
            (vec![format!("{own};expires=8")], None, Some(8)),
            (vec![format!("<{own};transport=udp>;expires=8")], None, Some(8)),
            (vec![format!("\"a <b>\" <{own}>;{instance};expires=\"8\";q=1")], None, Some(8)),
            (vec!["<SIP:hotline@127.0.0.1:15100>;Expires=8".to_owned()], None, Some(8)),
            (vec!["<sip:%68otline@127.0.0.1:15100;line=x>;expires=8".to_owned()], None, Some(8)),
            (vec!["<sip:hotline@192.0.2.77:61234>;expires=8".to_owned()], Some(600), Some(8)),
            (vec!["<sip:hotline@198.51.100.3>;expires=3, <sip:hotline@127.0.0.1:15100;line=x>;expires=8".to_owned()], None, Some(8)),
            (vec!["<sip:x@198.51.100.3>;expires=3".to_owned(), format!("<{own};transport=UDP>;expires=8")], None, Some(8)),
            (vec!["<sip:a@192.0.2.77>;expires=3000, <sip:b@192.0.2.78>;expires=8".to_owned()], Some(600), Some(8)),
            (vec![format!("<{own}>")], Some(8), Some(8)),
            (vec![format!("<{own}>;expires=0")], Some(600), Some(0)),
            (vec![], Some(8), Some(8)),
            (vec![format!("<{own}>;expires=soon")], None, None),
            (vec![], None, None),
        ] {
            assert_eq!(granted(&contacts, for_all, own), seconds, "{contacts:?}");
        }
        // A port that is the default one may be left out or added.
        let added = [
            "<sip:hotline@pbx:5060;transport=udp>;expires=9, <sip:hotline@pbx:5070>;expires=3"
                .to_owned(),
        ];
        assert_eq!(granted(&added, None, "sip:hotline@pbx"), Some(9));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_never_longer_than_five_minutes() {
        let now = Instant::now();
        let mut enrolment = Enrolment::new(now, 600, 2);
        let mut waits = Vec::new();
        for _ in 0..20 {
            enrolment.note(now, Outcome::Failed { retry_after: None });
            waits.push(enrolment.next() - now);
        }
        for (failure, wait) in waits.iter().enumerate() {
            let longest = (FIRST_WAIT * 2_u32.pow((failure as u32).min(10))).min(LONGEST_WAIT);
            assert!(
                (longest / 2..=longest).contains(wait),
                "{failure}: {wait:?}"
            );
        }
        assert!(
            waits[10..].iter().any(|wait| *wait != waits[19]),
            "they are spread"
        );
        let patient = Outcome::Failed {
            retry_after: Some(1_800),
        };
        enrolment.note(now, patient);
        assert_eq!(enrolment.next() - now, Duration::from_mins(30));
        // An answer that asks for less than we want is no reason to hammer.
        enrolment.note(now, Outcome::TooBrief { least: 60 });
        assert!(enrolment.next() > now);
    }
}
