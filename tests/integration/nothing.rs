//! Where nobody speaks nothing is written: ten minutes a leg of silence, noise, music and tones, through the codec, the
//! end-pointer and the real model. Says that it skips where the model is not there.

use std::f32::consts::PI;
use std::path::Path;
use std::process::Command;

use rand::{RngExt, SeedableRng, rngs::StdRng};

const RATE: u32 = 8_000;
const SECONDS: usize = 600;
const MODELS: &str = "data/models";

/// Ten minutes of sound; it is asked sample by sample.
fn sound(mut of: impl FnMut(f32) -> f32) -> Vec<f32> {
    (0..SECONDS * RATE as usize)
        .map(|at| of(at as f32 / RATE as f32))
        .collect()
}

fn sine(hertz: f32, at: f32) -> f32 {
    (2.0 * PI * (hertz * at).fract()).sin()
}

fn white(level: f32) -> impl FnMut() -> f32 {
    let mut random = StdRng::seed_from_u64(5);
    move || random.random_range(-level..level)
}

/// White noise through three poles, which makes it fall by 3 dB an octave.
fn pink(level: f32) -> impl FnMut() -> f32 {
    let mut noise = white(level);
    let mut poles = [0.0_f32; 3];
    move || {
        let now = noise();
        poles[0] = 0.997_65 * poles[0] + 0.099 * now;
        poles[1] = 0.963 * poles[1] + 0.296 * now;
        poles[2] = 0.57 * poles[2] + 1.052 * now;
        (poles.iter().sum::<f32>() + 0.184 * now) / 4.0
    }
}

/// A hall without people: mains hum with harmonics, a fan whose level drifts, a little hiss.
fn hall() -> Vec<f32> {
    let (mut hiss, mut fan) = (white(0.004), pink(0.05));
    sound(|at| {
        let drift = 0.6 + 0.4 * (2.0 * PI * at / 17.0).sin();
        let hum: f32 = [(50.0, 0.02), (100.0, 0.012), (150.0, 0.006), (300.0, 0.003)]
            .iter()
            .map(|(hertz, level)| level * sine(*hertz, at))
            .sum();
        hum + drift * fan() + hiss()
    })
}

const SCALE: [f32; 8] = [262.0, 294.0, 330.0, 349.0, 392.0, 440.0, 494.0, 523.0];

/// Notes like those of a music box: plucked, with overtones, in no order that repeats soon.
fn melody(voices: &[f32], beat: f32) -> Vec<f32> {
    sound(|at| {
        let number = (at / beat) as usize;
        let note = SCALE[(number * number + 3 * number) % 7];
        let since = at - number as f32 * beat;
        let pluck = (-2.5 * since).exp() * (since * 100.0).min(1.0);
        let tone: f32 = voices
            .iter()
            .flat_map(|voice| (1..5).map(move |overtone| (voice * overtone as f32, overtone)))
            .map(|(times, overtone)| sine(note * times, at) / overtone as f32)
            .sum();
        0.12 * pluck * tone
    })
}

/// Ringing for a minute, then busy, then the dial tone, over and over (450 Hz, as in China).
fn line_tones() -> Vec<f32> {
    sound(|at| {
        let sounds = match (at / 60.0) as usize % 3 {
            0 => at % 5.0 < 1.0,
            1 => at % 0.7 < 0.35,
            _ => true,
        };
        if sounds { 0.2 * sine(450.0, at) } else { 0.0 }
    })
}

/// Somebody dials all day.
fn dtmf() -> Vec<f32> {
    const LOW: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
    const HIGH: [f32; 3] = [1_209.0, 1_336.0, 1_477.0];
    sound(|at| {
        let number = (at / 0.25) as usize;
        if at % 0.25 < 0.12 && number % 40 < 11 {
            0.15 * (sine(LOW[number * 7 % 4], at) + sine(HIGH[number * 5 % 3], at))
        } else {
            0.0
        }
    })
}

fn written(name: &str, legs: &[Vec<f32>; 2]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name).with_extension("wav");
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&file, spec).expect("a file");
    for (left, right) in legs[0].iter().zip(&legs[1]) {
        for sample in [left, right] {
            writer
                .write_sample((sample.clamp(-1.0, 1.0) * 32_000.0) as i16)
                .expect("written");
        }
    }
    writer.finalize().expect("written");
    let done = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
        .args(["transcribe", "--models-dir", MODELS])
        .arg(&file)
        .output()
        .expect("it runs");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn nothing_is_written_where_nobody_speaks() {
    if !Path::new(MODELS).join("ggml-base-q8_0.bin").exists() {
        println!("skipped: there is no model; `xinqiao models pull` brings it");
        return;
    }
    let mut noise = white(0.05);
    let mut hiss = pink(0.1);
    for (name, legs) in [
        (
            "silence and white noise",
            [vec![0.0; SECONDS * RATE as usize], sound(|_| noise())],
        ),
        ("pink noise and a hall", [sound(|_| hiss()), hall()]),
        (
            "a melody and chords",
            [melody(&[1.0], 0.3), melody(&[1.0, 1.26, 1.5], 0.6)],
        ),
        ("line tones and DTMF", [line_tones(), dtmf()]),
    ] {
        assert_eq!(written(name, &legs), "", "{name}");
    }
}
