//! Recordings of calls: stereo, the caller left and the operator right, on the clock of the transcript.
//!
//! ```text
//! media thread: Tape (one a call) ─► its shelf in memory ─► the recorder's thread, four times a second ─► one file a call
//! ```
//! The media thread never waits and never touches a disk: it lays samples on the call's shelf when the lock is free,
//! and keeps them until it is. What a process that is killed has not written is at most the last half second; the next
//! start mends such files ([`recover`]). What is not to be kept is erased on the shelf and in the file. File names hold the call's identifier and nothing of who spoke.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | a call's shelf | [`SHELF`] of sound | what comes is silence in the recording, counted and alarmed |
//! | notices to the store | the newest of each call | cannot be |

mod erase;
mod file;
mod keep;
mod recorder;
mod seal;
mod sound;
mod tape;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use file::{export, make_private_folder, recover};
pub use keep::{Keeping, sweep};
pub use recorder::{Notice, Recorder, State};
pub use seal::Key;
pub use sound::Sound;
pub use tape::{Tape, Trouble};

use crate::audio::Frequency;

/// Every recording's rate: what telephony carries. Wide-band calls are converted.
pub const RATE: Frequency = Frequency::HZ_8000;

/// What a shelf holds at most; a disk that stalls for longer leaves a hole.
pub const SHELF: Duration = Duration::from_secs(5);

/// Two channels of 16 bits.
const FRAME_BYTES: u64 = 4;

/// Something with a recording's file that did not work.
#[derive(Debug)]
pub enum RecordingError {
    /// The file or its folder cannot be used.
    File {
        /// Which.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file is none of ours, or was changed.
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file is sealed, and there is no key.
    Sealed {
        /// Which.
        path: PathBuf,
    },
    /// The key's file holds no key.
    Key {
        /// Which.
        path: PathBuf,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                doing,
                source,
            } => write!(
                f,
                "{doing} {} failed ({source}); allow it, make room, or set recording.folder elsewhere",
                path.display()
            ),
            Self::Damaged { path, what } => {
                write!(f, "{} {what}; restore it from a backup", path.display())
            }
            Self::Sealed { path } => write!(
                f,
                "{} is sealed; name its key with recording.key_file",
                path.display()
            ),
            Self::Key { path } => write!(
                f,
                "{} holds no key of 64 hexadecimal digits; make one with `xinqiao recording new-key FILE`",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RecordingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Names file and doing when the system refuses.
trait At<T> {
    fn at(self, path: &std::path::Path, doing: &'static str) -> Result<T, RecordingError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &std::path::Path, doing: &'static str) -> Result<T, RecordingError> {
        self.map_err(|source| RecordingError::File {
            path: path.to_owned(),
            doing,
            source,
        })
    }
}

#[cfg(test)]
mod tests;
