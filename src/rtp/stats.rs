//! What came in on a leg: loss, jitter (RFC 3550 appendix A) and what it would sound like (ITU-T G.107).

use std::fmt;
use std::time::{Duration, Instant};

use super::{ExtendedSequence, Packet};
use crate::audio::Frequency;

/// How much of a stream arrived, and how evenly.
#[derive(Clone, Debug)]
pub struct StreamStats {
    clock: Frequency,
    ssrc: u32,
    /// Packets that arrived, duplicates among them.
    pub received: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that came too late to be listened to.
    pub late: u64,
    /// Octets of payload.
    pub octets: u64,
    /// How often the stream began anew (another source, or numbers that jumped).
    pub restarts: u64,
    first: ExtendedSequence,
    highest: ExtendedSequence,
    /// Packets expected and received before the last restart.
    before: (u64, u64),
    /// Arrival time minus timestamp of the last packet, in clock ticks.
    transit: Option<i64>,
    /// Interarrival jitter in ticks, times 16 (appendix A.8).
    jitter_16: u64,
    epoch: Instant,
    /// Expected and received at the last report.
    reported: (u64, u64),
}

impl StreamStats {
    /// Begins with a stream's first packet.
    #[must_use]
    pub fn new(now: Instant, clock: Frequency, packet: &Packet<'_>) -> Self {
        Self {
            ssrc: packet.ssrc,
            ..Self::numbered(now, clock, ExtendedSequence::first(packet.sequence))
        }
    }

    /// Begins a stream whose pieces are numbered and come from no source, with the first one.
    #[must_use]
    pub const fn numbered(now: Instant, clock: Frequency, first: ExtendedSequence) -> Self {
        Self {
            clock,
            ssrc: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            late: 0,
            octets: 0,
            restarts: 0,
            first,
            highest: first,
            before: (0, 0),
            transit: None,
            jitter_16: 0,
            epoch: now,
            reported: (0, 0),
        }
    }

    /// Takes another clock, when the sender has changed its codec.
    pub fn set_clock(&mut self, clock: Frequency) {
        if self.clock != clock {
            self.jitter_16 =
                self.jitter_16 * u64::from(clock.hertz()) / u64::from(self.clock.hertz());
            self.clock = clock;
            self.transit = None;
        }
    }

    /// The source that is counted now.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The highest sequence number so far.
    #[must_use]
    pub const fn highest(&self) -> ExtendedSequence {
        self.highest
    }

    /// Counts a packet; `sequence` is `None` when the stream begins anew with it.
    pub fn count(&mut self, now: Instant, packet: &Packet<'_>, sequence: Option<ExtendedSequence>) {
        let sequence = sequence.unwrap_or_else(|| {
            if self.received > 0 {
                self.before = (self.expected(), self.received);
                self.restarts += 1;
            }
            self.ssrc = packet.ssrc;
            self.first = ExtendedSequence::first(packet.sequence);
            self.highest = self.first;
            self.transit = None;
            self.first
        });
        let octets = packet.payload.len() as u64;
        self.arrive(now, packet.timestamp, octets, sequence);
    }

    /// Counts so many octets that begin at `timestamp`, in ticks of the clock.
    pub fn arrive(
        &mut self,
        now: Instant,
        timestamp: u32,
        octets: u64,
        sequence: ExtendedSequence,
    ) {
        self.received += 1;
        self.octets += octets;
        if sequence < self.highest {
            self.reordered += 1;
            self.first = self.first.min(sequence);
        }
        self.highest = self.highest.max(sequence);
        let arrival = now.saturating_duration_since(self.epoch).as_micros()
            * u128::from(self.clock.hertz())
            / 1_000_000;
        let transit = arrival as i64 - i64::from(timestamp);
        if let Some(last) = self.transit {
            // The timestamp may wrap between two packets: the difference is taken in 32 bits.
            let difference = u64::from(((transit - last) as i32).unsigned_abs());
            // A pause or a jump of the timestamps is no jitter.
            if difference < u64::from(self.clock.hertz()) {
                self.jitter_16 =
                    (self.jitter_16 + difference).saturating_sub((self.jitter_16 + 8) >> 4);
            }
        }
        self.transit = Some(transit);
    }

    /// Packets that the sequence numbers say were sent.
    #[must_use]
    pub const fn expected(&self) -> u64 {
        self.before.0 + (self.highest.0 - self.first.0) + (self.received > 0) as u64
    }

    /// Packets that never came (duplicates do not make up for them).
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.expected()
            .saturating_sub(self.received - self.duplicates)
    }

    /// Share of the packets that never came, 0.0 to 1.0.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.expected() == 0 {
            0.0
        } else {
            self.lost() as f64 / self.expected() as f64
        }
    }

    /// Interarrival jitter.
    #[must_use]
    pub const fn jitter(&self) -> Duration {
        self.clock.duration_of(self.jitter_16 >> 4)
    }

    /// Interarrival jitter in clock ticks, as reports carry it.
    #[must_use]
    pub const fn jitter_ticks(&self) -> u32 {
        (self.jitter_16 >> 4) as u32
    }

    /// The fraction lost since the last call, in 256ths (RFC 3550 §6.4.1).
    pub fn fraction_lost(&mut self) -> u8 {
        let now = (self.expected(), self.received);
        let expected = now.0.saturating_sub(self.reported.0);
        let lost = expected.saturating_sub(now.1.saturating_sub(self.reported.1));
        self.reported = now;
        (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8
    }

    /// Mean opinion score of conversation (1.0 to 4.5) by the E-model's default network: R = 93.2 − Id − Ie,eff.
    ///
    /// For G.711 with loss concealment, Ie = 0 and Bpl = 25.1 (G.113 appendix I), with random losses. `delay` is
    /// one way, mouth to ear; the jitter that a receiver must wait out is added to it, twice over.
    #[must_use]
    pub fn mos(&self, delay: Duration) -> f64 {
        const BPL: f64 = 25.1;
        let millis = (delay + 2 * self.jitter()).as_secs_f64() * 1_000.0;
        let too_long = (millis - 177.3).max(0.0);
        let delay_impairment = 0.024 * millis + 0.11 * too_long;
        let percent = 100.0 * self.loss();
        let loss_impairment = 95.0 * percent / (percent + BPL);
        let r = (93.2 - delay_impairment - loss_impairment).clamp(0.0, 100.0);
        1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6
    }
}

impl fmt::Display for StreamStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets in, {} lost ({:.2} %), {} reordered, {} duplicates, {} late, jitter {:.1} ms, MOS {:.2}",
            self.received,
            self.lost(),
            100.0 * self.loss(),
            self.reordered,
            self.duplicates,
            self.late,
            self.jitter().as_secs_f64() * 1_000.0,
            self.mos(Duration::ZERO)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::WireSequence;

    fn counted(arrivals: impl IntoIterator<Item = (u16, u64)>) -> StreamStats {
        let start = Instant::now();
        let packet = |sequence: u16| Packet {
            payload_type: 8,
            marker: false,
            sequence: WireSequence(sequence),
            timestamp: u32::from(sequence.wrapping_sub(65_530)).wrapping_mul(160),
            ssrc: 1,
            payload: &[0; 160],
        };
        let mut stats: Option<StreamStats> = None;
        for (sequence, millis) in arrivals {
            let (now, packet) = (start + Duration::from_millis(millis), packet(sequence));
            let stats =
                stats.get_or_insert_with(|| StreamStats::new(start, Frequency::HZ_8000, &packet));
            let highest = stats.highest();
            stats.count(
                now,
                &packet,
                Some(highest.advanced(highest.distance_to(packet.sequence))),
            );
        }
        stats.expect("something arrived")
    }

    #[test]
    fn losses_are_counted_over_the_wrap_and_reordering_is_no_loss() {
        let mut stats = counted([(65_534, 0), (65_535, 20), (1, 40), (0, 41), (4, 100)]);
        assert_eq!(
            (
                stats.expected(),
                stats.received,
                stats.lost(),
                stats.reordered
            ),
            (7, 5, 2, 1)
        );
        assert_eq!(stats.fraction_lost(), (2 * 256 / 7) as u8);
        assert_eq!(stats.fraction_lost(), 0);
    }

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_tends_to_its_mean_deviation() {
        assert_eq!(
            counted((0..500).map(|i| (i, u64::from(i) * 20))).jitter(),
            Duration::ZERO
        );
        let uneven = counted((0..2_000).map(|i| (i, u64::from(i) * 20 + u64::from(i % 2) * 10)));
        let jitter = uneven.jitter().as_secs_f64();
        assert!((0.009..0.011).contains(&jitter), "{jitter}");
    }

    #[test]
    fn the_opinion_falls_with_loss_and_delay_as_the_e_model_says() {
        let clean = counted((0..1_000).map(|i| (i, u64::from(i) * 20)));
        assert!(
            (clean.mos(Duration::ZERO) - 4.41).abs() < 0.01,
            "{}",
            clean.mos(Duration::ZERO)
        );
        assert!(clean.mos(Duration::from_millis(400)) < 3.7);
        let lossy = counted(
            (0..1_000)
                .filter(|i| i % 10 != 5)
                .map(|i| (i, u64::from(i) * 20)),
        );
        let mos = lossy.mos(Duration::ZERO);
        // R = 93.2 − 95·10/35.1 = 66.1.
        assert!((mos - 3.41).abs() < 0.05, "{mos}");
    }
}
