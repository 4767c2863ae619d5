//! Recordings as WAV files: what the test phone plays and `transcribe` reads.

use std::fmt;
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader, WavSpec};

use crate::audio::Frequency;

/// An hour of two channels at 8 kHz; more than a hotline call, and it fits in memory.
const MOST_SAMPLES: u32 = 2 * 3_600 * 8_000;

/// A recording of one or two channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wav {
    /// Samples a second.
    pub rate: Frequency,
    /// Linear 16-bit samples of each channel, equally many.
    pub channels: Vec<Vec<i16>>,
}

impl Wav {
    /// Reads a whole file: integers of 8 to 32 bits or 32-bit floats, one or two channels, 8 to 48 kHz.
    ///
    /// # Errors
    /// [`WavError`] says what the file is and what it should be.
    pub fn read(path: &Path) -> Result<Self, WavError> {
        let fault = |what: String| WavError {
            path: path.to_owned(),
            what,
        };
        let mut reader = WavReader::open(path).map_err(|error| match error {
            hound::Error::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                fault(format!(
                    "cannot be read ({error}); name a WAV file that is there"
                ))
            }
            error => fault(format!(
                "is not a WAV file that can be used ({error}); {REMEDY}"
            )),
        })?;
        let WavSpec {
            channels,
            sample_rate,
            bits_per_sample,
            sample_format,
        } = reader.spec();
        let rate =
            Frequency::new(sample_rate).filter(|rate| (8_000..=48_000).contains(&rate.hertz()));
        let Some(rate) = rate else {
            return Err(fault(format!(
                "has {sample_rate} samples a second; {REMEDY}"
            )));
        };
        if !(1..=2).contains(&channels) {
            return Err(fault(format!("has {channels} channels; {REMEDY}")));
        }
        match reader.len() {
            0 => return Err(fault(format!("holds no sound; {REMEDY}"))),
            samples if samples > MOST_SAMPLES.max(MOST_SAMPLES / 8_000 * sample_rate) => {
                return Err(fault(
                    "is longer than an hour; cut it into parts".to_owned(),
                ));
            }
            _ => {}
        }
        let cut =
            |error: hound::Error| fault(format!("is cut short or damaged ({error}); {REMEDY}"));
        let samples: Vec<i16> = match sample_format {
            SampleFormat::Float => reader
                .samples::<f32>()
                .map(|sample| sample.map(|sample| (sample * 32_768.0) as i16))
                .collect::<Result<_, _>>(),
            SampleFormat::Int => reader
                .samples::<i32>()
                .map(|sample| sample.map(|sample| scaled(sample, bits_per_sample)))
                .collect(),
        }
        .map_err(cut)?;
        let channels = (0..usize::from(channels))
            .map(|channel| {
                samples
                    .iter()
                    .skip(channel)
                    .step_by(usize::from(channels))
                    .copied()
                    .collect()
            })
            .collect();
        Ok(Self { rate, channels })
    }
}

/// To 16 bits.
const fn scaled(sample: i32, bits: u16) -> i16 {
    if bits >= 16 {
        (sample >> (bits - 16)) as i16
    } else {
        (sample << (16 - bits)) as i16
    }
}

const REMEDY: &str = "take a WAV of 1 or 2 channels and 8 to 48 kHz, e.g. by `ffmpeg -i IN -ar 8000 -c:a pcm_s16le OUT.wav`";

/// A file that cannot be played.
#[derive(Debug)]
pub struct WavError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.what)
    }
}

impl std::error::Error for WavError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(
        channels: u16,
        sample_rate: u32,
        bits_per_sample: u16,
        sample_format: SampleFormat,
    ) -> WavSpec {
        WavSpec {
            channels,
            sample_rate,
            bits_per_sample,
            sample_format,
        }
    }

    fn written(folder: &Path, spec: WavSpec, samples: &[i32]) -> PathBuf {
        let path = folder.join("a.wav");
        let mut writer = hound::WavWriter::create(&path, spec).expect("writable");
        for &sample in samples {
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(sample as f32 / 32_768.0),
                SampleFormat::Int => writer.write_sample(sample),
            }
            .expect("writable");
        }
        writer.finalize().expect("writable");
        path
    }

    #[test]
    fn every_usual_sample_format_gives_the_same_sound() {
        let folder = tempfile::tempdir().expect("a folder");
        for (bits, format, scale) in [
            (8, SampleFormat::Int, 1),
            (16, SampleFormat::Int, 256),
            (24, SampleFormat::Int, 65_536),
            (32, SampleFormat::Float, 256),
        ] {
            let samples = [10 * scale, -20 * scale, 30 * scale, -40 * scale];
            let path = written(folder.path(), spec(2, 8_000, bits, format), &samples);
            let wav = Wav::read(&path).expect("readable");
            assert_eq!(
                wav.channels,
                [[2_560, 7_680], [-5_120, -10_240]],
                "{bits} bits"
            );
        }
    }

    #[test]
    fn what_is_not_a_usable_recording_is_said_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let int = SampleFormat::Int;
        let text = folder.path().join("text.wav");
        std::fs::write(&text, "not audio at all, just words that are long enough")
            .expect("written");
        let cut = folder.path().join("cut.wav");
        let whole = written(folder.path(), spec(1, 8_000, 16, int), &[1; 800]);
        std::fs::write(&cut, &std::fs::read(&whole).expect("read")[..900]).expect("written");
        for (path, part) in [
            (folder.path().join("absent.wav"), "cannot be read"),
            (text, "not a WAV"),
            (cut, "cut short"),
            (
                written(folder.path(), spec(3, 8_000, 16, int), &[1; 6]),
                "3 channels",
            ),
        ] {
            let said = Wav::read(&path).expect_err("refused").to_string();
            assert!(
                said.contains(part) && said.contains(".wav "),
                "{part} in: {said}"
            );
        }
        let empty = written(folder.path(), spec(1, 8_000, 16, int), &[]);
        assert!(
            Wav::read(&empty)
                .expect_err("refused")
                .to_string()
                .contains("no sound")
        );
        let slow = written(folder.path(), spec(1, 4_000, 16, int), &[1, 2]);
        assert!(
            Wav::read(&slow)
                .expect_err("refused")
                .to_string()
                .contains("4000")
        );
    }
}
