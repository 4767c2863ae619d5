//! From one connection's frames to the pieces of a leg's sound: 16 kHz, in 20 ms, at the pace of time.
//!
//! A connection that is ahead of time is read no faster than time goes, so that TCP holds its peer back; a pause in which
//! nothing comes is a pause between the pieces. What piled up while the network stood still is caught up with in the
//! speaker's own pauses: quiet frames are left out as long as the stream is behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::audio::Frequency;
use crate::audio::resample::Resampler;

/// What is listened to.
const RATE: Frequency = Frequency::HZ_16000;

/// What a piece holds.
const PIECE: Duration = Duration::from_millis(20);

/// How far ahead of time a connection may be.
const AHEAD: Duration = Duration::from_millis(300);

/// A peer sends every 20 ms, but not to the millisecond: a pause is longer than this.
const UNEVEN: Duration = Duration::from_millis(100);

/// A frame whose loudest sample is below this is a pause: −50 dB of the loudest there is.
const QUIET: u16 = 100;

/// One connection's stream.
pub(super) struct Voice {
    /// Samples since the beginning, pauses among them, up to those that wait.
    position: u64,
    resampler: Option<(Frequency, Resampler)>,
    /// Less than a piece.
    waiting: Vec<i16>,
    /// By when what has been taken will have been said.
    due: Instant,
}

impl Voice {
    /// A stream that begins.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            position: 0,
            resampler: None,
            waiting: Vec::new(),
            due: now,
        }
    }

    /// Takes a frame and gives the pieces that it makes, each with its time since the beginning; until when no other
    /// frame is to be read.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        rate: Frequency,
        samples: &[i16],
        give: impl FnMut(Duration, Frequency, Vec<i16>),
    ) -> Instant {
        let lasts = rate.duration_of(samples.len() as u64);
        if now > self.due {
            let pause = now - self.due;
            if pause > UNEVEN {
                self.pass(pause);
            }
            self.due = now;
        }
        let is_behind = self.due > now + AHEAD;
        if is_behind && samples.iter().all(|sample| sample.unsigned_abs() < QUIET) {
            return now;
        }
        self.due += lasts;
        let waiting = &mut self.waiting;
        let fresh = || (rate, Resampler::new(rate, RATE));
        let (from, resampler) = self.resampler.get_or_insert_with(fresh);
        if *from != rate {
            (*from, *resampler) = fresh();
        }
        resampler.push(samples, |piece| waiting.extend_from_slice(piece));
        self.cut(give);
        self.due - AHEAD
    }

    /// Lets time pass in silence.
    fn pass(&mut self, span: Duration) {
        self.waiting.clear();
        self.position += RATE.samples_in(span);
    }

    fn cut(&mut self, mut give: impl FnMut(Duration, Frequency, Vec<i16>)) {
        let length = RATE.samples_in(PIECE) as usize;
        let waiting = std::mem::take(&mut self.waiting);
        let whole = waiting.chunks_exact(length);
        self.waiting = whole.remainder().to_vec();
        for piece in whole {
            give(RATE.duration_of(self.position), RATE, piece.to_vec());
            self.position += length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tone(count: usize) -> Vec<i16> {
        let step = 440.0 * std::f32::consts::TAU / 8_000.0;
        (0..count)
            .map(|at| (9_000.0 * (at as f32 * step).sin()) as i16)
            .collect()
    }

    /// When the pieces begin that a frame makes, and until when no other one is to be read.
    fn pieces(
        voice: &mut Voice,
        now: Instant,
        rate: Frequency,
        samples: &[i16],
    ) -> (Vec<Duration>, Instant) {
        let mut begin = Vec::new();
        let until = voice.take(now, rate, samples, |at, rate, piece| {
            assert_eq!((rate, piece.len()), (RATE, 320));
            begin.push(at);
        });
        (begin, until)
    }

    #[test]
    fn frames_of_any_rate_become_pieces_of_20_ms_and_pauses_stay() {
        let start = Instant::now();
        let mut voice = Voice::new(start);
        let mut before = Vec::new();
        for at in 0..50 {
            let now = start + 20 * at * MS;
            before.extend(pieces(&mut voice, now, Frequency::HZ_8000, &tone(160)).0);
        }
        // The converter holds the last samples back.
        assert!((49..=50).contains(&before.len()), "{}", before.len());
        assert!(before.windows(2).all(|pair| pair[0] + PIECE == pair[1]));
        let now = start + 4_000 * MS;
        let rate = Frequency::new(48_000).expect("not zero");
        let mut after = Vec::new();
        for at in 0..5 {
            after.extend(pieces(&mut voice, now + 20 * at * MS, rate, &vec![9_000; 960]).0);
        }
        let (last, next) = (*before.last().expect("sent"), after[0]);
        let pause = last + 3_000 * MS..=last + 3_040 * MS;
        assert!(pause.contains(&next), "{last:?}, {next:?}");
    }

    #[test]
    fn who_is_ahead_of_time_waits_and_who_is_behind_catches_up_in_pauses() {
        let now = Instant::now();
        let mut voice = Voice::new(now);
        let (mut sent, mut until) = (0, now);
        for _ in 0..50 {
            let (made, next) = pieces(&mut voice, now, Frequency::HZ_8000, &tone(160));
            (sent, until) = (sent + made.len(), next);
        }
        assert!(
            sent >= 49 && until > now + 650 * MS,
            "a second at once: {sent}"
        );
        let (made, next) = pieces(&mut voice, now, Frequency::HZ_8000, &[3; 160]);
        assert!(made.is_empty() && next <= now);
        let (made, _) = pieces(&mut voice, now + 900 * MS, Frequency::HZ_8000, &[3; 160]);
        assert_eq!(made.len(), 1, "in time, pauses are pauses");
    }
}
