//! A stream made anew: other packet times, and where need be another codec.

use super::Outgoing;
use crate::audio::codec::{Codec, Decoder, Encoder};
use crate::audio::resample::Resampler;
use crate::rtp::{Packet, WireSequence};

/// A step of the sequence numbers beyond this is a sender that began anew (RFC 3550 appendix A.1).
const MAX_DROPOUT: i16 = 3_000;

/// The packet times that we make, in milliseconds; Opus has these only.
const SHORTEST: u32 = 10;
const LONGEST: u32 = 60;
const OF_OPUS: [u32; 4] = [60, 40, 20, 10];

/// A packet to send.
pub(crate) struct Piece<'a> {
    /// Packets before it that are missing because theirs never came.
    pub lost: u16,
    /// Whether sound begins with it.
    pub marker: bool,
    /// When it begins, in ticks of the outgoing clock.
    pub timestamp: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

struct Transcoder {
    decoder: Decoder,
    decoded: Vec<i16>,
    resampler: Resampler,
    encoder: Encoder,
    /// At the outgoing rate, not encoded yet.
    samples: Vec<i16>,
}

/// Cuts and joins payloads to the packet time that is wanted; transcodes them first where the codecs differ.
///
/// What comes late is not sent: codecs with a memory could make nothing of it.
pub(crate) struct Remake {
    from: Codec,
    to: Codec,
    transcoder: Option<Transcoder>,
    /// Payload that is not sent yet, where nothing is transcoded; else room for the next one.
    octets: Vec<u8>,
    /// Samples of a packet, at the outgoing rate.
    frame: usize,
    /// The highest number seen.
    newest: Option<WireSequence>,
    /// The timestamp that would go on without a hole.
    expected: Option<u32>,
    /// Where what is not sent yet begins.
    begins: u32,
    lost: u16,
    marker: bool,
}

impl Remake {
    /// Makes `outgoing` of `from`; `first` shows the sender's packet time, which is kept where the leg wishes none.
    pub(crate) fn new(from: Codec, first: &Packet<'_>, outgoing: &Outgoing) -> Self {
        let to = outgoing.codec;
        let comes = from
            .rate()
            .duration_of(from.samples_in(first.payload) as u64)
            .as_millis() as u32;
        let most = outgoing.max_ptime.map_or(LONGEST, u32::from).min(LONGEST);
        let millis = outgoing
            .wish
            .map_or(comes, u32::from)
            .min(most)
            .max(SHORTEST);
        let millis = match to {
            Codec::Opus => OF_OPUS
                .into_iter()
                .find(|length| *length <= millis)
                .unwrap_or(SHORTEST),
            _ => millis,
        };
        Self {
            from,
            to,
            transcoder: (from != to).then(|| Transcoder {
                decoder: Decoder::new(from),
                decoded: Vec::new(),
                resampler: Resampler::new(from.rate(), to.rate()),
                encoder: Encoder::new(to),
                samples: Vec::new(),
            }),
            octets: Vec::new(),
            frame: (to.rate().hertz() / 1_000 * millis) as usize,
            newest: None,
            expected: None,
            begins: 0,
            lost: 0,
            marker: false,
        }
    }

    /// The codec that comes in.
    pub(crate) const fn from(&self) -> Codec {
        self.from
    }

    /// Another source begins.
    pub(crate) fn begin(&mut self) {
        self.newest = None;
        self.expected = None;
        self.octets.clear();
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.samples.clear();
        }
    }

    /// Takes note of a packet that is none of ours.
    pub(crate) fn pass_over(&mut self, sequence: WireSequence) {
        let ahead = self.newest.map_or(0, |newest| step(newest, sequence));
        if ahead > 0 {
            self.newest = Some(sequence);
        }
    }

    /// Takes a packet whose sound begins `at` on the outgoing clock and gives `send` what is full.
    pub(crate) fn push(
        &mut self,
        packet: &Packet<'_>,
        at: u32,
        fresh: bool,
        send: &mut dyn FnMut(Piece<'_>),
    ) {
        let ahead = self
            .newest
            .map_or(1, |newest| step(newest, packet.sequence));
        if (-MAX_DROPOUT..=0).contains(&ahead) {
            return;
        }
        self.newest = Some(packet.sequence);
        self.marker |= fresh || packet.marker;
        match self.expected {
            Some(expected) if expected == packet.timestamp => {}
            None => self.begins = at,
            Some(_) => {
                self.flush(send);
                // What was sent last may reach a little beyond where this begins.
                let hole = at.wrapping_sub(self.begins).cast_signed().max(0) as u32;
                self.begins = self.begins.wrapping_add(hole);
                if (2..=MAX_DROPOUT).contains(&ahead) {
                    // The receiver conceals what was lost, as long as it lasted.
                    self.lost = (hole / self.ticks_of(self.frame)).max(1) as u16;
                } else {
                    self.marker = true;
                }
            }
        }
        let samples = self.from.samples_in(packet.payload) as u64;
        let ticks =
            samples * u64::from(self.from.clock().hertz()) / u64::from(self.from.rate().hertz());
        self.expected = Some(packet.timestamp.wrapping_add(ticks as u32));
        match &mut self.transcoder {
            Some(transcoder) => {
                transcoder.decoded.clear();
                transcoder
                    .decoder
                    .decode(packet.payload, &mut transcoder.decoded);
                let samples = &mut transcoder.samples;
                transcoder.resampler.push(&transcoder.decoded, |converted| {
                    samples.extend_from_slice(converted);
                });
            }
            None => self.octets.extend_from_slice(packet.payload),
        }
        while self.waiting() >= self.frame {
            self.give(self.frame, send);
        }
    }

    /// Samples that are not sent yet.
    fn waiting(&self) -> usize {
        self.transcoder.as_ref().map_or_else(
            || self.to.samples_in(&self.octets),
            |transcoder| transcoder.samples.len(),
        )
    }

    /// Sends what waits before a hole, as a shorter packet, or filled up with silence where there are none.
    fn flush(&mut self, send: &mut dyn FnMut(Piece<'_>)) {
        let waiting = self.waiting();
        if waiting == 0 {
            return;
        }
        let mut count = waiting;
        if let Some(transcoder) = self.transcoder.as_mut().filter(|_| !self.to.is_divisible()) {
            transcoder.samples.resize(self.frame, 0);
            count = self.frame;
        }
        self.give(count, send);
    }

    fn ticks_of(&self, samples: usize) -> u32 {
        (samples as u64 * u64::from(self.to.clock().hertz()) / u64::from(self.to.rate().hertz()))
            as u32
    }

    fn give(&mut self, samples: usize, send: &mut dyn FnMut(Piece<'_>)) {
        let octets = match &mut self.transcoder {
            Some(transcoder) => {
                self.octets.clear();
                transcoder
                    .encoder
                    .encode_into(&transcoder.samples[..samples], &mut self.octets);
                transcoder.samples.drain(..samples);
                self.octets.len()
            }
            None => self.to.octets_of(samples).unwrap_or(self.octets.len()),
        };
        let (timestamp, lost, marker) = (self.begins, self.lost, self.marker);
        self.begins = self.begins.wrapping_add(self.ticks_of(samples));
        if octets > 0 {
            (self.lost, self.marker) = (0, false);
            send(Piece {
                lost,
                marker,
                timestamp,
                payload: &self.octets[..octets],
            });
        }
        self.octets.drain(..octets);
    }
}

const fn step(from: WireSequence, to: WireSequence) -> i16 {
    to.0.wrapping_sub(from.0).cast_signed()
}
