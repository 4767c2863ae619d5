//! `make bench-asr`: live calls through a running gateway, beside faster-whisper with the same weights, in one run.
//!
//! 1. Live: N two-leg calls at once play the recordings of `../shared/audio` as RTP into a gateway on this machine;
//!    a watcher on its gRPC stream notes when each final and each tentative line comes. For each N: how long after the
//!    end of speech finals came, how far tentative lines were behind the voice, and that each utterance has its final.
//! 2. The peer: a Python server with faster-whisper (int8, beam 5, its own voice-activity filter, two threads) gets the
//!    same utterances at the times at which they end in N such calls, in real time; N grows until its p95 is no longer
//!    under a second. It makes no tentative lines.
//! 3. Character errors: clip by clip ours and the peer's, then whole calls: ours with and without hotwords, the second
//!    hearing and a bad network, the peer's from whole legs.
//!
//! `ASR_PARTS=live,peer,cer,loss` chooses parts; without it all are run.

#[path = "../recognition/clips.rs"]
mod clips;
mod live;
#[path = "../recognition/peer.rs"]
mod peer;
#[path = "../report/quantile.rs"]
mod quantile;
#[path = "../report/mod.rs"]
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use xinqiao::audio::MediaTime;
use xinqiao::recognition::WhisperModel;
use xinqiao::speech::{CallId, Leg, Pass, Prompt, Recognizer, Utterance, UtteranceKey};
use xinqiao::text::score as characters;

use clips::Clip;
use peer::Peer;

const AUDIO: &str = "../shared/audio";
const MODEL: &str = "data/models/ggml-base-q8_0.bin";
const PYTHON: &str = "target/bench/venv/bin/python";
const PEER_MODEL: &str = "target/bench/model";
const CLIPS: &str = "target/bench/clips";
/// How long the calls of one measurement speak.
const LASTS: Duration = Duration::from_secs(50);
/// The p95 that both sides must keep to sustain a number of calls.
const SUSTAINED_S: f64 = 1.0;
/// How many calls at once are measured; `ASR_CALLS=8,16` chooses others.
const LIVE: &str = "8,12,16,32";
/// The peer is not asked for more calls than this.
const MOST_PEER_CALLS: usize = 8;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    for (needed, remedy) in [
        (AUDIO, "it belongs to the shared test data"),
        (MODEL, "`xinqiao models pull` brings it"),
        (PYTHON, "`make bench-asr` brings it"),
        (PEER_MODEL, "`make bench-asr` brings it"),
    ] {
        if !Path::new(needed).exists() {
            println!("live recognition is not measured: there is no {needed}; {remedy}");
            return Ok(());
        }
    }
    let parts = std::env::var("ASR_PARTS").unwrap_or_else(|_| "live,peer,cer,loss".into());
    let wanted = |part: &str| parts.split(',').any(|wanted| wanted == part);
    let mut metrics: Vec<(String, f64)> = Vec::new();
    let mut ours_sustained = 0;
    let recording = live::compose(Path::new(AUDIO), Path::new("target/bench/live"), LASTS)?;
    if wanted("live") {
        let chosen = std::env::var("ASR_CALLS").unwrap_or_else(|_| LIVE.into());
        for calls in chosen.split(',').map(str::parse) {
            let calls = calls?;
            let measured = live::run(&recording, calls)?;
            measured.print();
            if measured.final_p95() < SUSTAINED_S && measured.is_complete() {
                ours_sustained = calls;
            }
            metrics.extend(measured.metrics());
            let texts = measured.texts.iter();
            let counts: Vec<_> = texts.map(|(said, heard)| count(said, heard)).collect();
            metrics.push((format!("cer_{calls}_calls"), rate(&counts)));
        }
        metrics.push(("calls_sustained".into(), ours_sustained as f64));
    }
    if wanted("peer") {
        let mut sustained = 0;
        for calls in 1..=MOST_PEER_CALLS {
            let p95 = peer_live(&recording, calls)?;
            println!("faster-whisper, {calls} calls: final p95 {p95:.2} s");
            metrics.push((format!("final_p95_s_{calls}_calls_faster_whisper"), p95));
            if p95 >= SUSTAINED_S {
                break;
            }
            sustained = calls;
        }
        metrics.push(("calls_sustained_faster_whisper".into(), sustained as f64));
        if wanted("live") {
            let ratio = ours_sustained as f64 / sustained.max(1) as f64;
            metrics.push(("calls_ratio_vs_faster_whisper".into(), ratio));
        }
    }
    if wanted("cer") {
        metrics.extend(clip_errors()?);
    }
    if wanted("loss") {
        metrics.extend(call_errors()?);
    }
    let metrics: Vec<(&str, f64)> = metrics
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    report::print("asr", &metrics)
}

/// What the peer prints.
#[derive(Deserialize)]
struct Latencies {
    latencies: Vec<f64>,
}

/// What `xinqiao transcribe --json` prints.
#[derive(Deserialize)]
struct Heard {
    utterances: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    leg: String,
    text: String,
}

/// The p95 of the seconds from the end of each utterance to the peer's text, with `calls` calls at once.
fn peer_live(recording: &Path, calls: usize) -> Outcome<f64> {
    let out = Command::new(PYTHON)
        .args(["benches/asr/faster_whisper_live.py", PEER_MODEL])
        .arg(recording)
        .arg(calls.to_string())
        .output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned().into());
    }
    let mut said: Latencies = serde_json::from_slice(&out.stdout)?;
    said.latencies.sort_by(f64::total_cmp);
    Ok(quantile::quantile(&said.latencies, 0.95))
}

/// Edits and characters of what was heard in place of what was said.
fn count(said: &str, heard: &str) -> (usize, usize) {
    let said = characters::normalised(said);
    (
        characters::edits(&said, &characters::normalised(heard)),
        said.len(),
    )
}

fn rate(counts: &[(usize, usize)]) -> f64 {
    let edits: usize = counts.iter().map(|(edits, _)| edits).sum();
    let letters: usize = counts.iter().map(|(_, letters)| letters).sum();
    edits as f64 / letters.max(1) as f64
}

/// Character errors clip by clip, ours and the peer's (beam 5, voice-activity filter).
fn clip_errors() -> Outcome<Vec<(String, f64)>> {
    let clips = clips::write(Path::new(AUDIO), Path::new(CLIPS))?;
    let mut recognizer = WhisperModel::load(Path::new(MODEL))?.recognizer()?;
    let mut peer = Peer::start(Path::new(PYTHON), Path::new(PEER_MODEL), "", 5)?;
    let (mut ours, mut theirs, mut ours_real, mut theirs_real) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut our_seconds, mut peer_seconds) = (0.0, 0.0);
    for (id, clip) in (0..).zip(&clips) {
        let heard = recognizer.transcribe(&utterance(id, clip))?;
        let answer = peer.recognise(&clip.file)?;
        peer_seconds += answer.seconds;
        our_seconds += heard.took.as_secs_f64();
        let (our, their) = (
            count(&clip.text, heard.text.reveal()),
            count(&clip.text, &answer.text),
        );
        ours.push(our);
        theirs.push(their);
        if clip.real {
            ours_real.push(our);
            theirs_real.push(their);
        }
    }
    Ok(vec![
        ("cer".into(), rate(&ours)),
        ("cer_faster_whisper".into(), rate(&theirs)),
        ("clips_seconds_one_thread".into(), our_seconds),
        (
            "clips_seconds_faster_whisper_two_threads".into(),
            peer_seconds,
        ),
        ("cer_real".into(), rate(&ours_real)),
        ("cer_real_faster_whisper".into(), rate(&theirs_real)),
    ])
}

fn utterance(id: u32, clip: &Clip) -> Utterance {
    let end = MediaTime::ZERO + Duration::from_secs_f64(clip.seconds());
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
        end,
        prompt: Prompt::default(),
    }
}

/// Character errors of whole calls through the pipeline, without and with a bad network, and with hotwords.
fn call_errors() -> Outcome<Vec<(String, f64)>> {
    let mut recordings: Vec<PathBuf> = live::recordings(Path::new(AUDIO))?;
    recordings.sort();
    let with = |options: &[&str], seeds: u32| -> Outcome<f64> {
        let mut counts = Vec::new();
        for recording in &recordings {
            for seed in 1..=seeds {
                counts.extend(call_error(recording, options, seed)?);
            }
        }
        Ok(rate(&counts))
    };
    let mut peer = Peer::start(Path::new(PYTHON), Path::new(PEER_MODEL), "", 5)?;
    let mut theirs = Vec::new();
    for leg in clips::write_legs(Path::new(AUDIO), Path::new("target/bench/legs"))? {
        theirs.push(count(&leg.text, &peer.recognise(&leg.file)?.text));
    }
    Ok(vec![
        ("cer_calls_faster_whisper".into(), rate(&theirs)),
        ("cer_calls".into(), with(&["--no-hotwords"], 1)?),
        (
            "cer_calls_first_hearing".into(),
            with(&["--no-hotwords", "--no-review"], 1)?,
        ),
        ("cer_hotwords".into(), with(&[], 1)?),
        (
            "cer_loss5".into(),
            with(&["--no-hotwords", "--loss", "5", "--jitter", "40"], 2)?,
        ),
    ])
}

/// Edits and characters of each leg of one recording.
fn call_error(recording: &Path, options: &[&str], seed: u32) -> Outcome<Vec<(usize, usize)>> {
    let out = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
        .arg("transcribe")
        .arg(recording)
        .args(["--json", "--seed", &seed.to_string()])
        .args(options)
        .output()?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned().into());
    }
    let heard: Heard = serde_json::from_slice(&out.stdout)?;
    let said = live::said(recording)?;
    let leg = |name: &str| {
        let heard = heard.utterances.iter().filter(|line| line.leg == name);
        let heard: String = heard.map(|line| line.text.as_str()).collect();
        let said = said.iter().filter(|line| line.speaker == name);
        let said: String = said.map(|line| line.text.as_str()).collect();
        count(&said, &heard)
    };
    Ok(vec![leg("caller"), leg("operator")])
}
