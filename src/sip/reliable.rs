//! Provisional responses that arrive for certain (100rel, RFC 3262), from the side that sends them.

use std::time::{Duration, Instant};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send the response that waits for its PRACK once more.
    Resend,
    /// No PRACK came within 64 T1: the INVITE is to be refused.
    GiveUp,
    /// Nothing before then.
    At(Instant),
    /// Nothing waits.
    Nothing,
}

/// The one response of an INVITE that waits for its PRACK; the next is sent when this one has been acknowledged.
#[derive(Debug)]
pub struct Reliable {
    t1: Duration,
    /// The number of the newest response.
    number: u32,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    resend: Instant,
    interval: Duration,
    give_up: Instant,
    describes: bool,
}

impl Reliable {
    /// `seed` gives the first number, which is random below 2³¹ (RFC 3262 §3).
    #[must_use]
    pub const fn new(t1: Duration, seed: u32) -> Self {
        Self {
            t1,
            number: seed >> 1,
            waiting: None,
        }
    }

    /// Counts a response that is sent now; `describes` says whether it carries a session description.
    pub fn send(&mut self, now: Instant, describes: bool) -> u32 {
        self.number += 1;
        self.waiting = Some(Waiting {
            resend: now + self.t1,
            interval: self.t1,
            give_up: now + self.t1 * 64,
            describes,
        });
        self.number
    }

    /// Takes the number that a PRACK names; whether it acknowledges what waits.
    pub fn acknowledge(&mut self, number: u32) -> bool {
        number == self.number && self.waiting.take().is_some()
    }

    /// Whether a response waits for its PRACK.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether the 2xx has to wait too, because what waits carries a session description (RFC 3262 §3).
    #[must_use]
    pub fn holds_the_answer(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.describes)
    }

    /// What is due; to be asked again after each [`Due::Resend`].
    pub fn poll(&mut self, now: Instant) -> Due {
        let Some(waiting) = &mut self.waiting else {
            return Due::Nothing;
        };
        if waiting.give_up <= now {
            self.waiting = None;
            return Due::GiveUp;
        }
        if waiting.resend <= now {
            waiting.interval *= 2;
            waiting.resend = now + waiting.interval;
            return Due::Resend;
        }
        Due::At(waiting.resend.min(waiting.give_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T1: Duration = Duration::from_millis(500);

    #[test]
    fn a_response_is_sent_again_at_doubling_intervals_until_its_prack_comes() {
        let began = Instant::now();
        let mut reliable = Reliable::new(T1, 41);
        let number = reliable.send(began, true);
        assert!(reliable.holds_the_answer());
        let mut resent = Vec::new();
        for millis in 0..5_000 {
            let now = began + Duration::from_millis(millis);
            if reliable.poll(now) == Due::Resend {
                resent.push(millis);
            }
        }
        assert_eq!(resent, [500, 1_500, 3_500]);
        assert!(
            !reliable.acknowledge(number + 1),
            "a number that was never sent"
        );
        assert!(reliable.acknowledge(number));
        assert!(!reliable.acknowledge(number), "a second PRACK");
        assert_eq!(reliable.poll(began + T1 * 70), Due::Nothing);
        assert_eq!(reliable.send(began, false), number + 1);
        assert!(!reliable.holds_the_answer());
    }

    #[test]
    fn without_a_prack_the_invite_is_given_up() {
        let began = Instant::now();
        let mut reliable = Reliable::new(T1, u32::MAX);
        reliable.send(began, false);
        assert_eq!(reliable.poll(began + T1 * 64), Due::GiveUp);
        assert!(!reliable.is_waiting());
    }
}
