//! Raises a very quiet voice to the level that recognition knows, slowly and within bounds.
//!
//! A far handset or a bad line brings speech that peaks at −38 dBFS and less; voice activity then misses half of it and the
//! recogniser guesses. Only what is listened to is raised: what is forwarded and recorded stays as it came.
//!
//! A leg is judged by its own sound alone: what crosses over from the other side before anybody has spoken here is raised as
//! a quiet voice would be.

/// The peak that speech is brought to (−12 dBFS); what is louder stays as it is.
const TARGET: f32 = 0.25;
/// Nothing is raised more than so often (26 dB): hiss shall not become a voice.
const MOST: f32 = 20.0;
/// No sample is raised past this.
const CEILING: f32 = 0.9;
/// Speech stands so far above the noise around it (12 dB).
const ABOVE_NOISE: f32 = 4.0;
/// The least noise of a line (−66 dBFS); digital silence is none.
const LEAST_NOISE: f32 = 0.000_5;
/// By how much the noise may grow in a second before it counts as noise: 2 dB.
const NOISE_GROWS: f32 = 1.26;
/// By how much the level falls in a second of speech that is quieter: half a decibel, so that what crosses over from the
/// other side of the line is not raised while a loud speaker listens.
const LEVEL_FALLS: f32 = 0.944;

/// Follows the level of one leg's speech.
#[derive(Clone, Debug)]
pub struct Leveler {
    /// Samples a second.
    rate: f32,
    /// The peak of the noise between the words; `None` before the first sample.
    noise: Option<f32>,
    /// The peak of the speech so far; `None` before there was any.
    level: Option<f32>,
    /// The peak of the piece before: a click is no level.
    before: f32,
    /// What the last sample was multiplied by.
    gain: f32,
}

impl Leveler {
    /// For sound of `rate` samples a second.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1) as f32,
            noise: None,
            level: None,
            before: 0.0,
            gain: 1.0,
        }
    }

    /// Raises the next piece, of some milliseconds.
    pub fn raise(&mut self, samples: &mut [f32]) {
        if samples.is_empty() {
            return;
        }
        let seconds = samples.len() as f32 / self.rate;
        let peak = samples
            .iter()
            .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        let noise = self
            .noise
            .map_or(peak, |noise| peak.min(noise * NOISE_GROWS.powf(seconds)));
        let noise = noise.max(LEAST_NOISE);
        self.noise = Some(noise);
        // Both this piece and the one before: a click is short.
        let lasting = peak.min(self.before);
        self.before = peak;
        if lasting > noise * ABOVE_NOISE {
            let level = self.level.unwrap_or(lasting);
            self.level = Some(lasting.max(level * LEVEL_FALLS.powf(seconds)));
        }
        let wanted = self
            .level
            .map_or(1.0, |level| (TARGET / level).clamp(1.0, MOST));
        let gain = wanted.min((CEILING / peak.max(f32::EPSILON)).max(1.0));
        let (from, count) = (self.gain, samples.len() as f32);
        for (at, sample) in samples.iter_mut().enumerate() {
            // From one piece to the next without a step.
            let share = (at + 1) as f32 / count;
            let raised = *sample * (from + (gain - from) * share);
            *sample = if sample.abs() < CEILING {
                raised.clamp(-CEILING, CEILING)
            } else {
                *sample
            };
        }
        self.gain = gain;
    }
}

#[cfg(test)]
mod tests {
    use super::{CEILING, Leveler, MOST};

    const RATE: u32 = 16_000;

    /// Syllables of a fifth of a second with pauses, `peak` high, over hiss.
    fn speech(peak: f32, hiss: f32, seconds: f32) -> Vec<f32> {
        let mut state = 1_u32;
        (0..(seconds * RATE as f32) as usize)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
                let time = at as f32 / RATE as f32;
                let syllable = (time * std::f32::consts::TAU * 2.5).sin().max(0.0);
                let voice = (time * std::f32::consts::TAU * 200.0).sin();
                peak * syllable * voice + hiss * noise
            })
            .collect()
    }

    fn raised(samples: &[f32]) -> Vec<f32> {
        let mut leveler = Leveler::new(RATE);
        let mut raised = samples.to_vec();
        for piece in raised.chunks_mut(320) {
            leveler.raise(piece);
        }
        raised
    }

    fn peak(samples: &[f32]) -> f32 {
        samples
            .iter()
            .fold(0.0, |peak, sample| sample.abs().max(peak))
    }

    #[test]
    fn a_quiet_voice_is_raised_to_where_others_are() {
        for quiet in [0.003, 0.012, 0.05] {
            let raised = raised(&speech(quiet, 0.000_1, 4.0));
            let loud = peak(&raised[RATE as usize..]);
            let wanted = (quiet * MOST).min(0.25);
            assert!(
                (wanted * 0.8..wanted * 1.3).contains(&loud),
                "{quiet} became {loud}"
            );
        }
    }

    #[test]
    fn an_ordinary_voice_stays_as_it_came() {
        let spoken = speech(0.5, 0.001, 4.0);
        let raised = raised(&spoken);
        // The first syllable's swelling may be raised a little.
        assert_eq!(spoken[RATE as usize..], raised[RATE as usize..]);
    }

    #[test]
    fn noise_alone_is_not_raised() {
        for hiss in [0.000_4, 0.003, 0.02] {
            let noise = speech(0.0, hiss, 4.0);
            let raised = raised(&noise);
            assert!(
                peak(&raised) < hiss * 1.5,
                "{hiss} became {}",
                peak(&raised)
            );
        }
    }

    #[test]
    fn a_click_and_a_loud_word_leave_nothing_overdriven() {
        let mut spoken = speech(0.01, 0.000_1, 2.0);
        spoken.extend(speech(0.8, 0.000_1, 2.0));
        spoken[RATE as usize] = 0.95;
        let raised = raised(&spoken);
        assert!(peak(&raised) <= 0.95);
        let clipped = raised.iter().filter(|sample| sample.abs() >= CEILING);
        assert!(clipped.count() < 400);
        // The click alone does not make the voice quiet again.
        let after = RATE as usize + 1_000..2 * RATE as usize - 1_000;
        assert!(peak(&raised[after]) > 0.1);
        assert_eq!(spoken[3 * RATE as usize..], raised[3 * RATE as usize..]);
    }
}
