//! What the two ends of one dialog may ask of each other: whose offer is open (RFC 3264, RFC 3311 §5), who yields when
//! both ask at once (RFC 3261 §14), and until when the session lasts unless it is refreshed (RFC 4028).
//!
//! One of these stands beside each dialog. It never sends: [`Session::poll`] says what to send, and the adapter tells
//! it what came.

mod timer;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use timer::{Grant, Refresher, Terms, TimerHeaders};

use timer::Timer;

/// How often a request is tried that the peer defers (491, 500 with Retry-After).
const MOST_TRIES: u8 = 6;
/// The longest Retry-After that is waited for.
const LONGEST_RETRY: u64 = 30;

/// A request that can carry an offer or refresh the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// INVITE within the dialog.
    Invite,
    /// UPDATE, or a PRACK that carries an offer.
    Update,
}

/// Why a peer's request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 491 when our own request is under way, 500 while theirs before is not answered, 422 for too short a session.
    pub status: u16,
    /// Seconds, with 500.
    pub retry_after: Option<u32>,
    /// The Min-SE that goes with 422.
    pub min_se: Option<u32>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this, and tell [`Session::responded`] what became of it.
    Send {
        /// The method.
        ask: Ask,
        /// What it carries; an UPDATE that only refreshes carries none.
        offer: Option<String>,
    },
    /// Nobody has refreshed the session: end the dialog.
    Expire,
    /// Nothing before then.
    At(Instant),
    /// Nothing.
    Nothing,
}

/// What a response means to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted; `offered` says whether it answers an offer of the call.
    Accepted {
        /// Not a mere refresh.
        offered: bool,
    },
    /// It will be tried again.
    Again,
    /// Refused for good; `offered` says whether it was an offer of the call.
    Refused {
        /// Not a mere refresh.
        offered: bool,
    },
    /// The peer does not know the dialog or is gone (RFC 3261 §12.2.1.2).
    Dead,
}

#[derive(Clone, Debug)]
struct Asking {
    ask: Ask,
    /// What the call offers; `None` for a refresh.
    offer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The peer's request waits for our final response.
    Open,
    /// Our 2xx carried the offer, so the answer is to come in the ACK.
    AwaitsAnswer,
}

/// The state of one dialog's negotiation.
#[derive(Debug)]
pub struct Session {
    /// Whether we own the Call-ID; after a glare that side waits longer.
    began: bool,
    random: StdRng,
    timer: Timer,
    peer_updates: bool,
    /// What we said last, sent again to refresh by INVITE.
    described: Option<String>,
    wanted: Option<String>,
    asking: Option<Asking>,
    asked: Option<Asked>,
    not_before: Option<Instant>,
    tries: u8,
}

impl Session {
    /// A dialog that we `began` or that the peer did; `seed` draws the waiting times after a glare.
    #[must_use]
    pub fn new(began: bool, terms: Terms, seed: u64) -> Self {
        Self {
            began,
            random: StdRng::seed_from_u64(seed),
            timer: Timer::new(terms),
            peer_updates: false,
            described: None,
            wanted: None,
            asking: None,
            asked: None,
            not_before: None,
            tries: 0,
        }
    }

    /// Whether the peer takes UPDATE, by its Allow header.
    pub const fn peer_takes_updates(&mut self, yes: bool) {
        self.peer_updates = yes;
    }

    /// Remembers the description that stands for us now.
    pub fn described(&mut self, description: &str) {
        self.described = Some(description.to_owned());
    }

    // What the peer asks.

    /// Takes a request of the peer; `offers` is true for every INVITE, which carries an offer or asks for one.
    ///
    /// # Errors
    /// How it is to be refused.
    pub fn asked(&mut self, offers: bool, said: TimerHeaders) -> Result<Option<Grant>, Refusal> {
        let grant = self.timer.asked(said).map_err(|min_se| Refusal {
            status: 422,
            retry_after: None,
            min_se: Some(min_se),
        })?;
        if !offers {
            return Ok(grant);
        }
        let ours_is_open = self
            .asking
            .as_ref()
            .is_some_and(|asking| asking.offer.is_some() || asking.ask == Ask::Invite);
        if ours_is_open {
            return Err(Refusal {
                status: 491,
                retry_after: None,
                min_se: None,
            });
        }
        if self.asked.is_some() {
            return Err(Refusal {
                status: 500,
                retry_after: Some(self.random.random_range(0..=10)),
                min_se: None,
            });
        }
        self.asked = Some(Asked::Open);
        Ok(grant)
    }

    /// The peer's request has been answered finally; `answer_follows` when our 2xx carries the offer.
    pub fn answered(&mut self, answer_follows: bool) {
        self.asked = answer_follows.then_some(Asked::AwaitsAnswer);
    }

    /// The ACK (or PRACK) has come; whether it brings the answer to our offer.
    pub fn acknowledged(&mut self) -> bool {
        if self.asked == Some(Asked::AwaitsAnswer) {
            self.asked = None;
            return true;
        }
        false
    }

    /// A 2xx that grants this has been sent.
    pub fn granted(&mut self, now: Instant, grant: Option<Grant>) {
        self.timer.granted(now, grant);
    }

    // What we ask.

    /// Wants the peer to have this offer; it goes out as soon as it may.
    pub fn offer(&mut self, offer: String) {
        self.wanted = Some(offer);
        self.tries = 0;
    }

    /// What a request of ours says of the session timer.
    #[must_use]
    pub fn says(&self) -> TimerHeaders {
        self.timer.says()
    }

    /// A 2xx to a request of ours; `said` is what it says of the session timer.
    pub fn accepted(&mut self, now: Instant, said: TimerHeaders) {
        self.timer.accepted(now, said);
    }

    /// A 422 to our initial INVITE; whether it is worth asking again.
    pub fn is_too_short(&mut self, min_se: Option<u32>) -> bool {
        self.timer.raise(min_se)
    }

    /// Takes the final response to what [`Session::poll`] had sent.
    pub fn responded(
        &mut self,
        now: Instant,
        status: u16,
        retry_after: Option<u32>,
        said: TimerHeaders,
    ) -> Outcome {
        let Some(asking) = self.asking.take() else {
            return Outcome::Again;
        };
        let offered = asking.offer.is_some();
        let again = match status {
            200..=299 => {
                self.tries = 0;
                self.not_before = None;
                self.timer.accepted(now, said);
                if let Some(offer) = asking.offer {
                    self.described = Some(offer);
                }
                return Outcome::Accepted { offered };
            }
            408 | 481 => return Outcome::Dead,
            491 => Some(self.glare()),
            422 if self.timer.raise(said.min_se) => Some(Duration::ZERO),
            405 | 501 if asking.ask == Ask::Update && self.peer_updates => {
                self.peer_updates = false;
                Some(Duration::ZERO)
            }
            500 | 503 => retry_after
                .map(u64::from)
                .filter(|seconds| *seconds <= LONGEST_RETRY)
                .map(Duration::from_secs),
            _ => None,
        };
        self.tries += 1;
        if let Some(pause) = again.filter(|_| self.tries < MOST_TRIES) {
            self.not_before = Some(now + pause);
            // What has been wanted since is newer.
            self.wanted = self.wanted.take().or(asking.offer);
            return Outcome::Again;
        }
        self.tries = 0;
        if !offered {
            self.timer.failed(now);
        }
        Outcome::Refused { offered }
    }

    /// RFC 3261 §14.1: the owner of the Call-ID waits 2.1–4 s, the other one up to 2 s, in steps of 10 ms.
    fn glare(&mut self) -> Duration {
        let steps = if self.began {
            self.random.random_range(210..=400)
        } else {
            self.random.random_range(0..=200)
        };
        Duration::from_millis(10 * steps)
    }

    /// What is to be done; a dialog is asked only once it is confirmed.
    pub fn poll(&mut self, now: Instant) -> Act {
        if self.timer.expires().is_some_and(|at| at <= now) {
            self.timer.stop();
            return Act::Expire;
        }
        let free = self.asking.is_none() && self.asked.is_none();
        let due = self.not_before.is_none_or(|at| at <= now);
        if free && due {
            let refresh = self.timer.refreshes().is_some_and(|at| at <= now);
            let asking = match self.wanted.take() {
                Some(offer) => Some(Asking {
                    ask: Ask::Invite,
                    offer: Some(offer),
                }),
                None if refresh => Some(Asking {
                    ask: if self.peer_updates {
                        Ask::Update
                    } else {
                        Ask::Invite
                    },
                    offer: None,
                }),
                None => None,
            };
            if let Some(asking) = asking {
                let ask = asking.ask;
                let offer = match ask {
                    Ask::Invite => asking.offer.clone().or_else(|| self.described.clone()),
                    Ask::Update => None,
                };
                self.asking = Some(asking);
                return Act::Send { ask, offer };
            }
        }
        let next = if free {
            let wanted = self.wanted.is_some().then_some(self.not_before).flatten();
            let refresh = self
                .timer
                .refreshes()
                .map(|at| self.not_before.map_or(at, |other| at.max(other)));
            [wanted, refresh].into_iter().flatten().min()
        } else {
            None
        };
        [next, self.timer.expires()]
            .into_iter()
            .flatten()
            .min()
            .map_or(Act::Nothing, Act::At)
    }
}

#[cfg(test)]
mod tests;
