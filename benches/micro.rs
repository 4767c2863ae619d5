//! What one packet, one frame and one draft cost.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

mod report;

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BatchSize, Criterion, criterion_group};
use xinqiao::audio::codec::{Codec, Encoder};
use xinqiao::audio::{Frame, Frequency, MediaTime};
use xinqiao::call::SpeechPipeline;
use xinqiao::rtp::forward::{Forwarder, Outgoing};
use xinqiao::rtp::listen::ListenBuffer;
use xinqiao::rtp::{Format, Packet, WireSequence};
use xinqiao::speech::segmenter::Settings;
use xinqiao::speech::{CallId, Leg};
use xinqiao::ticket::advice::Advised;
use xinqiao::ticket::{CallFacts, Dialogue, Drafter, Taxonomy, jsonl};
use xinqiao::transcript::{Line, Transcript};

/// The metrics' names, in microseconds of one thread.
const FORWARD: &str = "forward_a_packet_us";
const BUFFER: &str = "buffer_a_packet_us";
const LISTEN: &str = "listen_to_20_ms_us";
const DRAFT: &str = "draft_100_lines_us";
const FOLLOW: &str = "draft_line_200_us";

fn packet(count: u32, payload: &[u8]) -> Packet<'_> {
    Packet {
        payload_type: 8,
        marker: false,
        sequence: WireSequence(count as u16),
        timestamp: count.wrapping_mul(160),
        ssrc: 1,
        payload,
    }
}

fn media(criterion: &mut Criterion) {
    let samples: Vec<i16> = (0..160)
        .map(|i| (8_000.0 * (i as f32 * 0.3).sin()) as i16)
        .collect();
    let payload = Encoder::new(Codec::Pcma).encode(&samples);
    let datagram = packet(1, &payload).to_datagram();
    criterion.bench_function(FORWARD, |bencher| {
        let mut forwarder = Forwarder::new(1, 2, 3);
        let outgoing = Outgoing {
            codec: Codec::Pcma,
            payload_type: 8,
            event: None,
            comfort_noise: None,
            wish: Some(20),
            max_ptime: None,
        };
        forwarder.connect(&[Format::sound(8, Codec::Pcma)], &outgoing);
        let (now, mut out) = (Instant::now(), Vec::new());
        bencher.iter(|| {
            let packet = Packet::parse(black_box(&datagram)).expect("a packet");
            forwarder.forward(now, &packet, false, &mut |packet| {
                out.clear();
                packet.write(&mut out);
                black_box(&out);
            });
        });
    });
    criterion.bench_function(BUFFER, |bencher| {
        let start = Instant::now();
        let mut buffer = ListenBuffer::new(start, vec![Format::sound(8, Codec::Pcma)]);
        let mut count = 0;
        bencher.iter(|| {
            let now = start + Duration::from_millis(20) * count;
            buffer.push(now, &packet(count, &payload));
            count += 1;
            while let Some(heard) = buffer.poll(now) {
                black_box(heard);
            }
        });
    });
    criterion.bench_function(LISTEN, |bencher| {
        let mut pipeline = SpeechPipeline::new(Settings::default(), MediaTime::ZERO);
        let frame = Frame {
            samples: vec![0; 160],
            rate: Frequency::HZ_8000,
            start: MediaTime::ZERO,
        };
        let mut events = Vec::new();
        bencher.iter(|| {
            pipeline.listen(black_box(&frame), &mut events);
            events.clear();
        });
    });
}

fn draft(criterion: &mut Criterion) {
    let said = [
        "我要投诉芝罘区南大街的一家蛋糕店。",
        "请问卡里还剩多少钱？",
        "还剩八百六十块钱，我要求退款。",
    ];
    let mut transcript = Transcript::default();
    for id in 0..100 {
        let leg = if id % 3 == 1 {
            Leg::Operator
        } else {
            Leg::Caller
        };
        let text = said[id as usize % said.len()];
        let start = MediaTime::from_millis(u64::from(id) * 3_000);
        let end = MediaTime::from_millis(u64::from(id) * 3_000 + 2_500);
        transcript.apply(Line::plain(id, leg, text, start, end));
    }
    let facts = CallFacts {
        call: CallId::new("c"),
        caller_number: None,
        started_at: SystemTime::UNIX_EPOCH,
    };
    let drafter = Drafter::new(Taxonomy::embedded());
    criterion.bench_function(DRAFT, |bencher| {
        bencher.iter(|| black_box(drafter.draft(&transcript, &facts)));
    });
    // Two hundred lines of as many things as callers have to say, one call; then one line more.
    let dialogues = include_str!("../tests/data/dialogues.jsonl");
    let lines = dialogues.lines().enumerate().flat_map(|(number, line)| {
        let dialogue = jsonl::read(number + 1, line).expect("a dialogue");
        dialogue.transcript.lines().to_vec()
    });
    let mut transcript = Transcript::default();
    let (mut talk, advised) = (Dialogue::default(), Advised::default());
    for (id, line) in (0..200).zip(lines) {
        if id == 199 {
            drafter.follow(&mut talk, &transcript, &facts, &advised);
        }
        let start = MediaTime::from_millis(u64::from(id) * 3_000);
        transcript.apply(Line { id, start, ..line });
    }
    criterion.bench_function(FOLLOW, |bencher| {
        bencher.iter_batched(
            || talk.clone(),
            |mut talk| {
                let draft = drafter.follow(&mut talk, &transcript, &facts, &advised);
                (draft, talk)
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, media, draft);
fn main() -> Result<(), Box<dyn Error>> {
    benches();
    Criterion::default().configure_from_args().final_summary();
    let mut metrics = Vec::new();
    for name in [FORWARD, BUFFER, LISTEN, DRAFT, FOLLOW] {
        let file = Path::new("target/criterion")
            .join(name)
            .join("new/estimates.json");
        let estimates: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        let nanoseconds = estimates["mean"]["point_estimate"].as_f64();
        metrics.push((
            name,
            nanoseconds.ok_or("an estimate without a mean")? / 1_000.0,
        ));
    }
    report::print("micro", &metrics)
}
