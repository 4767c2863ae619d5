//! A model as a file: a line that says what it is, then labels, grams and weights, then a checksum over all of it.
//!
//! All numbers are little endian. Weights are kept as half-precision numbers: nobody needs more of them.

use std::fmt;

use half::f16;

use super::{Classifier, Vocabulary};

/// The first line of every version begins with this.
const KIND: &[u8] = b"xinqiao classifier ";
/// The first line of this version.
const VERSION: &[u8] = b"xinqiao classifier 1\n";
/// A label is a name, not a text.
const LONGEST_LABEL: usize = 1_000;

/// Why a file is no model that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// It is something else.
    Foreign,
    /// It is a model of another version of the format.
    Version,
    /// It was cut off or changed after it was written.
    Damaged,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => {
                "this is no classifier; name a file that `xinqiao taxonomy train` has written"
            }
            Self::Version => {
                "the classifier was written by another version; train it again with this one"
            }
            Self::Damaged => "the classifier is damaged; copy it again or train it again",
        })
    }
}

impl std::error::Error for ModelError {}

/// FNV-1a over 64 bits: finds damage, not forgery.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Takes a file apart from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ModelError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ModelError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self) -> Result<[u8; SIZE], ModelError> {
        self.take(SIZE)?.try_into().map_err(|_| ModelError::Damaged)
    }

    fn count(&mut self) -> Result<usize, ModelError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// `count` numbers of `SIZE` bytes; nothing is set aside before they are known to be there.
    fn numbers<const SIZE: usize, T>(
        &mut self,
        count: usize,
        number: impl Fn([u8; SIZE]) -> T,
    ) -> Result<Vec<T>, ModelError> {
        let bytes = count.checked_mul(SIZE).ok_or(ModelError::Damaged)?;
        let (chunks, _) = self.take(bytes)?.as_chunks();
        Ok(chunks.iter().map(|chunk| number(*chunk)).collect())
    }
}

impl Classifier {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        let count = |bytes: &mut Vec<u8>, count: usize| {
            bytes.extend((count as u32).to_le_bytes());
        };
        bytes.extend(self.sharpness.to_le_bytes());
        count(&mut bytes, self.labels.len());
        for label in &self.labels {
            count(&mut bytes, label.len());
            bytes.extend(label.as_bytes());
        }
        count(&mut bytes, self.vocabulary.grams.len());
        for gram in &self.vocabulary.grams {
            bytes.extend(gram.to_le_bytes());
        }
        for scale in &self.vocabulary.scales {
            bytes.extend(scale.to_le_bytes());
        }
        for weight in &self.weights {
            bytes.extend(f16::from_f32(*weight).to_le_bytes());
        }
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`ModelError`] when they are no model, a model of another version, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        if !bytes.starts_with(KIND) {
            return Err(ModelError::Foreign);
        }
        if !bytes.starts_with(VERSION) {
            return Err(ModelError::Version);
        }
        let (body, sum) = bytes.split_last_chunk().ok_or(ModelError::Damaged)?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(ModelError::Damaged);
        }
        let mut reader = Reader(&body[VERSION.len()..]);
        let sharpness = f32::from_le_bytes(reader.array()?);
        let mut labels = Vec::new();
        for _ in 0..reader.count()? {
            let length = reader.count()?;
            if length > LONGEST_LABEL {
                return Err(ModelError::Damaged);
            }
            let label = std::str::from_utf8(reader.take(length)?);
            labels.push(label.map_err(|_| ModelError::Damaged)?.to_owned());
        }
        let grams = reader.count()?;
        let vocabulary = Vocabulary::new(
            reader.numbers(grams, u64::from_le_bytes)?,
            reader.numbers(grams, f32::from_le_bytes)?,
        );
        let weights = reader.numbers(grams.saturating_mul(labels.len()), |number| {
            f16::from_le_bytes(number).to_f32()
        })?;
        let is_sound = reader.0.is_empty()
            && labels.len() > 1
            && sharpness.is_finite()
            && vocabulary.index.len() == grams
            && vocabulary
                .scales
                .iter()
                .chain(&weights)
                .all(|number| number.is_finite());
        if !is_sound {
            return Err(ModelError::Damaged);
        }
        Ok(Self {
            labels,
            vocabulary,
            weights,
            sharpness,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::{Classifier, ModelError};

    #[test]
    fn what_was_written_is_read_and_answers_the_same() {
        let model = small();
        let read = Classifier::from_bytes(&model.to_bytes()).expect("sound");
        assert_eq!(read.to_bytes(), model.to_bytes());
        let rank = |model: &Classifier| model.rank("电梯坏了").expect("known")[0].0;
        assert_eq!(rank(&read), rank(&model));
    }

    #[test]
    fn another_file_another_version_and_every_kind_of_damage_are_told_apart() {
        let good = small().to_bytes();
        assert_eq!(
            Classifier::from_bytes(b"%PDF-1.7"),
            Err(ModelError::Foreign)
        );
        let other = [b"xinqiao classifier 2\n", &good[21..]].concat();
        assert_eq!(Classifier::from_bytes(&other), Err(ModelError::Version));
        for end in (21..good.len()).step_by(97) {
            assert_eq!(
                Classifier::from_bytes(&good[..end]),
                Err(ModelError::Damaged)
            );
        }
        for at in (21..good.len()).step_by(61) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(
                Classifier::from_bytes(&bad),
                Err(ModelError::Damaged),
                "byte {at}"
            );
        }
    }

    #[test]
    fn counts_that_promise_more_than_is_there_set_nothing_aside() {
        let mut bytes = b"xinqiao classifier 1\n".to_vec();
        bytes.extend(2.0_f32.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(u32::MAX.to_le_bytes());
        bytes.extend(super::checksum(&bytes).to_le_bytes());
        assert_eq!(Classifier::from_bytes(&bytes), Err(ModelError::Damaged));
    }
}
