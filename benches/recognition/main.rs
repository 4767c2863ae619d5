//! Recognition against faster-whisper: the same weights, the same clips, the same two cores, in turns in one run.
//!
//! Run it by `make bench-recognition`, which brings faster-whisper and its model to `target/bench`. Clip by clip first
//! one side and then the other recognises, so that a machine's other work hits both alike, and the ratios are medians
//! over the rounds. `speed` is one clip, our one thread against its two; `throughput` is all clips, our two workers
//! against its two threads.

mod clips;
mod peer;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clips::Clip;
use peer::Peer;
use xinqiao::audio::MediaTime;
use xinqiao::recognition::{Job, RecognitionPool, WhisperModel};
use xinqiao::speech::{
    CallId, Hypothesis, Leg, Outcome, Pass, Prompt, Recognizer, Utterance, UtteranceKey,
};
use xinqiao::text::score as characters;

const AUDIO: &str = "../shared/audio";
const MODEL: &str = "data/models/ggml-base-q8_0.bin";
const PYTHON: &str = "target/bench/venv/bin/python";
const PEER_MODEL: &str = "target/bench/model";
const CLIPS: &str = "target/bench/clips";
const REPORT: &str = "target/bench/recognition.json";
const ROUNDS: usize = 3;
/// As many workers as the other side has threads.
const WORKERS: usize = 2;
/// Clips between two turns of the workers: enough that the last one's wait for its neighbour matters little.
const TURN: usize = 12;
/// One side's times and last texts.
#[derive(Default)]
struct Side {
    /// Seconds a clip, by round.
    seconds: Vec<Vec<f64>>,
    texts: Vec<String>,
}

impl Side {
    fn typical(&self) -> Vec<f64> {
        self.seconds.iter().map(|times| median(times)).collect()
    }

    /// Edits and characters over the clips that `chosen` takes, as a rate.
    fn error_rate(&self, clips: &[Clip], chosen: impl Fn(&Clip) -> bool) -> f64 {
        let (mut edits, mut said) = (0, 0);
        for (clip, text) in clips.iter().zip(&self.texts) {
            if chosen(clip) {
                let reference = characters::normalised(&clip.text);
                edits += characters::edits(&reference, &characters::normalised(text));
                said += reference.len();
            }
        }
        edits as f64 / said as f64
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    for (needed, remedy) in [
        (AUDIO, "it belongs to the shared test data"),
        (MODEL, "`xinqiao models pull` brings it"),
        (PYTHON, "`make bench-recognition` brings it"),
        (PEER_MODEL, "`make bench-recognition` brings it"),
    ] {
        if !Path::new(needed).exists() {
            println!("recognition is not compared: there is no {needed}; {remedy}");
            return Ok(());
        }
    }
    let clips = clips::write(Path::new(AUDIO), Path::new(CLIPS))?;
    let utterances: Vec<Utterance> = (0..)
        .zip(&clips)
        .map(|(id, clip)| utterance(id, clip))
        .collect();
    let model = WhisperModel::load(Path::new(MODEL))?;
    let mut recognizer = model.recognizer()?;
    let pool = RecognitionPool::start(WORKERS, clips.len(), move || model.recognizer())?;
    let mut peer = Peer::start(Path::new(PYTHON), Path::new(PEER_MODEL), "", 1)?;

    recognizer.transcribe(&utterances[0])?;
    together(&pool, &utterances[..WORKERS])?;
    peer.recognise(&clips[0].file)?;

    let load_before = load();
    let (mut ours, mut theirs) = (Side::new(clips.len()), Side::new(clips.len()));
    let (mut pooled, mut serial) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (mut pooled_seconds, mut serial_seconds) = (0.0, 0.0);
        for start in (0..clips.len()).step_by(TURN) {
            let turn = start..clips.len().min(start + TURN);
            for at in turn.clone() {
                let began = Instant::now();
                let heard = recognizer.transcribe(&utterances[at])?;
                ours.add(at, began.elapsed().as_secs_f64(), heard.text.into_inner());
                let heard = peer.recognise(&clips[at].file)?;
                serial_seconds += heard.seconds;
                theirs.add(at, heard.seconds, heard.text);
            }
            pooled_seconds += together(&pool, &utterances[turn])?.as_secs_f64();
            eprintln!(
                "round {round} of {ROUNDS}: {} of {} clips",
                clips.len().min(start + TURN),
                clips.len()
            );
        }
        pooled.push(pooled_seconds);
        serial.push(serial_seconds);
    }

    let audio: f64 = clips.iter().map(Clip::seconds).sum();
    let (our_times, their_times) = (ours.typical(), theirs.typical());
    let ratios: Vec<f64> = their_times
        .iter()
        .zip(&our_times)
        .map(|(t, o)| t / o)
        .collect();
    let throughput: Vec<f64> = serial.iter().zip(&pooled).map(|(t, o)| t / o).collect();
    print_clips(&clips, &ours, &theirs);

    let (our_sum, their_sum) = (
        our_times.iter().sum::<f64>(),
        their_times.iter().sum::<f64>(),
    );
    let (our_rate, their_rate) = (
        ours.error_rate(&clips, |_| true),
        theirs.error_rate(&clips, |_| true),
    );
    let metrics = BTreeMap::from([
        ("audio_seconds", audio),
        ("clips", clips.len() as f64),
        ("speed_ratio", their_sum / our_sum),
        ("speed_ratio_median_clip", median(&ratios)),
        ("throughput_ratio", median(&throughput)),
        ("seconds_xinqiao_one_thread", our_sum),
        ("seconds_xinqiao_two_workers", median(&pooled)),
        ("seconds_faster_whisper_two_threads", their_sum),
        ("cer_xinqiao", our_rate),
        ("cer_faster_whisper", their_rate),
        ("cer_points_worse", 100.0 * (our_rate - their_rate)),
        (
            "cer_real_xinqiao",
            ours.error_rate(&clips, |clip| clip.real),
        ),
        (
            "cer_real_faster_whisper",
            theirs.error_rate(&clips, |clip| clip.real),
        ),
        ("load_before", load_before),
        ("load_after", load()),
    ]);
    fs::write(REPORT, serde_json::to_string_pretty(&metrics)?)?;
    for (name, value) in &metrics {
        println!("{name:36} {value:9.3}");
    }
    println!(
        "\n| {} clips, {audio:.0} s of speech, faster-whisper {} | one clip {:.2}× as fast | two cores {:.2}× as much \
         | character errors {:.1} % against {:.1} % |",
        clips.len(),
        peer.version,
        metrics["speed_ratio"],
        metrics["throughput_ratio"],
        100.0 * our_rate,
        100.0 * their_rate,
    );
    Ok(())
}

impl Side {
    fn new(clips: usize) -> Self {
        Self {
            seconds: vec![Vec::new(); clips],
            texts: vec![String::new(); clips],
        }
    }

    fn add(&mut self, clip: usize, seconds: f64, text: String) {
        self.seconds[clip].push(seconds);
        self.texts[clip] = text;
    }
}

fn utterance(id: u32, clip: &Clip) -> Utterance {
    Utterance {
        key: UtteranceKey {
            call: CallId::new("bench"),
            leg: Leg::Mono,
            id,
            revision: 1,
        },
        pass: Pass::Final,
        samples: clip.samples.as_slice().into(),
        start: MediaTime::ZERO,
        voice: MediaTime::ZERO,
        prompt: Prompt::default(),
        end: MediaTime::ZERO + Duration::from_secs_f64(clip.seconds()),
    }
}

/// How long the workers take over all of `utterances`.
fn together(pool: &RecognitionPool, utterances: &[Utterance]) -> Result<Duration, Box<dyn Error>> {
    let (done, outcomes) = mpsc::sync_channel(utterances.len());
    let began = Instant::now();
    for utterance in utterances {
        let done = done.clone();
        pool.submit(Job {
            utterance: utterance.clone(),
            due: began,
            reply: Box::new(move |_, outcome| {
                // Its receiver waits below until all have come.
                let _ = done.try_send(outcome);
            }),
        });
    }
    drop(done);
    let mut count = 0;
    for outcome in outcomes {
        match outcome {
            Outcome::Recognized(Hypothesis { .. }) => count += 1,
            other => return Err(format!("a clip was not recognised: {other:?}").into()),
        }
    }
    assert_eq!(count, utterances.len(), "every job has an outcome");
    Ok(began.elapsed())
}

fn print_clips(clips: &[Clip], ours: &Side, theirs: &Side) {
    println!(
        "{:28} {:>5} {:>6} {:>6} {:>6}  errors: ours, theirs",
        "clip", "s", "ours", "theirs", "ratio"
    );
    let times = ours.typical().into_iter().zip(theirs.typical());
    for (at, (clip, (our, their))) in clips.iter().zip(times).enumerate() {
        let said = characters::normalised(&clip.text);
        let errors =
            |side: &Side| characters::edits(&said, &characters::normalised(&side.texts[at]));
        println!(
            "{:28} {:5.1} {our:6.3} {their:6.3} {:6.2}  {:>3} {:>3} of {}",
            clip.file.file_stem().unwrap_or_default().to_string_lossy(),
            clip.seconds(),
            their / our,
            errors(ours),
            errors(theirs),
            said.len(),
        );
        if std::env::var_os("XINQIAO_BENCH_TEXTS").is_some() {
            println!(
                "  said   {}\n  ours   {}\n  theirs {}",
                clip.text, ours.texts[at], theirs.texts[at]
            );
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// How many processes wanted a core in the last minute; zero where the system does not say.
fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|line| line.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}
