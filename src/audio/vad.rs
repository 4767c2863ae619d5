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

    #[test]
    fn silence_and_a_steady_tone_hold_no_voice() {
        let tone: Vec<f32> = (0..32_000)
            .map(|i| 0.3 * (i as f32 * 440.0 * std::f32::consts::TAU / 16_000.0).sin())
            .collect();
        for sound in [vec![0.0; 32_000], tone] {
            let steps = voiced_steps(&sound, 320);
            let voiced = steps.iter().filter(|voice| **voice > 0.5).count();
            assert!(voiced * 10 < steps.len(), "{voiced} of {}", steps.len());
        }
    }

    #[test]
    fn the_chunking_of_the_input_does_not_matter() {
        let noise: Vec<f32> = (0..8_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 - 0.5)
            .collect();
        assert_eq!(voiced_steps(&noise, 160), voiced_steps(&noise, 7_777));
    }
}
