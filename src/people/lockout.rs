//! Who has guessed wrong too often has to wait: by account and address together, by account, and by address.
//!
//! | table | bound | when full |
//! |---|---|---|
//! | attempts of an account, an address, or both | [`MOST`] entries | the oldest is forgotten |

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::account::UserName;

/// Entries that are kept.
const MOST: usize = 16_384;

/// How many wrong attempts make one wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For one account from one address.
    pub together: u32,
    /// For one account from everywhere: more, so that a stranger does not lock out an operator at a desk.
    pub account: u32,
    /// From one address for all accounts: more, since a whole hall may sit behind it.
    pub address: u32,
    /// Within this time they count, and so long is waited.
    pub span: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            together: 5,
            account: 25,
            address: 50,
            span: Duration::from_mins(10),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Together(UserName, IpAddr),
    Account(UserName),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    count: u32,
    /// When the first of them was.
    since: Instant,
    /// Until when nothing more is tried.
    until: Option<Instant>,
}

/// A sign-in that somebody tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// For which account, whether it exists or not.
    pub name: UserName,
    /// Whence; of an IPv6 address the network counts.
    pub address: IpAddr,
}

impl Attempt {
    fn keys(&self) -> [Key; 3] {
        let address = network(self.address);
        [
            Key::Together(self.name.clone(), address),
            Key::Account(self.name.clone()),
            Key::Address(address),
        ]
    }
}

/// The network (/64) of an IPv6 address, of which one machine has all; an IPv4 address as it is.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// What was tried wrongly lately.
#[derive(Debug)]
pub struct Lockout {
    policy: Policy,
    wrong: HashMap<Key, Wrong>,
}

impl Lockout {
    /// With nothing tried yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            wrong: HashMap::new(),
        }
    }

    /// How long `attempt` has to wait, if it has to.
    #[must_use]
    pub fn wait(&self, attempt: &Attempt, now: Instant) -> Option<Duration> {
        let until = attempt.keys().into_iter();
        until
            .filter_map(|key| self.wrong.get(&key)?.until)
            .max()
            .and_then(|until| until.checked_duration_since(now))
            .filter(|wait| !wait.is_zero())
    }

    /// Counts a wrong attempt; returns whether it has locked something.
    pub fn wrong(&mut self, attempt: &Attempt, now: Instant) -> bool {
        let Policy {
            together,
            account,
            address,
            span,
        } = self.policy;
        let mut locked = false;
        for (key, most) in attempt.keys().into_iter().zip([together, account, address]) {
            self.make_room(&key, now);
            let entry = self.wrong.entry(key).or_insert(Wrong {
                count: 0,
                since: now,
                until: None,
            });
            let is_old = now.saturating_duration_since(entry.since) > span
                && entry.until.is_none_or(|until| until <= now);
            if is_old {
                *entry = Wrong {
                    count: 0,
                    since: now,
                    until: None,
                };
            }
            entry.count += 1;
            if entry.count >= most {
                locked |= entry.until.is_none_or(|until| until <= now);
                entry.until = Some(now + span);
            }
        }
        locked
    }

    /// A right attempt: what was guessed wrongly for this account from this address is forgiven.
    pub fn right(&mut self, attempt: &Attempt) {
        let [together, ..] = attempt.keys();
        self.wrong.remove(&together);
    }

    /// Lets an account be tried again from everywhere.
    pub fn lift(&mut self, name: &UserName) {
        self.wrong.retain(|key, _| match key {
            Key::Together(of, _) | Key::Account(of) => of != name,
            Key::Address(_) => true,
        });
    }

    fn make_room(&mut self, key: &Key, now: Instant) {
        if self.wrong.len() < MOST || self.wrong.contains_key(key) {
            return;
        }
        let span = self.policy.span;
        self.wrong.retain(|_, wrong| {
            now.saturating_duration_since(wrong.since) <= span
                || wrong.until.is_some_and(|until| until > now)
        });
        if self.wrong.len() >= MOST
            && let Some(oldest) = self
                .wrong
                .iter()
                .min_by_key(|(_, wrong)| wrong.since)
                .map(|(key, _)| key.clone())
        {
            self.wrong.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(name: &str, address: &str) -> Attempt {
        Attempt {
            name: UserName::parse(name).expect("a name"),
            address: address.parse().expect("an address"),
        }
    }

    #[test]
    fn five_wrong_attempts_at_a_desk_lock_that_desk_and_nobody_elses() {
        let (mut lockout, now) = (Lockout::new(Policy::default()), Instant::now());
        let here = attempt("wang", "192.0.2.30");
        for _ in 0..4 {
            assert!(!lockout.wrong(&here, now));
            assert_eq!(lockout.wait(&here, now), None);
        }
        assert!(lockout.wrong(&here, now));
        let span = Policy::default().span;
        assert_eq!(lockout.wait(&here, now), Some(span));
        assert_eq!(lockout.wait(&attempt("wang", "192.0.2.31"), now), None);
        assert_eq!(lockout.wait(&attempt("li", "192.0.2.30"), now), None);
        assert_eq!(lockout.wait(&here, now + span), None, "in time it is over");
        lockout.lift(&here.name);
        assert_eq!(lockout.wait(&here, now), None);
    }

    #[test]
    fn guessing_from_many_places_locks_the_account_and_for_many_accounts_the_place() {
        let (mut lockout, now) = (Lockout::new(Policy::default()), Instant::now());
        for number in 0..25 {
            lockout.wrong(&attempt("wang", &format!("198.51.100.{number}")), now);
        }
        assert!(lockout.wait(&attempt("wang", "192.0.2.30"), now).is_some());
        for number in 0..50 {
            lockout.wrong(&attempt(&format!("user{number}"), "203.0.113.9"), now);
        }
        assert!(lockout.wait(&attempt("li", "203.0.113.9"), now).is_some());
        assert_eq!(lockout.wait(&attempt("li", "203.0.113.8"), now), None);
    }

    #[test]
    fn a_right_attempt_forgives_the_desk_and_old_ones_are_forgotten() {
        let (mut lockout, now) = (Lockout::new(Policy::default()), Instant::now());
        let here = attempt("wang", "192.0.2.30");
        for _ in 0..4 {
            lockout.wrong(&here, now);
        }
        lockout.right(&here);
        assert!(!lockout.wrong(&here, now));
        for _ in 0..3 {
            lockout.wrong(&here, now);
        }
        let later = now + Policy::default().span + Duration::from_secs(1);
        assert!(
            !lockout.wrong(&here, later),
            "the five were not within the time"
        );
    }

    #[test]
    fn one_machine_has_no_more_attempts_by_having_many_addresses() {
        let (mut lockout, now) = (Lockout::new(Policy::default()), Instant::now());
        for number in 0..5 {
            lockout.wrong(&attempt("wang", &format!("2001:db8:1:2::{number}")), now);
        }
        assert!(
            lockout
                .wait(&attempt("wang", "2001:db8:1:2:ffff::1"), now)
                .is_some()
        );
        assert_eq!(lockout.wait(&attempt("wang", "2001:db8:1:3::1"), now), None);
        let mapped = attempt("wang", "::ffff:192.0.2.30");
        assert_eq!(mapped.keys(), attempt("wang", "192.0.2.30").keys());
    }

    #[test]
    fn a_flood_of_names_stays_within_its_room() {
        let (mut lockout, now) = (Lockout::new(Policy::default()), Instant::now());
        for number in 0..7_000_u32 {
            let address = std::net::Ipv4Addr::from(number);
            lockout.wrong(&attempt(&format!("u{number}"), &address.to_string()), now);
        }
        assert!(lockout.wrong.len() <= MOST);
    }
}
