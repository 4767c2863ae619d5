//! Erasing what a file already has: in place, so that nothing of it stays, and so that a crash leaves the file whole.
//!
//! What will stand in the file is first written beside it, to `….part.redo`, and then over the old. If the process is
//! killed, or the power fails, between the two, the next start writes it once more. Of a sealed file whole records are
//! sealed anew, so where the newest ones stand is kept in memory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::FRAME_BYTES;
use super::seal::{MOST_TIMES, Sealer};

/// So many records are known, four a second: numbers are recognised much sooner.
const KNOWN: usize = 2_048;

/// A record's length stands before it.
const LENGTH: u64 = 4;

/// What a file of changes ends with when it is whole.
const WHOLE: [u8; 8] = *b"XQREDO1\n";

/// More than this is none of ours: a minute takes 2 MB.
const LONGEST: u64 = 1 << 28;

/// What is written over a place of the file.
pub(super) struct Patch {
    pub at: u64,
    pub octets: Vec<u8>,
}

/// A sealed record in the file.
struct Record {
    number: u64,
    frames: Range<u64>,
    /// Where it stands behind its length, and how long it is.
    at: u64,
    length: usize,
    /// How often it has been sealed anew.
    times: u8,
}

/// What is needed to erase something of one file.
pub(super) struct Erasure {
    redo: PathBuf,
    records: VecDeque<Record>,
    /// Where the next record will stand.
    end: u64,
}

/// Where the changes of a file stand that is being written.
fn redo_of(part: &Path) -> PathBuf {
    let mut name = part.as_os_str().to_owned();
    name.push(".redo");
    name.into()
}

impl Erasure {
    /// Of the file `part`, whose records begin at `end`.
    pub fn new(part: &Path, end: u64) -> Self {
        Self {
            redo: redo_of(part),
            records: VecDeque::new(),
            end,
        }
    }

    /// Takes note of a record that is appended, with its length `octets` long.
    pub fn note(&mut self, number: u64, frames: Range<u64>, octets: usize) {
        if self.records.len() == KNOWN {
            self.records.pop_front();
        }
        self.records.push_back(Record {
            number,
            frames,
            at: self.end + LENGTH,
            length: octets - LENGTH as usize,
            times: 0,
        });
        self.end += octets as u64;
    }

    /// The records that hold those frames, with silence in their place.
    pub fn of_sealed(
        &mut self,
        file: &File,
        sealer: &Sealer,
        erased: &Range<u64>,
    ) -> io::Result<Vec<Patch>> {
        let known = self.records.front().map_or(0, |first| first.frames.start);
        if erased.start < known {
            return Err(io::Error::other("it was said too long ago"));
        }
        let touched = |record: &&mut Record| {
            record.frames.start < erased.end && erased.start < record.frames.end
        };
        let mut patches = Vec::new();
        for record in self.records.iter_mut().filter(touched) {
            let mut sealed = vec![0; record.length];
            file.read_exact_at(&mut sealed, record.at)?;
            let octets = |frame: u64| {
                let within = frame.clamp(record.frames.start, record.frames.end);
                ((within - record.frames.start) * FRAME_BYTES) as usize
            };
            let silent = octets(erased.start)..octets(erased.end);
            let resealed = (record.times < MOST_TIMES)
                .then(|| {
                    sealer.reseal(record.number, record.times, &sealed, |content| {
                        content[silent].fill(0);
                    })
                })
                .flatten();
            let octets = resealed.ok_or_else(|| io::Error::other("a record cannot be changed"))?;
            record.times += 1;
            patches.push(Patch {
                at: record.at,
                octets,
            });
        }
        Ok(patches)
    }

    /// Writes the patches beside the file, and then into it.
    pub fn apply(&self, file: &File, patches: &[Patch]) -> io::Result<()> {
        if patches.iter().all(|patch| patch.octets.is_empty()) {
            return Ok(());
        }
        let mut redo = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.redo)?;
        redo.write_all(&changes(patches))?;
        redo.sync_data()?;
        write(file, patches)?;
        fs::remove_file(&self.redo)
    }
}

/// What stands beside the file while the patches are written into it.
fn changes(patches: &[Patch]) -> Vec<u8> {
    let mut changes = Vec::new();
    for patch in patches {
        changes.extend(patch.at.to_le_bytes());
        changes.extend((patch.octets.len() as u64).to_le_bytes());
        changes.extend(&patch.octets);
    }
    changes.extend(WHOLE);
    changes
}

fn write(file: &File, patches: &[Patch]) -> io::Result<()> {
    for patch in patches {
        file.write_all_at(&patch.octets, patch.at)?;
    }
    file.sync_data()
}

/// Finishes what a crash interrupted: changes that are whole are written, others had not begun to be.
pub(super) fn finish(part: &Path, file: &File) -> io::Result<()> {
    let redo = redo_of(part);
    match fs::metadata(&redo) {
        Ok(found) if found.len() <= LONGEST => {
            let length = file.metadata()?.len();
            let changes = fs::read(&redo)?;
            let patches = changes
                .strip_suffix(&WHOLE)
                .and_then(read)
                .unwrap_or_default();
            // Nothing is ever written behind the end.
            let fits = |patch: &Patch| patch.at + patch.octets.len() as u64 <= length;
            write(file, &patches.into_iter().filter(fits).collect::<Vec<_>>())?;
            fs::remove_file(&redo)
        }
        Ok(_) => Err(io::Error::other("its .redo file is none of ours")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The patches of such changes, without their end.
fn read(mut changes: &[u8]) -> Option<Vec<Patch>> {
    let mut patches = Vec::new();
    while !changes.is_empty() {
        let (at, rest) = changes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (octets, rest) = rest.split_at_checked(length)?;
        patches.push(Patch {
            at: u64::from_le_bytes(*at),
            octets: octets.to_vec(),
        });
        changes = rest;
    }
    Some(patches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::file::Writer;
    use crate::recording::{Key, export, recover};

    /// A file of two seconds of one value in records of 100 ms, not finished; its key.
    fn written(folder: &Path, sealed: bool) -> (Writer, Option<Key>) {
        let key = sealed.then(|| {
            let file = folder.join("key");
            Key::create(&file).expect("made");
            Key::read(&file).expect("a key")
        });
        let mut writer = Writer::create(&folder.join("day"), "c1", key.as_ref()).expect("made");
        let piece: Vec<u8> = std::iter::repeat_n([7, 0, 9, 0], 800).flatten().collect();
        for _ in 0..20 {
            writer.append(&piece).expect("written");
        }
        (writer, key)
    }

    /// The frames of the file that are silent; the others must be as they were.
    fn silent(path: &Path, key: Option<&Key>) -> Vec<usize> {
        let wav = path.with_file_name("out.wav");
        export(path, key, &wav).expect("whole");
        let mut reader = hound::WavReader::open(&wav).expect("a WAV file");
        let samples: Vec<i16> = reader
            .samples()
            .map(|sample| sample.expect("a sample"))
            .collect();
        assert_eq!(samples.len(), 2 * 16_000);
        let frames = samples.chunks_exact(2).enumerate();
        let silent = frames.filter(|(at, frame)| {
            assert!(
                **frame == [7, 9] || **frame == [0, 0],
                "frame {at}: {frame:?}"
            );
            **frame == [0, 0]
        });
        silent.map(|(at, _)| at).collect()
    }

    #[test]
    fn what_is_erased_is_silent_and_the_rest_as_it_was_also_when_it_is_erased_again() {
        for sealed in [false, true] {
            let folder = tempfile::tempdir().expect("a folder");
            let (mut writer, key) = written(folder.path(), sealed);
            writer.erase(850..2_000).expect("erased");
            writer.erase(1_900..2_500).expect("erased");
            writer.erase(15_990..17_000).expect("up to the end");
            let path = writer.finish().expect("finished");
            let expected: Vec<usize> = (850..2_500).chain(15_990..16_000).collect();
            assert_eq!(silent(&path, key.as_ref()), expected, "sealed: {sealed}");
            assert_eq!(
                fs::read_dir(path.parent().expect("a folder"))
                    .expect("there")
                    .count(),
                2
            );
        }
    }

    #[test]
    fn a_crash_at_any_moment_of_it_leaves_the_file_whole() {
        for sealed in [false, true] {
            // Before the changes are whole beside the file, before they are in it, and in the middle of that.
            for moment in ["begun", "noted", "half"] {
                let folder = tempfile::tempdir().expect("a folder");
                let (mut writer, key) = written(folder.path(), sealed);
                let part = fs::read_dir(folder.path().join("day"))
                    .expect("there")
                    .map(|entry| entry.expect("an entry").path())
                    .next()
                    .expect("the file");
                let patches = writer.silence(850..2_000).expect("known");
                drop(writer);
                let changes = changes(&patches);
                let redo = redo_of(&part);
                match moment {
                    "begun" => fs::write(&redo, &changes[..changes.len() - 3]).expect("written"),
                    _ => fs::write(&redo, &changes).expect("written"),
                }
                if moment == "half" {
                    let file = OpenOptions::new().write(true).open(&part).expect("there");
                    let first = &patches[0];
                    file.write_all_at(&first.octets[..first.octets.len() / 2], first.at)
                        .expect("written");
                }
                let (recovered, failed) = recover(folder.path(), key.as_ref());
                assert!(failed.is_empty(), "{failed:?}");
                let expected: Vec<usize> = if moment == "begun" {
                    Vec::new()
                } else {
                    (850..2_000).collect()
                };
                assert_eq!(
                    silent(&recovered[0].path, key.as_ref()),
                    expected,
                    "{moment}, sealed: {sealed}"
                );
                assert!(!redo.exists());
            }
        }
    }

    #[test]
    fn changes_that_are_none_change_nothing() {
        assert!(read(&[1; 15]).is_none());
        assert!(read(&[0xff; 40]).is_none());
        assert_eq!(read(&[]).map(|patches| patches.len()), Some(0));
    }
}
