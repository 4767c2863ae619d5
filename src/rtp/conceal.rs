//! What stands in the place of a lost packet: the last pitch period again and again, fading, and joined without a click
//! to what goes before it and to what comes behind (after ITU-T G.711 Appendix I).

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::Frequency;

/// How much of a loss is concealed; a longer repetition sounds and recognises worse than silence.
pub(super) const CONCEALED: Duration = Duration::from_millis(60);

/// How long the repetition is as loud as what it repeats.
const LOUD: Duration = Duration::from_millis(10);

/// What moves less than this is a line on which nobody speaks, in the smallest steps of A-law: it goes on as it is, since
/// to end-pointers that hear no level a fading hum is a sound of its own.
const IDLE: f32 = 16.0;

/// Over how long the sound that comes back takes over.
const JOIN: Duration = Duration::from_millis(4);

/// The end of what was heard, and what is made of it where nothing is.
#[derive(Default)]
pub(super) struct Concealer {
    tail: VecDeque<i16>,
    /// What is repeated in the current loss; empty when nothing is worth it.
    period: Vec<f32>,
    /// By how much the first repetition would jump.
    step: f32,
    /// Whether it moves so little that it needs no fading.
    is_idle: bool,
    /// How far the current loss is filled; 0 while there is none.
    filled: usize,
}

impl Concealer {
    /// Forgets what was heard.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes what is heard; behind a loss its beginning is blended with what stood there.
    pub(crate) fn hear(&mut self, samples: &mut [i16], rate: Frequency) {
        if self.filled > 0 {
            let join = rate.samples_in(JOIN) as usize;
            for (at, sample) in samples.iter_mut().take(join).enumerate() {
                let share = (at + 1) as f32 / (join + 1) as f32;
                let old = self.next(rate);
                *sample = (share * f32::from(*sample) + (1.0 - share) * old).round() as i16;
            }
        }
        self.pass(samples, rate);
    }

    /// Takes what goes out and was made elsewhere: silence, or what a codec itself puts in the place of a loss.
    pub(crate) fn pass(&mut self, samples: &[i16], rate: Frequency) {
        self.filled = 0;
        self.remember(samples, rate);
    }

    /// The next `count` samples of a loss.
    pub(crate) fn fill(&mut self, count: usize, rate: Frequency) -> Vec<i16> {
        if self.filled == 0 {
            self.begin(rate);
        }
        let samples: Vec<i16> = (0..count).map(|_| self.next(rate).round() as i16).collect();
        self.remember(&samples, rate);
        samples
    }

    fn remember(&mut self, samples: &[i16], rate: Frequency) {
        let keep = rate.samples_in(CONCEALED) as usize;
        self.tail
            .extend(&samples[samples.len().saturating_sub(keep)..]);
        let surplus = self.tail.len().saturating_sub(keep);
        self.tail.drain(..surplus);
    }

    fn begin(&mut self, rate: Frequency) {
        let tail: Vec<f32> = self.tail.iter().map(|sample| f32::from(*sample)).collect();
        self.period.clear();
        let Some(period) = pitch_period(&tail, rate) else {
            return;
        };
        let end = tail.len();
        self.period.extend(&tail[end - period..]);
        // Its end becomes what went before its beginning, so that one repetition leads into the next…
        let blended = period / 4;
        for at in 0..blended {
            let share = (at + 1) as f32 / (blended + 1) as f32;
            let before = tail[end - period - blended + at];
            let sample = &mut self.period[period - blended + at];
            *sample = share * before + (1.0 - share) * *sample;
        }
        // …and the first, whose end has gone out as it was, begins where the sound was.
        self.step = tail[end - 1] - tail[end - 1 - period];
        let highest = self.period.iter().copied().fold(f32::MIN, f32::max);
        let lowest = self.period.iter().copied().fold(f32::MAX, f32::min);
        self.is_idle = highest - lowest <= IDLE;
    }

    /// The next sample of the loss.
    fn next(&mut self, rate: Frequency) -> f32 {
        let at = self.filled;
        self.filled += 1;
        let (loud, faded) = (
            rate.samples_in(LOUD) as usize,
            rate.samples_in(CONCEALED) as usize,
        );
        if self.period.is_empty() || at >= faded && !self.is_idle {
            return 0.0;
        }
        let blended = (self.period.len() / 4).max(1);
        let left = 1.0 - at as f32 / blended as f32;
        let sample = self.period[at % self.period.len()] + self.step * left.max(0.0);
        if self.is_idle {
            return sample;
        }
        let gain = (faded - at) as f32 / (faded - loud) as f32;
        sample * gain.min(1.0)
    }
}

/// The lag of 2.5 to 15 ms (66 to 400 Hz) at which the end of `tail` is most like what came before it.
fn pitch_period(tail: &[f32], rate: Frequency) -> Option<usize> {
    let span = |micros| rate.samples_in(Duration::from_micros(micros)) as usize;
    let (shortest, longest, compared) = (span(2_500), span(15_000), span(10_000));
    if tail.len() < longest + compared {
        return None;
    }
    let recent = &tail[tail.len() - compared..];
    let likeness = |lag: usize| {
        let before = &tail[tail.len() - compared - lag..tail.len() - lag];
        let product = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let power = product(before, before);
        if power == 0.0 {
            0.0
        } else {
            product(recent, before) / power.sqrt()
        }
    };
    (shortest..=longest).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Frequency = Frequency::HZ_8000;

    /// A voice of 12 harmonics whose pitch glides from `from` to `to` hertz, 20 ms a piece.
    fn voice(pieces: usize, from: f32, to: f32) -> Vec<Vec<i16>> {
        let count = 160 * pieces;
        let mut phase = 0.0_f32;
        let samples: Vec<i16> = (0..count)
            .map(|at| {
                let pitch = from + (to - from) * at as f32 / count as f32;
                phase += pitch * std::f32::consts::TAU / 8_000.0;
                let sum: f32 = (1..=12_u8)
                    .map(|harmonic| (phase * f32::from(harmonic)).sin() / f32::from(harmonic))
                    .sum();
                (6_000.0 * sum) as i16
            })
            .collect();
        samples.chunks(160).map(<[i16]>::to_vec).collect()
    }

    /// What is heard when the pieces of those numbers are lost.
    fn heard(said: &[Vec<i16>], lost: &[usize]) -> Vec<i16> {
        let mut concealer = Concealer::default();
        let mut out = Vec::new();
        for (number, piece) in said.iter().enumerate() {
            if lost.contains(&number) {
                out.extend(concealer.fill(piece.len(), RATE));
            } else {
                let mut piece = piece.clone();
                concealer.hear(&mut piece, RATE);
                out.extend(piece);
            }
        }
        out
    }

    fn steepest(samples: &[i16]) -> i32 {
        let step = |pair: &[i16]| (i32::from(pair[1]) - i32::from(pair[0])).abs();
        samples.windows(2).map(step).max().unwrap_or_default()
    }

    #[test]
    fn a_lost_piece_of_a_gliding_voice_is_close_to_what_was_said() {
        for (from, to) in [(110.0, 130.0), (240.0, 200.0), (330.0, 350.0)] {
            let said = voice(20, from, to);
            let whole = said.concat();
            let filled = heard(&said, &[10]);
            let range = 1_600..1_760;
            let power =
                |samples: &mut dyn Iterator<Item = f64>| samples.map(|s| s * s).sum::<f64>();
            let said = power(&mut whole[range.clone()].iter().map(|s| f64::from(*s)));
            let error = power(
                &mut whole[range.clone()]
                    .iter()
                    .zip(&filled[range])
                    .map(|(a, b)| f64::from(*a) - f64::from(*b)),
            );
            // Silence would leave an error as large as what was said.
            assert!(error < 0.5 * said, "{from} Hz: {:.2}", error / said);
        }
    }

    #[test]
    fn neither_end_of_a_loss_clicks() {
        for (from, to) in [(90.0, 140.0), (180.0, 230.0), (300.0, 250.0)] {
            let said = voice(20, from, to);
            let whole = steepest(&said.concat());
            for lost in [&[10][..], &[10, 11], &[5, 7, 9]] {
                let filled = steepest(&heard(&said, lost));
                assert!(
                    filled <= whole * 13 / 10,
                    "{from} Hz without {lost:?}: a step of {filled}, {whole} in what was said"
                );
            }
        }
    }

    #[test]
    fn a_long_loss_fades_to_nothing_and_stays_there() {
        let said = voice(20, 150.0, 150.0);
        let lost: Vec<usize> = (10..18).collect();
        let filled = heard(&said, &lost);
        let loudest = |range: std::ops::Range<usize>| filled[range].iter().map(|s| s.abs()).max();
        assert!(loudest(1_600..1_700) > loudest(1_940..2_060));
        assert_eq!(loudest(2_080..2_880), Some(0));
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let mut concealer = Concealer::default();
        assert_eq!(concealer.fill(160, RATE), [0; 160]);
        concealer.pass(&[0; 480], RATE);
        assert_eq!(concealer.fill(480, RATE), [0; 480]);
    }

    #[test]
    fn a_line_on_which_nobody_speaks_goes_on_as_it_is() {
        // What A-law makes of zero.
        let said = vec![vec![8; 160]; 10];
        assert_eq!(heard(&said, &[5, 6, 7, 8]), [8; 1_600]);
    }
}
