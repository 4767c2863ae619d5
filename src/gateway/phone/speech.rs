//! What the test phone says: one channel of a recording, cut into RTP payloads.

use std::path::{Path, PathBuf};

use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;
use crate::gateway::wav::Wav;

/// One side of a conversation, ready to be sent in one codec.
#[derive(Debug)]
pub(super) struct Speech {
    pub codec: Codec,
    /// 20 ms each.
    pub payloads: Vec<Vec<u8>>,
    /// What is sent after the last of them.
    pub silence: Vec<u8>,
}

impl Speech {
    /// The channel of `wav` in `codec`, or its only one; the last payload is filled up with silence.
    pub(crate) fn new(wav: &Wav, channel: usize, codec: Codec) -> Self {
        let mut samples = Vec::new();
        let mut resampler = Resampler::new(wav.rate, codec.rate());
        let channel = channel.min(wav.channels.len() - 1);
        resampler.push(&wav.channels[channel], |piece| {
            samples.extend_from_slice(piece);
        });
        let frame = codec.rate().hertz() as usize / 50;
        samples.resize(samples.len().next_multiple_of(frame), 0);
        let mut encoder = Encoder::new(codec);
        Self {
            codec,
            payloads: samples
                .chunks(frame)
                .map(|frame| encoder.encode(frame))
                .collect(),
            silence: Encoder::new(codec).encode(&vec![0; frame]),
        }
    }
}

/// The path for the recording of call `number`, from 1: `heard.wav`, `heard-2.wav` …
pub(super) fn numbered(path: &Path, number: u64) -> PathBuf {
    if number <= 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
