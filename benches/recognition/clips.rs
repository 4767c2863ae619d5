//! The clips that both sides recognise: written once as 16 kHz files, so that both read the same samples.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xinqiao::audio::Frequency;
use xinqiao::audio::resample::Resampler;

/// Kept before and after each utterance, as an end-pointer would.
const MARGIN_MS: usize = 200;

/// One utterance.
pub struct Clip {
    /// 16 kHz mono.
    pub file: PathBuf,
    /// The same, −1.0 to 1.0.
    pub samples: Vec<f32>,
    /// What is said.
    pub text: String,
    /// Natural speech, not joined syllables.
    pub real: bool,
}

impl Clip {
    /// How long it lasts.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(Frequency::HZ_16000.hertz())
    }
}

#[derive(Deserialize)]
struct Call {
    utterances: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    speaker: String,
    text: String,
    start_ms: usize,
    end_ms: usize,
}

/// Cuts the calls of `audio` by their times, takes its real clips whole, and writes all into `out`.
pub fn write(audio: &Path, out: &Path) -> Result<Vec<Clip>, Box<dyn Error>> {
    fs::create_dir_all(out)?;
    let mut clips = Vec::new();
    for path in calls(audio)? {
        let call: Call = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let (rate, channels) = read(&path.with_extension("wav"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        for (at, line) in call.utterances.iter().enumerate() {
            let leg = &channels[usize::from(line.speaker == "operator")];
            let per_ms = rate.hertz() as usize / 1_000;
            let end = ((line.end_ms + MARGIN_MS) * per_ms).min(leg.len());
            let start = line.start_ms.saturating_sub(MARGIN_MS) * per_ms;
            let name = format!("{name}-{at:02}");
            clips.push(keep(out, &name, &leg[start..end], rate, &line.text, false)?);
        }
    }
    let real = audio.join("real");
    for line in fs::read_to_string(real.join("transcripts.tsv"))?.lines() {
        let Some((file, text)) = line.split_once('\t') else {
            continue;
        };
        let (rate, channels) = read(&real.join(file))?;
        let name = format!("real-{file}");
        clips.push(keep(out, &name, &channels[0], rate, text, true)?);
    }
    Ok(clips)
}

/// The legs of the calls of `audio`, each whole, into `out`.
#[allow(
    dead_code,
    reason = "only one of the benches that share this file hears whole legs"
)]
pub fn write_legs(audio: &Path, out: &Path) -> Result<Vec<Clip>, Box<dyn Error>> {
    fs::create_dir_all(out)?;
    let mut legs = Vec::new();
    for path in calls(audio)? {
        let call: Call = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let (rate, channels) = read(&path.with_extension("wav"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        for (channel, speaker) in channels.iter().zip(["caller", "operator"]) {
            let said = call
                .utterances
                .iter()
                .filter(|line| line.speaker == speaker);
            let said: String = said.map(|line| line.text.as_str()).collect();
            legs.push(keep(
                out,
                &format!("{name}-{speaker}"),
                channel,
                rate,
                &said,
                false,
            )?);
        }
    }
    Ok(legs)
}

/// The descriptions of the calls.
fn calls(audio: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut calls: Vec<PathBuf> = fs::read_dir(audio)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    calls.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    calls.sort();
    Ok(calls)
}

/// Writes a clip of one channel into `out`.
fn keep(
    out: &Path,
    name: &str,
    leg: &[i16],
    rate: Frequency,
    text: &str,
    real: bool,
) -> Result<Clip, Box<dyn Error>> {
    let file = out.join(name).with_extension("wav");
    let mut samples: Vec<i16> = Vec::new();
    Resampler::new(rate, Frequency::HZ_16000).push(leg, |piece| samples.extend(piece));
    let mut writer = hound::WavWriter::create(
        &file,
        hound::WavSpec {
            channels: 1,
            sample_rate: Frequency::HZ_16000.hertz(),
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        },
    )?;
    for sample in &samples {
        writer.write_sample(*sample)?;
    }
    writer.finalize()?;
    Ok(Clip {
        file,
        samples: samples.iter().map(|s| f32::from(*s) / 32_768.0).collect(),
        text: text.to_owned(),
        real,
    })
}

/// The rate and the channels of a file.
type Recording = (Frequency, Vec<Vec<i16>>);

/// Reads a 16-bit file.
fn read(path: &Path) -> Result<Recording, Box<dyn Error>> {
    let mut reader = hound::WavReader::open(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let spec = reader.spec();
    let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    let rate = Frequency::new(spec.sample_rate).ok_or("a file without a rate")?;
    let count = usize::from(spec.channels);
    let channel = |at| samples.iter().skip(at).step_by(count).copied().collect();
    Ok((rate, (0..count).map(channel).collect()))
}
