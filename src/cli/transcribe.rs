//! `xinqiao transcribe`: a recording through exactly the pipeline of a call, faster than time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Failure;
use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;
use crate::audio::{Frequency, MediaTime};
use crate::call::{Ear, Note, Scribe};
use crate::gateway::wav::Wav;
use crate::recognition::models::ModelStore;
use crate::recognition::{Job, RecognitionPool, WhisperModel};
use crate::rtp::listen::ListenBuffer;
use crate::rtp::lossy::LossyNetwork;
use crate::rtp::{Format, Packet, WireSequence};
use crate::speech::finish::AsHeard;
use crate::speech::segmenter::Settings;
use crate::speech::{CallId, Leg, Outcome, Pass, UtteranceKey};

/// One RTP packet's worth of sound.
const PTIME: Duration = Duration::from_millis(20);

/// Utterances under way at once: enough to keep the workers busy, few enough to keep the memory small.
const UNDER_WAY: usize = 8;

#[derive(clap::Args)]
pub struct Arguments {
    /// A WAV file; of two channels the left one is the caller, the right one the operator
    file: PathBuf,
    /// Print JSON: {"utterances":[…],"`duration_ms","wall_ms`"}
    #[arg(long)]
    json: bool,
    /// The codec on the wire
    #[arg(long, value_enum, default_value = "pcma")]
    codec: WireCodec,
    /// Packets that the network loses, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// The longest random delay of a packet, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=2_000))]
    jitter: u64,
    /// Decides which packets are lost and delayed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A model from `xinqiao models list`
    #[arg(long, default_value = "whisper-base")]
    model: String,
    /// The folder that holds the models
    #[arg(long, default_value = "data/models")]
    models_dir: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum WireCodec {
    Pcma,
    Pcmu,
    G722,
    L16,
}

impl From<WireCodec> for Codec {
    fn from(codec: WireCodec) -> Self {
        match codec {
            WireCodec::Pcma => Self::Pcma,
            WireCodec::Pcmu => Self::Pcmu,
            WireCodec::G722 => Self::G722,
            WireCodec::L16 => Self::L16,
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "write 0 to 100".to_owned())
}

/// Recognises the file and prints what was said.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let wav = Wav::read(&arguments.file).map_err(Failure::must_be_mended)?;
    let model = ModelStore::new(&arguments.models_dir)
        .path_of(&arguments.model)
        .map_err(Failure::must_be_mended)?;
    let model = WhisperModel::load(&model).map_err(Failure::must_be_mended)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = RecognitionPool::start(workers, UNDER_WAY, move || model.recognizer())
        .map_err(Failure::failed)?;
    let duration = wav.rate.duration_of(wav.channels[0].len() as u64);
    let style = ProgressStyle::with_template("recognising {bar:40} {pos}/{len} s")
        .expect("the template is constant");
    let bar = ProgressBar::new(duration.as_secs()).with_style(style);
    let mut desk = Desk::new(arguments, &wav, &pool);
    while desk.advance()? {
        bar.set_position(desk.position().as_secs());
    }
    bar.finish_and_clear();
    desk.print(arguments.json, duration, began.elapsed());
    Ok(())
}

/// A channel of the recording on its way: as packets with their arrival, and through the leg's buffer and ear.
struct Line {
    leg: Leg,
    arrivals: std::iter::Peekable<std::vec::IntoIter<(Instant, Vec<u8>)>>,
    buffer: ListenBuffer,
    ear: Ear,
}

/// The recording's lines and the scribe, on a clock that only packets move.
struct Desk<'a> {
    pool: &'a RecognitionPool,
    lines: Vec<Line>,
    scribe: Scribe,
    start: Instant,
    now: Instant,
    end: Instant,
    flushed: bool,
    under_way: usize,
    heard: Receiver<(UtteranceKey, Outcome)>,
    reply: SyncSender<(UtteranceKey, Outcome)>,
}

impl<'a> Desk<'a> {
    fn new(arguments: &Arguments, wav: &Wav, pool: &'a RecognitionPool) -> Self {
        let start = Instant::now();
        let codec = Codec::from(arguments.codec);
        let stereo = wav.channels.len() == 2;
        let lines = wav.channels.iter().enumerate().map(|(index, samples)| {
            let leg = match (stereo, index) {
                (false, _) => Leg::Mono,
                (true, 0) => Leg::Caller,
                (true, _) => Leg::Operator,
            };
            let jitter = Duration::from_millis(arguments.jitter);
            let network = LossyNetwork::new(
                arguments.seed ^ (index as u64) << 32,
                arguments.loss / 100.0,
                jitter,
            );
            Line {
                leg,
                arrivals: packets(start, samples, wav.rate, codec, network)
                    .into_iter()
                    .peekable(),
                buffer: ListenBuffer::new(
                    start,
                    vec![Format::sound(codec.offered_payload_type(), codec)],
                ),
                ear: Ear::new(Settings::default(), MediaTime::ZERO),
            }
        });
        let (reply, heard) = sync_channel(2 * UNDER_WAY);
        let duration = wav.rate.duration_of(wav.channels[0].len() as u64);
        Self {
            pool,
            lines: lines.collect(),
            scribe: Scribe::new(CallId::new("transcribe"), Arc::new(AsHeard)),
            start,
            now: start,
            end: start + duration + Duration::from_millis(arguments.jitter),
            flushed: false,
            under_way: 0,
            heard,
            reply,
        }
    }

    fn position(&self) -> Duration {
        self.now - self.start
    }

    /// Goes one packet time further, or waits for a worker; false when everything has been heard.
    fn advance(&mut self) -> Result<bool, Failure> {
        while let Ok((key, outcome)) = self.heard.try_recv() {
            self.take(&key, outcome)?;
        }
        if self.under_way >= UNDER_WAY || (self.flushed && self.under_way > 0) {
            let (key, outcome) = self.heard.recv().map_err(Failure::failed)?;
            self.take(&key, outcome)?;
            return Ok(true);
        }
        if self.flushed {
            return Ok(false);
        }
        self.now += PTIME;
        let ends = self.now > self.end;
        let mut events = Vec::new();
        for line in &mut self.lines {
            while let Some((arrival, datagram)) = line
                .arrivals
                .next_if(|(arrival, _)| *arrival <= self.now || ends)
            {
                // The buffer is polled as often as a call polls it: between any two packets.
                while let Some(heard) = line.buffer.poll(arrival) {
                    line.ear.listen(&heard.frame, &mut events);
                }
                if let Some(packet) = Packet::parse(&datagram) {
                    line.buffer.push(arrival, &packet);
                }
            }
            if ends {
                line.buffer.finish();
            }
            while let Some(heard) = line.buffer.poll(self.now.min(self.end)) {
                line.ear.listen(&heard.frame, &mut events);
            }
            if ends {
                line.ear.flush(&mut events);
            }
            for event in events.drain(..) {
                self.scribe
                    .listen(self.now, line.leg, event, line.ear.voiced());
            }
        }
        self.flushed = ends;
        self.send();
        Ok(true)
    }

    /// Nobody watches a file grow: only what will stand is recognised.
    fn send(&mut self) {
        while let Some(note) = self.scribe.note() {
            let Note::Recognize(utterance, _) = note else {
                continue;
            };
            if utterance.pass != Pass::Final {
                self.scribe.heard(
                    self.now,
                    &utterance.key,
                    Outcome::Superseded,
                    Duration::ZERO,
                );
                continue;
            }
            self.under_way += 1;
            let reply = self.reply.clone();
            // There is room for every answer of the jobs under way; nobody listens any more after a failure.
            let reply = Box::new(move |key, outcome| drop(reply.try_send((key, outcome))));
            self.pool.submit(Job {
                utterance,
                due: self.now,
                reply,
            });
        }
    }

    fn take(&mut self, key: &UtteranceKey, outcome: Outcome) -> Result<(), Failure> {
        self.under_way -= 1;
        if let Outcome::Failed(error) = outcome {
            return Err(Failure::failed(error));
        }
        self.scribe.heard(self.now, key, outcome, Duration::ZERO);
        self.send();
        Ok(())
    }

    fn print(&self, as_json: bool, duration: Duration, wall: Duration) {
        let lines = self
            .scribe
            .transcript()
            .final_lines()
            .filter(|line| !line.text.reveal().is_empty());
        if as_json {
            let utterances: Vec<_> = lines
                .map(|line| {
                    json!({
                        "leg": line.leg,
                        "start_ms": line.start.as_millis(),
                        "end_ms": line.end.as_millis(),
                        "text": line.text,
                        "confidence": (f64::from(line.confidence) * 1_000.0).round() / 1_000.0,
                    })
                })
                .collect();
            let (duration_ms, wall_ms) = (duration.as_millis() as u64, wall.as_millis() as u64);
            println!(
                "{}",
                json!({"utterances": utterances, "duration_ms": duration_ms, "wall_ms": wall_ms})
            );
            return;
        }
        for line in lines {
            println!(
                "{:>9}  {:<8}  {}",
                line.start.to_string(),
                line.leg.as_str(),
                line.text.reveal()
            );
        }
        eprintln!(
            "{:.1} s of sound in {:.1} s ({:.1} times real time)",
            duration.as_secs_f64(),
            wall.as_secs_f64(),
            duration.as_secs_f64() / wall.as_secs_f64()
        );
    }
}

/// The channel as RTP packets of 20 ms, as they arrive.
fn packets(
    start: Instant,
    samples: &[i16],
    rate: Frequency,
    codec: Codec,
    mut network: LossyNetwork,
) -> Vec<(Instant, Vec<u8>)> {
    let mut wire = Vec::new();
    Resampler::new(rate, codec.rate()).push(samples, |samples| wire.extend_from_slice(samples));
    let mut encoder = Encoder::new(codec);
    let mut arrivals: Vec<_> = wire
        .chunks(codec.rate().samples_in(PTIME) as usize)
        .zip(0_u32..)
        .filter_map(|(frame, count)| {
            let payload = encoder.encode(frame);
            let packet = Packet {
                payload_type: codec.offered_payload_type(),
                marker: count == 0,
                sequence: WireSequence(count as u16),
                timestamp: count * codec.clock().samples_in(PTIME) as u32,
                ssrc: 1,
                payload: &payload,
            };
            // A packet leaves when its sound has been spoken.
            Some((network.carry(start + PTIME * count)?, packet.to_datagram()))
        })
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    arrivals
}
