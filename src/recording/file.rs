//! A recording's file: written piece by piece, finished, mended after a crash, and exported.
//!
//! Plain ones are WAV files whose header gets its two lengths at the end; sealed ones are described in `seal`. While a
//! call runs its file is called `….part`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::erase::{self, Erasure, Patch};
use super::seal::{self, MAGIC, SALT, Sealer};
use super::{At, FRAME_BYTES, Key, RATE, RecordingError};

const PART: &str = "part";
const PLAIN: &str = "wav";
const SEALED: &str = "sealed";

pub(super) const SPEC: WavSpec = WavSpec {
    channels: 2,
    sample_rate: RATE.hertz(),
    bits_per_sample: 16,
    sample_format: SampleFormat::Int,
};

/// Where the length of everything behind it stands in a WAV file's header; the length of the samples is its last field.
pub(super) const RIFF_LENGTH: u64 = 4;

/// Makes a folder, and those above it, for what nobody else on the machine may read; one that is there stays as it is.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A file that is being written.
pub(super) struct Writer {
    file: File,
    part: PathBuf,
    sealer: Option<Sealer>,
    erasure: Erasure,
    /// Frames of both channels so far.
    pub frames: u64,
}

impl Writer {
    /// Begins `folder/name`, with the extension that says what it is.
    pub fn create(folder: &Path, name: &str, key: Option<&Key>) -> Result<Self, RecordingError> {
        make_private_folder(folder).at(folder, "making the folder")?;
        let extension = if key.is_some() { SEALED } else { PLAIN };
        let part = folder.join(format!("{name}.{extension}.{PART}"));
        let begin = || -> io::Result<_> {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&part)?;
            let sealer = if let Some(key) = key {
                let salt: [u8; SALT] = rand::random();
                file.write_all(&[&MAGIC[..], &salt].concat())?;
                Some(Sealer::new(key, &salt, 0))
            } else {
                file.write_all(&SPEC.into_header_for_infinite_file())?;
                None
            };
            Ok((file, sealer))
        };
        let (file, sealer) = begin().at(&part, "beginning")?;
        Ok(Self {
            file,
            erasure: Erasure::new(&part, (MAGIC.len() + SALT) as u64),
            part,
            sealer,
            frames: 0,
        })
    }

    /// Appends interleaved samples, in one write.
    pub fn append(&mut self, samples: &[u8]) -> Result<(), RecordingError> {
        let until = self.frames + samples.len() as u64 / FRAME_BYTES;
        let written = match &mut self.sealer {
            Some(sealer) => {
                let number = sealer.number();
                let record = sealer.seal(samples, false);
                self.erasure.note(number, self.frames..until, record.len());
                self.file.write_all(&record)
            }
            None => self.file.write_all(samples),
        };
        written.at(&self.part, "writing")?;
        self.frames = until;
        Ok(())
    }

    /// Makes silence of frames that have been written. A crash on the way leaves them as they were or silent, and the
    /// file whole.
    pub fn erase(&mut self, frames: Range<u64>) -> Result<(), RecordingError> {
        self.silence(frames)
            .and_then(|patches| self.erasure.apply(&self.file, &patches))
            .at(&self.part, "erasing a number in")
    }

    /// What is to be written where, so that these frames are silent.
    pub(super) fn silence(&mut self, frames: Range<u64>) -> io::Result<Vec<Patch>> {
        let frames = frames.start..frames.end.min(self.frames);
        if let Some(sealer) = &self.sealer {
            return self.erasure.of_sealed(&self.file, sealer, &frames);
        }
        let length = frames.end.saturating_sub(frames.start) * FRAME_BYTES;
        Ok(vec![Patch {
            at: header_length() + frames.start * FRAME_BYTES,
            octets: vec![0; length as usize],
        }])
    }

    /// Ends the file and gives it its name.
    pub fn finish(mut self) -> Result<PathBuf, RecordingError> {
        let ended = match &mut self.sealer {
            Some(sealer) => self.file.write_all(&sealer.seal(&[], true)),
            None => write_lengths(&mut self.file).map(drop),
        };
        ended.at(&self.part, "finishing")?;
        named(&self.part)
    }
}

/// Takes `.part` off.
fn named(part: &Path) -> Result<PathBuf, RecordingError> {
    let path = part.with_extension("");
    fs::rename(part, &path).at(part, "naming")?;
    Ok(path)
}

fn header_length() -> u64 {
    SPEC.into_header_for_infinite_file().len() as u64
}

/// Writes a WAV file's two lengths by the file's own; half a frame at the end is cut off.
fn write_lengths(file: &mut File) -> io::Result<u64> {
    let header = header_length();
    let length = file.metadata()?.len();
    let samples = length.saturating_sub(header) / FRAME_BYTES * FRAME_BYTES;
    file.set_len(header + samples)?;
    for (at, value) in [(RIFF_LENGTH, header + samples - 8), (header - 4, samples)] {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes())?;
    }
    Ok(samples / FRAME_BYTES)
}

/// A file that a crash left unfinished, and that is whole again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The call, by the file's name.
    pub call: String,
    /// The file now.
    pub path: PathBuf,
    /// How much of the call is in it.
    pub duration: Duration,
}

/// Mends what a crash left below `folder`; what cannot be mended stays as it is and is told with the reason.
pub fn recover(folder: &Path, key: Option<&Key>) -> (Vec<Recovered>, Vec<RecordingError>) {
    let (mut recovered, mut failed) = (Vec::new(), Vec::new());
    for part in files_below(folder) {
        if part.extension().is_some_and(|extension| extension == PART) {
            match mend(&part, key) {
                Ok(mended) => recovered.push(mended),
                Err(error) => failed.push(error),
            }
        }
    }
    (recovered, failed)
}

/// Every file in the folders of days.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let mut files: Vec<PathBuf> = entries(folder)
        .iter()
        .filter(|day| day.is_dir())
        .flat_map(|day| entries(day))
        .collect();
    files.sort();
    files
}

/// The call that a file's name tells.
pub(super) fn call_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn mend(part: &Path, key: Option<&Key>) -> Result<Recovered, RecordingError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(part)
        .at(part, "opening")?;
    erase::finish(part, &file).at(part, "mending")?;
    let frames = if is_sealed(part) {
        let key = key.ok_or_else(|| RecordingError::Sealed {
            path: part.to_owned(),
        })?;
        mend_sealed(part, &mut file, key)?
    } else if file.metadata().at(part, "reading")?.len() < header_length() {
        // Killed between making the file and its first octets.
        file.set_len(0)
            .and_then(|()| file.write_all(&SPEC.into_header_for_infinite_file()))
            .and_then(|()| write_lengths(&mut file))
            .at(part, "mending")?
    } else {
        write_lengths(&mut file).at(part, "mending")?
    };
    Ok(Recovered {
        call: call_of(part),
        path: named(part)?,
        duration: RATE.duration_of(frames),
    })
}

pub(super) fn is_sealed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').any(|part| part == SEALED)
}

fn mend_sealed(path: &Path, file: &mut File, key: &Key) -> Result<u64, RecordingError> {
    let mut octets = 0;
    let (salt, opened) = read_sealed(path, file, key, |content| {
        octets += content.len() as u64;
        Ok(())
    })?;
    if opened.records == 0 && file.metadata().at(path, "reading")?.len() > opened.length + 4 {
        return Err(RecordingError::Damaged {
            path: path.to_owned(),
            what: "was sealed with another key",
        });
    }
    if !opened.complete {
        let last = Sealer::new(key, &salt, opened.records).seal(&[], true);
        file.set_len(opened.length)
            .and_then(|()| file.seek(SeekFrom::Start(opened.length)))
            .and_then(|_| file.write_all(&last))
            .at(path, "mending")?;
    }
    Ok(octets / FRAME_BYTES)
}

fn read_sealed(
    path: &Path,
    file: &mut File,
    key: &Key,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<([u8; SALT], seal::Opened), RecordingError> {
    let mut reader = BufReader::new(file);
    let mut head = [0; MAGIC.len() + SALT];
    let whole = reader.read_exact(&mut head).is_ok() && head.starts_with(&MAGIC);
    let salt = head[MAGIC.len()..].try_into().ok().filter(|_| whole);
    let salt: [u8; SALT] = salt.ok_or_else(|| RecordingError::Damaged {
        path: path.to_owned(),
        what: "is no recording of ours",
    })?;
    let opened = seal::open(key, &salt, &mut reader, take).at(path, "reading")?;
    Ok((salt, opened))
}

/// Writes a recording as a WAV file to `target`, whatever form it is kept in; how long it is.
///
/// # Errors
/// [`RecordingError`]; nothing is left at `target` then.
pub fn export(path: &Path, key: Option<&Key>, target: &Path) -> Result<Duration, RecordingError> {
    let exported = export_to(path, key, target);
    if exported.is_err() && path != target {
        let _ = fs::remove_file(target);
    }
    exported
}

fn export_to(path: &Path, key: Option<&Key>, target: &Path) -> Result<Duration, RecordingError> {
    if !is_sealed(path) {
        fs::copy(path, target).at(path, "copying")?;
        let reader = hound::WavReader::open(target).map_err(|_| RecordingError::Damaged {
            path: path.to_owned(),
            what: "is no whole WAV file",
        })?;
        return Ok(RATE.duration_of(u64::from(reader.duration())));
    }
    let key = key.ok_or_else(|| RecordingError::Sealed {
        path: path.to_owned(),
    })?;
    let mut file = File::open(path).at(path, "opening")?;
    let output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(target)
        .at(target, "writing")?;
    let broken = |error: hound::Error| match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    };
    let mut writer = WavWriter::new(BufWriter::new(output), SPEC)
        .map_err(broken)
        .at(target, "writing")?;
    let (_, opened) = read_sealed(path, &mut file, key, |content| {
        for sample in content.chunks_exact(2) {
            writer
                .write_sample(i16::from_le_bytes([sample[0], sample[1]]))
                .map_err(broken)?;
        }
        Ok(())
    })?;
    if !opened.complete {
        return Err(RecordingError::Damaged {
            path: path.to_owned(),
            what: if opened.records == 0 {
                "was sealed with another key, or was changed"
            } else {
                "was cut or changed after it was recorded"
            },
        });
    }
    let frames = writer.duration();
    writer.finalize().map_err(broken).at(target, "writing")?;
    Ok(RATE.duration_of(u64::from(frames)))
}
