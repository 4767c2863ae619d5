//! WAV files for the test phone: what it says, cut into RTP payloads, and what it hears.

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader};

use super::PhoneError;
use crate::audio::Frequency;
use crate::audio::codec::{Codec, Encoder};
use crate::audio::resample::Resampler;

/// Which channel of a stereo file is said; a mono file has only the one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Left,
    Right,
}

/// One side of a conversation, ready to be sent in one codec.
#[derive(Debug)]
pub(super) struct Speech {
    pub codec: Codec,
    /// 20 ms each.
    pub payloads: Vec<Vec<u8>>,
    /// What is sent after the last of them.
    pub silence: Vec<u8>,
}

/// One channel of a file.
pub(super) struct Wav {
    samples: Vec<i16>,
    rate: Frequency,
}

impl Wav {
    /// Reads a file of any rate, mono or stereo, in whole numbers or 32-bit floats.
    pub fn read(path: &Path, channel: Channel) -> Result<Self, PhoneError> {
        let unusable = |what: String| PhoneError::Wav {
            path: path.to_owned(),
            what,
        };
        let mut reader =
            WavReader::open(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let spec = reader.spec();
        let channels = usize::from(spec.channels);
        if channels > 2 {
            return Err(unusable(format!("has {channels} channels")));
        }
        let rate = Frequency::new(spec.sample_rate)
            .filter(|rate| (4_000..=192_000).contains(&rate.hertz()))
            .ok_or_else(|| unusable(format!("has {} samples a second", spec.sample_rate)))?;
        let wanted = if channel == Channel::Right {
            channels - 1
        } else {
            0
        };
        let samples: Result<Vec<i16>, _> = match spec.sample_format {
            SampleFormat::Int => {
                let bits = i32::from(spec.bits_per_sample);
                reader
                    .samples::<i32>()
                    .skip(wanted)
                    .step_by(channels)
                    .map(|sample| {
                        sample.map(|sample| {
                            if bits > 16 {
                                (sample >> (bits - 16)) as i16
                            } else {
                                (sample << (16 - bits)) as i16
                            }
                        })
                    })
                    .collect()
            }
            SampleFormat::Float => reader
                .samples::<f32>()
                .skip(wanted)
                .step_by(channels)
                .map(|sample| sample.map(|sample| (sample * 32_767.0) as i16))
                .collect(),
        };
        let samples = samples.map_err(|error| unusable(format!("is damaged: {error}")))?;
        if samples.is_empty() {
            return Err(unusable("is empty".to_owned()));
        }
        Ok(Self { samples, rate })
    }

    /// The samples as payloads of 20 ms; the last is filled up with silence.
    pub fn encode(&self, codec: Codec) -> Speech {
        let mut samples = Vec::new();
        let mut resampler = Resampler::new(self.rate, codec.rate());
        resampler.push(&self.samples, |piece| samples.extend_from_slice(piece));
        let frame = codec.rate().hertz() as usize / 50;
        samples.resize(samples.len().next_multiple_of(frame), 0);
        let mut encoder = Encoder::new(codec);
        Speech {
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
