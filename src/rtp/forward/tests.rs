//! What leaves for a leg: relayed, transcoded, cut to other packet times, over networks that lose and reorder.

use std::time::Duration;

use super::*;
use crate::audio::codec::Codec::{G722, L16, Opus, Pcma, Pcmu};
use crate::rtp::listen::ListenBuffer;

const MS: Duration = Duration::from_millis(1);
const EVENT: Format = Format {
    payload_type: 101,
    content: Content::Event,
    clock: Frequency::HZ_8000,
};
const NOISE: Format = Format {
    payload_type: 13,
    content: Content::ComfortNoise,
    clock: Frequency::HZ_8000,
};

/// A packet that left.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

struct Bench {
    forwarder: Forwarder,
    start: Instant,
    sent: Vec<Sent>,
}

impl Bench {
    fn new(incoming: &[Format], outgoing: &Outgoing) -> Self {
        let mut forwarder = Forwarder::new(99, 1_000, 5_000);
        forwarder.connect(incoming, outgoing);
        Self {
            forwarder,
            start: Instant::now(),
            sent: Vec::new(),
        }
    }

    fn between(from: Codec, to: Codec, wish: Option<u8>) -> Self {
        let incoming = [
            Format::sound(from.offered_payload_type(), from),
            EVENT,
            NOISE,
        ];
        Self::new(&incoming, &wanting(to, wish))
    }

    fn push(&mut self, packet: &Packet<'_>) -> usize {
        let before = self.sent.len();
        let sent = &mut self.sent;
        self.forwarder
            .forward(self.start, packet, false, &mut |packet| {
                assert_eq!(packet.ssrc, 99);
                sent.push(Sent {
                    payload_type: packet.payload_type,
                    marker: packet.marker,
                    sequence: packet.sequence.0,
                    timestamp: packet.timestamp,
                    payload: packet.payload.to_vec(),
                });
            });
        self.sent.len() - before
    }

    fn push_as(&mut self, sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) -> usize {
        self.push(&packet(
            sequence,
            timestamp,
            ssrc,
            payload_type,
            &[0xd5; 160],
        ))
    }

    fn numbers(&self) -> Vec<(u16, u32, bool)> {
        self.sent
            .iter()
            .map(|sent| (sent.sequence, sent.timestamp, sent.marker))
            .collect()
    }
}

fn wanting(codec: Codec, wish: Option<u8>) -> Outgoing {
    Outgoing {
        codec,
        payload_type: codec.offered_payload_type(),
        event: Some(Format {
            payload_type: 96,
            ..EVENT
        }),
        comfort_noise: None,
        wish,
        max_ptime: None,
    }
}

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

/// A second of a tone in packets of `millis`.
fn tone(codec: Codec, hertz: f32, millis: u32) -> Vec<Vec<u8>> {
    let rate = codec.rate().hertz();
    let step = hertz * std::f32::consts::TAU / rate as f32;
    let samples: Vec<i16> = (0..rate)
        .map(|at| (10_000.0 * (at as f32 * step).sin()) as i16)
        .collect();
    let mut encoder = Encoder::new(codec);
    samples
        .chunks_exact((rate / 1_000 * millis) as usize)
        .map(|frame| encoder.encode(frame))
        .collect()
}

/// How much of `hertz` is in `samples`, in dB of the tone that was sent.
fn level(samples: &[i16], rate: u32, hertz: f64) -> f64 {
    let step = hertz * std::f64::consts::TAU / f64::from(rate);
    let (re, im) = samples
        .iter()
        .enumerate()
        .fold((0.0, 0.0), |(re, im), (i, sample)| {
            let (sample, at) = (f64::from(*sample), i as f64 * step);
            (re + sample * at.cos(), im + sample * at.sin())
        });
    20.0 * (2.0 * f64::hypot(re, im) / samples.len() as f64 / 10_000.0).log10()
}

#[test]
fn losses_reordering_and_wraps_look_the_same_on_the_way_out() {
    let mut bench = Bench::between(Pcma, Pcma, None);
    for (sequence, timestamp) in [(65_534, 160), (1, 640), (0, 480), (2, 800)] {
        assert_eq!(bench.push_as(sequence, timestamp, 1, 8), 1);
    }
    assert_eq!(
        bench.numbers(),
        [
            (1_001, 5_160, true),
            (1_004, 5_640, false),
            (1_003, 5_480, false),
            (1_005, 5_800, false)
        ]
    );
}

#[test]
fn a_new_source_goes_on_behind_the_old_one_with_a_marker() {
    let mut bench = Bench::between(Pcma, Pcma, None);
    bench.push_as(10, 1_000, 1, 8);
    bench.push_as(40_000, 77, 2, 8);
    assert_eq!(bench.numbers()[1], (1_002, 5_320, true));
}

#[test]
fn payload_types_are_mapped_and_what_the_leg_does_not_know_leaves_no_hole() {
    let mut bench = Bench::between(Pcma, Pcma, None);
    bench.push_as(1, 0, 1, 8);
    // Comfort noise, which this leg has not, and a number that nobody agreed on.
    assert_eq!(bench.push_as(2, 160, 1, 13), 0);
    assert_eq!(bench.push_as(3, 320, 1, 77), 0);
    assert_eq!(bench.push_as(4, 480, 1, 101), 1);
    assert_eq!(bench.push_as(5, 640, 1, 8), 1);
    let sent: Vec<_> = bench
        .sent
        .iter()
        .map(|sent| (sent.payload_type, sent.sequence, sent.timestamp))
        .collect();
    assert_eq!(
        sent,
        [(8, 1_001, 5_160), (96, 1_002, 5_640), (8, 1_003, 5_800)]
    );
}

#[test]
fn comfort_noise_goes_to_a_leg_that_has_it() {
    let outgoing = Outgoing {
        comfort_noise: Some(13),
        ..wanting(Pcma, None)
    };
    let mut bench = Bench::new(&[Format::sound(8, Pcma), NOISE], &outgoing);
    bench.push_as(1, 0, 1, 8);
    assert_eq!(bench.push_as(2, 160, 1, 13), 1);
    assert_eq!(bench.sent[1].payload_type, 13);
}

#[test]
fn the_other_law_is_converted_packet_by_packet_whatever_their_order() {
    let payloads = tone(Pcma, 440.0, 20);
    let mut bench = Bench::between(Pcma, Pcmu, None);
    for index in [0_u16, 2, 1, 3] {
        let payload = &payloads[usize::from(index)];
        assert_eq!(
            bench.push(&packet(index, u32::from(index) * 160, 1, 8, payload)),
            1
        );
    }
    assert_eq!(
        bench
            .numbers()
            .iter()
            .map(|sent| sent.0)
            .collect::<Vec<_>>(),
        [1_001, 1_003, 1_002, 1_004]
    );
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    Decoder::new(Pcma).decode(&payloads[1], &mut sent);
    Decoder::new(Pcmu).decode(&bench.sent[2].payload, &mut heard);
    for (sent, heard) in sent.iter().zip(heard) {
        assert!((sent - heard).abs() <= 600, "{sent} became {heard}");
    }
}

#[test]
fn a_tone_keeps_its_pitch_level_and_length_through_every_pair_of_codecs() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            for (comes, wish) in [(20, None), (20, Some(10)), (20, Some(40)), (10, Some(60))] {
                let mut bench = Bench::between(from, to, wish);
                for (index, payload) in tone(from, 1_000.0, comes).iter().enumerate() {
                    let ticks = from.clock().hertz() / 1_000 * comes;
                    let payload_type = from.offered_payload_type();
                    let timestamp = 7_u32
                        .wrapping_sub(ticks * 3)
                        .wrapping_add(index as u32 * ticks);
                    bench.push(&packet(index as u16, timestamp, 1, payload_type, payload));
                }
                let name = format!("{from:?} {comes} → {to:?} {wish:?}");
                let mut heard = Vec::new();
                let mut decoder = Decoder::new(to);
                let mut next = bench.sent[0].timestamp;
                for sent in &bench.sent {
                    assert_eq!(sent.payload_type, to.offered_payload_type());
                    assert_eq!(sent.timestamp, next, "{name}");
                    let before = heard.len();
                    decoder.decode(&sent.payload, &mut heard);
                    let samples = (heard.len() - before) as u32;
                    assert!(samples > 0, "{name}");
                    next = next.wrapping_add(
                        samples * (to.clock().hertz() / 1_000) / (to.rate().hertz() / 1_000),
                    );
                }
                assert!(
                    bench
                        .sent
                        .windows(2)
                        .all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)),
                    "{name}"
                );
                let rate = to.rate().hertz();
                assert!(heard.len() as u32 >= rate / 1_000 * 940, "{name}");
                // Without the beginning, where filters and codecs settle.
                let settled = &heard[heard.len() - rate as usize / 2..];
                let loud = level(settled, rate, 1_000.0);
                assert!(loud.abs() < 1.5, "{name}: {loud} dB");
                for other in [500.0, 2_000.0, 3_000.0] {
                    let noise = level(settled, rate, other);
                    assert!(noise < -25.0, "{name}: {other} Hz at {noise} dB");
                }
            }
        }
    }
}

#[test]
fn wished_packet_times_are_made_once_the_sender_shows_another_one() {
    for (comes, wish) in [(20_u32, 30_u8), (60, 20), (30, 20), (20, 60), (40, 10)] {
        let mut bench = Bench::between(Pcma, Pcma, Some(wish));
        let payloads = tone(Pcma, 500.0, comes);
        for (index, payload) in payloads.iter().enumerate() {
            bench.push(&packet(
                index as u16,
                index as u32 * comes * 8,
                1,
                8,
                payload,
            ));
        }
        let whole: Vec<u8> = bench
            .sent
            .iter()
            .flat_map(|sent| sent.payload.clone())
            .collect();
        assert_eq!(whole, payloads.concat()[..whole.len()], "{comes} → {wish}");
        let wished = usize::from(wish) * 8;
        let lengths: Vec<usize> = bench.sent.iter().map(|sent| sent.payload.len()).collect();
        assert!(
            lengths[..2]
                .iter()
                .all(|length| *length == comes as usize * 8)
        );
        assert!(
            lengths[2..].iter().all(|length| *length == wished),
            "{lengths:?}"
        );
        let mut next = bench.sent[0].timestamp;
        for sent in &bench.sent {
            assert_eq!(sent.timestamp, next);
            next += sent.payload.len() as u32;
        }
    }
    let outgoing = Outgoing {
        max_ptime: Some(20),
        ..wanting(Pcma, None)
    };
    let mut bench = Bench::new(&[Format::sound(8, Pcma)], &outgoing);
    for index in 0..6_u16 {
        bench.push(&packet(index, u32::from(index) * 480, 1, 8, &[0xd5; 480]));
    }
    assert!(bench.sent[2..].iter().all(|sent| sent.payload.len() == 160));
}

#[test]
fn a_hole_stays_a_hole_and_a_pause_a_pause_when_the_stream_is_made_anew() {
    for to in [G722, Opus, L16] {
        let payloads = tone(Pcma, 500.0, 20);
        let mut bench = Bench::between(Pcma, to, Some(40));
        let mut at = |sequence: u16, timestamp: u32| {
            bench.push(&packet(sequence, timestamp, 1, 8, &payloads[0]));
        };
        at(0, 0);
        at(1, 160);
        // One packet of 20 ms waits when two are lost, and then the sender is silent for a second.
        at(2, 320);
        at(5, 800);
        at(6, 960);
        at(7, 9_120);
        at(8, 9_280);
        let clock = to.clock().hertz() / 1_000;
        let first = bench.sent[0].timestamp;
        let sent: Vec<_> = bench
            .sent
            .iter()
            .map(|sent| {
                (
                    sent.sequence - 1_001,
                    sent.timestamp.wrapping_sub(first) / clock,
                    sent.marker,
                )
            })
            .collect();
        assert_eq!(
            sent,
            [
                (0, 0, true),
                (1, 40, false),
                (3, 100, false),
                (4, 1_140, true)
            ],
            "{to:?}"
        );
    }
}

#[test]
fn late_packets_are_not_sent_where_the_codec_has_a_memory() {
    let payloads = tone(Pcma, 500.0, 20);
    let mut bench = Bench::between(Pcma, G722, None);
    for (sequence, count) in [(0_u16, 1), (2, 1), (1, 0), (2, 0), (3, 1)] {
        let sent = bench.push(&packet(
            sequence,
            u32::from(sequence) * 160,
            1,
            8,
            &payloads[0],
        ));
        assert_eq!(sent, count, "{sequence}");
    }
}

#[test]
fn a_peer_may_change_between_its_codecs_in_mid_stream() {
    let incoming = [Format::sound(8, Pcma), Format::sound(9, G722)];
    let mut bench = Bench::new(&incoming, &wanting(Pcma, None));
    for index in 0..30_u16 {
        let payload_type = if (10..20).contains(&index) { 9 } else { 8 };
        bench.push(&packet(
            index,
            u32::from(index) * 160,
            1,
            payload_type,
            &[0xd5; 160],
        ));
    }
    assert!(bench.sent.len() >= 28);
    assert!(
        bench
            .sent
            .iter()
            .all(|sent| sent.payload_type == 8 && sent.payload.len() == 160)
    );
    assert!(
        bench
            .sent
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence + 1
                && pair[1].timestamp == pair[0].timestamp + 160)
    );
}

#[test]
fn a_key_press_keeps_its_length_from_a_clock_to_another() {
    let incoming = [
        Format::sound(111, Opus),
        Format {
            payload_type: 110,
            content: Content::Event,
            clock: Frequency::HZ_48000,
        },
    ];
    let mut bench = Bench::new(&incoming, &wanting(Pcma, None));
    let payloads = tone(Opus, 500.0, 20);
    bench.push(&packet(0, 0, 1, 111, &payloads[0]));
    bench.push(&packet(1, 960, 1, 111, &payloads[1]));
    for (sequence, duration, end) in [(2, 960, false), (3, 4_800, true), (4, 4_800, true)] {
        let event = Event {
            event: 5,
            end,
            volume: 10,
            duration,
        };
        bench.push(&packet(sequence, 1_920, 1, 110, &event.to_payload()));
    }
    bench.push(&packet(5, 6_720, 1, 111, &payloads[2]));
    let events: Vec<_> = bench.sent[2..5]
        .iter()
        .map(|sent| {
            let event = Event::parse(&sent.payload).expect("an event");
            (sent.payload_type, sent.timestamp, event.duration, event.end)
        })
        .collect();
    let begun = bench.sent[2].timestamp;
    assert_eq!(
        events,
        [
            (96, begun, 160, false),
            (96, begun, 800, true),
            (96, begun, 800, true)
        ]
    );
    assert!(
        bench
            .sent
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence + 1)
    );
}

#[test]
fn presses_that_are_inserted_push_what_follows_back_by_their_number() {
    let mut bench = Bench::between(Pcma, Pcma, None);
    bench.push_as(1, 0, 1, 8);
    let at = bench.forwarder.clock_at(bench.start + 20 * MS);
    assert_eq!(at, 5_320);
    let mut events = Vec::new();
    for _ in 0..3 {
        bench
            .forwarder
            .insert(at, false, &[5, 0x8a, 3, 32], &mut |packet| {
                events.push((packet.payload_type, packet.sequence.0));
            });
    }
    assert_eq!(events, [(96, 1_002), (96, 1_003), (96, 1_004)]);
    bench.push_as(2, 160, 1, 8);
    assert_eq!(bench.numbers()[1], (1_005, 5_320, false));
}

#[test]
fn what_is_forwarded_sounds_as_it_was_said_to_a_listener_of_another_codec() {
    // A caller's Opus at 48 kHz timestamps, heard by a G.711 phone through its jitter buffer.
    let mut bench = Bench::between(Opus, Pcma, None);
    let payloads = tone(Opus, 800.0, 20);
    let mut buffer = ListenBuffer::new(bench.start, vec![Format::sound(8, Pcma)]);
    let mut heard = Vec::new();
    for (index, payload) in payloads.iter().enumerate() {
        let now = bench.start + 20 * MS * index as u32;
        bench.push(&packet(index as u16, index as u32 * 960, 1, 111, payload));
        for sent in bench.sent.drain(..) {
            buffer.push(
                now,
                &packet(sent.sequence, sent.timestamp, 99, 8, &sent.payload),
            );
        }
        while let Some(part) = buffer.poll(now) {
            heard.extend(part.frame.samples);
        }
    }
    assert!(level(&heard[4_000..], 8_000, 800.0).abs() < 1.5);
}
