//! Listens to one leg: gapless frames in, end-pointing events out.

use std::time::Duration;

use crate::audio::gain::Leveler;
use crate::audio::resample::Resampler;
use crate::audio::vad::VoiceActivity;
use crate::audio::{Frame, Frequency, MediaTime};
use crate::speech::segmenter::{Event, RATE, Segmenter, Settings};

/// Resampler, leveler, voice activity and end-pointer of one leg, on one timeline.
pub struct SpeechPipeline {
    resampler: Resampler,
    rate: Frequency,
    leveler: Leveler,
    activity: VoiceActivity,
    segmenter: Segmenter,
    samples: Vec<f32>,
}

impl SpeechPipeline {
    /// A pipeline whose first frame begins at `start`.
    #[must_use]
    pub fn new(settings: Settings, start: MediaTime) -> Self {
        Self {
            resampler: Resampler::new(Frequency::HZ_8000, RATE),
            rate: Frequency::HZ_8000,
            leveler: Leveler::new(RATE.hertz()),
            activity: VoiceActivity::default(),
            segmenter: Segmenter::new(settings, start),
            samples: Vec::new(),
        }
    }

    /// Takes the frame that begins where the last one ended; appends what was found to `out`.
    pub fn listen(&mut self, frame: &Frame, out: &mut Vec<Event>) {
        if frame.rate != self.rate {
            self.resampler = Resampler::new(frame.rate, RATE);
            self.rate = frame.rate;
        }
        let (samples, segmenter) = (&mut self.samples, &mut self.segmenter);
        samples.clear();
        self.resampler.push(&frame.samples, |converted| {
            samples.extend(converted.iter().map(|sample| f32::from(*sample) / 32_768.0));
        });
        self.leveler.raise(samples);
        self.activity.push(&self.samples, |step, voice| {
            segmenter.push(step, voice, out);
        });
    }

    /// The leg has ended: an utterance under way is final as it stands.
    pub fn flush(&mut self, out: &mut Vec<Event>) {
        self.segmenter.flush(out);
    }

    /// All the voice heard so far.
    #[must_use]
    pub fn voiced(&self) -> Duration {
        self.segmenter.voiced()
    }
}
