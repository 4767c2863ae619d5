//! A phone that says tones over good and bad networks, in virtual time.

use super::*;
use crate::audio::codec::Encoder;
use crate::rtp::WireSequence;
use crate::rtp::lossy::LossyNetwork;

const MS: Duration = Duration::from_millis(1);

/// A phone that says a tone of 20 ms packets, and the buffer that listens to it.
struct Line {
    start: Instant,
    buffer: ListenBuffer,
    heard: Vec<Heard>,
    payload: Vec<u8>,
}

impl Line {
    fn new() -> Self {
        let start = Instant::now();
        let tone: Vec<i16> = (0..160)
            .map(|i| (8_000.0 * (i as f32 * std::f32::consts::TAU / 40.0).sin()) as i16)
            .collect();
        Self {
            start,
            buffer: ListenBuffer::new(
                start,
                vec![Format::sound(8, Codec::Pcma), Format::sound(0, Codec::Pcmu)],
            ),
            heard: Vec::new(),
            payload: Encoder::new(Codec::Pcma).encode(&tone),
        }
    }

    fn push(&mut self, millis: u64, sequence: u16, timestamp: u32, ssrc: u32) {
        self.push_as(millis, sequence, timestamp, ssrc, 8);
    }

    fn push_as(&mut self, millis: u64, sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) {
        let now = self.start + MS * millis as u32;
        let payload = self.payload.clone();
        let sequence = WireSequence(sequence);
        let packet = Packet {
            payload_type,
            marker: false,
            sequence,
            timestamp,
            ssrc,
            payload: &payload,
        };
        self.poll(millis);
        self.buffer.push(now, &packet);
        self.poll(millis);
    }

    fn poll(&mut self, millis: u64) {
        while let Some(heard) = self.buffer.poll(self.start + MS * millis as u32) {
            self.heard.push(heard);
        }
    }

    /// Milliseconds of each kind, after checking that there is no hole and no overlap.
    fn spans(&self) -> (u64, u64, u64) {
        let mut until = MediaTime::ZERO;
        let mut spans = (0, 0, 0);
        for heard in &self.heard {
            assert_eq!(heard.frame.start, until);
            until = until + heard.frame.duration();
            let span = heard.frame.duration().as_millis() as u64;
            match heard.kind {
                Kind::Audio => spans.0 += span,
                Kind::Concealed => spans.1 += span,
                Kind::Silence => spans.2 += span,
            }
        }
        spans
    }
}

#[test]
fn packets_in_order_are_heard_at_once() {
    let mut line = Line::new();
    for i in 0..50_u16 {
        line.push(
            u64::from(i) * 20,
            65_530_u16.wrapping_add(i),
            (u32::MAX - 1_000).wrapping_add(u32::from(i) * 160),
            1,
        );
    }
    assert_eq!(line.spans(), (1_000, 0, 0));
}

#[test]
fn a_reordered_packet_is_heard_in_its_place_and_a_duplicate_once() {
    let mut line = Line::new();
    for (millis, sequence) in [(0, 1), (40, 3), (45, 2), (46, 2), (47, 3), (60, 4)] {
        line.push(millis, sequence, u32::from(sequence) * 160, 1);
    }
    assert_eq!(line.spans(), (80, 0, 0));
    let stats = line.buffer.stats().expect("packets came");
    assert_eq!(
        (stats.reordered, stats.duplicates + stats.late, stats.lost()),
        (2, 2, 0)
    );
}

#[test]
fn a_long_loss_keeps_its_length() {
    let mut line = Line::new();
    for sequence in (0..5).chain(15..20_u16) {
        line.push(
            u64::from(sequence) * 20,
            sequence,
            u32::from(sequence) * 160,
            1,
        );
    }
    line.poll(480);
    let (audio, concealed, silence) = line.spans();
    // The silence was under way when the sender came back, so the fifth packet of the second ten is heard 20 ms later.
    assert_eq!(audio, 200);
    assert!(
        (200..=220).contains(&(concealed + silence)),
        "{concealed} + {silence}"
    );
}

#[test]
fn one_lost_packet_is_filled_with_the_tone_that_went_before() {
    let mut line = Line::new();
    for sequence in (0..10).chain(11..16_u16) {
        line.push(
            u64::from(sequence) * 20,
            sequence,
            u32::from(sequence) * 160,
            1,
        );
    }
    assert_eq!(line.spans(), (300, 20, 0));
    let filled = line
        .heard
        .iter()
        .find(|heard| heard.kind == Kind::Concealed)
        .expect("concealed");
    // The tone has a period of 40 samples: the repetition goes on in phase.
    let samples = &filled.frame.samples;
    assert!(
        samples[10] > 5_000 && samples[30] < -5_000,
        "{:?}",
        &samples[..40]
    );
}

#[test]
fn a_lost_packet_of_opus_is_heard_by_what_the_next_one_tells_of_it() {
    // A voice whose pitch jumps in the lost packet: nothing before it says how it sounds.
    let said: Vec<i16> = (0..320 * 40)
        .map(|at| {
            let pitch = if at < 320 * 30 { 120.0 } else { 310.0 };
            let phase = at as f32 * pitch * std::f32::consts::TAU / 16_000.0;
            let voice: f32 = (1..=10_u8)
                .map(|n| (phase * f32::from(n)).sin() / f32::from(n))
                .sum();
            (5_000.0 * voice) as i16
        })
        .collect();
    // As phones set it: in its mode for speech, and told of the loss.
    let mut encoder =
        opus::Encoder::new(16_000, opus::Channels::Mono, opus::Application::Voip).expect("Opus");
    encoder
        .set_bitrate(opus::Bitrate::Bits(24_000))
        .expect("a rate");
    encoder.set_signal(opus::Signal::Voice).expect("a hint");
    encoder.set_inband_fec(true).expect("known");
    encoder.set_packet_loss_perc(20).expect("known");
    let encode = |piece: &[i16]| encoder.encode_vec(piece, 1_275).expect("encoded");
    let payloads: Vec<Vec<u8>> = said.chunks(320).map(encode).collect();
    let heard = |lost: &[usize]| {
        let mut line = Line::new();
        line.buffer = ListenBuffer::new(line.start, vec![Format::sound(111, Codec::Opus)]);
        for (number, payload) in payloads.iter().enumerate() {
            if !lost.contains(&number) {
                line.payload.clone_from(payload);
                let number = number as u16;
                line.push_as(
                    20 * u64::from(number),
                    number,
                    960 * u32::from(number),
                    1,
                    111,
                );
            }
        }
        line.buffer.finish();
        line.poll(800);
        line
    };
    let samples = |line: &Line| -> Vec<f64> {
        let pieces = line.heard.iter().flat_map(|heard| &heard.frame.samples);
        pieces.map(|sample| f64::from(*sample)).collect()
    };
    let whole = samples(&heard(&[]));
    // The share of packet 31 that is not as it was said.
    let error = |line: &Line| {
        let range = 320 * 31..320 * 32;
        let power: f64 = whole[range.clone()].iter().map(|s| s * s).sum();
        let filled = samples(line);
        let pairs = whole[range.clone()].iter().zip(&filled[range]);
        pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>() / power
    };
    let one_lost = heard(&[31]);
    assert_eq!(one_lost.spans(), (780, 20, 0));
    // Of a longer loss only the last packet is known, the ones before it are guessed; the length stays.
    let two_lost = heard(&[31, 32]);
    assert_eq!(two_lost.spans(), (760, 40, 0));
    let (told, guessed) = (error(&one_lost), error(&two_lost));
    assert!(told < 0.5 && guessed > 2.0 * told, "{told:.2} {guessed:.2}");
}

#[test]
fn a_sender_that_stops_is_followed_by_silence_and_goes_on_where_it_comes_back() {
    let mut line = Line::new();
    line.push(0, 1, 0, 1);
    line.poll(1_000);
    let (audio, _, silence) = line.spans();
    assert_eq!(audio, 20);
    assert!(silence >= 900, "{silence}");
    line.push(2_000, 2, 16_000, 1);
    line.push(2_020, 3, 16_160, 1);
    assert_eq!(line.spans(), (60, 0, 1_980));
}

#[test]
fn a_new_source_a_jump_and_a_delay_lose_no_packet() {
    let mut line = Line::new();
    line.push(0, 1, 0, 1);
    line.push(20, 60_000, 7_000, 2);
    line.push(40, 60_001, 7_160, 2);
    // The timestamps jump by ten minutes.
    line.push(60, 60_002, 4_800_000, 2);
    line.push(80, 60_003, 4_800_160, 2);
    // The path becomes 500 ms longer.
    for i in 0..20_u16 {
        line.push(
            600 + u64::from(i) * 20,
            60_004 + i,
            4_800_320 + u32::from(i) * 160,
            2,
        );
    }
    let (audio, concealed, _) = line.spans();
    assert_eq!((audio, concealed), (500, 0));
    assert_eq!(line.buffer.stats().map(|stats| stats.restarts), Some(1));
}

#[test]
fn key_presses_and_comfort_noise_are_time_without_sound() {
    let mut line = Line::new();
    line.push(0, 1, 0, 1);
    for i in 0..10 {
        line.push_as(20 + u64::from(i) * 20, 2 + i, 160, 1, 101);
    }
    line.push(220, 12, 1_760, 1);
    assert_eq!(line.spans(), (40, 0, 200));
}

#[test]
fn what_waits_at_the_end_is_heard() {
    let mut line = Line::new();
    line.push(0, 1, 0, 1);
    line.push(40, 3, 320, 1);
    assert_eq!(line.spans().0, 20);
    line.buffer.finish();
    line.poll(41);
    assert_eq!(line.spans(), (40, 0, 20));
}

#[test]
fn over_a_hundred_bad_networks_every_packet_is_heard_or_accounted_for() {
    for seed in 0..100 {
        let mut network = LossyNetwork::new(seed, 0.05, MS * (seed % 80) as u32);
        let mut line = Line::new();
        let mut arrivals: Vec<(Instant, u16)> = (0..500_u16)
            .filter_map(|i| Some((network.carry(line.start + MS * 20 * u32::from(i))?, i)))
            .collect();
        arrivals.sort_unstable();
        let carried = arrivals.len() as u64;
        for (arrival, i) in arrivals {
            let millis = (arrival - line.start).as_millis() as u64;
            line.push(millis, i.wrapping_add(65_300), u32::from(i) * 160, 9);
            let end = line.heard.last().map_or(0, |last| {
                (last.frame.start + last.frame.duration()).as_millis()
            });
            assert!(
                end + 400 > millis,
                "seed {seed}: at {millis} ms heard until {end}"
            );
        }
        line.buffer.finish();
        line.poll(10_100);
        let stats = line.buffer.stats().expect("packets came").clone();
        let (audio, ..) = line.spans();
        assert_eq!(
            audio / 20 + stats.late + stats.duplicates,
            carried,
            "seed {seed}"
        );
        assert!(
            stats.late * 20 < carried,
            "seed {seed}: {} of {carried} late",
            stats.late
        );
    }
}

#[test]
fn a_peer_that_sends_nonsense_neither_panics_nor_fills_the_memory() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(3);
    let mut line = Line::new();
    for i in 0..20_000_u64 {
        let ssrc = random.random_range(0..3);
        line.push_as(
            i / 4,
            random.random(),
            random.random(),
            ssrc,
            random.random_range(0..10),
        );
        assert!(line.buffer.waiting.len() + line.buffer.left.len() <= 2 * MOST_WAITING);
        if line.heard.len() > 1_000 {
            line.heard.clear();
        }
    }
}

#[test]
fn what_is_left_out_while_the_sender_is_held_is_not_lost() {
    for (held, lost) in [(true, 0), (false, 250)] {
        let mut line = Line::new();
        for number in 0..50 {
            line.push(20 * u64::from(number), number, 160 * u32::from(number), 1);
        }
        if held {
            line.buffer.set_flowing(false);
            // Some are still on their way.
            line.push(1_000, 50, 8_000, 1);
            line.push(1_020, 51, 8_160, 1);
            line.buffer.set_flowing(true);
        } else {
            line.push(1_000, 50, 8_000, 1);
            line.push(1_020, 51, 8_160, 1);
        }
        for number in 302..402 {
            line.push(20 * u64::from(number), number, 160 * u32::from(number), 1);
        }
        // What is lost afterwards is lost.
        line.push(8_200, 410, 65_600, 1);
        let stats = line.buffer.stats().expect("packets");
        assert_eq!(stats.lost(), lost + 8, "held: {held}");
        assert_eq!(stats.received, 153);
    }
}
