//! Voice activity: the probability that a step of 16 ms holds a voice.

use earshot::Detector;

/// Samples of one step at 16 kHz.
pub const STEP: usize = 256;

/// Hears one leg; steps of any chunking give the same result.
pub struct VoiceActivity {
    detector: Box<Detector>,
    waiting: Vec<f32>,
}

impl Default for VoiceActivity {
    fn default() -> Self {
        Self {
            detector: Detector::default_boxed(),
            waiting: Vec::with_capacity(2 * STEP),
        }
    }
}

impl VoiceActivity {
    /// Takes 16 kHz samples and calls `heard` with each whole step and its voice probability, 0.0 to 1.0.
    pub fn push(&mut self, samples: &[f32], mut heard: impl FnMut(&[f32], f32)) {
        self.waiting.extend_from_slice(samples);
        let whole = self.waiting.len() / STEP * STEP;
        for step in self.waiting[..whole].chunks_exact(STEP) {
            let voice = self.detector.predict_f32(step);
            heard(step, voice);
        }
        self.waiting.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voiced_steps(samples: &[f32], chunk: usize) -> Vec<f32> {
        let mut activity = VoiceActivity::default();
        let mut steps = Vec::new();
        for chunk in samples.chunks(chunk) {
            activity.push(chunk, |_, voice| steps.push(voice));
        }
        steps
    }

    fn noise() -> Vec<f32> {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(1);
        (0..32_000)
            .map(|_| random.random_range(-0.05..0.05))
            .collect()
    }

    #[test]
    fn silence_and_hiss_hold_no_voice() {
        for sound in [vec![0.0; 32_000], noise()] {
            let steps = voiced_steps(&sound, 320);
            let voiced = steps.iter().filter(|voice| **voice > 0.5).count();
            assert!(
                voiced * 5 < steps.len(),
                "{voiced} of {} at {}",
                steps.len(),
                sound[7]
            );
        }
    }

    #[test]
    fn the_chunking_of_the_input_does_not_matter() {
        assert_eq!(voiced_steps(&noise(), 160), voiced_steps(&noise(), 7_777));
    }
}
