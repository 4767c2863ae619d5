//! Where the hotline's extensions can be reached: the bindings of a registrar (RFC 3261 §10.3).
//!
//! A binding is the contact that a phone gave and the way that its REGISTER came: behind a translating router only the
//! latter leads back. Times are on the monotonic clock; who keeps bindings over a restart brings their remaining time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Transport;
use super::address::Uri;

/// Bindings of one extension; a phone that forgets its old ones must not fill the memory.
const MAX_BINDINGS: usize = 10;

/// The way a message came, and so a way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The peer's address as we see it.
    pub source: SocketAddr,
    /// What carries it.
    pub transport: Transport,
}

/// One place where an extension can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The URI of the phone's Contact, as it gave it.
    pub contact: String,
    /// The way its REGISTER came.
    pub flow: Flow,
    /// The proxies that it wants to be reached through (RFC 3327), in order.
    pub path: Vec<String>,
    /// The REGISTER that made it: later ones of the same Call-ID must count higher.
    pub call_id: String,
    /// Its `CSeq`.
    pub cseq: u32,
    /// The phone's preference, in thousandths.
    pub q: u16,
    /// When it was made or renewed.
    pub since: Instant,
    /// When it ends.
    pub until: Instant,
}

/// What a REGISTER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Only to be told.
    Ask,
    /// `Contact: *` with Expires 0: forget all.
    ForgetAll,
    /// To bind or renew these, or to forget those with 0 seconds.
    Bind(Vec<Wanted>),
}

/// One Contact of a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The URI.
    pub contact: String,
    /// For how many seconds; without, as long as we like.
    pub expires: Option<u32>,
    /// The preference, in thousandths.
    pub q: u16,
}

/// A REGISTER of somebody who may register this extension.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    /// Whose bindings.
    pub extension: &'a str,
    /// Its Call-ID.
    pub call_id: &'a str,
    /// Its `CSeq`.
    pub cseq: u32,
    /// The way it came.
    pub flow: Flow,
    /// Its Path.
    pub path: Vec<String>,
    /// What it wants.
    pub wish: Wish,
}

/// Why a REGISTER is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For so short a time that we would do nothing else: 423 with Min-Expires.
    TooBrief {
        /// The shortest, in seconds.
        least: u32,
    },
    /// More contacts than an extension may have: 403.
    TooMany,
    /// It was overtaken by a later one of the same phone: 500 (RFC 3261 §10.3).
    Overtaken,
}

impl Refusal {
    /// The status that tells the phone.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooBrief { .. } => 423,
            Self::TooMany => 403,
            Self::Overtaken => 500,
        }
    }
}

/// For how long bindings are taken, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The shortest that is granted; less is 423.
    pub least: u32,
    /// The longest; more is shortened.
    pub most: u32,
}

/// The bindings of all extensions.
#[derive(Debug)]
pub struct Registrar {
    terms: Terms,
    bindings: HashMap<String, Vec<Binding>>,
}

impl Registrar {
    /// With no bindings.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            bindings: HashMap::new(),
        }
    }

    /// Does what a REGISTER asks for, all of it or nothing; the extension's bindings afterwards.
    ///
    /// # Errors
    /// [`Refusal`], and nothing has changed.
    pub fn register(
        &mut self,
        now: Instant,
        register: &Register<'_>,
    ) -> Result<Vec<Binding>, Refusal> {
        let mut bindings = self.contacts(now, register.extension);
        let overtaken = |binding: &Binding| {
            binding.call_id == register.call_id && binding.cseq >= register.cseq
        };
        match &register.wish {
            Wish::Ask => {}
            Wish::ForgetAll => {
                if bindings.iter().any(overtaken) {
                    return Err(Refusal::Overtaken);
                }
                bindings.clear();
            }
            Wish::Bind(wanted) => {
                for wanted in wanted {
                    let known = bindings
                        .iter()
                        .position(|binding| same_contact(&binding.contact, &wanted.contact));
                    if known.is_some_and(|at| overtaken(&bindings[at])) {
                        return Err(Refusal::Overtaken);
                    }
                    let seconds = wanted.expires.unwrap_or(self.terms.most);
                    if (1..self.terms.least).contains(&seconds) {
                        return Err(Refusal::TooBrief {
                            least: self.terms.least,
                        });
                    }
                    if let Some(at) = known {
                        bindings.remove(at);
                    }
                    if seconds == 0 {
                        continue;
                    }
                    if bindings.len() == MAX_BINDINGS {
                        return Err(Refusal::TooMany);
                    }
                    let lasts = Duration::from_secs(seconds.min(self.terms.most).into());
                    bindings.push(Binding {
                        contact: wanted.contact.clone(),
                        flow: register.flow,
                        path: register.path.clone(),
                        call_id: register.call_id.to_owned(),
                        cseq: register.cseq,
                        q: wanted.q,
                        since: now,
                        until: now + lasts,
                    });
                }
            }
        }
        self.put(register.extension, bindings);
        Ok(self.contacts(now, register.extension))
    }

    /// The bindings that hold, the preferred first, and of those the newest.
    #[must_use]
    pub fn contacts(&self, now: Instant, extension: &str) -> Vec<Binding> {
        let held = self.bindings.get(extension).map_or(&[][..], Vec::as_slice);
        let mut held: Vec<Binding> = held
            .iter()
            .filter(|binding| binding.until > now)
            .cloned()
            .collect();
        held.sort_by_key(|binding| std::cmp::Reverse((binding.q, binding.since)));
        held
    }

    /// Brings back a binding that was kept over a restart.
    pub fn restore(&mut self, extension: &str, binding: Binding) {
        let held = self.bindings.entry(extension.to_owned()).or_default();
        if held.len() < MAX_BINDINGS {
            held.push(binding);
        }
    }

    /// Whether somebody is reached over this flow.
    #[must_use]
    pub fn uses(&self, now: Instant, flow: Flow) -> bool {
        self.bindings
            .values()
            .flatten()
            .any(|binding| binding.flow == flow && binding.until > now)
    }

    /// How many bindings hold.
    #[must_use]
    pub fn len(&self, now: Instant) -> usize {
        let held = self.bindings.values().flatten();
        held.filter(|binding| binding.until > now).count()
    }

    fn put(&mut self, extension: &str, bindings: Vec<Binding>) {
        if bindings.is_empty() {
            self.bindings.remove(extension);
        } else {
            self.bindings.insert(extension.to_owned(), bindings);
        }
    }
}

/// Whether two URIs of contacts are the same one.
fn same_contact(one: &str, other: &str) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Some(one), Some(other)) => one.is_equivalent(&other),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        registrar: Registrar,
        now: Instant,
        cseq: u32,
    }

    const TERMS: Terms = Terms {
        least: 60,
        most: 3_600,
    };

    fn flow(port: u16) -> Flow {
        Flow {
            source: SocketAddr::from(([203, 0, 113, 5], port)),
            transport: Transport::Udp,
        }
    }

    fn wanted(contact: &str, expires: Option<u32>) -> Wanted {
        Wanted {
            contact: contact.to_owned(),
            expires,
            q: 1_000,
        }
    }

    impl World {
        fn new() -> Self {
            Self {
                registrar: Registrar::new(TERMS),
                now: Instant::now(),
                cseq: 0,
            }
        }

        fn bind(&mut self, contact: &str, expires: Option<u32>) -> Result<usize, Refusal> {
            self.ask(Wish::Bind(vec![wanted(contact, expires)]))
        }

        fn ask(&mut self, wish: Wish) -> Result<usize, Refusal> {
            self.cseq += 1;
            self.ask_as("phone", self.cseq, wish)
        }

        fn ask_as(&mut self, call_id: &str, cseq: u32, wish: Wish) -> Result<usize, Refusal> {
            let register = Register {
                extension: "1001",
                call_id,
                cseq,
                flow: flow(5_060),
                path: Vec::new(),
                wish,
            };
            self.registrar
                .register(self.now, &register)
                .map(|held| held.len())
        }

        fn contacts(&self) -> Vec<String> {
            let held = self.registrar.contacts(self.now, "1001");
            held.into_iter().map(|binding| binding.contact).collect()
        }
    }

    #[test]
    fn a_binding_is_made_renewed_and_ends() {
        let mut world = World::new();
        assert_eq!(world.bind("sip:1001@10.0.0.5:5060", Some(120)), Ok(1));
        world.now += Duration::from_secs(119);
        assert_eq!(world.bind("sip:1001@10.0.0.5:5060", Some(120)), Ok(1));
        world.now += Duration::from_secs(119);
        assert_eq!(world.contacts(), ["sip:1001@10.0.0.5:5060"]);
        assert!(world.registrar.uses(world.now, flow(5_060)));
        world.now += Duration::from_secs(1);
        assert!(world.contacts().is_empty());
        assert!(!world.registrar.uses(world.now, flow(5_060)));
        assert_eq!(world.registrar.len(world.now), 0);
    }

    #[test]
    fn several_phones_are_tried_by_preference_and_then_the_newest_first() {
        let mut world = World::new();
        for host in ["a", "b", "c"] {
            world.now += Duration::from_secs(1);
            assert!(world.bind(&format!("sip:1001@{host}"), None).is_ok());
        }
        assert_eq!(world.contacts(), ["sip:1001@c", "sip:1001@b", "sip:1001@a"]);
        let mut first = wanted("sip:1001@d", None);
        first.q = 500;
        assert_eq!(world.ask(Wish::Bind(vec![first])), Ok(4));
        assert_eq!(
            world.contacts().last().map(String::as_str),
            Some("sip:1001@d")
        );
        assert_eq!(
            world.bind("sip:1001@B;transport=tcp", Some(0)),
            Ok(3 + 1),
            "another transport is another place"
        );
        assert_eq!(
            world.bind("SIP:%31001@B;line=7", Some(0)),
            Ok(3),
            "what RFC 3261 §19.1.4 holds for equal is one binding"
        );
        assert_eq!(world.ask(Wish::Ask), Ok(3));
        assert_eq!(world.ask(Wish::ForgetAll), Ok(0));
    }

    #[test]
    fn a_brief_time_is_423_and_a_long_one_is_shortened_and_nothing_is_half_done() {
        let mut world = World::new();
        let brief = Refusal::TooBrief { least: 60 };
        assert_eq!(world.bind("sip:a", Some(59)), Err(brief));
        assert_eq!(brief.status(), 423);
        let both = vec![wanted("sip:a", Some(60)), wanted("sip:b", Some(1))];
        assert_eq!(world.ask(Wish::Bind(both)), Err(brief));
        assert!(world.contacts().is_empty());
        assert_eq!(world.bind("sip:a", Some(u32::MAX)), Ok(1));
        let held = world.registrar.contacts(world.now, "1001");
        assert_eq!(held[0].until - world.now, Duration::from_hours(1));
    }

    #[test]
    fn what_was_overtaken_is_refused_unless_the_phone_has_restarted() {
        let mut world = World::new();
        let bind = |expires| Wish::Bind(vec![wanted("sip:a", Some(expires))]);
        assert_eq!(world.ask_as("one", 5, bind(600)), Ok(1));
        assert_eq!(world.ask_as("one", 5, bind(0)), Err(Refusal::Overtaken));
        assert_eq!(
            world.ask_as("one", 4, Wish::ForgetAll),
            Err(Refusal::Overtaken)
        );
        assert_eq!(world.ask_as("two", 1, bind(600)), Ok(1));
        assert_eq!(world.ask_as("two", 2, Wish::ForgetAll), Ok(0));
    }

    #[test]
    fn an_extension_has_ten_places_at_most() {
        let mut world = World::new();
        for host in 0..10 {
            assert_eq!(world.bind(&format!("sip:{host}"), None), Ok(host + 1));
        }
        assert_eq!(world.bind("sip:x", None), Err(Refusal::TooMany));
        assert_eq!(world.bind("sip:0", None), Ok(10));
    }
}
