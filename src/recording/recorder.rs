//! The recorder: one thread that carries what lies on the shelves to the files, four times a second.
//!
//! While less room is left than must stay free, nothing is written: what is said then is silence in the recording, which
//! the call's operator, `/readyz` and a metric are told, and it goes on as soon as there is room.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tracing::{error, info, warn};

use super::file::Writer;
use super::keep::free_on;
use super::tape::{Shelf, Sound, Tape, Trouble};
use super::{FRAME_BYTES, Key, RATE};
use crate::speech::CallId;

/// How often; a process that is killed loses this, what the jitter buffers hold, and no more.
const ROUND: Duration = Duration::from_millis(250);

/// A leg that lies so far behind the other says nothing at all: its part is silence.
const LAG: Duration = Duration::from_secs(2);

/// What became of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The call runs.
    Running,
    /// It is whole.
    Complete,
    /// The file could not be written to the end.
    Failed,
    /// A crash ended it; what was written is there.
    Recovered,
}

/// What the store should know of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which call's.
    pub call: CallId,
    /// The file, below the folder of recordings.
    pub file: String,
    /// How it stands.
    pub state: State,
    /// How much is in it.
    pub duration: Duration,
    /// How much of that is silence because it was lost.
    pub lost: Duration,
}

/// This much stays free in any case, so that what is begun can be ended.
const RESERVE: u64 = 1 << 20;

/// Silence is made up for so much at a time.
const MADE_UP: Duration = Duration::from_mins(1);

/// Whether nothing is recorded for want of room.
const STOPPED: &str = "xinqiao_recording_stopped";
/// What was not recorded for want of room.
const UNRECORDED: &str = "xinqiao_recording_unrecorded_seconds_total";

struct Shared {
    folder: PathBuf,
    key: Option<Key>,
    /// Octets that must stay free.
    least_free: u64,
    /// There is less.
    stopped: AtomicBool,
    /// Shelves of calls that the thread has not seen yet.
    fresh: Mutex<Vec<Arc<Shelf>>>,
    stop: AtomicBool,
}

/// The running recorder; dropping it writes the rest and ends it.
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts the thread, which records below `folder` while `least_free` octets are free there, and tells `noticed` what
    /// became of it; that must not block.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        folder: &Path,
        key: Option<Key>,
        least_free: u64,
        noticed: impl Fn(Notice) + Send + 'static,
    ) -> io::Result<Self> {
        describe_gauge!(STOPPED, "whether nothing is recorded for want of room");
        describe_counter!(
            UNRECORDED,
            "what was not recorded for want of room, in seconds"
        );
        gauge!(STOPPED).set(0.0);
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            key,
            least_free: least_free.max(RESERVE),
            stopped: AtomicBool::new(false),
            fresh: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn({
                let mut reels = Reels {
                    shared: shared.clone(),
                    running: Vec::new(),
                    noticed,
                    spare: Sound::default(),
                    bytes: Vec::new(),
                };
                move || reels.run()
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Begins a call's recording.
    #[must_use]
    pub fn begin(&self, call: CallId) -> Tape {
        let shelf = Arc::new(Shelf::new(call));
        self.shared
            .fresh
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(shelf.clone());
        Tape::new(shelf)
    }

    /// Why nothing is recorded, if that is so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.shared
            .stopped
            .load(Ordering::Relaxed)
            .then(|| self.shared.fault())
    }

    /// Writes what is left and ends the thread; waits for it. Every file is finished then.
    pub fn close(&self) {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn fault(&self) -> String {
        format!(
            "no call is recorded: less than {} MB are free in {}; make room, or lower recording.min_free_mb",
            self.least_free >> 20,
            self.folder.display()
        )
    }

    /// Looks whether there is room.
    fn look(&self) -> bool {
        let stops = free_on(&self.folder) < self.least_free;
        if self.stopped.swap(stops, Ordering::Relaxed) != stops {
            gauge!(STOPPED).set(if stops { 1.0 } else { 0.0 });
            if stops {
                error!("{}", self.fault());
            } else {
                info!("there is room again: calls are recorded");
            }
        }
        !stops
    }
}

/// One call's shelf and file.
struct Reel {
    shelf: Arc<Shelf>,
    /// The file, below the folder; none before the first sound.
    file: String,
    writer: Option<Writer>,
    failed: bool,
    /// What one leg has and the other has not yet.
    left_over: [Vec<i16>; 2],
    /// Lost samples of each leg that are still to be written as silence, and frames that have any.
    owed: [u64; 2],
    /// What is to be erased, in frames since the beginning; it may reach beyond what has come.
    erased: Vec<Range<u64>>,
    lost: u64,
    frames: u64,
    /// Frames after those, for which there was no room.
    missed: u64,
}

/// The thread's own.
struct Reels<F> {
    shared: Arc<Shared>,
    running: Vec<Reel>,
    noticed: F,
    /// Buffers that change places with a shelf's, so that nothing is allocated in the long run.
    spare: Sound,
    bytes: Vec<u8>,
}

impl<F: Fn(Notice)> Reels<F> {
    fn run(&mut self) {
        loop {
            let last = self.shared.stop.load(Ordering::Acquire);
            self.round(last);
            if last {
                return;
            }
            std::thread::sleep(ROUND);
        }
    }

    fn round(&mut self, last: bool) {
        let fresh = std::mem::take(
            &mut *self
                .shared
                .fresh
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.running.extend(fresh.into_iter().map(Reel::new));
        let has_room = self.shared.look();
        for at in (0..self.running.len()).rev() {
            let reel = &mut self.running[at];
            let closed = {
                let mut sound = reel.shelf.lock();
                for (shelf, spare) in sound.channels.iter_mut().zip(&mut self.spare.channels) {
                    std::mem::swap(shelf, spare);
                }
                for (owed, lost) in reel.owed.iter_mut().zip(&mut sound.lost) {
                    *owed += std::mem::take(lost);
                }
                reel.erased.append(&mut sound.erased);
                sound.closed || last
            };
            for (left_over, spare) in reel.left_over.iter_mut().zip(&mut self.spare.channels) {
                left_over.append(spare);
            }
            let notice = reel.advance(&self.shared, has_room, closed, &mut self.bytes);
            notice.into_iter().for_each(&self.noticed);
            if closed {
                let reel = self.running.swap_remove(at);
                reel.end().into_iter().for_each(&self.noticed);
            }
        }
    }
}

/// The folder of a day, by the world's clock.
pub(super) fn day_of(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(
        |_| "1970-01-01".to_owned(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}

impl Reel {
    fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            file: String::new(),
            writer: None,
            failed: false,
            left_over: [Vec::new(), Vec::new()],
            owed: [0; 2],
            erased: Vec::new(),
            lost: 0,
            frames: 0,
            missed: 0,
        }
    }

    fn notice(&self, state: State) -> Notice {
        Notice {
            call: self.shelf.call.clone(),
            file: self.file.clone(),
            state,
            duration: RATE.duration_of(self.frames),
            lost: RATE.duration_of(self.lost),
        }
    }

    /// Writes what both legs have, and at the end what either has.
    fn advance(
        &mut self,
        shared: &Shared,
        has_room: bool,
        end: bool,
        bytes: &mut Vec<u8>,
    ) -> Option<Notice> {
        for (left_over, owed) in self.left_over.iter_mut().zip(&mut self.owed) {
            // Lost is what came after the shelf was full: it belongs behind what was on it.
            left_over.resize(left_over.len() + *owed as usize, 0);
            self.lost += std::mem::take(owed);
        }
        self.erase();
        let [caller, operator] = &mut self.left_over;
        let (shorter, longer) = (
            caller.len().min(operator.len()),
            caller.len().max(operator.len()),
        );
        let lag = RATE.samples_in(LAG) as usize;
        let count = if end {
            longer
        } else {
            shorter.max(longer.saturating_sub(lag))
        };
        if count == 0 {
            return None;
        }
        if !has_room && !self.failed {
            for channel in [caller, operator] {
                channel.drain(..count.min(channel.len()));
            }
            self.miss(count as u64);
            return None;
        }
        while self.missed > 0 && !self.failed {
            let notice = self.make_up(shared, bytes);
            // What is said meanwhile waits, unless it is the last.
            if !end {
                return notice;
            }
        }
        let [caller, operator] = &mut self.left_over;
        bytes.clear();
        bytes.reserve(4 * count);
        for at in 0..count {
            let sample = |channel: &[i16]| channel.get(at).copied().unwrap_or(0).to_le_bytes();
            let ([a, b], [c, d]) = (sample(caller), sample(operator));
            bytes.extend([a, b, c, d]);
        }
        for channel in [caller, operator] {
            channel.drain(..count.min(channel.len()));
        }
        self.write(shared, bytes)
    }

    /// There is no room for so many frames.
    fn miss(&mut self, count: u64) {
        if self.missed == 0 {
            warn!(call = %self.shelf.call, "what is said in the call is not recorded for now");
            self.shelf.complain(Trouble::Gap);
        }
        self.missed += count;
        self.lost += count;
        let seconds =
            self.missed / u64::from(RATE.hertz()) - (self.missed - count) / u64::from(RATE.hertz());
        counter!(UNRECORDED).increment(seconds);
    }

    /// Writes silence for what was missed, a part at a time; what is said meanwhile waits.
    fn make_up(&mut self, shared: &Shared, bytes: &mut Vec<u8>) -> Option<Notice> {
        let count = self.missed.min(RATE.samples_in(MADE_UP));
        bytes.clear();
        bytes.resize((count * FRAME_BYTES) as usize, 0);
        self.missed -= count;
        self.write(shared, bytes)
    }

    fn write(&mut self, shared: &Shared, bytes: &[u8]) -> Option<Notice> {
        if self.failed {
            return None;
        }
        let begins = self.writer.is_none();
        let written = self.writer(shared).and_then(|writer| writer.append(bytes));
        match written {
            Ok(()) => {
                self.frames += bytes.len() as u64 / FRAME_BYTES;
                begins.then(|| self.notice(State::Running))
            }
            Err(refused) => {
                error!(call = %self.shelf.call, "the call is not recorded any more: {refused}");
                self.failed = true;
                self.shelf.complain(Trouble::Failed);
                None
            }
        }
    }

    /// Erases what is to be erased of what the file has and of what has come since; what will come has its turn then.
    fn erase(&mut self) {
        let came = self.left_over[0].len().min(self.left_over[1].len()) as u64;
        let next = self.frames + self.missed;
        for range in &mut self.erased {
            for channel in &mut self.left_over {
                let place = |frame: u64| (frame.saturating_sub(next) as usize).min(channel.len());
                let (from, until) = (place(range.start), place(range.end));
                channel[from..until].fill(0);
            }
            let written = range.start..range.end.min(self.frames);
            if let Some(writer) = self.writer.as_mut().filter(|_| !written.is_empty())
                && let Err(refused) = writer.erase(written)
            {
                error!(call = %self.shelf.call, "a number stays in the recording: {refused}");
            }
            range.start = range.start.max(next + came);
        }
        self.erased.retain(|range| !range.is_empty());
    }

    fn writer(&mut self, shared: &Shared) -> Result<&mut Writer, super::RecordingError> {
        if self.writer.is_none() {
            let day = day_of(SystemTime::now());
            let name = self.shelf.call.as_str();
            let extension = if shared.key.is_some() {
                "sealed"
            } else {
                "wav"
            };
            self.file = format!("{day}/{name}.{extension}");
            let folder = shared.folder.join(day);
            self.writer = Some(Writer::create(&folder, name, shared.key.as_ref())?);
        }
        Ok(self.writer.as_mut().expect("made above"))
    }

    /// The call is over; a call of which nothing was heard has no recording.
    fn end(mut self) -> Option<Notice> {
        let writer = self.writer.take();
        if writer.is_none() && !self.failed {
            return None;
        }
        let finished = writer.map(Writer::finish).transpose();
        if let Err(refused) = &finished {
            error!(call = %self.shelf.call, "a recording stays unfinished until the next start: {refused}");
        }
        let whole = finished.is_ok() && !self.failed;
        Some(self.notice(if whole {
            State::Complete
        } else {
            State::Failed
        }))
    }
}
