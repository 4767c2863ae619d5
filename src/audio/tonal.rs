//! Tells music and tones from speech: a voice glides, a tone stays.
//!
//! Voice activity takes steady tones for a voice, and a recogniser invents words over them. The pitch of a voice is
//! never still for an eighth of a second, not even in a level Mandarin tone, while a note, a ringing tone and DTMF
//! are. So the share of the energy is measured that stands in spectral peaks which have not moved.

use std::borrow::Cow;
use std::f32::consts::PI;

use super::vad::{STEP, VoiceActivity};

/// Samples of one look at 16 kHz: 64 ms, so that neighbouring notes are told apart.
const LOOK: usize = 1_024;
/// Samples from one look to the next.
const HOP: usize = 256;
/// The spectrum that counts, in steps of 15.6 Hz: 94 Hz to 3.9 kHz, what a telephone carries.
const BAND: std::ops::Range<usize> = 6..250;
/// For how many looks a peak must have stood still: an eighth of a second.
const STILL: u32 = 8;
/// How far a peak may move from look to look and still stand: 0.8 %, or this part of a step.
const MOVES: f32 = 0.008;
const MOVES_LEAST: f32 = 0.12;
/// Peaks weaker than this part of the strongest (−25 dB) are noise.
const WEAKEST: f32 = 0.003;
/// Looks quieter than this part of the loudest (−30 dB) are pauses.
const QUIETEST: f32 = 0.001;
/// Speech has at most 0.05 on all recordings that were measured, music 0.33 and more, DTMF 0.17.
const LIMIT: f32 = 0.12;
/// A tone of a telephone network is one frequency or two (ITU-T E.180, GB/T 3380, DTMF), and hardly anything beside.
const TONE_PEAKS: usize = 2;
/// The part of a look's energy that those have.
const TONE_SHARE: f32 = 0.8;
/// Voice that is left between tones must last so many steps of [`STEP`], a short syllable.
const LEAST_VOICE: usize = 8;
/// What stays behind the last voice.
const TAIL: usize = 3_200;

/// What is left of `samples` to be recognised: all of them where a voice speaks, with silence in place of the tones beside
/// it (a busy tone behind the last words); `None` where there are tones or music only.
#[must_use]
pub fn speech_in(samples: &[f32]) -> Option<Cow<'_, [f32]>> {
    let looks = looks(samples);
    if still_share(&looks) <= LIMIT {
        return Some(samples.into());
    }
    let mut rest = samples.to_vec();
    for (at, _) in looks.iter().enumerate().filter(|(_, look)| look.is_tone) {
        // A look on the edge of a tone is half speech.
        let from = at * HOP + LOOK / 4;
        rest[from..from + LOOK / 2].fill(0.0);
    }
    let (mut voiced, mut steps, mut last) = (0, 0, 0);
    VoiceActivity::default().push(&rest, |_, voice| {
        steps += 1;
        if voice > 0.5 {
            (voiced, last) = (voiced + 1, steps);
        }
    });
    rest.truncate(last * STEP + TAIL);
    let spoken = voiced >= LEAST_VOICE && still_share(&self::looks(&rest)) <= LIMIT;
    spoken.then(|| rest.into())
}

/// A part of the sound, as long as [`LOOK`].
struct Look {
    energy: f32,
    /// How much of the energy stands still.
    still: f32,
    /// A tone sounds here, and next to nothing else.
    is_tone: bool,
}

/// The share of the energy, 0.0 to 1.0, in peaks that stand still; above [`LIMIT`] it is not speech alone.
fn still_share(looks: &[Look]) -> f32 {
    let loudest = loudest(looks.iter().map(|look| look.energy));
    let (mut share, mut count) = (0.0, 0_u32);
    for look in looks {
        if look.energy > loudest * QUIETEST {
            share += (look.still / look.energy).min(1.0);
            count += 1;
        }
    }
    share / count.max(1) as f32
}

fn loudest(energies: impl Iterator<Item = f32>) -> f32 {
    energies.fold(0.0, f32::max)
}

fn looks(samples: &[f32]) -> Vec<Look> {
    let window: Vec<f32> = (0..LOOK)
        .map(|at| 0.5 - 0.5 * (2.0 * PI * at as f32 / (LOOK - 1) as f32).cos())
        .collect();
    let spectra: Vec<Vec<f32>> = samples
        .windows(LOOK)
        .step_by(HOP)
        .map(|look| power(look, &window))
        .collect();
    let energies: Vec<f32> = spectra
        .iter()
        .map(|spectrum| spectrum[BAND].iter().sum())
        .collect();
    let loudest = loudest(energies.iter().copied());
    let mut looks: Vec<Look> = Vec::with_capacity(spectra.len());
    let mut before: Vec<(f32, u32)> = Vec::new();
    for (spectrum, energy) in spectra.iter().zip(energies) {
        let mut look = Look {
            energy,
            still: 0.0,
            is_tone: false,
        };
        if energy <= loudest * QUIETEST {
            before.clear();
            looks.push(look);
            continue;
        }
        let mut standing: Vec<f32> = Vec::new();
        let mut now = Vec::new();
        let mut oldest = 0;
        for (place, strength) in peaks(spectrum) {
            let reach = (place * MOVES).max(MOVES_LEAST);
            let age = before
                .iter()
                .filter(|(other, _)| (other - place).abs() < reach)
                .map(|(_, age)| age + 1)
                .max()
                .unwrap_or(1);
            if age >= STILL {
                look.still += strength;
                standing.push(strength);
                oldest = oldest.max(age as usize);
            }
            now.push((place, age));
        }
        before = now;
        standing.sort_by(|a, b| b.total_cmp(a));
        let strongest: f32 = standing.iter().take(TONE_PEAKS).sum();
        look.is_tone = strongest >= TONE_SHARE * energy;
        if look.is_tone {
            // It has sounded since its peak began to stand.
            let since = (looks.len() + 1).saturating_sub(oldest);
            looks[since..]
                .iter_mut()
                .for_each(|look| look.is_tone = true);
        }
        looks.push(look);
    }
    looks
}

/// The peaks of a spectrum: where, to a fraction of a step, and how strong.
fn peaks(spectrum: &[f32]) -> Vec<(f32, f32)> {
    let strongest = spectrum[BAND].iter().copied().fold(0.0, f32::max);
    BAND.filter_map(|at| {
        let [a, b, c] = [spectrum[at - 1], spectrum[at], spectrum[at + 1]];
        if b <= a || b < c || b <= strongest * WEAKEST {
            return None;
        }
        let [a_log, b_log, c_log] = [a, b, c].map(|power| (power + 1e-20).ln());
        let bend = a_log - 2.0 * b_log + c_log;
        let offset = if bend.abs() > 1e-9 {
            0.5 * (a_log - c_log) / bend
        } else {
            0.0
        };
        let strength = spectrum[at - 2..=at + 2].iter().sum();
        Some((at as f32 + offset, strength))
    })
    .collect()
}

/// The power in each step of the lower half of the spectrum.
fn power(look: &[f32], window: &[f32]) -> Vec<f32> {
    let mut real: Vec<f32> = look.iter().zip(window).map(|(a, b)| a * b).collect();
    let mut imaginary = vec![0.0; LOOK];
    transform(&mut real, &mut imaginary);
    real[..LOOK / 2]
        .iter()
        .zip(&imaginary)
        .map(|(a, b)| a * a + b * b)
        .collect()
}

/// The discrete Fourier transform in place (Cooley and Tukey); the length is a power of two.
fn transform(real: &mut [f32], imaginary: &mut [f32]) {
    let long = real.len();
    let bits = long.trailing_zeros();
    for at in 0..long {
        let other = at.reverse_bits() >> (usize::BITS - bits);
        if other > at {
            real.swap(at, other);
            imaginary.swap(at, other);
        }
    }
    let mut size = 2;
    while size <= long {
        let half = size / 2;
        let turns: Vec<(f32, f32)> = (0..half)
            .map(|at| {
                let angle = -2.0 * PI * at as f32 / size as f32;
                (angle.cos(), angle.sin())
            })
            .collect();
        for start in (0..long).step_by(size) {
            for (at, (cos, sin)) in turns.iter().enumerate() {
                let (upper, lower) = (start + at, start + at + half);
                let x = real[lower] * cos - imaginary[lower] * sin;
                let y = real[lower] * sin + imaginary[lower] * cos;
                (real[lower], imaginary[lower]) = (real[upper] - x, imaginary[upper] - y);
                real[upper] += x;
                imaginary[upper] += y;
            }
        }
        size *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn still_share(samples: &[f32]) -> f32 {
        super::still_share(&looks(samples))
    }

    const RATE: f32 = 16_000.0;

    fn sound(seconds: f32, of: impl Fn(f32) -> f32) -> Vec<f32> {
        (0..(seconds * RATE) as usize)
            .map(|at| of(at as f32 / RATE))
            .collect()
    }

    fn sine(hertz: f32, at: f32) -> f32 {
        0.1 * (2.0 * PI * hertz * at).sin()
    }

    #[test]
    fn tones_and_notes_stand_still() {
        let notes = [262.0, 294.0, 330.0, 349.0, 392.0, 440.0];
        let note = |at: f32| notes[(at / 0.25) as usize * 7 % 6];
        let chord =
            |at: f32| sine(note(at), at) + sine(1.26 * note(at), at) + sine(1.5 * note(at), at);
        for (name, samples) in [
            ("ringing", sound(1.0, |at| sine(450.0, at))),
            (
                "two tones",
                sound(1.0, |at| sine(440.0, at) + sine(480.0, at)),
            ),
            (
                "melody",
                sound(3.0, |at| sine(note(at), at) + sine(2.0 * note(at), at)),
            ),
            ("chords", sound(3.0, chord)),
        ] {
            let share = still_share(&samples);
            assert!(share > 2.0 * LIMIT, "{name}: {share}");
        }
    }

    #[test]
    fn a_gliding_voice_and_silence_do_not() {
        // A pitch that rises and falls by a fifth four times a second, with its harmonics.
        let voice = sound(3.0, |at| {
            let phase = 2.0 * PI * (150.0 * at - 1.2 * (2.0 * PI * 4.0 * at).cos());
            (1..8)
                .map(|harmonic| 0.1 * (harmonic as f32 * phase).sin())
                .sum()
        });
        let share = still_share(&voice);
        assert!(share < LIMIT, "{share}");
        assert!(still_share(&vec![0.0; 32_000]) < LIMIT && still_share(&[]) < LIMIT);
    }
    /// A pitch that rises and falls, with its harmonics, four syllables a second.
    fn voice(at: f32) -> f32 {
        let phase = 2.0 * PI * (150.0 * at - 1.2 * (2.0 * PI * 4.0 * at).cos());
        let syllable = (PI * 4.0 * at).sin().abs();
        let harmonics = (1..12).map(|harmonic| (harmonic as f32 * phase).sin() / harmonic as f32);
        0.2 * syllable * harmonics.sum::<f32>()
    }

    #[test]
    fn a_tone_beside_speech_becomes_silence_and_the_speech_stays() {
        let pairs: [(&str, f32, f32, f32); 5] = [
            ("busy", 450.0, 450.0, 0.35),
            ("dial", 450.0, 450.0, 60.0),
            ("north american", 480.0, 620.0, 0.5),
            ("key", 770.0, 1_336.0, 0.2),
            ("fax", 2_100.0, 2_100.0, 3.0),
        ];
        for (name, low, high, half) in pairs {
            for (before, gap) in [(false, 0.3), (false, 0.0), (true, 0.2)] {
                let (tone_from, voice_from) = if before {
                    (0.0, 4.0 + gap)
                } else {
                    (2.0 + gap, 0.0)
                };
                let samples = sound(6.0 + gap, |at| {
                    let spoken = (voice_from..voice_from + 2.0).contains(&at);
                    let sounds = (tone_from..tone_from + 4.0).contains(&at)
                        && (((at - tone_from) / half) as u32).is_multiple_of(2);
                    let tone = if sounds {
                        sine(low, at) + sine(high, at)
                    } else {
                        0.0
                    };
                    tone + if spoken { voice(at) } else { 0.0 }
                });
                let rest = speech_in(&samples)
                    .unwrap_or_else(|| panic!("{name}, {gap} s: the speech is lost"));
                let energy = |samples: &[f32], from: f32, until: f32| -> f32 {
                    let last = samples.len();
                    let place = |at: f32| ((at * RATE) as usize).min(last);
                    samples[place(from)..place(until)]
                        .iter()
                        .map(|x| x * x)
                        .sum()
                };
                let (from, until) = (voice_from + 0.1, voice_from + 1.9);
                assert!(
                    energy(&rest, from, until) > 0.95 * energy(&samples, from, until),
                    "{name}, {gap} s"
                );
                let (from, until) = (tone_from + 0.1, tone_from + 4.0);
                assert!(
                    energy(&rest, from, until) < 0.05 * energy(&samples, from, until),
                    "{name}, {gap} s"
                );
            }
        }
    }

    #[test]
    fn tones_alone_leave_nothing() {
        let busy = sound(4.0, |at| {
            if ((at / 0.35) as u32).is_multiple_of(2) {
                sine(450.0, at)
            } else {
                0.0
            }
        });
        assert_eq!(speech_in(&busy), None);
        assert_eq!(
            speech_in(&sound(3.0, |at| sine(440.0, at) + sine(480.0, at))),
            None
        );
        let speech = sound(2.0, voice);
        assert_eq!(speech_in(&speech).as_deref(), Some(&*speech));
    }
}
