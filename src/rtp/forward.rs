//! The bridge's own stream towards a leg: what the other leg sends, under our source, with the leg's payload types.
//!
//! Packets of a codec that the leg has are relayed as they are: a loss on the way in stays visible on the way out (the
//! sequence jumps alike), so that the receiver's own concealment and statistics stay true, and a duplicate stays a
//! duplicate. Only where the leg lacks the codec, or wants other packet times, is the stream made anew ([`Remake`]).

mod remake;

use std::time::Instant;

use remake::Remake;

use super::dtmf::Event;
use super::{Content, Format, Packet, WireSequence};
use crate::audio::Frequency;
use crate::audio::codec::{Codec, Decoder, Encoder};

/// Where a new source's timestamps go on behind the old one's: a packet of 20 ms in hundredths of a second.
const FRAMES_PER_SECOND: u32 = 50;

/// So many packets of another length than wanted are no accident.
const MISFITS: u8 = 3;

/// What a leg wants to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The codec.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Key presses, if the leg has them.
    pub event: Option<Format>,
    /// The payload type of comfort noise, if the leg has it.
    pub comfort_noise: Option<u8>,
    /// Milliseconds of sound in a packet, if the leg wishes any number of them.
    pub wish: Option<u8>,
    /// The most milliseconds of sound in a packet.
    pub max_ptime: Option<u8>,
}

/// Turns one G.711 law into the other: packet by packet, without any state between them.
struct OtherLaw {
    decoder: Decoder,
    encoder: Encoder,
    samples: Vec<i16>,
    octets: Vec<u8>,
}

/// Rewrites packets: one outgoing stream that goes on whatever sources come and go.
pub struct Forwarder {
    ssrc: u32,
    incoming: Vec<Format>,
    outgoing: Outgoing,
    other_law: Option<Box<OtherLaw>>,
    remake: Option<Box<Remake>>,
    misfits: u8,
    /// The source that is forwarded now, the clock of its sound, and what is added to its numbers.
    source: Option<(u32, Frequency)>,
    sequence_offset: u16,
    /// Where a moment of the incoming timestamps lies in ours.
    anchor: (u32, u32),
    /// The press that is relayed at another clock: its timestamp as it comes and as it goes.
    press: Option<(u32, u32)>,
    /// The highest number and the newest timestamp sent, and when.
    sequence: u16,
    timestamp: u32,
    sent_at: Option<Instant>,
}

impl Forwarder {
    /// A stream of `ssrc` that begins at `sequence` and `timestamp`, all three random (RFC 3550 §5.1).
    #[must_use]
    pub const fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            ssrc,
            incoming: Vec::new(),
            outgoing: Outgoing {
                codec: Codec::Pcma,
                payload_type: 8,
                event: None,
                comfort_noise: None,
                wish: None,
                max_ptime: None,
            },
            other_law: None,
            remake: None,
            misfits: 0,
            source: None,
            sequence_offset: 0,
            anchor: (0, 0),
            press: None,
            sequence,
            timestamp,
            sent_at: None,
        }
    }

    /// Says what comes in and what is to go out; may change during the call.
    pub fn connect(&mut self, incoming: &[Format], outgoing: &Outgoing) {
        if self.incoming == incoming && self.outgoing == *outgoing {
            return;
        }
        self.incoming = incoming.to_vec();
        self.outgoing = outgoing.clone();
        self.other_law = None;
        self.restart();
    }

    /// What follows is numbered as a new source's.
    fn restart(&mut self) {
        self.remake = None;
        self.misfits = 0;
        self.source = None;
    }

    /// The outgoing source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The clock of the outgoing stream.
    #[must_use]
    pub const fn clock(&self) -> Frequency {
        self.outgoing.codec.clock()
    }

    /// The newest timestamp sent, and when.
    #[must_use]
    pub fn newest(&self) -> Option<(u32, Instant)> {
        Some((self.timestamp, self.sent_at?))
    }

    /// Whether key presses can be sent.
    #[must_use]
    pub const fn takes_events(&self) -> bool {
        self.outgoing.event.is_some()
    }

    /// The clock of key presses that are inserted.
    #[must_use]
    pub fn event_clock(&self) -> Frequency {
        self.outgoing
            .event
            .map_or(Frequency::HZ_8000, |event| event.clock)
    }

    /// Gives `send` the packets to send for `packet`: mostly one; none for a payload type that was not agreed on or
    /// while `muted`; none or several where packet times differ.
    pub fn forward(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        muted: bool,
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let format = self
            .incoming
            .iter()
            .find(|format| format.payload_type == packet.payload_type)
            .copied();
        match format.map(|format| (format, format.content)) {
            Some((_, Content::Sound(codec))) if !muted => self.sound(now, codec, packet, send),
            Some((format, Content::Event)) if !muted => self.event(now, format, packet, send),
            Some((format, Content::ComfortNoise)) if !muted => {
                let payload_type = self.outgoing.comfort_noise.filter(|_| {
                    self.remake.is_none() && format.clock == self.outgoing.codec.clock()
                });
                match payload_type {
                    Some(payload_type) => self.relay(now, packet, payload_type, None, send),
                    None => self.pass_over(packet),
                }
            }
            _ => self.pass_over(packet),
        }
    }

    /// Closes the hole that a packet leaves which is not forwarded: to the receiver it was never sent.
    fn pass_over(&mut self, packet: &Packet<'_>) {
        if self.source.is_none_or(|(source, _)| source != packet.ssrc) {
            return;
        }
        if let Some(remake) = &mut self.remake {
            remake.pass_over(packet.sequence);
        } else if self.outgoing_number(packet) == self.sequence.wrapping_add(1) {
            self.sequence_offset = self.sequence_offset.wrapping_sub(1);
        }
    }

    fn outgoing_number(&self, packet: &Packet<'_>) -> u16 {
        packet.sequence.0.wrapping_add(self.sequence_offset)
    }

    fn sound(
        &mut self,
        now: Instant,
        codec: Codec,
        packet: &Packet<'_>,
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let to = self.outgoing.codec;
        let g711 = |codec| matches!(codec, Codec::Pcma | Codec::Pcmu);
        let relays = codec == to || (g711(codec) && g711(to));
        // The leg may change between the codecs that it was offered, from packet to packet.
        if self
            .remake
            .as_ref()
            .is_some_and(|remake| remake.from() != codec)
        {
            self.restart();
        }
        if self.remake.is_none() && (!relays || self.is_misfit(codec, packet)) {
            if !relays {
                self.source = None;
            }
            self.remake = Some(Box::new(Remake::new(codec, packet, &self.outgoing)));
        }
        if self.remake.is_some() {
            self.make_anew(now, codec, packet, send);
        } else if codec == to {
            self.relay(now, packet, self.outgoing.payload_type, None, send);
        } else {
            let mut law = self.other_law.take().unwrap_or_else(|| {
                Box::new(OtherLaw {
                    decoder: Decoder::new(codec),
                    encoder: Encoder::new(to),
                    samples: Vec::new(),
                    octets: Vec::new(),
                })
            });
            law.samples.clear();
            law.octets.clear();
            law.decoder.decode(packet.payload, &mut law.samples);
            law.encoder.encode_into(&law.samples, &mut law.octets);
            let payload_type = self.outgoing.payload_type;
            self.relay(now, packet, payload_type, Some(&law.octets), send);
            self.other_law = Some(law);
        }
    }

    /// Whether the leg wants other packet times than come in.
    fn is_misfit(&mut self, codec: Codec, packet: &Packet<'_>) -> bool {
        let Outgoing {
            wish, max_ptime, ..
        } = self.outgoing;
        if (wish.is_none() && max_ptime.is_none()) || !codec.is_divisible() {
            return false;
        }
        let samples = codec.samples_in(packet.payload) as u64;
        let millis = codec.rate().duration_of(samples).as_millis();
        let fits = wish.is_none_or(|wish| u128::from(wish) == millis)
            && max_ptime.is_none_or(|most| millis <= u128::from(most));
        self.misfits = if fits { 0 } else { self.misfits + 1 };
        self.misfits == MISFITS
    }

    /// Takes note of whose packet this is; whether it is the first of its source.
    fn begin(&mut self, packet: &Packet<'_>, clock: Frequency) -> bool {
        if self.source == Some((packet.ssrc, clock)) {
            return false;
        }
        self.source = Some((packet.ssrc, clock));
        self.sequence_offset = self
            .sequence
            .wrapping_add(1)
            .wrapping_sub(packet.sequence.0);
        let next = self
            .timestamp
            .wrapping_add(self.clock().hertz() / FRAMES_PER_SECOND);
        self.anchor = (packet.timestamp, next);
        if let Some(remake) = &mut self.remake {
            remake.begin();
        }
        true
    }

    fn relay(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        payload_type: u8,
        payload: Option<&[u8]>,
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let fresh = self.begin(packet, self.clock());
        let sequence = self.outgoing_number(packet);
        let (from, to) = self.anchor;
        let timestamp = packet.timestamp.wrapping_sub(from).wrapping_add(to);
        if sequence.wrapping_sub(self.sequence).cast_signed() > 0 {
            self.sequence = sequence;
            self.timestamp = timestamp;
            self.sent_at = Some(now);
        }
        send(&Packet {
            payload_type,
            // The receiver may adjust its playout at a new source as at a new talk spurt.
            marker: packet.marker || fresh,
            sequence: WireSequence(sequence),
            timestamp,
            ssrc: self.ssrc,
            payload: payload.unwrap_or(packet.payload),
        });
    }

    fn make_anew(
        &mut self,
        now: Instant,
        codec: Codec,
        packet: &Packet<'_>,
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let clocks = (codec.clock(), self.clock());
        let fresh = self.begin(packet, clocks.0);
        let at = self.moment(packet.timestamp, clocks);
        let Some(remake) = &mut self.remake else {
            return;
        };
        let (ssrc, payload_type) = (self.ssrc, self.outgoing.payload_type);
        let (sequence, timestamp) = (&mut self.sequence, &mut self.timestamp);
        let sent_at = &mut self.sent_at;
        remake.push(packet, at, fresh, &mut |piece| {
            *sequence = sequence.wrapping_add(1 + piece.lost);
            *timestamp = piece.timestamp;
            *sent_at = Some(now);
            send(&Packet {
                payload_type,
                marker: piece.marker,
                sequence: WireSequence(*sequence),
                timestamp: piece.timestamp,
                ssrc,
                payload: piece.payload,
            });
        });
    }

    /// Where an incoming timestamp lies in ours. The anchor follows in whole seconds, so that nothing is rounded twice
    /// and the 32 bits never wrap between.
    fn moment(&mut self, timestamp: u32, (from, to): (Frequency, Frequency)) -> u32 {
        let (from, to) = (i64::from(from.hertz()), i64::from(to.hertz()));
        let ahead = i64::from(timestamp.wrapping_sub(self.anchor.0).cast_signed());
        let seconds = ahead / from;
        if seconds > 1 {
            self.anchor.0 = self.anchor.0.wrapping_add((seconds * from) as u32);
            self.anchor.1 = self.anchor.1.wrapping_add((seconds * to) as u32);
        }
        let ahead = i64::from(timestamp.wrapping_sub(self.anchor.0).cast_signed());
        self.anchor.1.wrapping_add((ahead * to / from) as u32)
    }

    /// A key press: as it comes where the clocks agree, else with its times converted.
    fn event(
        &mut self,
        now: Instant,
        format: Format,
        packet: &Packet<'_>,
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let Some(event) = self.outgoing.event else {
            self.pass_over(packet);
            return;
        };
        if self.remake.is_none() && format.clock == event.clock && format.clock == self.clock() {
            self.relay(now, packet, event.payload_type, None, send);
            return;
        }
        let Some(mut told) = Event::parse(packet.payload) else {
            self.pass_over(packet);
            return;
        };
        let ticks = u64::from(told.duration) * u64::from(event.clock.hertz())
            / u64::from(format.clock.hertz());
        told.duration = ticks.min(u64::from(u16::MAX)) as u16;
        let timestamp = match self.press {
            Some((from, to)) if from == packet.timestamp => to,
            _ => self.clock_at(now),
        };
        self.press = Some((packet.timestamp, timestamp));
        self.pass_over(packet);
        self.insert(timestamp, packet.marker, &told.to_payload(), send);
    }

    /// What the outgoing timestamps count at `now`.
    #[must_use]
    pub fn clock_at(&self, now: Instant) -> u32 {
        let since = self.sent_at.map_or(0, |sent| {
            self.clock().samples_in(now.saturating_duration_since(sent))
        });
        self.timestamp.wrapping_add(since as u32)
    }

    /// Sends a key press that nobody sent, behind what went out before.
    pub fn insert(
        &mut self,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        send: &mut dyn FnMut(&Packet<'_>),
    ) {
        let Some(event) = self.outgoing.event else {
            return;
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence_offset = self.sequence_offset.wrapping_add(1);
        send(&Packet {
            payload_type: event.payload_type,
            marker,
            sequence: WireSequence(self.sequence),
            timestamp,
            ssrc: self.ssrc,
            payload,
        });
    }
}

#[cfg(test)]
mod tests;
