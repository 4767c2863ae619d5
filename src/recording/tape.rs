//! One call's tape: takes what is heard of each leg and lays it on the call's shelf, never waiting.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::{RATE, SHELF};
use crate::audio::resample::Resampler;
use crate::audio::{Frame, Frequency, MediaTime};
use crate::speech::{CallId, Leg};

/// So much is gathered before the shelf is looked at: five packets of 20 ms.
const GATHERED: usize = 800;

/// A frame that begins within so many samples of where the last one ended follows it; the rest is rounding.
const ROUNDING: u64 = 16;

/// What the operator should know of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk did not keep up: a part is silence.
    Gap,
    /// The file cannot be written: the call is not recorded any more.
    Failed,
}

/// What lies between the media thread and the recorder.
pub(super) struct Shelf {
    pub call: CallId,
    pub sound: Mutex<Sound>,
    trouble: AtomicU8,
}

/// The samples that no file has yet.
#[derive(Default)]
pub(super) struct Sound {
    pub channels: [Vec<i16>; 2],
    /// Samples of each channel that were lost, and are silence among those above.
    pub lost: [u64; 2],
    /// What is to be erased on its way and in the file, in samples since the beginning.
    pub erased: Vec<Range<u64>>,
    pub closed: bool,
}

impl Shelf {
    pub fn new(call: CallId) -> Self {
        Self {
            call,
            sound: Mutex::default(),
            trouble: AtomicU8::new(0),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Sound> {
        // Nothing panics under the lock.
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn complain(&self, trouble: Trouble) {
        self.trouble.fetch_or(1 << trouble as u8, Ordering::Relaxed);
    }
}

/// One leg's way to the tape.
struct Channel {
    gathered: Vec<i16>,
    /// Where the last frame ended, in samples.
    until: u64,
    resampler: Option<(Frequency, Resampler)>,
    /// Samples on the shelf that stand for lost ones, still to be counted there.
    lost: u64,
}

/// The recording of one call, as the call's thread holds it; dropping it ends the recording.
pub struct Tape {
    shelf: Arc<Shelf>,
    channels: [Channel; 2],
    /// What is to be erased and is not on the shelf yet.
    erased: Vec<Range<u64>>,
    told: u8,
}

impl Tape {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        let channel = || Channel {
            gathered: Vec::with_capacity(2 * GATHERED),
            until: 0,
            resampler: None,
            lost: 0,
        };
        Self {
            shelf,
            channels: [channel(), channel()],
            erased: Vec::new(),
            told: 0,
        }
    }

    /// Takes the next frame of a leg; what is missing before it becomes silence.
    pub fn take(&mut self, leg: Leg, frame: &Frame) {
        let channel = &mut self.channels[usize::from(leg == Leg::Operator)];
        let begins = RATE.samples_in(frame.start.since(MediaTime::ZERO));
        if begins > channel.until + ROUNDING {
            let silent = channel.gathered.len() + (begins - channel.until) as usize;
            channel.gathered.resize(silent, 0);
        }
        // By the frame's own times: a converter gives its samples a little later than it takes them.
        channel.until = begins + RATE.samples_in(frame.duration());
        if frame.rate == RATE {
            channel.gathered.extend_from_slice(&frame.samples);
        } else {
            let fresh = || (frame.rate, Resampler::new(frame.rate, RATE));
            let (rate, resampler) = channel.resampler.get_or_insert_with(fresh);
            if *rate != frame.rate {
                (*rate, *resampler) = fresh();
            }
            let gathered = &mut channel.gathered;
            resampler.push(&frame.samples, |piece| gathered.extend_from_slice(piece));
        }
        if channel.gathered.len() >= GATHERED {
            self.lay(false);
        }
    }

    /// Erases what was taken of both legs between those times, wherever it is by now.
    pub fn erase(&mut self, from: MediaTime, until: MediaTime) {
        let sample = |at: MediaTime| RATE.samples_in(at.since(MediaTime::ZERO));
        let range = sample(from)..sample(until) + ROUNDING;
        // A call asks for it once in a while, and the shelf takes it within moments.
        self.erased.push(range);
        self.lay(false);
    }

    /// Lays what was gathered on the shelf; `wait` for the lock only when the call is over.
    fn lay(&mut self, wait: bool) {
        let mut sound = if wait {
            self.shelf.lock()
        } else {
            match self.shelf.sound.try_lock() {
                Ok(sound) => sound,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                // The recorder has it for a moment: next time. Should it never, the memory stays bounded below.
                Err(TryLockError::WouldBlock) => {
                    for channel in &mut self.channels {
                        let surplus = channel.gathered.len().saturating_sub(bound());
                        channel.gathered.drain(..surplus);
                        channel.lost += surplus as u64;
                    }
                    return;
                }
            }
        };
        sound.erased.append(&mut self.erased);
        let mut gap = false;
        for (at, channel) in self.channels.iter_mut().enumerate() {
            let room = bound().saturating_sub(sound.channels[at].len());
            let kept = channel.gathered.len().min(room);
            sound.channels[at].extend_from_slice(&channel.gathered[..kept]);
            // What has no room is counted; the recorder writes as much silence in its place.
            let lost = (channel.gathered.len() - kept) as u64 + std::mem::take(&mut channel.lost);
            sound.lost[at] += lost;
            gap |= lost > 0;
            channel.gathered.clear();
        }
        drop(sound);
        if gap {
            self.shelf.complain(Trouble::Gap);
        }
    }

    /// What has gone wrong since last asked; each kind once.
    pub fn trouble(&mut self) -> Option<Trouble> {
        let fresh = self.shelf.trouble.load(Ordering::Relaxed) & !self.told;
        let trouble = [Trouble::Failed, Trouble::Gap]
            .into_iter()
            .find(|trouble| fresh & 1 << *trouble as u8 != 0)?;
        self.told |= 1 << trouble as u8;
        Some(trouble)
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.lay(true);
        self.shelf.lock().closed = true;
    }
}

const fn bound() -> usize {
    RATE.samples_in(SHELF) as usize
}
