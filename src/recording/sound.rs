//! A finished recording as a WAV file that can be read from anywhere, whatever form it is kept in: a sealed one is opened
//! record by record, as far as it is asked for.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::file::{RIFF_LENGTH, SPEC, is_sealed};
use super::seal::{LONGEST, MAGIC, Opener, SALT, TAG};
use super::{At, Key, RecordingError};

/// A recording that is open for reading.
pub struct Sound {
    path: PathBuf,
    file: File,
    length: u64,
    sealed: Option<Sealed>,
}

/// What a sealed file needs to be read from anywhere.
struct Sealed {
    opener: Opener,
    /// The WAV file's header, which a sealed one lacks.
    header: Vec<u8>,
    records: Vec<Record>,
}

/// Where a sealed record stands in its file, and in the WAV file that comes of it.
struct Record {
    at: u64,
    length: u32,
    start: u64,
}

impl Sound {
    /// Opens a recording; `key` where it is sealed.
    ///
    /// # Errors
    /// [`RecordingError`] when it is not there, was cut or changed, or needs another key.
    pub fn open(path: &Path, key: Option<&Key>) -> Result<Self, RecordingError> {
        let file = File::open(path).at(path, "opening")?;
        let mut sound = Self {
            path: path.to_owned(),
            length: file.metadata().at(path, "reading")?.len(),
            file,
            sealed: None,
        };
        if is_sealed(path) {
            let key = key.ok_or_else(|| RecordingError::Sealed {
                path: path.to_owned(),
            })?;
            sound.index(key)?;
        }
        Ok(sound)
    }

    /// Finds a sealed file's records, and opens the last one: a file that was cut is no recording.
    fn index(&mut self, key: &Key) -> Result<(), RecordingError> {
        let damaged = |what| RecordingError::Damaged {
            path: self.path.clone(),
            what,
        };
        let mut reader = BufReader::new(&self.file);
        let mut head = [0; MAGIC.len() + SALT];
        let whole = reader.read_exact(&mut head).is_ok() && head.starts_with(&MAGIC);
        let salt = head[MAGIC.len()..].try_into().ok().filter(|_| whole);
        let salt: [u8; SALT] = salt.ok_or_else(|| damaged("is no recording of ours"))?;
        let mut header = SPEC.into_header_for_infinite_file();
        let (mut at, mut samples, mut records) = (head.len() as u64, 0, Vec::new());
        let mut length = [0; 4];
        while reader.read_exact(&mut length).is_ok() {
            let length = u32::from_le_bytes(length);
            at += 4;
            if !(TAG..=LONGEST).contains(&(length as usize)) || at + u64::from(length) > self.length
            {
                return Err(damaged("was cut or changed after it was recorded"));
            }
            let start = header.len() as u64 + samples;
            records.push(Record { at, length, start });
            samples += u64::from(length) - TAG as u64;
            at += u64::from(length);
            // Within the buffer this costs no call of the system.
            reader
                .seek_relative(i64::from(length))
                .at(&self.path, "reading")?;
        }
        let riff = header.len() as u64 + samples - 8;
        for (at, value) in [(RIFF_LENGTH as usize, riff), (header.len() - 4, samples)] {
            let value = u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
            header[at..at + 4].copy_from_slice(&value);
        }
        self.length = header.len() as u64 + samples;
        let sealed = Sealed {
            opener: Opener::new(key, &salt),
            header,
            records,
        };
        let last = sealed.records.len().checked_sub(1);
        let last = last.map(|last| self.record(&sealed, last)).transpose()?;
        if !last.is_some_and(|(_, last)| last) {
            return Err(damaged("was cut after it was recorded"));
        }
        self.sealed = Some(sealed);
        Ok(())
    }

    /// Octets of the WAV file.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The octets from `at` on: at most `most`, at least one, none only at the end.
    ///
    /// # Errors
    /// [`RecordingError`] when the file cannot be read or was changed.
    pub fn read(&self, at: u64, most: usize) -> Result<Vec<u8>, RecordingError> {
        let most = most.min(usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(Vec::new());
        }
        let Some(sealed) = &self.sealed else {
            let mut octets = vec![0; most];
            self.file
                .read_exact_at(&mut octets, at)
                .at(&self.path, "reading")?;
            return Ok(octets);
        };
        let from = |piece: &[u8], start: u64| {
            let skip = usize::try_from(at - start)
                .unwrap_or(usize::MAX)
                .min(piece.len());
            piece[skip..].iter().take(most).copied().collect()
        };
        if at < sealed.header.len() as u64 {
            return Ok(from(&sealed.header, 0));
        }
        // The last that begins at or before it; an empty one at the end holds nothing.
        let behind = sealed.records.partition_point(|record| record.start <= at);
        let index = behind.saturating_sub(1);
        let (content, _) = self.record(sealed, index)?;
        Ok(from(&content, sealed.records[index].start))
    }

    fn record(&self, sealed: &Sealed, index: usize) -> Result<(Vec<u8>, bool), RecordingError> {
        let place = &sealed.records[index];
        let mut record = vec![0; place.length as usize];
        self.file
            .read_exact_at(&mut record, place.at)
            .at(&self.path, "reading")?;
        let opened = sealed.opener.open(index as u64, &record);
        opened.ok_or_else(|| RecordingError::Damaged {
            path: self.path.clone(),
            what: "was sealed with another key, or was changed",
        })
    }

    /// The whole WAV file.
    ///
    /// # Errors
    /// As [`Sound::read`].
    pub fn whole(&self) -> Result<Vec<u8>, RecordingError> {
        let mut octets = Vec::with_capacity(usize::try_from(self.length).unwrap_or_default());
        loop {
            let piece = self.read(octets.len() as u64, usize::MAX)?;
            if piece.is_empty() {
                return Ok(octets);
            }
            octets.extend(piece);
        }
    }
}

impl RecordingError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
