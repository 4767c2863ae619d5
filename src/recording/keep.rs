//! How long recordings are kept: by their age, and by the room that is left on the disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing::warn;

use super::file::{call_of, files_below};
use super::recorder::day_of;

const DAY: Duration = Duration::from_hours(24);

/// What may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Days; 0 for ever.
    pub days: u32,
    /// Octets that must stay free on the disk; the oldest recordings make way.
    pub free: u64,
}

/// Deletes what is too old, and the oldest while the disk is too full; the calls whose recordings are gone.
///
/// Recordings of today are never deleted for room, and the recorder stops when there is too little: a disk that small needs
/// a person.
#[must_use]
pub fn sweep(folder: &Path, keeping: Keeping, now: SystemTime) -> Vec<String> {
    let today = day_of(now);
    let oldest = now
        .checked_sub(DAY * keeping.days)
        .filter(|_| keeping.days > 0)
        .map(day_of);
    let mut gone = Vec::new();
    for file in files_below(folder) {
        let day = day(&file);
        let old = oldest.as_ref().is_some_and(|oldest| day < *oldest);
        if !old && (day >= today || free_on(folder) >= keeping.free) {
            // Files come oldest first: none behind this one is older.
            break;
        }
        match fs::remove_file(&file) {
            Ok(()) => {
                gone.push(call_of(&file));
                // Only an empty folder goes.
                let _ = file.parent().map(fs::remove_dir);
            }
            Err(error) => warn!(
                "the recording {} cannot be deleted ({error})",
                file.display()
            ),
        }
    }
    gone
}

fn day(file: &Path) -> String {
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default();
    folder.to_string_lossy().into_owned()
}

/// Octets that are free where `folder` is; all there are when the system does not say.
pub(super) fn free_on(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize)
}
