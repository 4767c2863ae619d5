//! Who asks for too many different things: scanners, told apart from a busy trunk by what they ask for.
//!
//! A scanner tries many numbers or names; a trunk brings many calls for a few. So distinct targets are counted for each
//! source within a window, never requests. Memory is bounded whatever the number of (perhaps invented) sources.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Sources that are watched in one window; past it the window ends early.
const MAX_SOURCES: usize = 8_192;
/// Sources that are kept out, and sources that have proved themselves, at a time.
const MAX_KNOWN: usize = 65_536;
/// How long a source that somebody has proved himself from is not counted: a house full of phones is no scanner.
const PROVEN_FOR: Duration = Duration::from_hours(1);

/// How much a source may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Distinct targets in a window.
    pub targets: usize,
    /// How long a window is; a target counts for one to two of them.
    pub window: Duration,
    /// How long a source that asked for more is kept out.
    pub ban: Duration,
}

/// Watches the sources.
#[derive(Debug)]
pub struct ScanGuard {
    limits: ScanLimits,
    began: Instant,
    this: HashMap<IpAddr, HashSet<u64>>,
    last: HashMap<IpAddr, HashSet<u64>>,
    banned: HashMap<IpAddr, Instant>,
    proven: HashMap<IpAddr, Instant>,
}

impl ScanGuard {
    /// Watches from `now`.
    #[must_use]
    pub fn new(limits: ScanLimits, now: Instant) -> Self {
        Self {
            limits,
            began: now,
            this: HashMap::new(),
            last: HashMap::new(),
            banned: HashMap::new(),
            proven: HashMap::new(),
        }
    }

    /// Whether the source may be heard at all.
    pub fn hears(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = network(source);
        match self.banned.get(&source) {
            Some(until) if now < *until => false,
            Some(_) => {
                self.banned.remove(&source);
                true
            }
            None => true,
        }
    }

    /// Notes what a source asks for; `true` when it has just asked for too much and is kept out from now on.
    pub fn note(&mut self, now: Instant, source: IpAddr, target: &str) -> bool {
        let is_proven = |until: &Instant| now < *until;
        if self.proven.get(&network(source)).is_some_and(is_proven) {
            return false;
        }
        self.count(now, source, target)
    }

    /// Notes a wrong password, which counts whoever else has proved himself from there; as [`Self::note`].
    pub fn note_failure(&mut self, now: Instant, source: IpAddr, attempt: &str) -> bool {
        self.count(now, source, attempt)
    }

    fn count(&mut self, now: Instant, source: IpAddr, target: &str) -> bool {
        if now.saturating_duration_since(self.began) >= self.limits.window
            || self.this.len() >= MAX_SOURCES
        {
            let idle = now.saturating_duration_since(self.began) >= self.limits.window * 2;
            self.last = std::mem::take(&mut self.this);
            if idle {
                self.last.clear();
            }
            self.began = now;
        }
        let source = network(source);
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let target = hasher.finish();
        let before = self.last.get(&source);
        let targets = self.this.entry(source).or_default();
        targets.insert(target);
        let older = before.map_or(0, |before| before.difference(targets).count());
        if targets.len() + older <= self.limits.targets {
            return false;
        }
        self.this.remove(&source);
        self.last.remove(&source);
        self.proven.remove(&source);
        keep(&mut self.banned, now, source, self.limits.ban);
        true
    }

    /// Forgets what a source asked for, because it has proved who it is.
    pub fn forgive(&mut self, now: Instant, source: IpAddr) {
        let source = network(source);
        self.this.remove(&source);
        self.last.remove(&source);
        keep(&mut self.proven, now, source, PROVEN_FOR);
    }
}

fn keep(known: &mut HashMap<IpAddr, Instant>, now: Instant, source: IpAddr, time: Duration) {
    if known.len() >= MAX_KNOWN {
        known.retain(|_, until| now < *until);
    }
    if known.len() < MAX_KNOWN {
        known.insert(source, now + time);
    }
}

/// What one subscriber holds: an IPv4 address, or an IPv6 network of 64 bits.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(now: Instant) -> ScanGuard {
        let limits = ScanLimits {
            targets: 10,
            window: Duration::from_mins(1),
            ban: Duration::from_mins(5),
        };
        ScanGuard::new(limits, now)
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_scanner_of_many_numbers_is_kept_out_and_a_busy_trunk_of_few_is_not() {
        let mut now = Instant::now();
        let mut guard = guard(now);
        for call in 0..20_000 {
            now += Duration::from_millis(5);
            let number = format!("1234{}", call % 8);
            assert!(!guard.note(now, source(1), &number), "call {call}");
        }
        let tried = (0..100)
            .take_while(|number| !guard.note(now, source(2), &format!("{number}")))
            .count();
        assert_eq!(tried, 10);
        assert!(!guard.hears(now, source(2)) && guard.hears(now, source(1)));
        now += Duration::from_secs(299);
        assert!(!guard.hears(now, source(2)));
        now += Duration::from_secs(1);
        assert!(guard.hears(now, source(2)));
        assert!(!guard.note(now, source(2), "1"), "it begins anew");
    }

    #[test]
    fn a_window_slides_and_targets_are_forgotten() {
        let mut now = Instant::now();
        let mut guard = guard(now);
        // Nine a window, another nine in the next: eighteen within two windows are too many.
        for number in 0..9 {
            assert!(!guard.note(now, source(3), &format!("{number}")));
        }
        now += Duration::from_mins(1);
        assert!(!guard.note(now, source(3), "9"));
        assert!(guard.note(now, source(3), "10"));
        // A slow one: nine in every third window.
        for round in 0..5 {
            now += Duration::from_mins(3);
            for number in 0..9 {
                assert!(!guard.note(now, source(4), &format!("{round}-{number}")));
            }
        }
    }

    #[test]
    fn who_proves_who_he_is_may_ask_for_more_and_an_ipv6_network_is_one_source() {
        let now = Instant::now();
        let mut guard = guard(now);
        for number in 0..10 {
            assert!(!guard.note(now, source(5), &format!("{number}")));
        }
        guard.forgive(now, source(5));
        // A house full of phones comes back after a power cut…
        assert!((0..100).all(|name| !guard.note(now, source(5), &format!("{name}"))));
        // …but guessing passwords from there counts.
        let guessed =
            (0..100).take_while(|guess| !guard.note_failure(now, source(5), &format!("{guess}")));
        assert_eq!(guessed.count(), 10);
        assert!(!guard.hears(now, source(5)));
        let banned = (0..20).any(|number: u16| {
            let host = IpAddr::from([0x2001, 0xdb8, 0, 1, number, 0, 0, 1]);
            guard.note(now, host, &format!("{number}"))
        });
        assert!(banned);
        assert!(!guard.hears(now, "2001:db8:0:1::99".parse().expect("an address")));
        assert!(guard.hears(now, "2001:db8:0:2::99".parse().expect("an address")));
    }

    #[test]
    fn a_flood_of_invented_sources_takes_bounded_memory() {
        let now = Instant::now();
        let mut guard = guard(now);
        for source in 0..200_000_u32 {
            guard.note(now, IpAddr::from(source.to_be_bytes()), "100");
        }
        assert!(guard.this.len() <= MAX_SOURCES && guard.last.len() <= MAX_SOURCES);
    }
}
