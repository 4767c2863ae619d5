//! Tells steady noise from speech: a voice swells and fades with every syllable, a fan or a hiss does not.
//!
//! Voice activity takes coloured noise for a voice now and then, and a recogniser invents words over it. So it is
//! measured how far the loudness moves within an eighth of a second. That a noise slowly grows or fades is no movement.

/// Samples of one look at 16 kHz: 64 ms, half a short syllable.
const LOOK: usize = 1_024;
/// The first difference evens the spectrum out, so that a few slow waves of a low rumble are no movement.
const EMPHASIS: f32 = 0.97;
/// Below this power everything is silence (−90 dB).
const SILENCE: f32 = 1e-9;
/// Noise swings by up to 1.2 dB; speech by 10 dB and more, with as much as a third of its power in white noise by 1.6.
pub const LIMIT: f32 = 1.5;

/// By how many decibels the loudness moves within 128 ms, in the liveliest tenth of the time; below [`LIMIT`] it is no
/// speech. Endless for a sound too short to tell.
#[must_use]
pub fn swing(samples: &[f32]) -> f32 {
    let loudness: Vec<f32> = samples
        .chunks_exact(LOOK)
        .map(|look| {
            let power: f32 = look
                .windows(2)
                .map(|pair| (pair[1] - EMPHASIS * pair[0]).powi(2))
                .sum();
            10.0 * (power / LOOK as f32 + SILENCE).log10()
        })
        .collect();
    let mut moves: Vec<f32> = loudness
        .windows(3)
        .map(|looks| (looks[2] - looks[0]).abs())
        .collect();
    moves.sort_by(f32::total_cmp);
    moves
        .get(moves.len() * 9 / 10)
        .copied()
        .unwrap_or(f32::INFINITY)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn noise(seconds: f32) -> Vec<f32> {
        let mut random = StdRng::seed_from_u64(3);
        (0..(seconds * 16_000.0) as usize)
            .map(|_| random.random_range(-0.1..0.1))
            .collect()
    }

    #[test]
    fn noise_is_steady_also_while_it_grows() {
        for seconds in [0.5, 1.0, 4.0] {
            let mut sound = noise(seconds);
            assert!(swing(&sound) < LIMIT, "{}", swing(&sound));
            let long = sound.len() as f32;
            for (at, sample) in sound.iter_mut().enumerate() {
                *sample *= 0.5 + 0.5 * at as f32 / long * seconds / 4.0;
            }
            assert!(swing(&sound) < LIMIT, "{}", swing(&sound));
        }
    }

    #[test]
    fn syllables_are_not_even_in_noise_of_a_third_of_their_power() {
        let mut hiss = noise(2.0);
        for (at, sample) in hiss.iter_mut().enumerate() {
            let since = at as f32 / 16_000.0;
            let syllable = (since * 4.0).fract();
            let swell = if syllable < 0.6 { 0.1 } else { 0.0 };
            let voice: f32 = (1..20)
                .map(|overtone| (overtone as f32 * 150.0 * std::f32::consts::TAU * since).sin())
                .sum();
            *sample += swell * voice;
        }
        assert!(swing(&hiss) > 2.0 * LIMIT, "{}", swing(&hiss));
    }

    #[test]
    fn what_is_too_short_to_tell_is_let_pass() {
        assert!(swing(&noise(0.15)).is_infinite());
        assert!(swing(&[]).is_infinite());
    }
}
