//! From any telephony or file rate to another, as a stream.

use audio_codec::resampler::BoxedResampler;

use super::Frequency;

/// Most samples a piece is converted in, so that the buffer between stays small.
const PIECE: usize = 4_096;

/// Converts one mono stream; pieces of any size give the same samples.
///
/// A polyphase filter of 24 taps: the sound comes 11.5 input samples later (1.4 ms at 8 kHz), less than any frame.
pub struct Resampler {
    filter: Option<BoxedResampler>,
    room: Vec<i16>,
}

impl Resampler {
    /// Converts `from` to `to`; equal rates pass through.
    #[must_use]
    pub fn new(from: Frequency, to: Frequency) -> Self {
        let filter = (from != to).then(|| {
            BoxedResampler::new(from.hertz() as usize, to.hertz() as usize)
                .expect("a frequency is never zero, which is the filter's only demand")
        });
        Self {
            filter,
            room: Vec::new(),
        }
    }

    /// Calls `heard` with the converted samples.
    pub fn push(&mut self, samples: &[i16], mut heard: impl FnMut(&[i16])) {
        let Some(filter) = &mut self.filter else {
            heard(samples);
            return;
        };
        for piece in samples.chunks(PIECE) {
            self.room.resize(filter.max_output_samples(piece.len()), 0);
            // The only error is too little room.
            if let Ok(written) = filter.resample_into(piece, &mut self.room) {
                heard(&self.room[..written]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(from: u32, to: u32, hertz: f32, chunk: usize) -> Vec<f64> {
        let rate = |hertz| Frequency::new(hertz).expect("not zero");
        let step = hertz * std::f32::consts::TAU / from as f32;
        let tone: Vec<i16> = (0..from as usize)
            .map(|i| (16_000.0 * (i as f32 * step).sin()) as i16)
            .collect();
        let mut resampler = Resampler::new(rate(from), rate(to));
        let mut out = Vec::new();
        for piece in tone.chunks(chunk) {
            resampler.push(piece, |samples| {
                out.extend(samples.iter().map(|s| f64::from(*s)));
            });
        }
        out
    }

    /// How much of `hertz` is in `samples`, in dB of the tone that was sent.
    fn level(samples: &[f64], rate: u32, hertz: f64) -> f64 {
        let step = hertz * std::f64::consts::TAU / f64::from(rate);
        let (re, im) = samples
            .iter()
            .enumerate()
            .fold((0.0, 0.0), |(re, im), (i, s)| {
                (
                    re + s * (i as f64 * step).cos(),
                    im + s * (i as f64 * step).sin(),
                )
            });
        20.0 * (2.0 * re.hypot(im) / samples.len() as f64 / 16_000.0).log10()
    }

    #[test]
    fn a_telephone_tone_keeps_its_level_and_has_no_image_above_four_kilohertz() {
        for hertz in [300.0, 1_000.0, 2_000.0, 3_000.0] {
            let out = converted(8_000, 16_000, hertz, 160);
            assert_eq!(out.len(), 16_000);
            let (kept, image) = (
                level(&out, 16_000, f64::from(hertz)),
                level(&out, 16_000, 8_000.0 - f64::from(hertz)),
            );
            assert!(kept.abs() < 1.0, "{hertz} Hz at {kept} dB");
            assert!(image < -40.0, "image of {hertz} Hz at {image} dB");
        }
    }

    #[test]
    fn file_rates_come_down_without_aliases() {
        for from in [44_100, 48_000] {
            let out = converted(from, 16_000, 1_000.0, 1_000);
            assert!(level(&out, 16_000, 1_000.0).abs() < 0.5, "{from}");
            let alias = converted(from, 16_000, 12_000.0, 1_000);
            assert!(level(&alias, 16_000, 4_000.0) < -40.0, "{from}");
        }
    }

    #[test]
    fn the_chunking_of_the_input_does_not_matter() {
        assert_eq!(
            converted(8_000, 16_000, 700.0, 160),
            converted(8_000, 16_000, 700.0, 7_001)
        );
    }
}
