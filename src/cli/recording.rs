//! A recording through exactly the pipeline of a call, faster than time: what `transcribe` and `eval-speech` share.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::Failure;
use crate::app::word_lists;
use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;
use crate::audio::{Frequency, MediaTime};
use crate::call::{Note, SpeechPipeline, TranscriptBuilder};
use crate::config::Recognition;
use crate::gateway::wav::Wav;
use crate::recognition::{self, Job, RecognitionPool};
use crate::rtp::listen::ListenBuffer;
use crate::rtp::lossy::LossyNetwork;
use crate::rtp::{Format, Packet, WireSequence};
use crate::speech::finish::Finish;
use crate::speech::segmenter::Settings;
use crate::speech::{CallId, Leg, Outcome, Pass, Utterance, UtteranceKey};
use crate::text::formatter::TranscriptFormatter;
use crate::transcript;

/// One RTP packet's worth of sound.
const PTIME: Duration = Duration::from_millis(20);

/// Utterances under way at once: enough to keep the workers busy, few enough to keep the memory small.
const UNDER_WAY: usize = 8;

/// How a recording is sent and heard.
#[derive(clap::Args)]
pub struct Options {
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
    /// The folder of the hotline's word lists (*.txt); without one, the embedded example's
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_hotwords")]
    hotwords: Option<PathBuf>,
    /// Write what was recognised without putting misheard words right
    #[arg(long)]
    no_hotwords: bool,
    /// Leave every line as it was heard first, not once more in a longer piece
    #[arg(long)]
    no_review: bool,
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

impl Options {
    /// The workers, with the model that is asked for.
    pub fn workers(&self) -> Result<RecognitionPool, Failure> {
        let settings = Recognition {
            model: self.model.clone(),
            models_dir: self.models_dir.clone(),
            queue: UNDER_WAY,
            ..Recognition::default()
        };
        recognition::load_workers(&settings)
            .map(RecognitionPool::unhurried)
            .map_err(Failure::must_be_mended)
    }

    /// What writes the lines.
    pub fn formatter(&self) -> Result<TranscriptFormatter, Failure> {
        let lists = word_lists::read(self.hotwords.as_deref()).map_err(Failure::must_be_mended)?;
        Ok(TranscriptFormatter::new(lists, !self.no_hotwords))
    }
}

/// What was recognised in a recording.
pub struct Recognised {
    /// The final lines that hold words, in order.
    pub lines: Vec<transcript::Line>,
    /// How long each recognition took.
    pub took: Vec<Duration>,
}

/// Recognises a recording; `progress` is told how much of it has been heard.
pub fn recognise(
    options: &Options,
    wav: &Wav,
    pool: &RecognitionPool,
    finish: Arc<dyn Finish>,
    mut progress: impl FnMut(Duration),
) -> Result<Recognised, Failure> {
    let mut desk = Desk::new(options, wav, pool, finish);
    while desk.advance()? {
        progress(desk.position());
    }
    let lines = desk.builder.transcript().final_lines();
    Ok(Recognised {
        lines: lines
            .filter(|line| !line.text.reveal().is_empty())
            .cloned()
            .collect(),
        took: desk.took,
    })
}

/// A channel of the recording on its way: as packets with their arrival, and through the leg's buffer and ear.
struct Line {
    leg: Leg,
    arrivals: std::iter::Peekable<std::vec::IntoIter<(Instant, Vec<u8>)>>,
    buffer: ListenBuffer,
    pipeline: SpeechPipeline,
}

/// The recording's lines and the scribe, on a clock that only packets move.
struct Desk<'a> {
    pool: &'a RecognitionPool,
    lines: Vec<Line>,
    builder: TranscriptBuilder,
    start: Instant,
    now: Instant,
    end: Instant,
    flushed: bool,
    /// What is to be heard once more, when no worker has anything else to do.
    reviews: VecDeque<Utterance>,
    /// What was said last has not been yet.
    rest: bool,
    under_way: usize,
    heard: Receiver<(UtteranceKey, Outcome)>,
    reply: SyncSender<(UtteranceKey, Outcome)>,
    took: Vec<Duration>,
}

impl<'a> Desk<'a> {
    fn new(
        arguments: &Options,
        wav: &Wav,
        pool: &'a RecognitionPool,
        finish: Arc<dyn Finish>,
    ) -> Self {
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
                pipeline: SpeechPipeline::new(Settings::default(), MediaTime::ZERO),
            }
        });
        let builder = TranscriptBuilder::new(CallId::new("transcribe"), finish)
            .reviewing(!arguments.no_review);
        let (reply, heard) = sync_channel(2 * UNDER_WAY);
        let duration = wav.rate.duration_of(wav.channels[0].len() as u64);
        Self {
            pool,
            lines: lines.collect(),
            builder,
            reviews: VecDeque::new(),
            rest: true,
            start,
            now: start,
            end: start + duration + Duration::from_millis(arguments.jitter),
            flushed: false,
            under_way: 0,
            heard,
            reply,
            took: Vec::new(),
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
        let waits = self.flushed || !self.reviews.is_empty();
        if self.under_way >= UNDER_WAY || (waits && self.under_way > 0) {
            let (key, outcome) = self.heard.recv().map_err(Failure::failed)?;
            self.take(&key, outcome)?;
            return Ok(true);
        }
        if let Some(review) = self.reviews.pop_front() {
            self.submit(review);
            return Ok(true);
        }
        if self.flushed {
            if std::mem::take(&mut self.rest) {
                self.builder.review_rest(self.now);
                self.send();
                return Ok(true);
            }
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
                    line.pipeline.listen(&heard.frame, &mut events);
                }
                if let Some(packet) = Packet::parse(&datagram) {
                    line.buffer.push(arrival, &packet);
                }
            }
            if ends {
                line.buffer.finish();
            }
            while let Some(heard) = line.buffer.poll(self.now.min(self.end)) {
                line.pipeline.listen(&heard.frame, &mut events);
            }
            if ends {
                line.pipeline.flush(&mut events);
            }
            for event in events.drain(..) {
                self.builder
                    .listen(self.now, line.leg, event, line.pipeline.voiced());
            }
        }
        self.flushed = ends;
        self.send();
        Ok(true)
    }

    /// Nobody watches a file grow: only what will stand is recognised.
    fn send(&mut self) {
        while let Some(note) = self.builder.note() {
            let Note::Recognize(utterance, _) = note else {
                continue;
            };
            match utterance.pass {
                Pass::Final => self.submit(utterance),
                Pass::Review => self.reviews.push_back(utterance),
                Pass::Partial | Pass::Endpoint => self.builder.heard(
                    self.now,
                    &utterance.key,
                    Outcome::Superseded,
                    Duration::ZERO,
                ),
            }
        }
    }

    fn submit(&mut self, utterance: Utterance) {
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

    fn take(&mut self, key: &UtteranceKey, outcome: Outcome) -> Result<(), Failure> {
        self.under_way -= 1;
        match &outcome {
            Outcome::Failed(error) => return Err(Failure::failed(error)),
            Outcome::Recognized(hypothesis) => self.took.push(hypothesis.took),
            Outcome::Superseded | Outcome::Shed => {}
        }
        self.builder.heard(self.now, key, outcome, Duration::ZERO);
        self.send();
        Ok(())
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
