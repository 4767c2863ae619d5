//! Several streams that are heard on one leg: their sound added up, on one timeline without a hole.
//!
//! One stream passes as it is. With more, as much is given out as all of them have come to; each gives silence where
//! nothing comes, so none of them holds the others up for longer than its own buffer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::resample::Resampler;
use crate::audio::{Frame, Frequency, MediaTime};

/// What is added up.
const RATE: Frequency = Frequency::HZ_16000;
/// A hole of less, a few samples, is rounding.
const ROUNDING: Duration = Duration::from_millis(4);
/// What goes out at a time at most.
const LONGEST: Duration = Duration::from_secs(1);

/// One stream's way into the mix.
struct Track {
    stream: usize,
    /// What has come and not been converted.
    frames: VecDeque<Frame>,
    resampler: Option<(Frequency, Resampler)>,
    /// What has been converted, and where it begins; nowhere, before anything has been.
    samples: VecDeque<i16>,
    begins: Option<u64>,
}

/// What is heard on one leg.
#[derive(Default)]
pub(crate) struct Mixer {
    until: MediaTime,
    tracks: Vec<Track>,
    /// Nothing more comes: what one stream has and another has not is given out too.
    finished: bool,
}

impl Track {
    const fn new(stream: usize) -> Self {
        Self {
            stream,
            frames: VecDeque::new(),
            resampler: None,
            samples: VecDeque::new(),
            begins: None,
        }
    }

    /// Converts what has come.
    fn convert(&mut self) {
        for frame in self.frames.drain(..) {
            let begins = position(frame.start);
            let next = *self.begins.get_or_insert(begins) + self.samples.len() as u64;
            let hole = begins.saturating_sub(next);
            if hole > RATE.samples_in(ROUNDING) {
                self.samples.resize(self.samples.len() + hole as usize, 0);
            }
            let fresh = || (frame.rate, Resampler::new(frame.rate, RATE));
            let (rate, resampler) = self.resampler.get_or_insert_with(fresh);
            if *rate != frame.rate {
                (*rate, *resampler) = fresh();
            }
            let samples = &mut self.samples;
            resampler.push(&frame.samples, |piece| samples.extend(piece));
        }
    }

    /// Until where it has come.
    fn end(&self) -> Option<u64> {
        Some(self.begins? + self.samples.len() as u64)
    }

    /// Leaves out what lies before `position`.
    fn skip_to(&mut self, position: u64) {
        if let Some(begins) = &mut self.begins {
            let passed = position
                .saturating_sub(*begins)
                .min(self.samples.len() as u64);
            self.samples.drain(..passed as usize);
            *begins += passed;
        }
    }
}

impl Mixer {
    /// Hears these streams from now on, and no others.
    pub(crate) fn hear(&mut self, streams: &[usize]) {
        self.tracks.retain(|track| streams.contains(&track.stream));
        for stream in streams {
            if !self.tracks.iter().any(|track| track.stream == *stream) {
                self.tracks.push(Track::new(*stream));
            }
        }
    }

    /// Takes the next frame of a stream, which begins by the call's clock.
    pub(crate) fn push(&mut self, stream: usize, frame: Frame) {
        let mut tracks = self.tracks.iter_mut();
        if let Some(track) = tracks.find(|track| track.stream == stream) {
            track.frames.push_back(frame);
        }
    }

    /// Nothing more comes.
    pub(crate) const fn finish(&mut self) {
        self.finished = true;
    }

    /// The next stretch of the leg's timeline.
    pub(crate) fn poll(&mut self) -> Option<Frame> {
        match &self.tracks[..] {
            [] => None,
            [only] if only.samples.is_empty() => self.pass(),
            _ => self.mix(),
        }
    }

    /// One stream alone passes as it is.
    fn pass(&mut self) -> Option<Frame> {
        let track = self.tracks.first_mut()?;
        (track.begins, track.resampler) = (None, None);
        loop {
            let mut frame = track.frames.pop_front()?;
            let hole = frame.start.since(self.until);
            if hole >= ROUNDING {
                let span = hole.min(LONGEST);
                let silence = Frame {
                    samples: vec![0; frame.rate.samples_in(span) as usize],
                    rate: frame.rate,
                    start: self.until,
                };
                self.until = self.until + silence.duration();
                track.frames.push_front(frame);
                return Some(silence);
            }
            let late = self.until.since(frame.start);
            if late >= ROUNDING {
                // It has been given out already, in a mix.
                let passed = frame.rate.samples_in(late) as usize;
                frame.samples.drain(..passed.min(frame.samples.len()));
                frame.start = self.until;
            }
            if !frame.samples.is_empty() {
                self.until = frame.start + frame.duration();
                return Some(frame);
            }
        }
    }

    fn mix(&mut self) -> Option<Frame> {
        let begins = position(self.until);
        for track in &mut self.tracks {
            track.convert();
            track.skip_to(begins);
        }
        let ends = self.tracks.iter().map(Track::end);
        let end = if self.finished {
            ends.flatten().max()?
        } else {
            ends.min()??
        };
        let end = end.min(begins + RATE.samples_in(LONGEST));
        let count = end.checked_sub(begins).filter(|count| *count > 0)?;
        let mut sum = vec![0_i32; count as usize];
        for track in &mut self.tracks {
            let Some(from) = track.begins else {
                continue;
            };
            let behind = (from - begins) as usize;
            for (sum, sample) in sum.iter_mut().skip(behind).zip(&track.samples) {
                *sum += i32::from(*sample);
            }
            track.skip_to(end);
        }
        let clamped = |sum: i32| sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        let frame = Frame {
            samples: sum.into_iter().map(clamped).collect(),
            rate: RATE,
            start: self.until,
        };
        self.until = MediaTime::ZERO + RATE.duration_of(end);
        Some(frame)
    }
}

/// Which sample begins at a time that was cut to whole microseconds.
fn position(at: MediaTime) -> u64 {
    RATE.samples_in(at.since(MediaTime::ZERO) + Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(start_ms: u64, rate: Frequency, value: i16) -> Frame {
        Frame {
            samples: vec![value; rate.samples_in(Duration::from_millis(20)) as usize],
            rate,
            start: MediaTime::from_millis(start_ms),
        }
    }

    /// What comes out, as one value for each 20 ms from the beginning, and without a hole.
    fn values(mixer: &mut Mixer) -> Vec<i16> {
        let (mut values, mut until) = (Vec::new(), mixer.until);
        while let Some(frame) = mixer.poll() {
            let late = frame.start.since(until).max(until.since(frame.start));
            assert!(late < ROUNDING, "{:?} after {until:?}", frame.start);
            until = frame.start + frame.duration();
            let piece = frame.rate.samples_in(Duration::from_millis(20)) as usize;
            values.extend(
                frame
                    .samples
                    .chunks(piece)
                    .map(|piece| piece[piece.len() / 2]),
            );
        }
        values
    }

    fn close(values: &[i16], wanted: &[i16]) {
        let close = |(one, other): (&i16, &i16)| one.abs_diff(*other) < 60;
        assert!(
            values.len() == wanted.len() && values.iter().zip(wanted).all(close),
            "{values:?}"
        );
    }

    #[test]
    fn one_stream_passes_as_it_is_and_what_is_missing_before_it_is_silence() {
        let mut mixer = Mixer::default();
        mixer.hear(&[3]);
        mixer.push(3, frame(40, Frequency::HZ_48000, 500));
        mixer.push(7, frame(0, Frequency::HZ_8000, 900));
        assert_eq!(values(&mut mixer), [0, 0, 500]);
        assert_eq!(mixer.until, MediaTime::from_millis(60));
    }

    #[test]
    fn streams_of_any_rate_are_added_up_as_far_as_all_have_come_and_come_and_go() {
        let mut mixer = Mixer::default();
        mixer.hear(&[0]);
        for at in 0..5 {
            mixer.push(0, frame(20 * at, Frequency::HZ_8000, 1_000));
        }
        assert_eq!(values(&mut mixer), [1_000; 5]);
        mixer.hear(&[0, 1]);
        for at in 5..10 {
            mixer.push(0, frame(20 * at, Frequency::HZ_8000, 1_000));
        }
        assert_eq!(
            values(&mut mixer),
            [0; 0],
            "the other one has said nothing yet"
        );
        for at in 5..9 {
            mixer.push(1, frame(20 * at, Frequency::HZ_16000, -3_000));
        }
        close(&values(&mut mixer)[1..], &[-2_000; 3]);
        // Nobody overflows.
        for at in 9..12 {
            mixer.push(1, frame(20 * at, Frequency::HZ_16000, -32_000));
            mixer.push(0, frame(20 * at + 20, Frequency::HZ_8000, -32_000));
        }
        let loud = values(&mut mixer);
        assert_eq!(loud.last(), Some(&i16::MIN), "{loud:?}");
        mixer.hear(&[1]);
        for at in 12..15 {
            mixer.push(1, frame(20 * at, Frequency::HZ_16000, 700));
        }
        assert_eq!(values(&mut mixer).last(), Some(&700));
        assert_eq!(mixer.until, MediaTime::from_millis(300));
    }

    #[test]
    fn frames_of_any_length_are_given_out_once() {
        let mut mixer = Mixer::default();
        mixer.hear(&[0, 1, 2]);
        let mut until = [MediaTime::ZERO; 3];
        let mut heard = 0;
        for round in 0..600_usize {
            let stream = round % 3;
            let rates = [Frequency::HZ_8000, Frequency::HZ_16000, Frequency::HZ_48000];
            let frame = Frame {
                samples: vec![1; 1 + 37 * round % 701],
                rate: rates[stream],
                start: until[stream],
            };
            until[stream] = until[stream] + frame.duration();
            mixer.push(stream, frame);
            while let Some(frame) = mixer.poll() {
                heard += frame.samples.len() as u64;
                assert!(frame.samples.iter().all(|sample| (0..=3).contains(sample)));
            }
            assert_eq!(position(mixer.until), heard);
        }
        let shortest = until.iter().min().map(|until| position(*until));
        let behind = shortest.expect("three").abs_diff(heard);
        assert!(heard > 10_000 && behind < 64, "{heard}, {behind} behind");
    }

    #[test]
    fn at_the_end_nothing_of_the_longer_stream_is_lost() {
        let mut mixer = Mixer::default();
        mixer.hear(&[0, 1]);
        for at in 0..10 {
            mixer.push(0, frame(20 * at, Frequency::HZ_16000, 1_000));
        }
        for at in 0..4 {
            mixer.push(1, frame(20 * at, Frequency::HZ_16000, 500));
        }
        assert_eq!(values(&mut mixer), [1_500; 4]);
        mixer.finish();
        assert_eq!(values(&mut mixer), [1_000; 6]);
    }
}
