//! Key presses as RTP packets (RFC 4733): each is told once, whatever the network loses; and they can be made.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::Packet;
use crate::audio::Frequency;

/// A press whose packets cease for so long has ended, though every one that says so was lost: senders repeat themselves
/// every 50 ms at most.
const SILENCE: Duration = Duration::from_millis(200);

/// How often a press under way is told again.
const STEP: Duration = Duration::from_millis(20);

/// How often its end is told (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;

/// What lies between two presses, so that receivers tell them apart.
const PAUSE: Duration = Duration::from_millis(80);

/// The shortest press that receivers must know (ITU-T Q.24), and the longest that is made.
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(5);

/// Presses that wait to be sent; a card number has nineteen digits.
const MOST_WAITING: usize = 64;

/// A key of the telephone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u8);

impl Key {
    /// The key of an event's number; `None` for tones and signals that are no key.
    #[must_use]
    pub const fn from_event(event: u8) -> Option<Self> {
        if event < 16 { Some(Self(event)) } else { None }
    }

    /// The key with this on it: 0 to 9, `*`, `#`, A to D.
    #[must_use]
    pub fn from_char(letter: char) -> Option<Self> {
        let letter = letter.to_ascii_uppercase();
        (0..16).map(Self).find(|key| key.as_char() == letter)
    }

    /// The event's number.
    #[must_use]
    pub const fn event(self) -> u8 {
        self.0
    }

    /// What is on it.
    #[must_use]
    pub const fn as_char(self) -> char {
        b"0123456789*#ABCD"[self.0 as usize] as char
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// A key, and how long it was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// Which.
    pub key: Key,
    /// How long.
    pub duration: Duration,
}

/// The payload of a telephone-event packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 0 to 15 are keys.
    pub event: u8,
    /// Whether it is over.
    pub end: bool,
    /// Power in dBm0 below zero, 0 to 63.
    pub volume: u8,
    /// How long it lasts so far, in ticks of the stream's clock.
    pub duration: u16,
}

impl Event {
    /// Reads a payload; `None` for a shorter one. Of several events in one payload the first is read.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low, ..] = *payload else {
            return None;
        };
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// Writes the payload.
    #[must_use]
    pub const fn to_payload(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let flags = (self.end as u8) << 7 | self.volume & 0x3f;
        [self.event, flags, high, low]
    }
}

/// A press that is being told.
struct Current {
    ssrc: u32,
    /// Of the segment under way; a very long press has several (RFC 4733 §2.5.1.3).
    timestamp: u32,
    event: u8,
    clock: Frequency,
    /// Ticks of the segments before.
    before: u64,
    duration: u16,
    last: Instant,
}

impl Current {
    fn press(&self) -> Option<Press> {
        Some(Press {
            key: Key::from_event(self.event)?,
            duration: self
                .clock
                .duration_of(self.before + u64::from(self.duration)),
        })
    }
}

/// Finds the presses in a leg's stream.
#[derive(Default)]
pub struct Detector {
    current: Option<Current>,
    /// The source and timestamp of the newest press that is over.
    over: Option<(u32, u32)>,
    found: VecDeque<Press>,
}

impl Detector {
    /// Takes a telephone-event packet.
    pub fn push(&mut self, now: Instant, packet: &Packet<'_>, clock: Frequency) {
        let Some(event) = Event::parse(packet.payload) else {
            return;
        };
        // The end is told three times, and packets may come late.
        let is_old = self.over.is_some_and(|(ssrc, timestamp)| {
            ssrc == packet.ssrc && packet.timestamp.wrapping_sub(timestamp).cast_signed() <= 0
        });
        if is_old {
            return;
        }
        match &mut self.current {
            Some(current) if current.ssrc == packet.ssrc && current.event == event.event => {
                let ahead = packet.timestamp.wrapping_sub(current.timestamp);
                let continues =
                    ahead != 0 && !packet.marker && ahead == u32::from(current.duration);
                if continues {
                    current.before += u64::from(current.duration);
                    current.timestamp = packet.timestamp;
                    current.duration = event.duration;
                } else if ahead == 0 {
                    current.duration = current.duration.max(event.duration);
                } else if ahead.cast_signed() > 0 {
                    self.finish();
                } else {
                    return;
                }
            }
            Some(current)
                if current.ssrc == packet.ssrc
                    && packet
                        .timestamp
                        .wrapping_sub(current.timestamp)
                        .cast_signed()
                        < 0 =>
            {
                return;
            }
            Some(_) => self.finish(),
            None => {}
        }
        let current = self.current.get_or_insert(Current {
            ssrc: packet.ssrc,
            timestamp: packet.timestamp,
            event: event.event,
            clock,
            before: 0,
            duration: event.duration,
            last: now,
        });
        current.last = now;
        if event.end {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some(current) = self.current.take() {
            self.over = Some((current.ssrc, current.timestamp));
            self.found.extend(current.press());
        }
    }

    /// The next press that is over.
    pub fn poll(&mut self, now: Instant) -> Option<Press> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.finish();
        }
        self.found.pop_front()
    }

    /// When a press under way counts as over.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|current| current.last + SILENCE)
    }
}

/// A packet that the dialer wants sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tone {
    /// Whether it is the press's first.
    pub marker: bool,
    /// When the press began.
    pub begun: Instant,
    /// The payload.
    pub payload: [u8; 4],
}

struct Sending {
    press: Press,
    begun: Instant,
    told: u32,
    ends: u8,
    next: Instant,
}

/// Makes presses: one after another, each told every 20 ms, its end three times.
#[derive(Default)]
pub struct Dialer {
    waiting: VecDeque<Press>,
    sending: Option<Sending>,
    free_from: Option<Instant>,
}

impl Dialer {
    /// Has a key pressed as soon as those before it are done; `false` when too many wait.
    pub fn press(&mut self, press: Press) -> bool {
        if self.waiting.len() == MOST_WAITING {
            return false;
        }
        self.waiting.push_back(Press {
            duration: press.duration.clamp(SHORTEST, LONGEST),
            ..press
        });
        true
    }

    /// Whether a key is pressed now, so that nothing else is to be heard.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.sending.is_some()
    }

    /// The packet that is due, in a stream of this clock.
    pub fn poll(&mut self, now: Instant, clock: Frequency) -> Option<Tone> {
        if self.sending.is_none() && self.free_from.is_none_or(|free| free <= now) {
            self.sending = self.waiting.pop_front().map(|press| Sending {
                press,
                begun: now,
                told: 0,
                ends: 0,
                next: now,
            });
        }
        let sending = self
            .sending
            .as_mut()
            .filter(|sending| sending.next <= now)?;
        sending.told += 1;
        sending.next += STEP;
        let lasted = (STEP * sending.told).min(sending.press.duration);
        let end = lasted == sending.press.duration;
        let event = Event {
            event: sending.press.key.0,
            end,
            volume: 10,
            duration: clock.samples_in(lasted).min(u64::from(u16::MAX)) as u16,
        };
        let tone = Tone {
            marker: sending.told == 1,
            begun: sending.begun,
            payload: event.to_payload(),
        };
        sending.ends += u8::from(end);
        if sending.ends == ENDS {
            self.sending = None;
            self.free_from = Some(now + PAUSE);
        }
        Some(tone)
    }

    /// When [`Dialer::poll`] has something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let next = self.sending.as_ref().map(|sending| sending.next);
        next.or(self.free_from.filter(|_| !self.waiting.is_empty()))
    }

    /// Whether a key waits that could be pressed at once.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        let next = self
            .sending
            .as_ref()
            .map_or(self.free_from, |sending| Some(sending.next));
        (self.sending.is_some() || !self.waiting.is_empty()) && next.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::WireSequence;
    use crate::rtp::lossy::LossyNetwork;

    const MS: Duration = Duration::from_millis(1);

    /// What a dialer says in `ticks` of time, as packets with the time they leave.
    fn said(dialer: &mut Dialer, start: Instant, clock: Frequency) -> Vec<(Instant, Vec<u8>)> {
        let mut sent = Vec::new();
        for millis in 0..20_000 {
            let now = start + MS * millis;
            while let Some(tone) = dialer.poll(now, clock) {
                let packet = Packet {
                    payload_type: 101,
                    marker: tone.marker,
                    sequence: WireSequence(sent.len() as u16),
                    timestamp: clock.samples_in(tone.begun - start) as u32,
                    ssrc: 9,
                    payload: &tone.payload,
                };
                sent.push((now, packet.to_datagram()));
            }
        }
        sent
    }

    fn dialled(number: &str, duration: Duration) -> Dialer {
        let mut dialer = Dialer::default();
        for letter in number.chars() {
            let key = Key::from_char(letter).expect("a key");
            assert!(dialer.press(Press { key, duration }));
        }
        dialer
    }

    fn detected(arrivals: &[(Instant, Vec<u8>)], clock: Frequency) -> Vec<Press> {
        let mut detector = Detector::default();
        let mut presses = Vec::new();
        let Some((mut now, _)) = arrivals.first().cloned() else {
            return presses;
        };
        for (arrival, datagram) in arrivals {
            while now < *arrival {
                now += MS;
                presses.extend(std::iter::from_fn(|| detector.poll(now)));
            }
            let packet = Packet::parse(datagram).expect("a packet");
            detector.push(now, &packet, clock);
            presses.extend(std::iter::from_fn(|| detector.poll(now)));
        }
        presses.extend(detector.poll(now + SILENCE));
        presses
    }

    fn number(presses: &[Press]) -> String {
        presses.iter().map(|press| press.key.as_char()).collect()
    }

    #[test]
    fn every_key_is_told_once_with_its_duration_at_both_clocks() {
        let start = Instant::now();
        for clock in [Frequency::HZ_8000, Frequency::HZ_48000] {
            let all = "0123456789*#ABCD11";
            let sent = said(&mut dialled(all, 160 * MS), start, clock);
            // Seven times under way, three times its end.
            assert_eq!(sent.len(), all.len() * 10);
            let presses = detected(&sent, clock);
            assert_eq!(number(&presses), all);
            assert!(presses.iter().all(|press| press.duration == 160 * MS));
        }
    }

    #[test]
    fn lost_ends_duplicates_and_reordering_neither_lose_nor_double_a_key() {
        let start = Instant::now();
        for seed in 0..200 {
            let sent = said(
                &mut dialled("13800138000#", 120 * MS),
                start,
                Frequency::HZ_8000,
            );
            let mut network = LossyNetwork::new(seed, 0.2, 30 * MS);
            let mut arrivals: Vec<(Instant, Vec<u8>)> = sent
                .iter()
                .flat_map(|packet| [packet, packet])
                .filter_map(|(at, datagram)| Some((network.carry(*at)?, datagram.clone())))
                .collect();
            arrivals.sort();
            assert_eq!(
                number(&detected(&arrivals, Frequency::HZ_8000)),
                "13800138000#",
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_press_whose_every_end_is_lost_is_told_after_a_while_or_by_the_next() {
        let start = Instant::now();
        let sent = said(&mut dialled("55", 100 * MS), start, Frequency::HZ_8000);
        let without_ends: Vec<_> = sent
            .into_iter()
            .filter(|(_, datagram)| {
                let packet = Packet::parse(datagram).expect("a packet");
                Event::parse(packet.payload).is_some_and(|event| !event.end)
            })
            .collect();
        let presses = detected(&without_ends, Frequency::HZ_8000);
        assert_eq!(number(&presses), "55");
        assert!(presses.iter().all(|press| press.duration == 80 * MS));
    }

    #[test]
    fn a_very_long_press_in_segments_is_one() {
        let start = Instant::now();
        let mut detector = Detector::default();
        let mut tell = |millis: u32, timestamp, end, duration| {
            let event = Event {
                event: 5,
                end,
                volume: 10,
                duration,
            };
            let packet = Packet {
                payload_type: 101,
                marker: millis == 0,
                sequence: WireSequence(0),
                timestamp,
                ssrc: 1,
                payload: &event.to_payload(),
            };
            detector.push(start + MS * millis, &packet, Frequency::HZ_8000);
            detector.poll(start + MS * millis)
        };
        assert_eq!(tell(0, 1_000, false, 160), None);
        assert_eq!(tell(100, 1_000, false, 65_535), None);
        assert_eq!(tell(200, 66_535, false, 800), None);
        let press = tell(300, 66_535, true, 1_600).expect("over");
        assert_eq!(press.duration.as_millis(), (65_535 + 1_600) / 8);
        assert_eq!(tell(320, 66_535, true, 1_600), None);
    }

    #[test]
    fn tones_that_are_no_key_and_random_payloads_are_no_press() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(4);
        let start = Instant::now();
        let mut detector = Detector::default();
        for step in 0..20_000_u32 {
            let mut payload: Vec<u8> = (0..random.random_range(0..8))
                .map(|_| random.random())
                .collect();
            if let Some(event) = payload.first_mut() {
                *event |= 16;
            }
            let packet = Packet {
                payload_type: 101,
                marker: random.random(),
                sequence: WireSequence(random.random()),
                timestamp: random.random(),
                ssrc: random.random_range(0..3),
                payload: &payload,
            };
            let now = start + MS * step;
            detector.push(now, &packet, Frequency::HZ_8000);
            assert_eq!(detector.poll(now), None);
        }
    }

    #[test]
    fn letters_without_a_key_and_more_than_anybody_dials_are_refused() {
        assert_eq!(Key::from_char('E'), None);
        assert_eq!(Key::from_char('d').map(Key::as_char), Some('D'));
        let mut dialer = dialled(&"1".repeat(MOST_WAITING), 100 * MS);
        let key = Key::from_event(1).expect("a key");
        assert!(!dialer.press(Press {
            key,
            duration: 100 * MS
        }));
    }
}
