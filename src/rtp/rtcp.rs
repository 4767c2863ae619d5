//! Sender and receiver reports (RFC 3550 §6.4): what a leg is told of its stream, and what it tells us of ours.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::stats::StreamStats;
use crate::audio::Frequency;

/// The mean time between reports; the actual one is random between half and one and a half (RFC 3550 §6.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// Seconds from the NTP era's beginning (1900) to Unix' (1970).
const NTP_OFFSET: u64 = 2_208_988_800;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// Whether a datagram on a shared port is RTCP (RFC 5761 §4).
#[must_use]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|kind| (192..=223).contains(kind))
}

/// The source that a compound packet comes from; `None` when it is too short to say.
#[must_use]
pub fn sender(datagram: &[u8]) -> Option<u32> {
    (datagram.first()? >> 6 == 2)
        .then(|| word(datagram, 1))
        .flatten()
}

/// What we have sent to the leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Our source.
    pub ssrc: u32,
    /// Packets.
    pub packets: u32,
    /// Octets of payload.
    pub octets: u32,
    /// The newest packet's timestamp and when it was sent.
    pub newest: Option<(u32, Instant)>,
    /// What the timestamps count.
    pub clock: Option<Frequency>,
}

/// What the leg reports of our stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Remote {
    /// Share lost lately, 0.0 to 1.0.
    pub loss: f64,
    /// Packets lost in all; below zero where more came than were sent, as some were duplicated on the way.
    pub lost: i32,
    /// Interarrival jitter in clock ticks.
    pub jitter: u32,
    /// The way there and back.
    pub round_trip: Option<Duration>,
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets lost, {:.1} % lately",
            self.lost,
            100.0 * self.loss
        )?;
        if let Some(round_trip) = self.round_trip {
            write!(
                f,
                ", round trip {:.1} ms",
                round_trip.as_secs_f64() * 1_000.0
            )?;
        }
        Ok(())
    }
}

/// One leg's reports.
pub struct Reports {
    random: StdRng,
    next: Instant,
    /// The middle 32 bits of the NTP time of the leg's last sender report, and when it came.
    last_sender_report: Option<(u32, Instant)>,
    /// Our own report's NTP middle and when it was sent, for the round trip.
    last_sent: Option<(u32, Instant)>,
    remote: Option<Remote>,
    sent_by_leg: u32,
}

impl Reports {
    /// The first report is due within `INTERVAL`.
    #[must_use]
    pub fn new(now: Instant, seed: u64) -> Self {
        let mut reports = Self {
            random: StdRng::seed_from_u64(seed),
            next: now,
            last_sender_report: None,
            last_sent: None,
            remote: None,
            sent_by_leg: 0,
        };
        reports.schedule(now);
        reports
    }

    fn schedule(&mut self, now: Instant) {
        self.next = now + INTERVAL.mul_f64(self.random.random_range(0.5..1.5));
    }

    /// When the next report is due.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// What the leg has last reported of our stream.
    #[must_use]
    pub const fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// How many packets the leg had sent when it last said so.
    #[must_use]
    pub const fn sent_by_leg(&self) -> u32 {
        self.sent_by_leg
    }

    /// The report that is due, `wall` being the wall clock at `now`.
    pub fn due(
        &mut self,
        now: Instant,
        wall: SystemTime,
        sent: Sent,
        stats: Option<&mut StreamStats>,
    ) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        self.schedule(now);
        Some(self.compound(now, wall, sent, stats))
    }

    /// A last report with BYE.
    pub fn goodbye(
        &mut self,
        now: Instant,
        wall: SystemTime,
        sent: Sent,
        stats: Option<&mut StreamStats>,
    ) -> Vec<u8> {
        let mut compound = self.compound(now, wall, sent, stats);
        packet(&mut compound, GOODBYE, 1, |body| {
            body.extend(sent.ssrc.to_be_bytes());
        });
        compound
    }

    fn compound(
        &mut self,
        now: Instant,
        wall: SystemTime,
        sent: Sent,
        stats: Option<&mut StreamStats>,
    ) -> Vec<u8> {
        let mut compound = Vec::with_capacity(96);
        let block = stats.map(|stats| self.block(now, stats));
        let (kind, count) = (
            if sent.newest.is_some() {
                SENDER_REPORT
            } else {
                RECEIVER_REPORT
            },
            u8::from(block.is_some()),
        );
        packet(&mut compound, kind, count, |body| {
            body.extend(sent.ssrc.to_be_bytes());
            if let Some((timestamp, at)) = sent.newest {
                let ntp = ntp(wall);
                self.last_sent = Some(((ntp >> 16) as u32, now));
                body.extend(ntp.to_be_bytes());
                // The timestamp that belongs to now: the newest packet's plus what has passed since.
                let passed = sent
                    .clock
                    .unwrap_or(Frequency::HZ_8000)
                    .samples_in(now.saturating_duration_since(at));
                body.extend(timestamp.wrapping_add(passed as u32).to_be_bytes());
                body.extend(sent.packets.to_be_bytes());
                body.extend(sent.octets.to_be_bytes());
            }
            body.extend(block.into_iter().flatten());
        });
        packet(&mut compound, DESCRIPTION, 1, |body| {
            // A canonical name without an address in it (RFC 7022 §4.2).
            let name = format!("{:08x}", sent.ssrc);
            body.extend(sent.ssrc.to_be_bytes());
            body.extend([1, name.len() as u8]);
            body.extend(name.as_bytes());
            // One zero ends the items, more fill the word.
            body.resize(body.len() + 4 - body.len() % 4, 0);
        });
        compound
    }

    fn block(&self, now: Instant, stats: &mut StreamStats) -> Vec<u8> {
        let lost = stats.lost().min(0x7f_ffff) as u32;
        let (last, since) = self.last_sender_report.map_or((0, 0), |(ntp, at)| {
            (
                ntp,
                (now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000) as u32,
            )
        });
        let mut block = Vec::with_capacity(24);
        block.extend(stats.ssrc().to_be_bytes());
        block.extend((u32::from(stats.fraction_lost()) << 24 | lost).to_be_bytes());
        block.extend((stats.highest().0 as u32).to_be_bytes());
        block.extend(stats.jitter_ticks().to_be_bytes());
        block.extend(last.to_be_bytes());
        block.extend(since.to_be_bytes());
        block
    }

    /// Takes a datagram from the leg; what is not RTCP or lies about its lengths is left aside.
    pub fn receive(&mut self, now: Instant, datagram: &[u8], own_ssrc: u32) {
        let mut rest = datagram;
        while let [first, kind, high, low, ..] = *rest {
            let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
            if first >> 6 != 2 || rest.len() < length {
                return;
            }
            let (body, behind) = (&rest[4..length], &rest[length..]);
            let blocks = match kind {
                SENDER_REPORT => {
                    if let (Some(seconds), Some(fraction)) = (word(body, 1), word(body, 2)) {
                        self.last_sender_report = Some((seconds << 16 | fraction >> 16, now));
                    }
                    self.sent_by_leg = word(body, 4).unwrap_or(self.sent_by_leg);
                    body.get(24..)
                }
                RECEIVER_REPORT => body.get(4..),
                _ => None,
            };
            let blocks = blocks
                .unwrap_or_default()
                .chunks_exact(24)
                .take(usize::from(first & 0x1f));
            for block in blocks.filter(|block| word(block, 0) == Some(own_ssrc)) {
                self.reported(now, block);
            }
            rest = behind;
        }
    }

    fn reported(&mut self, now: Instant, block: &[u8]) {
        let word = |index| word(block, index).unwrap_or(0);
        let (last, delay) = (word(4), word(5));
        let round_trip = self
            .last_sent
            .filter(|(ntp, _)| *ntp == last && last != 0)
            .map(|(_, sent)| {
                let held = Duration::from_micros(u64::from(delay) * 1_000_000 / 65_536);
                now.saturating_duration_since(sent).saturating_sub(held)
            });
        self.remote = Some(Remote {
            loss: f64::from(word(1) >> 24) / 256.0,
            lost: signed_24(word(1)),
            jitter: word(3),
            round_trip: round_trip.or_else(|| self.remote.and_then(|remote| remote.round_trip)),
        });
    }
}

/// The lower 24 bits, which are signed (RFC 3550 §6.4.1).
const fn signed_24(word: u32) -> i32 {
    (word << 8).cast_signed() >> 8
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let bytes = bytes.get(4 * index..4 * index + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Appends a packet of `kind` whose body `write` fills with whole words.
fn packet(compound: &mut Vec<u8>, kind: u8, count: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::with_capacity(52);
    write(&mut body);
    compound.extend([2 << 6 | count, kind]);
    compound.extend(((body.len() / 4) as u16).to_be_bytes());
    compound.extend(body);
}

/// Seconds since 1900 in the upper half, their fraction in the lower.
fn ntp(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    ((since.as_secs() + NTP_OFFSET) << 32)
        | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Packet, WireSequence};

    fn stats(now: Instant, ssrc: u32) -> StreamStats {
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: WireSequence(5),
            timestamp: 0,
            ssrc,
            payload: &[0; 160],
        };
        let mut stats = StreamStats::new(now, Frequency::HZ_8000, &packet);
        stats.count(now, &packet, None);
        stats.count(now, &packet, Some(stats.highest().advanced(9)));
        stats
    }

    fn sent(ssrc: u32, now: Instant) -> Sent {
        Sent {
            ssrc,
            packets: 10,
            octets: 1_600,
            newest: Some((800, now)),
            clock: None,
        }
    }

    #[test]
    fn two_ends_learn_of_each_others_losses_and_of_the_round_trip() {
        let start = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_millis(1_790_000_000_250);
        let (mut ours, mut theirs) = (Reports::new(start, 1), Reports::new(start, 2));
        assert_eq!(ours.due(start, wall, sent(1, start), None), None);
        let there = start + Duration::from_secs(8);
        let report = ours.due(there, wall, sent(1, start), None).expect("due");
        assert!(is_rtcp(&report));
        theirs.receive(there + Duration::from_millis(30), &report, 2);
        let back = there + Duration::from_millis(530);
        let answer = theirs
            .due(back, wall, sent(2, start), Some(&mut stats(start, 1)))
            .expect("due");
        ours.receive(back + Duration::from_millis(20), &answer, 1);
        let remote = ours.remote().expect("reported");
        assert_eq!((remote.lost, remote.loss), (8, 204.0 / 256.0));
        let round_trip = remote.round_trip.expect("known").as_millis();
        assert!((49..=51).contains(&round_trip), "{round_trip}");
    }

    #[test]
    fn the_loss_of_a_stream_that_was_duplicated_on_the_way_is_below_zero() {
        for (field, lost) in [
            (0x0000_0000, 0),
            (0x0000_0007, 7),
            (0x007f_ffff, 8_388_607),
            (0x00ff_fffe, -2),
            (0x0080_0000, -8_388_608),
            (0xffff_ffff, -1),
        ] {
            let mut reports = Reports::new(Instant::now(), 1);
            let mut datagram = vec![0x81, RECEIVER_REPORT, 0, 7];
            for word in [9, 5, field, 0, 0, 0, 0] {
                datagram.extend(u32::to_be_bytes(word));
            }
            reports.receive(Instant::now(), &datagram, 5);
            let remote = reports.remote().expect("reported");
            assert_eq!(remote.lost, lost, "{field:08x}");
            assert!(
                remote
                    .to_string()
                    .starts_with(&format!("{lost} packets lost"))
            );
        }
    }

    #[test]
    fn every_packet_of_a_compound_is_whole_words_and_a_goodbye_ends_it() {
        let start = Instant::now();
        let mut reports = Reports::new(start, 1);
        let compound = reports.goodbye(
            start,
            UNIX_EPOCH,
            Sent {
                ssrc: 7,
                ..Sent::default()
            },
            Some(&mut stats(start, 9)),
        );
        let mut kinds = Vec::new();
        let mut rest = &compound[..];
        while !rest.is_empty() {
            kinds.push(rest[1]);
            rest = &rest[4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]))..];
        }
        assert_eq!(kinds, [RECEIVER_REPORT, DESCRIPTION, GOODBYE]);
    }

    #[test]
    fn short_and_lying_reports_are_left_aside() {
        let start = Instant::now();
        let mut reports = Reports::new(start, 1);
        for datagram in [
            &[][..],
            &[0x80, 200, 0, 0],
            &[0x81, 201, 0xff, 0xff, 1, 2],
            &[0x9f, 201, 0, 1, 0, 0, 0, 1],
            &[0x80, 200, 0, 1, 0, 0, 0, 1],
        ] {
            reports.receive(start, datagram, 1);
        }
        assert_eq!(reports.remote(), None);
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..20_000 {
            let mut datagram: Vec<u8> = (0..random.random_range(0..64))
                .map(|_| random.random())
                .collect();
            if let [first, kind, ..] = &mut datagram[..] {
                *first = 0x80 | *first & 0x1f;
                *kind = 200 + *kind % 4;
            }
            reports.receive(start, &datagram, random.random_range(0..3));
        }
    }
}
