//! The bridge's own stream towards a leg: what the other leg sends, under our source, with the leg's payload types.

use super::{Packet, WireSequence};
use crate::audio::codec::{Codec, Decoder, Encoder};

/// What a payload type of the incoming stream becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As it comes in.
    pub from: u8,
    /// As it goes out.
    pub to: u8,
}

/// Turns one codec into another of the same rate and clock.
struct Transcoder {
    decoder: Decoder,
    encoder: Encoder,
    samples: Vec<i16>,
}

/// Rewrites packets: one outgoing stream that goes on whatever sources come and go.
///
/// A loss on the way in stays visible on the way out (the sequence jumps alike), so that the receiver's own
/// concealment and statistics stay true; a duplicate stays a duplicate.
pub struct Forwarder {
    ssrc: u32,
    audio: Mapping,
    event: Option<Mapping>,
    transcoder: Option<Transcoder>,
    /// The source that is forwarded now, and what is added to its numbers.
    source: Option<u32>,
    sequence_offset: u16,
    timestamp_offset: u32,
    /// The highest number and the newest timestamp sent.
    sequence: u16,
    timestamp: u32,
}

/// 20 ms at 8 kHz: where a new source's timestamps go on after the old one's.
const FRAME_TICKS: u32 = 160;

impl Forwarder {
    /// A stream of `ssrc` that begins at `sequence` and `timestamp`, all three random (RFC 3550 §5.1).
    #[must_use]
    pub const fn new(ssrc: u32, sequence: u16, timestamp: u32) -> Self {
        Self {
            ssrc,
            audio: Mapping { from: 8, to: 8 },
            event: None,
            transcoder: None,
            source: None,
            sequence_offset: 0,
            timestamp_offset: 0,
            sequence,
            timestamp,
        }
    }

    /// Says which codec comes in and which goes out, and how key presses map; may change during the call.
    pub fn connect(&mut self, audio: Mapping, codecs: (Codec, Codec), event: Option<Mapping>) {
        self.audio = audio;
        self.event = event;
        let (from, to) = codecs;
        self.transcoder = (from != to).then(|| Transcoder {
            decoder: Decoder::new(from),
            encoder: Encoder::new(to),
            samples: Vec::new(),
        });
    }

    /// The outgoing source.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The datagram to send for `packet`; `None` for a payload type that was not agreed on.
    pub fn forward(&mut self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let is_audio = packet.payload_type == self.audio.from;
        let event = self.event.filter(|event| event.from == packet.payload_type);
        let payload_type = match event {
            Some(event) => event.to,
            None if is_audio => self.audio.to,
            None => return None,
        };
        let fresh = self.source != Some(packet.ssrc);
        if fresh {
            self.sequence_offset = self
                .sequence
                .wrapping_add(1)
                .wrapping_sub(packet.sequence.0);
            self.timestamp_offset = self
                .timestamp
                .wrapping_add(FRAME_TICKS)
                .wrapping_sub(packet.timestamp);
            self.source = Some(packet.ssrc);
        }
        let sequence = packet.sequence.0.wrapping_add(self.sequence_offset);
        let timestamp = packet.timestamp.wrapping_add(self.timestamp_offset);
        if sequence.wrapping_sub(self.sequence).cast_signed() > 0 {
            self.sequence = sequence;
            self.timestamp = timestamp;
        }
        let transcoded = self
            .transcoder
            .as_mut()
            .filter(|_| is_audio)
            .map(|transcoder| {
                transcoder.samples.clear();
                transcoder
                    .decoder
                    .decode(packet.payload, &mut transcoder.samples);
                transcoder.encoder.encode(&transcoder.samples)
            });
        let outgoing = Packet {
            payload_type,
            // The receiver may adjust its playout at a new source as at a new talk spurt.
            marker: packet.marker || fresh,
            sequence: WireSequence(sequence),
            timestamp,
            ssrc: self.ssrc,
            payload: transcoded.as_deref().unwrap_or(packet.payload),
        };
        Some(outgoing.to_datagram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
        payload_type: u8,
        payload: &[u8],
    ) -> Packet<'_> {
        Packet {
            payload_type,
            marker: false,
            sequence: WireSequence(sequence),
            timestamp,
            ssrc,
            payload,
        }
    }

    fn forwarder(codecs: (Codec, Codec)) -> Forwarder {
        let mut forwarder = Forwarder::new(99, 1_000, 5_000);
        let number = |codec: Codec| codec.static_payload_type().expect("static");
        let audio = Mapping {
            from: number(codecs.0),
            to: number(codecs.1),
        };
        forwarder.connect(audio, codecs, Some(Mapping { from: 101, to: 96 }));
        forwarder
    }

    fn numbers(datagram: &[u8]) -> (u16, u32, bool) {
        let packet = Packet::parse(datagram).expect("a packet");
        assert_eq!(packet.ssrc, 99);
        (packet.sequence.0, packet.timestamp, packet.marker)
    }

    #[test]
    fn losses_reordering_and_wraps_look_the_same_on_the_way_out() {
        let mut forwarder = forwarder((Codec::Pcma, Codec::Pcma));
        let mut send = |sequence, timestamp| {
            numbers(
                &forwarder
                    .forward(&packet(sequence, timestamp, 1, 8, &[0; 160]))
                    .expect("forwarded"),
            )
        };
        assert_eq!(send(65_534, 160), (1_001, 5_160, true));
        assert_eq!(send(1, 640), (1_004, 5_640, false));
        assert_eq!(send(0, 480), (1_003, 5_480, false));
        assert_eq!(send(2, 800), (1_005, 5_800, false));
    }

    #[test]
    fn a_new_source_goes_on_behind_the_old_one_with_a_marker() {
        let mut forwarder = forwarder((Codec::Pcma, Codec::Pcma));
        forwarder
            .forward(&packet(10, 1_000, 1, 8, &[0; 160]))
            .expect("forwarded");
        let next = forwarder
            .forward(&packet(40_000, 77, 2, 8, &[0; 160]))
            .expect("forwarded");
        assert_eq!(numbers(&next), (1_002, 5_320, true));
    }

    #[test]
    fn payload_types_are_mapped_and_unknown_ones_dropped() {
        let mut forwarder = forwarder((Codec::Pcma, Codec::Pcma));
        let event = forwarder
            .forward(&packet(1, 0, 1, 101, &[5, 0x0a, 0, 160]))
            .expect("forwarded");
        assert_eq!(
            Packet::parse(&event).map(|packet| packet.payload_type),
            Some(96)
        );
        assert_eq!(forwarder.forward(&packet(2, 0, 1, 13, &[0])), None);
    }

    #[test]
    fn legs_of_different_codecs_hear_each_other() {
        let samples: Vec<i16> = (0..160).map(|i| (i - 80) * 100).collect();
        let mut forwarder = forwarder((Codec::Pcma, Codec::Pcmu));
        let sent = Encoder::new(Codec::Pcma).encode(&samples);
        let out = forwarder
            .forward(&packet(1, 0, 1, 8, &sent))
            .expect("forwarded");
        let out = Packet::parse(&out).expect("a packet");
        assert_eq!(out.payload_type, 0);
        let mut heard = Vec::new();
        Decoder::new(Codec::Pcmu).decode(out.payload, &mut heard);
        for (sent, heard) in samples.iter().zip(heard) {
            assert!((sent - heard).abs() <= 600, "{sent} became {heard}");
        }
    }
}
