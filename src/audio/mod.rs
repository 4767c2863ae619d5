//! Sound as numbers: frames, rates and times, G.711/G.722/Opus/L16 codecs, resampling, voice activity.
//!
//! Pure: nothing here reads a clock, a socket or a file.

pub mod codec;
pub mod gain;
pub mod resample;
pub mod steady;
pub mod tonal;
pub mod vad;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A sampling or clock rate in hertz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frequency(u32);

impl Frequency {
    /// Narrow-band telephony (G.711).
    pub const HZ_8000: Self = Self(8_000);
    /// Wide-band telephony (G.722) and what the recogniser hears.
    pub const HZ_16000: Self = Self(16_000);
    /// What the timestamps of Opus count, whatever it carries.
    pub const HZ_48000: Self = Self(48_000);

    /// A rate of `hertz`; `None` for zero.
    #[must_use]
    pub const fn new(hertz: u32) -> Option<Self> {
        if hertz == 0 { None } else { Some(Self(hertz)) }
    }

    /// The rate in hertz, never zero.
    #[must_use]
    pub const fn hertz(self) -> u32 {
        self.0
    }

    /// How many samples `span` lasts at this rate, rounded down.
    #[must_use]
    pub const fn samples_in(self, span: Duration) -> u64 {
        span.as_micros() as u64 * self.0 as u64 / 1_000_000
    }

    /// How long `samples` samples last at this rate.
    #[must_use]
    pub const fn duration_of(self, samples: u64) -> Duration {
        Duration::from_micros(samples * 1_000_000 / self.0 as u64)
    }
}

/// A moment on the call's own clock: microseconds since the call was answered.
///
/// Transcript, recording and ticket all count from the same zero, so they agree for ever.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MediaTime(u64);

impl MediaTime {
    /// The moment of the answer.
    pub const ZERO: Self = Self(0);

    /// `micros` µs after the answer.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// `millis` ms after the answer.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// Microseconds since the answer.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the answer.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The span from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for MediaTime {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0 + span.as_micros() as u64)
    }
}

impl Sub<Duration> for MediaTime {
    type Output = Self;
    /// Stops at zero.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.as_micros() as u64))
    }
}

impl fmt::Display for MediaTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

/// A run of mono samples at one rate, starting at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Linear 16-bit samples.
    pub samples: Vec<i16>,
    /// Samples a second.
    pub rate: Frequency,
    /// When the first sample was heard, on the call's clock.
    pub start: MediaTime,
}

impl Frame {
    /// How long the frame lasts.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.rate.duration_of(self.samples.len() as u64)
    }
}
