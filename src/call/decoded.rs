//! Calls that an edge taps elsewhere and brings as decoded sound: who speaks on which leg is known, nothing is ever sent,
//! and nobody is called. What follows, the listening, the transcript, the draft and the record, is that of every other
//! call.
//!
//! The sound comes in order and whole, so that it needs no codec and waits for nothing. What a packet's timestamp is to
//! the listening buffer of RTP is here the time of the sender: a pause of his is silence, what comes late is heard all
//! the same, behind the silence that went out meanwhile, and what is absurdly early is dropped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Call, Output, State, index};
use crate::audio::{Frame, Frequency, MediaTime};
use crate::rtp::ExtendedSequence;
use crate::rtp::listen::{DEEPEST, DEPTH, FRAME, LONGEST, MOST_AHEAD, ROUNDING};
use crate::rtp::stats::StreamStats;
use crate::speech::Leg;
use crate::transcript::{EndReason, LossCause, TranscriptEvent};

/// A piece of a leg's decoded sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFrame {
    /// Counts the frames of the stream; one that is missing was lost on the way.
    pub number: u64,
    /// When it begins by the sender's own time, since the stream did; a pause of his is a gap here.
    pub at: Duration,
    /// Samples a second.
    pub rate: Frequency,
    /// Linear 16-bit samples of one channel.
    pub samples: Vec<i16>,
}

/// One leg's decoded sound on the call's timeline, without a hole.
pub(crate) struct DecodedStream {
    /// The timeline's zero: the answer.
    epoch: Instant,
    /// How long nothing may come before silence goes out.
    depth: Duration,
    /// A moment of the sender's time, and where it lies on the timeline.
    anchor: Option<(Duration, MediaTime)>,
    /// What has been placed and not been given out.
    ready: VecDeque<Frame>,
    /// Until where the timeline has been filled.
    until: MediaTime,
    rate: Frequency,
    stats: Option<StreamStats>,
}

impl DecodedStream {
    /// A stream whose timeline begins at `epoch`.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            depth: DEPTH,
            anchor: None,
            ready: VecDeque::new(),
            until: MediaTime::ZERO,
            rate: Frequency::HZ_16000,
            stats: None,
        }
    }

    /// Takes the next frame; what becomes of it shows in the statistics.
    pub(crate) fn push(&mut self, now: Instant, frame: DecodedFrame) {
        let DecodedFrame {
            number,
            at,
            rate,
            samples,
        } = frame;
        let number = ExtendedSequence(number);
        let stats = self
            .stats
            .get_or_insert_with(|| StreamStats::numbered(now, rate, number));
        stats.set_clock(rate);
        let ticks = rate.samples_in(at) as u32;
        stats.arrive(now, ticks, 2 * samples.len() as u64, number);
        let arrival = MediaTime::ZERO + now.saturating_duration_since(self.epoch);
        let Some(at) = self.place(at, arrival) else {
            if let Some(stats) = &mut self.stats {
                stats.late += 1;
            }
            return;
        };
        self.rate = rate;
        let hole = at.since(self.until);
        if hole >= ROUNDING {
            self.pass(hole);
        }
        self.give(samples);
    }

    /// Where a frame belongs, unless that is too early for anybody to wait for; the anchor moves when the place has
    /// passed or lies absurdly far off.
    fn place(&mut self, at: Duration, arrival: MediaTime) -> Option<MediaTime> {
        let soonest = self.until.max(arrival);
        let (known, place) = *self.anchor.get_or_insert((at, soonest));
        let mut place = place + at.saturating_sub(known);
        if place > arrival + MOST_AHEAD {
            place = soonest;
        } else if place < self.until {
            let late = self.until.since(place);
            place = self.until;
            if late <= DEEPEST {
                self.depth = (self.depth + late).min(DEEPEST);
            }
        }
        self.anchor = Some((at, place));
        (place <= arrival + MOST_AHEAD).then_some(place)
    }

    fn pass(&mut self, span: Duration) {
        let samples = self.rate.samples_in(span);
        self.give(vec![0; samples as usize]);
    }

    fn give(&mut self, samples: Vec<i16>) {
        let frame = Frame {
            samples,
            rate: self.rate,
            start: self.until,
        };
        self.until = self.until + frame.duration();
        self.ready.push_back(frame);
    }

    /// The next stretch of the timeline, or `None` until a frame comes or [`DecodedStream::deadline`] passes.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Frame> {
        if self.ready.is_empty() {
            let elapsed = MediaTime::ZERO + now.saturating_duration_since(self.epoch);
            let missing = (elapsed - self.depth).since(self.until);
            if missing < FRAME {
                return None;
            }
            // In pieces, so that a long silence needs no large buffer.
            self.pass(missing.min(LONGEST));
        }
        self.ready.pop_front()
    }

    /// When [`DecodedStream::poll`] has something to give even if no frame comes.
    pub(crate) fn deadline(&self) -> Instant {
        self.epoch + self.until.since(MediaTime::ZERO) + self.depth + FRAME
    }

    /// What has come in so far; `None` before the first frame.
    pub(crate) const fn stats(&self) -> Option<&StreamStats> {
        self.stats.as_ref()
    }
}

impl Call {
    /// A tapped call is up as soon as it is there.
    pub(super) fn begin_tapped(&mut self, now: Instant) {
        // Nothing is played to anybody.
        self.announcement = None;
        self.answered = Some(now);
        self.state = State::Up;
        for media_leg in &mut self.media_legs {
            media_leg.open_decoded(now);
        }
        let at = self.wall(now);
        self.outputs
            .push_back(Output::Transcript(TranscriptEvent::Answered { at }));
    }

    /// Takes decoded sound of a leg.
    pub(super) fn decoded(&mut self, now: Instant, leg: Leg, frame: DecodedFrame) {
        if matches!(self.state, State::Up) {
            self.media_legs[index(leg)].take_decoded(now, frame);
        }
    }

    /// A tapped party is gone, by itself or because something broke.
    pub(super) fn tapped_party_gone(&mut self, now: Instant, leg: Leg, broke: Option<String>) {
        if !matches!(self.state, State::Up) {
            return;
        }
        let reason = match broke {
            None => EndReason::HungUp { party: leg },
            Some(detail) => EndReason::Lost {
                party: leg,
                cause: LossCause::Other { detail },
            },
        };
        self.hang_up_all(None);
        self.hang_up(now, reason);
    }
}
