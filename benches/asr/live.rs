//! Calls at once, each with two speaking legs, through a running gateway; what its gRPC stream told when.

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use xinqiao::app::Gateway;
use xinqiao::config::Config;
use xinqiao::gateway::phone::{self, AnswerPlan, Answering, CallPlan, CallReport};
use xinqiao::grpc::proto::transcript::v1::WatchRequest;
use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;

use super::quantile::quantile;

/// Between the beginnings of two calls, so that they do not speak in step.
const APART: Duration = Duration::from_millis(370);
/// Kept behind the last utterance of a piece.
const PAUSE: Duration = Duration::from_millis(550);

/// One utterance of a recording's description.
#[derive(Deserialize, Serialize)]
pub struct Said {
    /// `caller` or `operator`.
    pub speaker: String,
    /// What is said.
    pub text: String,
    /// When.
    pub start_ms: u64,
    /// Until when.
    pub end_ms: u64,
}

/// The recordings of a folder that have a description.
pub fn recordings(audio: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(audio)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "wav")
            && path.with_extension("json").exists()
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One recording made of the beginnings of all recordings of a folder, `lasts` long at most, with its description
/// beside it: what every call plays.
pub fn compose(audio: &Path, folder: &Path, lasts: Duration) -> Result<PathBuf, Box<dyn Error>> {
    let sources = recordings(audio)?;
    let share = lasts / sources.len().max(1) as u32;
    std::fs::create_dir_all(folder)?;
    let target = folder.join("live.wav");
    let mut writer: Option<hound::WavWriter<_>> = None;
    let (mut all, mut offset_ms) = (Vec::new(), 0);
    for source in &sources {
        let mut reader = hound::WavReader::open(source)?;
        let spec = reader.spec();
        let fits = |said: &Said| Duration::from_millis(said.end_ms) + PAUSE < share;
        let said: Vec<Said> = self::said(source)?.into_iter().filter(fits).collect();
        let Some(last) = said.last() else { continue };
        let length_ms = last.end_ms + PAUSE.as_millis() as u64;
        let count = length_ms * u64::from(spec.sample_rate) / 1_000 * u64::from(spec.channels);
        if writer.is_none() {
            writer = Some(hound::WavWriter::create(&target, spec)?);
        }
        let out = writer.as_mut().ok_or("made above")?;
        for sample in reader.samples::<i16>().take(count as usize) {
            out.write_sample(sample?)?;
        }
        all.extend(said.into_iter().map(|said| Said {
            start_ms: said.start_ms + offset_ms,
            end_ms: said.end_ms + offset_ms,
            ..said
        }));
        offset_ms += length_ms;
    }
    writer
        .ok_or("no recording begins with a short utterance")?
        .finalize()?;
    let described = serde_json::json!({ "utterances": all });
    std::fs::write(target.with_extension("json"), described.to_string())?;
    Ok(target)
}

/// What is said in a recording.
pub fn said(recording: &Path) -> Result<Vec<Said>, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Described {
        utterances: Vec<Said>,
    }
    let text = std::fs::read_to_string(recording.with_extension("json"))?;
    Ok(serde_json::from_str::<Described>(&text)?.utterances)
}

/// When the sound of each utterance really begins and ends, in milliseconds: the description's times hold the silence
/// around it too. Sound is what is louder than a twentieth of the loudest 20 ms.
fn sounding(recording: &Path, said: &[Said]) -> Result<Vec<(u64, u64)>, Box<dyn Error>> {
    let mut reader = hound::WavReader::open(recording)?;
    let (channels, rate) = (
        usize::from(reader.spec().channels),
        reader.spec().sample_rate,
    );
    let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    let step = rate as usize / 50;
    let sounding = said.iter().map(|said| {
        let channel = usize::from(said.speaker == "operator").min(channels - 1);
        let place = |ms: u64| (ms * u64::from(rate) / 1_000) as usize;
        let leg = samples.iter().skip(channel).step_by(channels);
        let leg = leg
            .skip(place(said.start_ms))
            .take(place(said.end_ms - said.start_ms));
        let leg: Vec<f64> = leg.map(|sample| f64::from(*sample)).collect();
        let power = |step: &[f64]| step.iter().map(|sample| sample * sample).sum::<f64>();
        let powers: Vec<f64> = leg.chunks(step).map(power).collect();
        let bound = powers.iter().copied().fold(0.0, f64::max) / 400.0;
        let first = powers.iter().position(|power| *power > bound).unwrap_or(0) as u64;
        let last = powers.iter().rposition(|power| *power > bound).unwrap_or(0) as u64;
        (said.start_ms + first * 20, said.start_ms + last * 20 + 20)
    });
    Ok(sounding.collect())
}

/// What was measured with some calls at once; times in seconds, sorted.
pub struct Measured {
    calls: usize,
    finals: Vec<f64>,
    partials: Vec<f64>,
    /// Utterances of the recordings, and those in whose time a final line of their leg lies.
    said: usize,
    heard: usize,
    gaps: usize,
    /// Final lines that a second hearing wrote anew.
    renewed: usize,
    /// Packets that the phones missed, of those they should have got.
    lost: u64,
    received: u64,
    /// What each leg of each call said, and its final lines.
    pub texts: Vec<(String, String)>,
    /// How far each utterance's first and last word lie from its sound's beginning and end.
    edges: Vec<f64>,
}

impl Measured {
    /// The p95 of the finals' times after the end of speech.
    pub fn final_p95(&self) -> f64 {
        quantile(&self.finals, 0.95)
    }

    /// Whether every utterance has its final line.
    pub fn is_complete(&self) -> bool {
        self.gaps == 0 && self.heard == self.said
    }

    /// A line for people.
    pub fn print(&self) {
        println!(
            "{} calls: {} of {} utterances have their final lines ({} gaps, {} lines heard better later), p50 {:.2} s, p95 {:.2} s; {} tentative lines, \
             p50 {:.2} s behind; {} of {} packets lost; word edges within 200 ms: {:.0} %",
            self.calls,
            self.heard,
            self.said,
            self.gaps,
            self.renewed,
            quantile(&self.finals, 0.5),
            self.final_p95(),
            self.partials.len(),
            quantile(&self.partials, 0.5),
            self.lost,
            self.received,
            100.0 * share_within(&self.edges, 0.2),
        );
    }

    /// The same for machines.
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let name = |what: &str| format!("{what}_{}_calls", self.calls);
        vec![
            (name("final_p50_s"), quantile(&self.finals, 0.5)),
            (name("final_p95_s"), self.final_p95()),
            (name("partial_p50_s"), quantile(&self.partials, 0.5)),
            (name("partials"), self.partials.len() as f64),
            (name("utterances"), self.said as f64),
            (name("utterances_with_final"), self.heard as f64),
            (name("gaps"), self.gaps as f64),
            (name("lines_renewed"), self.renewed as f64),
            (name("packets_lost"), self.lost as f64),
            (name("packets_received"), self.received as f64),
            (
                name("word_edges_within_200ms"),
                share_within(&self.edges, 0.2),
            ),
            (name("word_edge_p50_s"), quantile(&self.edges, 0.5)),
        ]
    }
}

fn share_within(sorted: &[f64], bound: f64) -> f64 {
    let within = sorted.iter().filter(|edge| **edge <= bound).count();
    within as f64 / sorted.len().max(1) as f64
}

/// A version of a line, and when it came.
struct Came {
    id: u32,
    at: Instant,
    start_ms: u64,
    end_ms: u64,
    is_caller: bool,
    is_final: bool,
    text: String,
    words: Option<(u64, u64)>,
}

#[derive(Default)]
struct Watched {
    answered: Option<Instant>,
    came: Vec<Came>,
    gaps: usize,
    renewed: usize,
}

/// Has `calls` calls play `recording`, and waits until each has said its last.
pub fn run(recording: &Path, calls: usize) -> Result<Measured, Box<dyn Error>> {
    xinqiao::gateway::runtime()?.block_on(measure(recording, calls))
}

async fn measure(recording: &Path, calls: usize) -> Result<Measured, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let operator = Answering::bind(AnswerPlan::new("127.0.0.1:0".parse()?, recording)).await?;
    let set = |key: &str, value: &dyn std::fmt::Display| format!("{key}={value}");
    let config = |operator: &dyn std::fmt::Display| {
        // `ASR_SET=recognition.review=false` measures with another setting.
        let chosen = std::env::var("ASR_SET").ok();
        let settings: Vec<String> = [
            set("sip.listen", &"127.0.0.1:0"),
            set("console.listen", &"127.0.0.1:0"),
            set("grpc.listen", &"127.0.0.1:0"),
            set("operators.default", operator),
            set("calls.flush_s", &60),
            set("store.database", &folder.path().join("x.db").display()),
            set("ticketing.database", &folder.path().join("t.db").display()),
        ]
        .into_iter()
        .chain(chosen)
        .collect();
        Config::load(None, &settings)
    };
    let gateway = Gateway::start(&config(&format!("sip:op@{}", operator.local_addr()))?).await?;
    let mut answering = JoinSet::new();
    answering.spawn(operator.run(stop.clone()));
    let channel = Channel::from_shared(format!("http://{}", gateway.grpc))?
        .connect()
        .await?;
    let mut events = TranscriptServiceClient::new(channel)
        .watch(WatchRequest::default())
        .await?
        .into_inner();
    let watching = tokio::spawn(async move {
        let (mut watched, mut over) = (HashMap::<String, Watched>::new(), 0);
        while let Ok(Some(response)) = events.message().await {
            let Some(event) = response.event else {
                continue;
            };
            let at = Instant::now();
            let call = watched.entry(event.call_id).or_default();
            match event.body {
                Some(Body::Answered(_)) => call.answered = Some(at),
                Some(Body::Utterance(said)) => {
                    let words = said.words.first().zip(said.words.last());
                    let words = words.map(|(first, last)| (first.start_ms, last.end_ms));
                    let known = call
                        .came
                        .iter_mut()
                        .find(|came| came.is_final && came.id == said.id);
                    if let Some(first) = known {
                        // A second hearing: its words count, the first one's time.
                        (first.text, first.words) = (said.text, words);
                        call.renewed += 1;
                        continue;
                    }
                    call.came.push(Came {
                        id: said.id,
                        at,
                        start_ms: said.start_ms,
                        end_ms: said.end_ms,
                        is_caller: said.leg == 1,
                        is_final: said.r#final,
                        text: said.text,
                        words,
                    });
                }
                Some(Body::Gap(_)) => call.gaps += 1,
                Some(Body::CallFinal(_)) => {
                    over += 1;
                    if over == calls {
                        break;
                    }
                }
                _ => {}
            }
        }
        watched
    });
    let mut calling = JoinSet::new();
    for at in 0..calls {
        let plan = CallPlan {
            from: format!("{at}").into(),
            ..CallPlan::new(&format!("sip:12345@{}", gateway.sip), recording)
        };
        let stop = stop.clone();
        calling.spawn(async move {
            tokio::time::sleep(APART * at as u32).await;
            phone::call(plan, &stop).await
        });
    }
    let mut reports: Vec<CallReport> = Vec::new();
    while let Some(report) = calling.join_next().await {
        reports.push(report??);
    }
    let patience = Duration::from_secs(90);
    let watched = tokio::time::timeout(patience, watching).await??;
    stop.cancel();
    while let Some(answered) = answering.join_next().await {
        answered??;
    }
    gateway.stop(CancellationToken::new()).await;
    let said = said(recording)?;
    let sounding = sounding(recording, &said)?;
    Ok(judge(calls, &said, &sounding, &watched, &reports))
}

fn judge(
    calls: usize,
    said: &[Said],
    sounding: &[(u64, u64)],
    watched: &HashMap<String, Watched>,
    reports: &[CallReport],
) -> Measured {
    let mut measured = Measured {
        calls,
        finals: Vec::new(),
        partials: Vec::new(),
        said: said.len() * calls,
        heard: 0,
        gaps: watched.values().map(|call| call.gaps).sum(),
        renewed: watched.values().map(|call| call.renewed).sum(),
        lost: reports.iter().map(|report| report.lost).sum(),
        received: reports.iter().map(|report| report.received).sum(),
        texts: Vec::new(),
        edges: Vec::new(),
    };
    for call in watched.values() {
        let Some(answered) = call.answered else {
            continue;
        };
        for came in call.came.iter().filter(|came| !came.is_final) {
            let end = answered + Duration::from_millis(came.end_ms);
            let behind = came.at.saturating_duration_since(end).as_secs_f64();
            measured.partials.push(behind);
        }
        for leg in ["caller", "operator"] {
            let is_of_leg = |came: &&Came| came.is_final && came.is_caller == (leg == "caller");
            let mut lines: Vec<&Came> = call.came.iter().filter(is_of_leg).collect();
            lines.sort_by_key(|came| came.start_ms);
            let said = said.iter().filter(|said| said.speaker == leg);
            measured.texts.push((
                said.map(|said| said.text.as_str()).collect(),
                lines.iter().map(|line| line.text.as_str()).collect(),
            ));
        }
        for (said, sounding) in said.iter().zip(sounding) {
            let finals = call.came.iter().filter(|came| {
                let within = came.start_ms < said.end_ms && said.start_ms < came.end_ms;
                came.is_final
                    && !came.text.is_empty()
                    && within
                    && came.is_caller == (said.speaker == "caller")
            });
            let finals: Vec<&Came> = finals.collect();
            measured.heard += usize::from(!finals.is_empty());
            // From the sound's real end, not from where our own last word ends.
            if let Some(last) = finals.iter().map(|came| came.at).max() {
                let end = answered + Duration::from_millis(sounding.1);
                let behind = last.saturating_duration_since(end).as_secs_f64();
                measured.finals.push(behind);
            }
            let words: Vec<(u64, u64)> = finals.iter().filter_map(|came| came.words).collect();
            if let (Some(start), Some(end)) = (
                words.iter().map(|word| word.0).min(),
                words.iter().map(|word| word.1).max(),
            ) {
                for (ours, real) in [(start, sounding.0), (end, sounding.1)] {
                    measured.edges.push(ours.abs_diff(real) as f64 / 1_000.0);
                }
            }
        }
    }
    for sorted in [
        &mut measured.finals,
        &mut measured.partials,
        &mut measured.edges,
    ] {
        sorted.sort_by(f64::total_cmp);
    }
    measured
}
