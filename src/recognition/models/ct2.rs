//! Reads a `CTranslate2` Whisper model (`model.bin`, binary version 6, float16).
//!
//! Layout, little-endian: version u32, specification name (u16 length with its NUL), revision u32, variable count
//! u32, then for each variable: name (u16 length with its NUL), rank u8, dimensions u32 each, type u8 (4 = float16),
//! byte count u32, data. Aliases follow and are not needed.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

const FLOAT16: u8 = 4;
/// A base model has 214 variables; a file that claims more than this is no Whisper model.
const MOST_VARIABLES: u32 = 10_000;

/// A float16 tensor inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Dimensions, outermost first.
    pub shape: Vec<u32>,
    /// Where its data lies in the file.
    pub data: Range<usize>,
}

/// The file's float16 variables by name.
#[derive(Debug)]
pub struct Ct2File<'a> {
    bytes: &'a [u8],
    variables: HashMap<String, Variable>,
}

/// Why a file is no usable `CTranslate2` Whisper model.
#[derive(Debug, PartialEq, Eq)]
pub enum Ct2Error {
    /// The file ends inside something that it announced.
    Truncated(&'static str),
    /// The header names something else than Whisper.
    NotWhisper(String),
    /// A count or size that cannot be.
    Absurd(String),
    /// A tensor that every Whisper model has is not there or has another shape.
    Missing(String),
}

impl fmt::Display for Ct2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(what) => write!(f, "the CTranslate2 file ends inside {what}"),
            Self::NotWhisper(found) => write!(
                f,
                "the CTranslate2 file holds {found:?}, not a Whisper model"
            ),
            Self::Absurd(what) => write!(f, "the CTranslate2 file is damaged: {what}"),
            Self::Missing(name) => write!(f, "the CTranslate2 file lacks tensor {name}"),
        }
    }
}

impl std::error::Error for Ct2Error {}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Ct2Error> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len())
            .ok_or(Ct2Error::Truncated(what))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self, what: &'static str) -> Result<u64, Ct2Error> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N, what)?);
        Ok(u64::from_le_bytes(wide))
    }

    fn text(&mut self, what: &'static str) -> Result<String, Ct2Error> {
        let length = self.number::<2>(what)? as usize;
        let raw = self.take(length, what)?;
        let raw = raw.strip_suffix(&[0]).unwrap_or(raw);
        Ok(String::from_utf8_lossy(raw).into_owned())
    }
}

impl<'a> Ct2File<'a> {
    /// Indexes `bytes` without copying tensor data.
    ///
    /// # Errors
    /// [`Ct2Error`] for a file that is cut short, damaged or of another kind.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Ct2Error> {
        let mut cursor = Cursor { bytes, at: 0 };
        cursor.number::<4>("its version")?;
        let name = cursor.text("its name")?;
        if name != "WhisperSpec" {
            return Err(Ct2Error::NotWhisper(name));
        }
        cursor.number::<4>("its revision")?;
        let count = cursor.number::<4>("its variable count")? as u32;
        if count > MOST_VARIABLES {
            return Err(Ct2Error::Absurd(format!("it claims {count} variables")));
        }
        let mut variables = HashMap::new();
        for _ in 0..count {
            let name = cursor.text("a variable's name")?;
            let rank = cursor.number::<1>("a variable's rank")? as usize;
            let mut shape = Vec::with_capacity(rank);
            for _ in 0..rank {
                shape.push(cursor.number::<4>("a variable's shape")? as u32);
            }
            let kind = cursor.number::<1>("a variable's type")? as u8;
            let length = cursor.number::<4>("a variable's size")? as usize;
            let start = cursor.at;
            cursor.take(length, "a variable's data")?;
            if kind != FLOAT16 {
                continue;
            }
            let elements = shape
                .iter()
                .try_fold(1_usize, |product, dim| product.checked_mul(*dim as usize));
            if elements.and_then(|count| count.checked_mul(2)) != Some(length) {
                return Err(Ct2Error::Absurd(format!(
                    "{name} has {length} bytes for shape {shape:?}"
                )));
            }
            variables.insert(
                name,
                Variable {
                    shape,
                    data: start..start + length,
                },
            );
        }
        Ok(Self { bytes, variables })
    }

    /// The float16 data of `name` if it has `elements` elements.
    ///
    /// # Errors
    /// [`Ct2Error::Missing`] otherwise.
    pub fn tensor(&self, name: &str, elements: usize) -> Result<&'a [u8], Ct2Error> {
        self.variables
            .get(name)
            .filter(|variable| variable.data.len() == elements * 2)
            .map(|variable| &self.bytes[variable.data.clone()])
            .ok_or_else(|| Ct2Error::Missing(name.to_owned()))
    }

    /// The shape of `name`.
    ///
    /// # Errors
    /// [`Ct2Error::Missing`] when there is no such float16 tensor.
    pub fn shape(&self, name: &str) -> Result<&[u32], Ct2Error> {
        self.variables
            .get(name)
            .map(|variable| variable.shape.as_slice())
            .ok_or_else(|| Ct2Error::Missing(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend(((text.len() + 1) as u16).to_le_bytes());
        out.extend(text.as_bytes());
        out.push(0);
    }

    fn file(name: &str, count: u32) -> Vec<u8> {
        let mut out = 6_u32.to_le_bytes().to_vec();
        text(&mut out, name);
        out.extend(3_u32.to_le_bytes());
        out.extend(count.to_le_bytes());
        text(&mut out, "encoder/x");
        out.push(1);
        out.extend(2_u32.to_le_bytes());
        out.push(FLOAT16);
        out.extend(4_u32.to_le_bytes());
        out.extend([1, 2, 3, 4]);
        out
    }

    #[test]
    fn a_tensor_is_found_by_name_and_size() {
        let bytes = file("WhisperSpec", 1);
        let parsed = Ct2File::parse(&bytes).expect("valid");
        assert_eq!(parsed.tensor("encoder/x", 2), Ok(&[1, 2, 3, 4][..]));
        assert_eq!(
            parsed.tensor("encoder/x", 3),
            Err(Ct2Error::Missing("encoder/x".into()))
        );
    }

    #[test]
    fn every_cut_is_an_error_and_never_a_panic() {
        let bytes = file("WhisperSpec", 1);
        for length in 0..bytes.len() {
            assert!(Ct2File::parse(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn other_specifications_and_absurd_counts_are_refused() {
        assert_eq!(
            Ct2File::parse(&file("TransformerSpec", 1)).expect_err("refused"),
            Ct2Error::NotWhisper("TransformerSpec".into())
        );
        assert!(matches!(
            Ct2File::parse(&file("WhisperSpec", u32::MAX)),
            Err(Ct2Error::Absurd(_))
        ));
    }
}
