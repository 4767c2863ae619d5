//! Who asks for too many different things, and who guesses passwords.
//!
//! A scanner tries many numbers or names; a trunk brings many calls for a few. So distinct targets are counted within a
//! window, never requests ([`ScanGuard`]). Guesses are counted by the credentials that were judged, for the socket that
//! they come from, its network and the account, so that whoever guesses shuts out himself and nobody who was let in
//! before ([`GuessGuard`]). Memory is bounded whatever the number of (perhaps invented) sources; full tables forget the
//! oldest.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::lasting::Lasting;

/// Sources that are watched in one window; past it the window ends early.
const MAX_SOURCES: usize = 8_192;
/// Entries of every other table.
const MAX_KNOWN: usize = 65_536;
/// For how long somebody who has authenticated himself is known: longer than a registration lasts.
const PROVEN_FOR: Duration = Duration::from_hours(1);
/// An account that nobody of a network has used there may be tried this many times as often from everywhere together as
/// from one socket.
const EVERYWHERE: usize = 10;

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

/// How often passwords may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// For one account, from one socket.
    pub of_socket: usize,
    /// From one network: for one account, and for all that have not been used from there before.
    pub of_network: usize,
    /// How long wrong ones count, and how long nothing more is judged past a limit.
    pub ban: Duration,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// One socket of a peer: where anybody can write another's address on a packet, all that may be held against it.
    Socket(SocketAddr),
    /// All that one subscriber holds: an IPv4 address, or an IPv6 network of 64 bits.
    Network(IpAddr),
}

impl Place {
    /// The socket.
    #[must_use]
    pub fn socket(source: SocketAddr) -> Self {
        Self::Socket(SocketAddr::new(source.ip().to_canonical(), source.port()))
    }

    /// The network around it.
    #[must_use]
    pub fn network(source: IpAddr) -> Self {
        Self::Network(match source.to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Watches what is asked for.
#[derive(Debug)]
pub struct ScanGuard {
    limits: ScanLimits,
    began: Instant,
    this: HashMap<Place, HashSet<u64>>,
    last: HashMap<Place, HashSet<u64>>,
    banned: Lasting<Place, ()>,
    proven: Lasting<Place, ()>,
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
            banned: Lasting::new(MAX_KNOWN),
            proven: Lasting::new(MAX_KNOWN),
        }
    }

    /// Whether strangers at the source are heard at all.
    #[must_use]
    pub fn hears(&self, now: Instant, source: SocketAddr) -> bool {
        [Place::socket(source), Place::network(source.ip())]
            .iter()
            .all(|place| self.banned.get(now, place).is_none())
    }

    /// Notes what a stranger asks for; `true` when the place has just asked for too much and is kept out from now on.
    ///
    /// A network that somebody has authenticated himself from is not counted: a house full of phones is no scanner.
    pub fn note(&mut self, now: Instant, place: Place, target: &str) -> bool {
        let network = match place {
            Place::Socket(source) => Place::network(source.ip()),
            network @ Place::Network(_) => network,
        };
        if self.proven.get(now, &network).is_some() {
            return false;
        }
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
        let target = hash(target);
        let before = self.last.get(&place);
        let targets = self.this.entry(place).or_default();
        targets.insert(target);
        let older = before.map_or(0, |before| before.difference(targets).count());
        if targets.len() + older <= self.limits.targets {
            return false;
        }
        self.this.remove(&place);
        self.last.remove(&place);
        self.banned.put(now, place, now + self.limits.ban, ());
        true
    }

    /// Forgets what was asked for from a source, because somebody there has authenticated himself.
    pub fn forgive(&mut self, now: Instant, source: SocketAddr) {
        for place in [Place::socket(source), Place::network(source.ip())] {
            self.this.remove(&place);
            self.last.remove(&place);
        }
        let network = Place::network(source.ip());
        self.proven.put(now, network, now + PROVEN_FOR, ());
    }
}

/// Whose wrong passwords are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Guesser {
    /// Who tries an account from a place.
    Login(u64, Place),
    /// Who tries any accounts from a place.
    Place(Place),
    /// Who tries an account from anywhere.
    Account(u64),
}

/// Watches wrong passwords.
///
/// Who has authenticated himself keeps a budget of his own for his socket, and his account one for his network, whatever else
/// is tried from there.
#[derive(Debug)]
pub struct GuessGuard {
    limits: GuessLimits,
    wrong: Lasting<Guesser, usize>,
    proven: Lasting<(u64, Place), ()>,
}

impl GuessGuard {
    /// With nothing counted.
    #[must_use]
    pub fn new(limits: GuessLimits) -> Self {
        Self {
            limits,
            wrong: Lasting::new(MAX_KNOWN),
            proven: Lasting::new(MAX_KNOWN),
        }
    }

    /// Whether a password for the account, from that source, may be judged at all.
    #[must_use]
    pub fn allows(&self, now: Instant, account: &str, source: SocketAddr) -> bool {
        self.budgets(now, account, source)
            .into_iter()
            .all(|(guesser, most)| self.wrong.get(now, &guesser).is_none_or(|n| *n < most))
    }

    /// Notes a wrong password; `true` when no more are judged from now on.
    pub fn failed(&mut self, now: Instant, account: &str, source: SocketAddr) -> bool {
        let mut is_over = false;
        for (guesser, most) in self.budgets(now, account, source) {
            let so_far = self.wrong.get(now, &guesser).copied().unwrap_or(0) + 1;
            is_over |= so_far == most;
            // The first one begins the time, and the last one that is allowed begins it anew.
            match self.wrong.get_mut(now, &guesser) {
                Some(count) if so_far < most => *count = so_far,
                _ => self.wrong.put(now, guesser, now + self.limits.ban, so_far),
            }
        }
        is_over
    }

    /// Notes a right one.
    pub fn authenticated(&mut self, now: Instant, account: &str, source: SocketAddr) {
        let account = hash(account);
        for place in [Place::socket(source), Place::network(source.ip())] {
            let until = now + PROVEN_FOR;
            self.proven.put(now, (account, place), until, ());
        }
        let socket = Place::socket(source);
        self.wrong.remove(&Guesser::Login(account, socket));
    }

    /// What a wrong password counts against, and how many each may have.
    fn budgets(&self, now: Instant, account: &str, source: SocketAddr) -> Vec<(Guesser, usize)> {
        let account = hash(account);
        let (socket, network) = (Place::socket(source), Place::network(source.ip()));
        let is_proven = |place| self.proven.get(now, &(account, place)).is_some();
        let GuessLimits {
            of_socket,
            of_network,
            ..
        } = self.limits;
        let mut budgets = vec![(Guesser::Login(account, socket), of_socket)];
        if !is_proven(socket) {
            budgets.push((Guesser::Login(account, network), of_network));
        }
        if !is_proven(network) {
            budgets.push((Guesser::Place(network), of_network));
            budgets.push((Guesser::Account(account), of_socket * EVERYWHERE));
        }
        budgets
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
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

    fn guesses() -> GuessGuard {
        GuessGuard::new(GuessLimits {
            of_socket: 10,
            of_network: 30,
            ban: Duration::from_mins(10),
        })
    }

    fn source(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5_060))
    }

    fn network(last: u8) -> Place {
        Place::network(source(last).ip())
    }

    #[test]
    fn a_scanner_of_many_numbers_is_kept_out_and_a_busy_trunk_of_few_is_not() {
        let mut now = Instant::now();
        let mut guard = guard(now);
        for call in 0..20_000 {
            now += Duration::from_millis(5);
            let number = format!("1234{}", call % 8);
            assert!(!guard.note(now, network(1), &number), "call {call}");
        }
        let tried = (0..100)
            .take_while(|number| !guard.note(now, network(2), &format!("{number}")))
            .count();
        assert_eq!(tried, 10);
        assert!(!guard.hears(now, source(2)) && guard.hears(now, source(1)));
        now += Duration::from_secs(299);
        assert!(!guard.hears(now, source(2)));
        now += Duration::from_secs(1);
        assert!(guard.hears(now, source(2)));
        assert!(!guard.note(now, network(2), "1"), "it begins anew");
        // Spread over two windows.
        for number in 0..9 {
            assert!(!guard.note(now, network(3), &format!("{number}")));
        }
        now += Duration::from_mins(1);
        assert!(!guard.note(now, network(3), "9"));
        assert!(guard.note(now, network(3), "10"));
        // A slow one: nine in every third window.
        for round in 0..5 {
            now += Duration::from_mins(3);
            for number in 0..9 {
                assert!(!guard.note(now, network(4), &format!("{round}-{number}")));
            }
        }
    }

    #[test]
    fn a_socket_is_kept_out_without_its_neighbours_and_an_ipv6_network_is_one_source() {
        let now = Instant::now();
        let mut guard = guard(now);
        let scanner = Place::socket(source(5));
        assert!((0..20).any(|number| guard.note(now, scanner, &format!("{number}"))));
        assert!(!guard.hears(now, source(5)));
        assert!(guard.hears(now, SocketAddr::from(([192, 0, 2, 5], 5_061))));
        guard.forgive(now, source(6));
        // A house full of phones comes back after a power cut.
        assert!((0..100).all(|name| !guard.note(now, network(6), &format!("{name}"))));
        let banned = (0..20).any(|number: u16| {
            let host = IpAddr::from([0x2001, 0xdb8, 0, 1, number, 0, 0, 1]);
            guard.note(now, Place::network(host), &format!("{number}"))
        });
        assert!(banned);
        let at = |host: &str| host.parse().expect("an address");
        assert!(!guard.hears(now, at("[2001:db8:0:1::99]:5060")));
        assert!(guard.hears(now, at("[2001:db8:0:2::99]:5060")));
    }

    /// How many passwords are judged of those that are tried.
    fn judged(
        guard: &mut GuessGuard,
        now: Instant,
        tries: impl Iterator<Item = (String, SocketAddr)>,
    ) -> usize {
        tries
            .filter(|(account, source)| {
                let allowed = guard.allows(now, account, *source);
                if allowed {
                    guard.failed(now, account, *source);
                }
                allowed
            })
            .count()
    }

    #[test]
    fn guesses_are_bounded_for_each_socket_network_and_account() {
        let mut now = Instant::now();
        let mut guard = guesses();
        let ports = |last, account: &'static str| {
            (0..1_000_u16).map(move |port| {
                let source = SocketAddr::from(([192, 0, 2, last], 10_000 + port));
                (account.to_owned(), source)
            })
        };
        let one = std::iter::repeat_n(("1001".to_owned(), source(1)), 1_000);
        assert_eq!(judged(&mut guard, now, one.clone()), 10);
        // Another phone behind the same address has its own budget, within that of the house.
        let neighbour = SocketAddr::from(([192, 0, 2, 1], 5_062));
        assert!(guard.allows(now, "1002", neighbour) && guard.allows(now, "1001", neighbour));
        assert_eq!(judged(&mut guard, now, ports(1, "1001")), 20);
        assert_eq!(judged(&mut guard, now, ports(2, "1002")), 30);
        let names = (0..1_000).map(|name| (format!("{name}"), source(3)));
        assert_eq!(judged(&mut guard, now, names), 30);
        // From a thousand networks, for one account.
        let networks = (0..1_000_u16).map(|host| {
            let [high, low] = host.to_be_bytes();
            (
                "1003".to_owned(),
                SocketAddr::from(([198, 18, high, low], 5_060)),
            )
        });
        assert_eq!(judged(&mut guard, now, networks), 100);
        now += Duration::from_mins(10);
        assert_eq!(judged(&mut guard, now, one), 10, "it begins anew");
    }

    #[test]
    fn who_was_let_in_is_never_shut_out_by_others() {
        let now = Instant::now();
        let mut guard = guesses();
        let phone = source(1);
        guard.authenticated(now, "1001", phone);
        let from = |last, port| SocketAddr::from(([192, 0, 2, last], port));
        // His house and the world try his account and others.
        let tries = (0..2_000_u16).map(|port| {
            let account = if port % 2 == 0 { "1001" } else { "1002" };
            (
                account.to_owned(),
                from((port % 200) as u8 + 1, 20_000 + port),
            )
        });
        judged(&mut guard, now, tries);
        assert!(
            !guard.allows(now, "1001", from(9, 7)),
            "the account is under attack"
        );
        assert!(guard.allows(now, "1001", phone));
        assert!(
            guard.allows(now, "1001", from(1, 7)),
            "it restarted with another port"
        );
        for _ in 0..9 {
            assert!(!guard.failed(now, "1001", phone));
        }
        guard.authenticated(now, "1001", phone);
        assert!(
            (0..9).all(|_| !guard.failed(now, "1001", phone)),
            "it begins anew"
        );
        assert!(guard.failed(now, "1001", phone), "told once");
        assert!(!guard.allows(now, "1001", phone), "its own guesses count");
    }

    #[test]
    fn a_flood_of_invented_sources_takes_bounded_memory() {
        let now = Instant::now();
        let mut guard = guard(now);
        for source in 0..200_000_u32 {
            guard.note(
                now,
                Place::network(IpAddr::from(source.to_be_bytes())),
                "100",
            );
        }
        assert!(guard.this.len() <= MAX_SOURCES && guard.last.len() <= MAX_SOURCES);
    }
}
