//! Sealing: a recording as a run of encrypted records that can neither be changed, reordered nor cut unnoticed.
//!
//! `XQSEAL1\n`, 16 octets of salt, then records: their length (u32, little-endian) and as many octets of AES-256-GCM
//! output. Each file has a key of its own, drawn from the master key and the salt by HKDF-SHA-256, so a record's nonce
//! is its number; the last record says in its nonce that it is the last (the STREAM construction). A record of which
//! something was erased is sealed anew in its place, and counts in its nonce how often: no nonce seals two contents.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use super::{At, RecordingError};

/// What a sealed file begins with.
pub(super) const MAGIC: [u8; 8] = *b"XQSEAL1\n";
pub(super) const SALT: usize = 16;
const KEY: usize = 32;
/// What sealing adds to a record.
pub(super) const TAG: usize = 16;
/// Longer than any record that is written: several seconds.
pub(super) const LONGEST: usize = 1 << 20;

/// The master key.
#[derive(Clone)]
pub struct Key([u8; KEY]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// Reads a key file: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`RecordingError::File`] or [`RecordingError::Key`].
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let text = fs::read_to_string(path).at(path, "reading the key")?;
        let digits = text.trim();
        let mut key = [0; KEY];
        let mut whole = digits.len() == 2 * KEY && digits.is_ascii();
        for (octet, pair) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            match u8::from_str_radix(pair, 16) {
                Ok(value) => *octet = value,
                Err(_) => whole = false,
            }
        }
        whole
            .then_some(Self(key))
            .ok_or_else(|| RecordingError::Key {
                path: path.to_owned(),
            })
    }

    /// Makes a key file that only its owner may read; an existing one is left alone.
    ///
    /// # Errors
    /// [`RecordingError::File`].
    pub fn create(path: &Path) -> Result<(), RecordingError> {
        let octets: [u8; KEY] = rand::random();
        let mut digits = String::new();
        for octet in octets {
            let _ = write!(digits, "{octet:02x}");
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| writeln!(file, "{digits}"))
            .at(path, "making the key")
    }

    fn of_file(&self, salt: &[u8; SALT]) -> LessSafeKey {
        let drawn = Salt::new(HKDF_SHA256, salt).extract(&self.0);
        let purpose = [b"xinqiao recording".as_slice()];
        let key = drawn
            .expand(&purpose, &AES_256_GCM)
            .expect("one key's length is far below the limit");
        LessSafeKey::new(UnboundKey::from(key))
    }
}

/// How often a record may be sealed anew.
pub(super) const MOST_TIMES: u8 = 15;

fn nonce(number: u64, last: bool, times: u8) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    nonce[8] = u8::from(last);
    nonce[9] = times;
    Nonce::assume_unique_for_key(nonce)
}

/// Seals one file's records.
pub(super) struct Sealer {
    key: LessSafeKey,
    number: u64,
}

impl Sealer {
    /// The beginning of a file, and what seals the rest; `number` records are there already.
    pub fn new(key: &Key, salt: &[u8; SALT], number: u64) -> Self {
        Self {
            key: key.of_file(salt),
            number,
        }
    }

    /// The record of `content`, with its length.
    pub fn seal(&mut self, content: &[u8], last: bool) -> Vec<u8> {
        let mut record = Vec::with_capacity(4 + content.len() + TAG);
        record.extend(((content.len() + TAG) as u32).to_le_bytes());
        let mut sealed = content.to_vec();
        self.key
            .seal_in_place_append_tag(nonce(self.number, last, 0), Aad::empty(), &mut sealed)
            .expect("a record is far below the cipher's limit");
        self.number += 1;
        record.extend(sealed);
        record
    }

    /// The number of the next record.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Changes what a sealed record (without its length) holds; `times` is how often that was done before. `None` when it
    /// is not that record.
    pub fn reseal(
        &self,
        number: u64,
        times: u8,
        record: &[u8],
        change: impl FnOnce(&mut [u8]),
    ) -> Option<Vec<u8>> {
        let mut sealed = record.to_vec();
        let content = self
            .key
            .open_in_place(nonce(number, false, times), Aad::empty(), &mut sealed)
            .ok()?;
        change(content);
        let length = content.len();
        sealed.truncate(length);
        self.key
            .seal_in_place_append_tag(nonce(number, false, times + 1), Aad::empty(), &mut sealed)
            .ok()?;
        Some(sealed)
    }
}

/// Opens one file's records, in any order.
pub(super) struct Opener(LessSafeKey);

impl Opener {
    /// For the file with this salt.
    pub fn new(key: &Key, salt: &[u8; SALT]) -> Self {
        Self(key.of_file(salt))
    }

    /// What record `number` holds, and whether it is the last; `None` when it is not that record.
    pub fn open(&self, number: u64, record: &[u8]) -> Option<(Vec<u8>, bool)> {
        // Nearly every record is neither the last nor was sealed anew.
        let anew = (1..=MOST_TIMES).map(|times| (false, times));
        let mut kinds = [(false, 0), (true, 0)].into_iter().chain(anew);
        kinds.find_map(|(last, times)| {
            let mut copy = record.to_vec();
            let nonce = nonce(number, last, times);
            let content = self.0.open_in_place(nonce, Aad::empty(), &mut copy);
            let length = content.ok()?.len();
            copy.truncate(length);
            Some((copy, last))
        })
    }
}

/// What reading a sealed file's records comes to.
pub(super) struct Opened {
    /// Records that are whole and ours.
    pub records: u64,
    /// Where they end.
    pub length: u64,
    /// Whether the last of them says that it is the last.
    pub complete: bool,
}

/// Reads the records behind the salt and hands out what they hold.
pub(super) fn open(
    key: &Key,
    salt: &[u8; SALT],
    file: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Opened> {
    let key = Opener::new(key, salt);
    let mut opened = Opened {
        records: 0,
        length: (MAGIC.len() + SALT) as u64,
        complete: false,
    };
    while !opened.complete {
        let mut length = [0; 4];
        if file.read_exact(&mut length).is_err() {
            break;
        }
        let length = u32::from_le_bytes(length) as usize;
        let mut record = vec![0; length.min(LONGEST)];
        if length > LONGEST || file.read_exact(&mut record).is_err() {
            break;
        }
        let Some((content, last)) = key.open(opened.records, &record) else {
            break;
        };
        opened.complete = last;
        take(&content)?;
        opened.records += 1;
        opened.length += 4 + length as u64;
    }
    Ok(opened)
}
