//! Tones as files that a phone plays, and what of them is found in what another one heard.

use std::f64::consts::TAU;
use std::path::Path;

/// The tones of a phone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tones {
    /// One that every codec carries.
    pub low: f64,
    /// One above what a telephone's codec carries.
    pub high: f64,
}

pub(super) const CALLER: Tones = Tones {
    low: 450.0,
    high: 5_000.0,
};
pub(super) const OPERATOR: Tones = Tones {
    low: 1_150.0,
    high: 6_000.0,
};

/// Writes a file of both tones; the high one is left out where the rate has no room for it.
pub(super) fn write(path: &Path, tones: Tones, rate: u32, channels: u16, seconds: u32) {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).expect("writable");
    let hertz = [tones.low, tones.high].map(|hertz| (hertz < f64::from(rate) / 2.0, hertz));
    for at in 0..rate * seconds {
        let moment = f64::from(at) / f64::from(rate);
        let sample: f64 = hertz
            .iter()
            .filter(|(fits, _)| *fits)
            .map(|(_, hertz)| 6_000.0 * (TAU * hertz * moment).sin())
            .sum();
        for _ in 0..channels {
            writer.write_sample(sample as i16).expect("writable");
        }
    }
    writer.finalize().expect("writable");
}

/// What was heard.
pub(super) struct Heard {
    samples: Vec<f64>,
    rate: f64,
}

impl Heard {
    /// One channel of a WAV file.
    pub fn read(path: &Path, channel: usize) -> Self {
        let mut reader = hound::WavReader::open(path).expect("a WAV file");
        let spec = reader.spec();
        let samples = reader
            .samples::<i16>()
            .skip(channel)
            .step_by(usize::from(spec.channels))
            .map(|sample| f64::from(sample.expect("whole")));
        Self {
            samples: samples.collect(),
            rate: f64::from(spec.sample_rate),
        }
    }

    /// The first channel of a WAV file that is still being written, so that its header does not know how long it is.
    pub fn so_far(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (header, data) = bytes.split_at_checked(44)?;
        let channels = u16::from_le_bytes([header[22], header[23]]);
        let rate = u32::from_le_bytes([header[24], header[25], header[26], header[27]]);
        let samples = data
            .chunks_exact(2 * usize::from(channels.max(1)))
            .map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]])));
        Some(Self {
            samples: samples.collect(),
            rate: f64::from(rate),
        })
    }

    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / self.rate
    }

    /// The last part of it.
    pub fn last(mut self, seconds: f64) -> Self {
        let wanted = (seconds * self.rate) as usize;
        let surplus = self.samples.len().saturating_sub(wanted);
        self.samples.drain(..surplus);
        self
    }

    /// Its parts of so many seconds, one after the other.
    pub fn stretches(&self, seconds: f64) -> impl Iterator<Item = Self> {
        self.samples
            .chunks_exact((seconds * self.rate) as usize)
            .map(|samples| Self {
                samples: samples.to_vec(),
                rate: self.rate,
            })
    }

    /// How loud a tone is in it: its amplitude.
    pub fn amplitude(&self, hertz: f64) -> f64 {
        let (mut along, mut across) = (0.0, 0.0);
        for (at, sample) in self.samples.iter().enumerate() {
            let (sine, cosine) = (TAU * hertz * at as f64 / self.rate).sin_cos();
            along += sample * cosine;
            across += sample * sine;
        }
        2.0 * along.hypot(across) / self.samples.len().max(1) as f64
    }
}
