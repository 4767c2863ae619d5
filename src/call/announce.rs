//! The announcement that the caller hears before the operator does: that the call is recorded and transcribed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;
use crate::audio::{Frame, Frequency, MediaTime};
use crate::rtp::{Packet, WireSequence};

/// What a packet holds.
const PACKET: Duration = Duration::from_millis(20);

/// The announcement's own source; the caller's stream gets its numbers from the forwarder in any case.
const SSRC: u32 = 0x616e_6e6f;

/// An announcement under way.
pub(super) struct Announcement {
    sound: Arc<Frame>,
    /// Made when the codec is known.
    payloads: Option<Vec<Vec<u8>>>,
    began: Option<Instant>,
    next: u32,
}

impl Announcement {
    pub fn new(sound: Arc<Frame>) -> Self {
        Self {
            sound,
            payloads: None,
            began: None,
            next: 0,
        }
    }

    /// When the next packet is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.began.map(|began| began + PACKET * self.next)
    }

    /// The next payload that is due, and its number; the first call begins. `codec` is that of the leg in whose place
    /// the announcement speaks.
    pub fn due(&mut self, now: Instant, codec: Codec) -> Option<(u32, &[u8])> {
        let began = *self.began.get_or_insert(now);
        let sound = &self.sound;
        let payloads = self.payloads.get_or_insert_with(|| encoded(sound, codec));
        let number = self.next;
        if began + PACKET * number > now {
            return None;
        }
        let payload = payloads.get(number as usize)?;
        self.next += 1;
        Some((number, payload))
    }

    /// Whether all of it has been said.
    pub fn is_over(&self) -> bool {
        self.payloads
            .as_ref()
            .is_some_and(|payloads| self.next as usize >= payloads.len())
    }
}

/// The packet that carries a payload.
pub(super) fn packet(number: u32, payload: &[u8], payload_type: u8, ticks: u32) -> Packet<'_> {
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
pub(super) fn ticks(codec: Codec) -> u32 {
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
