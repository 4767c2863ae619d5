//! From one connection's frames to the packets of a recording client's stream: L16 at 16 kHz, in 20 ms, at the pace of time.
//!
//! A connection that is ahead of time is read no faster than time goes, so that TCP holds its peer back; a pause in which
//! nothing comes is a pause in the timestamps. What piled up while the network stood still is caught up with in the
//! speaker's own pauses: quiet frames are left out as long as the stream is behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::audio::Frequency;
use crate::audio::codec::Codec;
use crate::audio::resample::Resampler;
use crate::rtp::dtmf::{Event, Key};
use crate::rtp::{Packet, WireSequence};

/// The payload types of the stream's description.
pub(super) const AUDIO: u8 = 96;
pub(super) const EVENT: u8 = 101;

/// What a packet holds.
const PACKET: Duration = Duration::from_millis(20);

/// How far ahead of time a connection may be.
const AHEAD: Duration = Duration::from_millis(300);

/// A peer sends every 20 ms, but not to the millisecond: a pause is longer than this.
const UNEVEN: Duration = Duration::from_millis(100);

/// A frame whose loudest sample is below this is a pause: −50 dB of the loudest there is.
const QUIET: u16 = 100;

/// How long a key counts as pressed; `AudioSocket` tells none.
const PRESSED: Duration = Duration::from_millis(100);

/// The last packet of a key press is sent this often (RFC 4733 §2.5.1.4).
const TOLD: u16 = 3;

/// How loud a key is, in dB below the loudest; `AudioSocket` tells none.
const VOLUME: u8 = 10;

/// One connection's stream.
pub(super) struct Voice {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    resampler: Option<(Frequency, Resampler)>,
    /// Less than a packet.
    waiting: Vec<i16>,
    /// By when what has been taken will have been said.
    due: Instant,
}

impl Voice {
    /// A stream with random beginnings.
    pub fn new(now: Instant, random: u64) -> Self {
        Self {
            ssrc: random as u32,
            sequence: (random >> 32) as u16 & 0x7fff,
            timestamp: (random >> 40) as u32,
            resampler: None,
            waiting: Vec::new(),
            due: now,
        }
    }

    /// Takes a frame; the datagrams that it makes, and until when no other one is to be read.
    pub fn take(
        &mut self,
        now: Instant,
        rate: Frequency,
        samples: &[i16],
    ) -> (Vec<Vec<u8>>, Instant) {
        let lasts = rate.duration_of(samples.len() as u64);
        if now > self.due {
            let pause = now - self.due;
            if pause > UNEVEN {
                self.pass(pause);
            }
            self.due = now;
        }
        let is_behind = self.due > now + AHEAD;
        if is_behind && samples.iter().all(|sample| sample.unsigned_abs() < QUIET) {
            return (Vec::new(), now);
        }
        self.due += lasts;
        let (heard, waiting) = (Codec::L16.rate(), &mut self.waiting);
        let fresh = || (rate, Resampler::new(rate, heard));
        let (from, resampler) = self.resampler.get_or_insert_with(fresh);
        if *from != rate {
            (*from, *resampler) = fresh();
        }
        resampler.push(samples, |piece| waiting.extend_from_slice(piece));
        (self.packets(), self.due - AHEAD)
    }

    /// A key press, as its last packet, thrice.
    pub fn press(&mut self, key: char) -> Vec<Vec<u8>> {
        let Some(key) = Key::from_char(key) else {
            return Vec::new();
        };
        let event = Event {
            event: key.event(),
            end: true,
            volume: VOLUME,
            duration: Codec::L16.clock().samples_in(PRESSED) as u16,
        };
        let payload = event.to_payload();
        let timestamp = self.timestamp;
        let told = (0..TOLD).map(|_| self.packet(EVENT, timestamp, &payload));
        told.collect()
    }

    /// Lets time pass in silence.
    fn pass(&mut self, span: Duration) {
        self.waiting.clear();
        let ticks = Codec::L16.clock().samples_in(span);
        self.timestamp = self.timestamp.wrapping_add(ticks as u32);
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        let length = Codec::L16.rate().samples_in(PACKET) as usize;
        let waiting = std::mem::take(&mut self.waiting);
        let whole = waiting.chunks_exact(length);
        self.waiting = whole.remainder().to_vec();
        let packets = whole.map(|samples| {
            let payload: Vec<u8> = samples.iter().flat_map(|s| s.to_be_bytes()).collect();
            let timestamp = self.timestamp;
            self.timestamp = timestamp.wrapping_add(length as u32);
            self.packet(AUDIO, timestamp, &payload)
        });
        packets.collect()
    }

    fn packet(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let sequence = WireSequence(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        let packet = Packet {
            payload_type,
            marker: false,
            sequence,
            timestamp,
            ssrc: self.ssrc,
            payload,
        };
        packet.to_datagram()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tone(count: usize) -> Vec<i16> {
        let step = 440.0 * std::f32::consts::TAU / 8_000.0;
        (0..count)
            .map(|at| (9_000.0 * (at as f32 * step).sin()) as i16)
            .collect()
    }

    fn timestamps(datagrams: &[Vec<u8>]) -> Vec<u32> {
        let packets = datagrams
            .iter()
            .map(|datagram| Packet::parse(datagram).expect("a packet"));
        packets.map(|packet| packet.timestamp).collect()
    }

    #[test]
    fn frames_of_any_rate_become_packets_of_20_ms_and_pauses_stay() {
        let start = Instant::now();
        let mut voice = Voice::new(start, 5);
        let mut sent = Vec::new();
        for at in 0..50 {
            let now = start + 20 * at * MS;
            sent.extend(voice.take(now, Frequency::HZ_8000, &tone(160)).0);
        }
        // The converter holds the last samples back.
        assert!((49..=50).contains(&sent.len()), "{}", sent.len());
        let before = timestamps(&sent);
        assert!(before.windows(2).all(|pair| pair[1] - pair[0] == 320));
        let now = start + 4_000 * MS;
        let rate = Frequency::new(48_000).expect("not zero");
        sent.clear();
        for at in 0..5 {
            sent.extend(voice.take(now + 20 * at * MS, rate, &vec![9_000; 960]).0);
        }
        let pause = timestamps(&sent)[0] - before.last().expect("sent");
        assert!((48_000..=48_640).contains(&pause), "3 s, not {pause}");
    }

    #[test]
    fn who_is_ahead_of_time_waits_and_who_is_behind_catches_up_in_pauses() {
        let now = Instant::now();
        let mut voice = Voice::new(now, 5);
        let (mut sent, mut until) = (0, now);
        for _ in 0..50 {
            let (packets, next) = voice.take(now, Frequency::HZ_8000, &tone(160));
            (sent, until) = (sent + packets.len(), next);
        }
        assert!(
            sent >= 49 && until > now + 650 * MS,
            "a second at once: {sent}"
        );
        let (packets, next) = voice.take(now, Frequency::HZ_8000, &[3; 160]);
        assert!(packets.is_empty() && next <= now);
        let (packets, _) = voice.take(now + 900 * MS, Frequency::HZ_8000, &[3; 160]);
        assert_eq!(packets.len(), 1, "in time, pauses are pauses");
    }

    #[test]
    fn a_key_is_told_thrice_with_one_timestamp() {
        let mut voice = Voice::new(Instant::now(), 5);
        let told = voice.press('5');
        assert_eq!(told.len(), 3);
        let packet = Packet::parse(&told[0]).expect("a packet");
        assert_eq!(
            (packet.payload_type, packet.payload),
            (EVENT, &[5, 0x8a, 6, 64][..])
        );
        assert_eq!(timestamps(&told), [packet.timestamp; 3]);
        assert!(voice.press('x').is_empty());
    }
}
