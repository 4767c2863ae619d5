//! Session timers (RFC 4028): how long a session lasts, and which end keeps it alive.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Before the end there is at least this much time left for the BYE (RFC 4028 §10).
const BEFORE_THE_END: Duration = Duration::from_secs(32);

/// The longest interval that is taken at its word; a larger number is this one.
const LONGEST: u32 = 86_400;

/// Which end of a transaction refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The one that sent the request.
    Uac,
    /// The one that answered it.
    Uas,
}

impl Refresher {
    /// The parameter's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uac => "uac",
            Self::Uas => "uas",
        }
    }
}

/// What we want of session timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The interval that we ask for, in seconds; 0 asks for none.
    pub expires: u32,
    /// The shortest one that we take, in seconds.
    pub min: u32,
}

/// What a message says of the session timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerHeaders {
    /// Session-Expires.
    pub expires: Option<(u32, Option<Refresher>)>,
    /// Min-SE.
    pub min_se: Option<u32>,
    /// Supported or Require names `timer`.
    pub supported: bool,
}

impl TimerHeaders {
    /// Reads what the three headers say.
    #[must_use]
    pub fn new(expires: Option<&str>, min_se: Option<&str>, supported: bool) -> Self {
        let seconds = |text: &str| {
            text.trim()
                .parse::<u64>()
                .ok()
                .map(|seconds| seconds.min(LONGEST.into()) as u32)
        };
        let expires = expires.and_then(|value| {
            let mut parts = value.split(';');
            let interval = seconds(parts.next()?)?;
            let refresher = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                if !name.trim().eq_ignore_ascii_case("refresher") {
                    return None;
                }
                match value.trim() {
                    uac if uac.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
                    uas if uas.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
                    _ => None,
                }
            });
            Some((interval, refresher))
        });
        Self {
            expires,
            min_se: min_se.and_then(|value| seconds(value.split(';').next()?)),
            supported,
        }
    }

    /// Session-Expires as it is written.
    #[must_use]
    pub fn expires_header(&self) -> Option<String> {
        let (interval, refresher) = self.expires?;
        let mut text = interval.to_string();
        if let Some(refresher) = refresher {
            let _ = write!(text, ";refresher={}", refresher.as_str());
        }
        Some(text)
    }
}

/// What a 2xx of ours says: how long the session lasts and who refreshes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// In seconds.
    pub expires: u32,
    /// Seen from the request that is answered.
    pub refresher: Refresher,
}

impl Grant {
    /// Session-Expires as it is written.
    #[must_use]
    pub fn expires_header(&self) -> String {
        format!("{};refresher={}", self.expires, self.refresher.as_str())
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    interval: Duration,
    since: Instant,
    we_refresh: bool,
    /// When the next refresh is due, if it is ours.
    refresh: Instant,
}

/// One dialog's session timer.
#[derive(Debug)]
pub(super) struct Timer {
    terms: Terms,
    /// What the peer or a proxy between demanded with 422.
    floor: u32,
    running: Option<Running>,
}

impl Timer {
    pub(crate) const fn new(terms: Terms) -> Self {
        Self {
            terms,
            floor: terms.min,
            running: None,
        }
    }

    /// What a request of ours says. A running session keeps its refresher.
    pub(crate) fn says(&self) -> TimerHeaders {
        let interval = self.running.map_or(self.terms.expires, |running| {
            running.interval.as_secs() as u32
        });
        let refresher = self.running.map(|running| {
            if running.we_refresh {
                Refresher::Uac
            } else {
                Refresher::Uas
            }
        });
        let wanted = interval > 0 && self.terms.expires > 0;
        TimerHeaders {
            expires: wanted.then_some((interval.max(self.floor), refresher)),
            min_se: wanted.then_some(self.floor),
            supported: true,
        }
    }

    /// What we grant to a request; the Min-SE with which it is refused otherwise.
    pub(crate) fn asked(&self, said: TimerHeaders) -> Result<Option<Grant>, u32> {
        if self.terms.expires == 0 {
            return Ok(None);
        }
        let Some((interval, refresher)) = said.expires else {
            // A peer that knows timers gets one, and refreshes it.
            return Ok(said.supported.then(|| Grant {
                expires: self
                    .terms
                    .expires
                    .max(said.min_se.unwrap_or(0))
                    .max(self.floor),
                refresher: Refresher::Uac,
            }));
        };
        if interval < self.terms.min && said.supported {
            return Err(self.terms.min);
        }
        let shortest = self.floor.max(said.min_se.unwrap_or(0));
        // Who does not know timers cannot refresh: a proxy has asked in its place.
        let refresher = match refresher {
            Some(refresher) if said.supported => refresher,
            None if said.supported => Refresher::Uac,
            _ => Refresher::Uas,
        };
        Ok(Some(Grant {
            expires: interval.min(self.terms.expires).max(shortest),
            refresher,
        }))
    }

    pub(crate) fn granted(&mut self, now: Instant, grant: Option<Grant>) {
        self.running =
            grant.map(|grant| running(now, grant.expires, grant.refresher == Refresher::Uas));
    }

    /// A 2xx without Session-Expires is one of a peer, or an agreement, without timers.
    pub(crate) fn accepted(&mut self, now: Instant, said: TimerHeaders) {
        self.running =
            said.expires
                .filter(|_| self.terms.expires > 0)
                .map(|(interval, refresher)| {
                    running(now, interval.max(1), refresher != Some(Refresher::Uas))
                });
    }

    /// Takes what a 422 demands; whether it asks for more than before.
    pub(crate) fn raise(&mut self, min_se: Option<u32>) -> bool {
        let Some(min_se) = min_se.filter(|min_se| *min_se > self.floor) else {
            return false;
        };
        self.floor = min_se;
        true
    }

    /// A refresh was refused: half of what is left may bring a better answer.
    pub(crate) fn failed(&mut self, now: Instant) {
        if let Some(running) = &mut self.running {
            running.refresh = now + end(running).saturating_duration_since(now) / 2;
        }
    }

    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    pub(crate) fn refreshes(&self) -> Option<Instant> {
        self.running
            .filter(|running| running.we_refresh)
            .map(|running| running.refresh)
    }

    pub(crate) fn expires(&self) -> Option<Instant> {
        self.running.as_ref().map(end)
    }
}

fn running(now: Instant, seconds: u32, we_refresh: bool) -> Running {
    let interval = Duration::from_secs(seconds.into());
    Running {
        interval,
        since: now,
        we_refresh,
        refresh: now + interval / 2,
    }
}

/// When the dialog is ended: a little before the peer would do so (RFC 4028 §10).
fn end(running: &Running) -> Instant {
    let interval = running.interval;
    running.since + interval.saturating_sub(BEFORE_THE_END.min(interval / 3))
}
