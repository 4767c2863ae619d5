//! RTP and RTCP (RFC 3550) as a call needs them: packets, forwarding, listening, reports, statistics.

#![cfg_attr(not(test), warn(unreachable_pub))]

mod conceal;
pub mod dtmf;
pub mod forward;
pub mod listen;
pub mod lossy;
pub mod rtcp;
pub mod srtp;
pub mod stats;

use rtp_rs::RtpReader;

use crate::audio::Frequency;
use crate::audio::codec::Codec;

/// Octets of a header without sources and extension.
pub const HEADER: usize = 12;

/// A sequence number as it stands in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WireSequence(pub u16);

/// A sequence number that counts on when the wire's wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtendedSequence(pub u64);

impl ExtendedSequence {
    /// A stream's first, one cycle up, so that packets reordered before it have numbers too.
    #[must_use]
    pub const fn first(wire: WireSequence) -> Self {
        Self((1 << 16) + wire.0 as u64)
    }

    /// How far `wire` is ahead of this, by the shorter way round.
    #[must_use]
    pub const fn distance_to(self, wire: WireSequence) -> i16 {
        wire.0.wrapping_sub(self.0 as u16) as i16
    }

    /// The number that lies `distance` ahead.
    #[must_use]
    pub const fn advanced(self, distance: i16) -> Self {
        Self(self.0.saturating_add_signed(distance as i64))
    }
}

/// What the packets of a payload type carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// Sound.
    Sound(Codec),
    /// Key presses (RFC 4733).
    Event,
    /// How the silence sounds (RFC 3389).
    ComfortNoise,
}

/// What a payload type means in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// What is in its packets.
    pub content: Content,
    /// What its timestamps count.
    pub clock: Frequency,
}

impl Format {
    /// A codec at this number.
    #[must_use]
    pub const fn sound(payload_type: u8, codec: Codec) -> Self {
        Self {
            payload_type,
            content: Content::Sound(codec),
            clock: codec.clock(),
        }
    }

    /// The codec, if it is sound.
    #[must_use]
    pub const fn codec(&self) -> Option<Codec> {
        match self.content {
            Content::Sound(codec) => Some(codec),
            Content::Event | Content::ComfortNoise => None,
        }
    }
}

/// A packet, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// 0 to 127; the session description says what it means.
    pub payload_type: u8,
    /// The first packet of a talk spurt or of a key press.
    pub marker: bool,
    /// Counts packets.
    pub sequence: WireSequence,
    /// Counts the codec's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    /// Without padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram; `None` for what is no RTP of version 2 or lies about its lengths.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let reader = RtpReader::new(datagram).ok()?;
        Some(Self {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: WireSequence(reader.sequence_number().into()),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload: reader.payload(),
        })
    }

    /// The source of an RTP datagram whose payload may be encrypted.
    #[must_use]
    pub fn source_of(datagram: &[u8]) -> Option<u32> {
        let ssrc = datagram.get(8..HEADER)?.try_into().ok()?;
        (datagram[0] >> 6 == 2).then(|| u32::from_be_bytes(ssrc))
    }

    /// Writes the packet with a plain header.
    #[must_use]
    pub fn to_datagram(&self) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(HEADER + self.payload.len());
        self.write(&mut datagram);
        datagram
    }

    /// Appends the same to `datagram`.
    pub fn write(&self, datagram: &mut Vec<u8>) {
        let mut header = [0; HEADER];
        header[0] = 2 << 6;
        header[1] = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        header[2..4].copy_from_slice(&self.sequence.0.to_be_bytes());
        header[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..].copy_from_slice(&self.ssrc.to_be_bytes());
        datagram.extend_from_slice(&header);
        datagram.extend_from_slice(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_back_as_it_was_written() {
        let packet = Packet {
            payload_type: 101,
            marker: true,
            sequence: WireSequence(65_535),
            timestamp: 0xdead_beef,
            ssrc: 7,
            payload: &[1, 2, 3],
        };
        assert_eq!(Packet::parse(&packet.to_datagram()), Some(packet));
    }

    #[test]
    fn damaged_packets_are_refused_or_read_and_never_panic() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(1);
        let mut read = 0;
        for _ in 0..50_000 {
            let length = random.random_range(0..80);
            let mut datagram: Vec<u8> = (0..length).map(|_| random.random()).collect();
            if let Some(first) = datagram.first_mut() {
                // Version 2 with any padding, extension and source bits.
                *first = 0x80 | *first & 0x3f;
            }
            read += u32::from(
                Packet::parse(&datagram).is_some_and(|packet| packet.payload.len() <= length),
            );
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn sequence_numbers_count_on_over_the_wrap_in_both_directions() {
        let highest = ExtendedSequence::first(WireSequence(65_534));
        let after = highest.advanced(highest.distance_to(WireSequence(2)));
        assert_eq!(after.0 - highest.0, 4);
        assert_eq!(
            after.advanced(after.distance_to(WireSequence(65_535))).0,
            highest.0 + 1
        );
    }
}
