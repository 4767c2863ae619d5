//! What a leg sends, in order and without a hole, for whoever listens: no time is stretched and none is skipped.
//!
//! A packet that is next in order is given out at once. At a hole the buffer waits up to its depth for the missing
//! packet, then conceals 60 ms of the loss and leaves the rest silent; Opus tells of the packet before it in the one
//! behind the hole, and knows itself how to go on. When a sender stops (mute, hold, silence
//! suppression) silence follows at the same distance, so that the end-pointer hears the pause. A packet that is next
//! in order but later than its place is heard all the same, behind the silence that went out meanwhile, and the
//! depth grows with it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::conceal::{CONCEALED, Concealer};
use super::stats::StreamStats;
use super::{ExtendedSequence, Format, Packet};
use crate::audio::codec::{Codec, Decoder};
use crate::audio::{Frame, Frequency, MediaTime};

/// How long a missing packet is waited for at first; three packets of 20 ms.
pub const DEPTH: Duration = Duration::from_millis(60);

/// What the depth may grow to; more would delay the transcript as a person notices.
pub const DEEPEST: Duration = Duration::from_millis(300);

/// Silence goes out in frames of this length.
pub const FRAME: Duration = Duration::from_millis(20);

/// What goes out at a time at most.
pub const LONGEST: Duration = Duration::from_secs(1);

/// Packets that wait at most; at 20 ms each more than the deepest buffer.
const MOST_WAITING: usize = 64;

/// RFC 3550 appendix A.1: a larger step forward or back is a stream that began anew.
const MAX_DROPOUT: i16 = 3_000;
const MAX_MISORDER: i16 = 100;

/// A timestamp further ahead of the arrivals than this has jumped.
pub const MOST_AHEAD: Duration = Duration::from_secs(1);

/// A hole of less, a few samples, is rounding.
pub const ROUNDING: Duration = Duration::from_millis(1);

/// Whether the sender is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    /// It is held: numbers that are left out meanwhile are not lost.
    Off,
    /// It may send again, and has not yet.
    Resumed,
}

/// What a frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was sent.
    Audio,
    /// Repeated and fading, in place of a loss.
    Concealed,
    /// Nothing was sent, or too much was lost.
    Silence,
}

/// A stretch of the leg's timeline; it begins where the one before ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The samples and when they begin.
    pub frame: Frame,
    /// What they are.
    pub kind: Kind,
}

struct Waiting {
    /// Where its sound begins.
    at: MediaTime,
    arrived: Instant,
    /// `None` for key presses and comfort noise: time goes on, but nothing is to be heard.
    sound: Option<(Codec, Vec<u8>)>,
}

/// Where the current source's timestamps lie on the timeline.
struct Anchor {
    ssrc: u32,
    /// What the timestamps count.
    clock: Frequency,
    timestamp: u32,
    at: MediaTime,
}

/// One leg's incoming stream.
pub struct ListenBuffer {
    /// The timeline's zero: the answer.
    epoch: Instant,
    formats: Vec<Format>,
    depth: Duration,
    anchor: Option<Anchor>,
    waiting: BTreeMap<ExtendedSequence, Waiting>,
    /// What a stream that has ended left waiting: given out first, whatever is missing from it.
    left: VecDeque<Waiting>,
    /// The number that is next in order.
    next: Option<ExtendedSequence>,
    /// Until where the timeline has been given out.
    until: MediaTime,
    decoder: Decoder,
    concealer: Concealer,
    flow: Flow,
    stats: Option<StreamStats>,
}

impl ListenBuffer {
    /// A buffer whose timeline begins at `epoch`; `formats` says which payload type is which codec.
    #[must_use]
    pub fn new(epoch: Instant, formats: Vec<Format>) -> Self {
        let codec = formats
            .iter()
            .find_map(Format::codec)
            .unwrap_or(Codec::Pcma);
        Self {
            epoch,
            formats,
            depth: DEPTH,
            anchor: None,
            waiting: BTreeMap::new(),
            left: VecDeque::new(),
            next: None,
            until: MediaTime::ZERO,
            decoder: Decoder::new(codec),
            concealer: Concealer::default(),
            flow: Flow::On,
            stats: None,
        }
    }

    /// Takes changed payload types, after a new offer and answer.
    pub fn set_formats(&mut self, formats: Vec<Format>) {
        self.formats = formats;
    }

    /// The sender is held, or may send again: the numbers of a stream go on while it is held, and after it the stream
    /// begins anew.
    pub const fn set_flowing(&mut self, flows: bool) {
        self.flow = match (self.flow, flows) {
            (_, false) => Flow::Off,
            (Flow::Off, true) => Flow::Resumed,
            (flow, true) => flow,
        };
    }

    /// What has come in so far; `None` before the first packet.
    #[must_use]
    pub const fn stats(&self) -> Option<&StreamStats> {
        self.stats.as_ref()
    }

    /// The same, to be reported from.
    pub const fn stats_mut(&mut self) -> Option<&mut StreamStats> {
        self.stats.as_mut()
    }

    /// Takes a packet; what becomes of it shows in the statistics.
    pub fn push(&mut self, now: Instant, packet: &Packet<'_>) {
        let format = self
            .formats
            .iter()
            .find(|format| format.payload_type == packet.payload_type);
        let sound = format.and_then(Format::codec);
        let clock = format.map_or(Frequency::HZ_8000, |format| format.clock);
        let stats = self
            .stats
            .get_or_insert_with(|| StreamStats::new(now, clock, packet));
        let highest = stats.highest();
        let distance = highest.distance_to(packet.sequence);
        let was_held = self.flow != Flow::On && distance > 1;
        if self.flow == Flow::Resumed {
            self.flow = Flow::On;
        }
        let goes_on = self
            .anchor
            .as_ref()
            .is_some_and(|anchor| anchor.ssrc == packet.ssrc)
            && (-MAX_MISORDER..=MAX_DROPOUT).contains(&distance)
            && !was_held;
        let sequence = goes_on.then(|| highest.advanced(distance));
        if sound.is_some() {
            stats.set_clock(clock);
        }
        stats.count(now, packet, sequence);
        let arrival = self.time_at(now);
        let sequence = sequence.unwrap_or_else(|| {
            self.finish();
            self.anchor = None;
            let first = ExtendedSequence::first(packet.sequence);
            self.next = Some(first);
            first
        });
        if self.waiting.contains_key(&sequence) {
            self.count(|stats| stats.duplicates += 1);
            return;
        }
        let newest = sequence > highest || !goes_on;
        if self.next.is_some_and(|next| sequence < next) {
            // Its place has been given out: a duplicate of what was heard, or later than the depth.
            self.count(|stats| stats.late += 1);
            return;
        }
        let is_sound = sound.is_some();
        // Key presses may count another clock than the sound around them, and have nothing to be placed.
        let at = if is_sound {
            self.place(packet, clock, arrival, newest)
        } else {
            arrival
        };
        // Faster than time itself, or more than anybody waits for.
        if at > arrival + MOST_AHEAD || self.waiting.len() == MOST_WAITING {
            self.count(|stats| stats.late += 1);
            return;
        }
        let sound = sound.map(|codec| (codec, packet.payload.to_vec()));
        self.waiting.insert(
            sequence,
            Waiting {
                at,
                arrived: now,
                sound,
            },
        );
    }

    fn count(&mut self, how: impl FnOnce(&mut StreamStats)) {
        if let Some(stats) = &mut self.stats {
            how(stats);
        }
    }

    fn time_at(&self, now: Instant) -> MediaTime {
        MediaTime::ZERO + now.saturating_duration_since(self.epoch)
    }

    /// Where a packet's sound belongs; the newest one moves the anchor when its place has passed or lies absurdly far off.
    fn place(
        &mut self,
        packet: &Packet<'_>,
        clock: Frequency,
        arrival: MediaTime,
        newest: bool,
    ) -> MediaTime {
        let end = self
            .waiting
            .values()
            .next_back()
            .map_or(self.until, |last| last.at.max(self.until));
        let fresh = || Anchor {
            ssrc: packet.ssrc,
            clock,
            timestamp: packet.timestamp,
            at: end.max(arrival),
        };
        let anchor = self.anchor.get_or_insert_with(fresh);
        if anchor.clock != clock {
            *anchor = fresh();
        }
        let ticks = i64::from(
            packet
                .timestamp
                .wrapping_sub(anchor.timestamp)
                .cast_signed(),
        );
        let span = clock.duration_of(ticks.unsigned_abs());
        let at = if ticks < 0 {
            anchor.at - span
        } else {
            anchor.at + span
        };
        if !newest {
            return at;
        }
        // Follows the stream, so that the 32 bits never wrap between anchor and packet.
        anchor.timestamp = packet.timestamp;
        anchor.at = at;
        if at > arrival + MOST_AHEAD {
            anchor.at = end.max(arrival);
        } else if at < self.until {
            anchor.at = self.until;
            let late = self.until.since(at);
            // A sender whose timestamps stood still during a pause is no slow network.
            if late <= DEEPEST {
                self.depth = (self.depth + late).min(DEEPEST);
            }
        }
        anchor.at
    }

    /// The next stretch of the timeline, or `None` until a packet comes or [`ListenBuffer::deadline`] passes.
    pub fn poll(&mut self, now: Instant) -> Option<Heard> {
        loop {
            if let Some(at) = self.left.front().map(|first| first.at) {
                if let Some(hole) = self.hole_before(at) {
                    return Some(self.silence(hole));
                }
                if let Some(heard) = self.left.pop_front().and_then(|first| self.decode(first)) {
                    return Some(heard);
                }
                continue;
            }
            let Some((&sequence, first)) = self.waiting.first_key_value() else {
                let missing = (self.time_at(now) - self.depth).since(self.until);
                return (missing >= FRAME).then(|| self.silence(missing));
            };
            let in_order = self.next.is_none_or(|next| next == sequence);
            if !in_order && now < first.arrived + self.depth && self.waiting.len() < MOST_WAITING {
                return None;
            }
            let (at, is_sound) = (first.at, first.sound.is_some());
            if let Some(hole) = self.hole_before(at).filter(|_| is_sound) {
                return Some(if in_order {
                    self.silence(hole)
                } else {
                    self.conceal(hole)
                });
            }
            self.next = Some(ExtendedSequence(sequence.0 + 1));
            if let Some(heard) = self
                .waiting
                .remove(&sequence)
                .and_then(|first| self.decode(first))
            {
                return Some(heard);
            }
        }
    }

    /// What is missing up to `at`.
    fn hole_before(&self, at: MediaTime) -> Option<Duration> {
        Some(at.since(self.until)).filter(|hole| *hole >= ROUNDING)
    }

    fn decode(&mut self, waiting: Waiting) -> Option<Heard> {
        let (codec, payload) = waiting.sound?;
        if codec != self.decoder.codec() {
            self.decoder = Decoder::new(codec);
            self.concealer.clear();
        }
        let mut samples = Vec::new();
        self.decoder.decode(&payload, &mut samples);
        self.concealer.hear(&mut samples, codec.rate());
        (!samples.is_empty()).then(|| self.give(samples, Kind::Audio))
    }

    /// When [`ListenBuffer::poll`] has something to give even if no packet comes.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match self.waiting.first_key_value() {
            Some((_, first)) => first.arrived + self.depth,
            None => self.epoch + self.until.since(MediaTime::ZERO) + self.depth + FRAME,
        }
    }

    /// The stream has ended: what waits is given out without waiting for what is missing.
    pub fn finish(&mut self) {
        self.left
            .extend(std::mem::take(&mut self.waiting).into_values());
        // A peer that changes its source with every packet must not fill the memory.
        let surplus = self.left.len().saturating_sub(MOST_WAITING);
        self.left.drain(..surplus);
    }

    fn silence(&mut self, span: Duration) -> Heard {
        // In pieces, so that a long silence needs no large buffer.
        let rate = self.decoder.codec().rate();
        let samples = vec![0; rate.samples_in(span.min(LONGEST)) as usize];
        self.concealer.pass(&samples, rate);
        self.give(samples, Kind::Silence)
    }

    /// Fills a hole by what the codec itself makes of it, or by what was heard before it, fading to nothing over
    /// [`CONCEALED`].
    fn conceal(&mut self, hole: Duration) -> Heard {
        let codec = self.decoder.codec();
        let rate = codec.rate();
        let count = rate.samples_in(hole.min(LONGEST)) as usize;
        // What the packet behind the hole tells of the one before it belongs to the hole's end.
        let behind = self.waiting.values().next().filter(|_| hole <= LONGEST);
        let behind = match behind.and_then(|first| first.sound.as_ref()) {
            Some((same, payload)) if *same == codec => payload.as_slice(),
            _ => &[],
        };
        let guessed = rate.samples_in(CONCEALED) as usize;
        let samples = if let Some(samples) = self.decoder.conceal(count, guessed, behind) {
            self.concealer.pass(&samples, rate);
            samples
        } else {
            self.concealer.fill(count, rate)
        };
        self.give(samples, Kind::Concealed)
    }

    fn give(&mut self, samples: Vec<i16>, kind: Kind) -> Heard {
        let frame = Frame {
            samples,
            rate: self.decoder.codec().rate(),
            start: self.until,
        };
        self.until = self.until + frame.duration();
        Heard { frame, kind }
    }
}

#[cfg(test)]
mod tests;
