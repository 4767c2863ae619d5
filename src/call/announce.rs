//! The announcement that the caller hears before the operator: that the call is recorded and transcribed.
//!
//! It is played after the answer, or as early media while the operator's phone rings; until it is over, the caller hears
//! nobody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Call, Output, Reason, State};
use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;
use crate::audio::{Frame, Frequency, MediaTime};
use crate::rtp::{Packet, WireSequence};
use crate::sip::{Party, SipCommand};
use crate::transcript::RecordingMark;

/// What a packet holds.
const PACKET: Duration = Duration::from_millis(20);

/// The announcement's own source; the caller's stream gets its numbers from the forwarder in any case.
const SSRC: u32 = 0x616e_6e6f;

/// An announcement under way.
pub(super) struct Announcement {
    sound: Arc<Frame>,
    /// Made when the codec is known, and anew when it is another.
    payloads: Option<(Codec, Vec<Vec<u8>>)>,
    began: Option<Instant>,
    next: u32,
}

impl Announcement {
    pub(crate) fn new(sound: Arc<Frame>) -> Self {
        Self {
            sound,
            payloads: None,
            began: None,
            next: 0,
        }
    }

    /// When the next packet is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.began.map(|began| began + PACKET * self.next)
    }

    /// The next payload that is due, and its number; the first call begins. `codec` is that of the leg in whose place
    /// the announcement speaks.
    pub(crate) fn due(&mut self, now: Instant, codec: Codec) -> Option<(u32, &[u8])> {
        let began = *self.began.get_or_insert(now);
        self.payloads = self.payloads.take().filter(|(made, _)| *made == codec);
        let sound = &self.sound;
        let fresh = || (codec, encoded(sound, codec));
        let (_, payloads) = self.payloads.get_or_insert_with(fresh);
        let number = self.next;
        if began + PACKET * number > now {
            return None;
        }
        let payload = payloads.get(number as usize)?;
        self.next += 1;
        Some((number, payload))
    }

    /// Whether all of it has been said.
    pub(crate) fn is_over(&self) -> bool {
        self.payloads
            .as_ref()
            .is_some_and(|(_, payloads)| self.next as usize >= payloads.len())
    }
}

/// The packet that carries a payload.
fn packet(number: u32, payload: &[u8], payload_type: u8, ticks: u32) -> Packet<'_> {
    Packet {
        payload_type,
        marker: number == 0,
        sequence: WireSequence(number as u16),
        timestamp: number.wrapping_mul(ticks),
        ssrc: SSRC,
        payload,
    }
}

/// The clock ticks of one packet.
fn ticks(codec: Codec) -> u32 {
    codec.clock().samples_in(PACKET) as u32
}

fn encoded(sound: &Frame, codec: Codec) -> Vec<Vec<u8>> {
    let rate: Frequency = codec.rate();
    let mut samples = Vec::new();
    if sound.rate == rate {
        samples.extend_from_slice(&sound.samples);
    } else {
        Resampler::new(sound.rate, rate)
            .push(&sound.samples, |piece| samples.extend_from_slice(piece));
    }
    let length = rate.samples_in(PACKET) as usize;
    samples.resize(samples.len().next_multiple_of(length), 0);
    let mut encoder = Encoder::new(codec);
    samples
        .chunks_exact(length)
        .map(|piece| encoder.encode(piece))
        .collect()
}

/// A sound from its first sample on.
#[must_use]
pub fn sound(samples: Vec<i16>, rate: Frequency) -> Frame {
    Frame {
        samples,
        rate,
        start: MediaTime::ZERO,
    }
}

impl Call {
    /// Has the caller hear the announcement while the operator's phone rings. Who brings no offer can be told only in the
    /// answer how to hear it, and hears it then.
    pub(super) fn begin_announcement(&mut self) {
        let Some(offer) = &self.offer else {
            return;
        };
        if !self.setup.rules.announce_early || self.announcement.is_none() {
            return;
        }
        let codecs = offer.codecs();
        let best = codecs
            .iter()
            .find(|codec| self.setup.codecs.contains(codec));
        let answer = best.and_then(|codec| self.describe_to_caller(*codec).ok());
        if answer.is_some() {
            self.connect();
            self.tell(SipCommand::Ring {
                party: Party::CALLER,
                status: 183,
                answer,
            });
        }
    }

    /// Whether the caller hears the announcement now, and therefore nobody else.
    pub(super) fn is_announcing(&self) -> bool {
        let flows = match self.state {
            State::Up => true,
            State::Ringing { .. } => self.setup.rules.announce_early && self.told.is_some(),
            State::Flushing { .. } | State::Over => false,
        };
        flows && self.announcement.is_some()
    }

    /// Sends what is due of the announcement, in the operator's place.
    pub(super) fn announce(&mut self, now: Instant) {
        let Some(announcement) = &mut self.announcement else {
            return;
        };
        let [caller, operator] = &mut self.media_legs;
        let Some((codec, payload_type)) = operator.speaks().or_else(|| caller.speaks()) else {
            return;
        };
        while let Some((number, payload)) = announcement.due(now, codec) {
            let packet = packet(number, payload, payload_type, ticks(codec));
            caller.forward(now, &packet, &mut self.transmits);
        }
        if announcement.is_over() {
            self.announcement = None;
            self.mark(now, RecordingMark::Announced);
            if let Some(status) = self.ringing_after.take()
                && matches!(self.state, State::Ringing { .. })
            {
                self.tell(SipCommand::Ring {
                    party: Party::CALLER,
                    status,
                    answer: None,
                });
            }
        }
    }

    pub(super) fn announcement_deadline(&self) -> Option<(Instant, Reason)> {
        let deadline = self.announcement.as_ref().and_then(Announcement::deadline);
        deadline.map(|at| (at, Reason::Announce))
    }

    /// When something is due while the operator's phone rings, at most until `until`.
    pub(super) fn ringing_deadline(&self, until: Instant) -> Output {
        match self.announcement_deadline() {
            Some((at, reason)) if at < until && self.is_announcing() => {
                Output::Deadline(at, reason)
            }
            _ => Output::Deadline(until, Reason::Ring),
        }
    }
}
