//! The samples of an utterance: one piece, or several that are heard in one.

use std::borrow::Cow;
use std::sync::Arc;

/// 16 kHz mono, −1.0 to 1.0. Clones share the samples; pieces are put together only where they are recognised, because
/// that takes a millisecond, which a media thread does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound(Arc<[Arc<[f32]>]>);

impl Sound {
    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One sample after the other.
    pub fn iter(&self) -> impl Iterator<Item = &f32> {
        self.0.iter().flat_map(|piece| piece.iter())
    }

    /// All in one piece.
    #[must_use]
    pub fn joined(&self) -> Cow<'_, [f32]> {
        match &*self.0 {
            [piece] => Cow::Borrowed(piece),
            pieces => Cow::Owned(pieces.concat()),
        }
    }
}

impl From<Arc<[f32]>> for Sound {
    fn from(piece: Arc<[f32]>) -> Self {
        Self(Arc::new([piece]))
    }
}

impl From<Vec<f32>> for Sound {
    fn from(piece: Vec<f32>) -> Self {
        Arc::<[f32]>::from(piece).into()
    }
}

impl From<&[f32]> for Sound {
    fn from(piece: &[f32]) -> Self {
        Arc::<[f32]>::from(piece).into()
    }
}

impl FromIterator<f32> for Sound {
    fn from_iter<T: IntoIterator<Item = f32>>(samples: T) -> Self {
        samples.into_iter().collect::<Arc<[f32]>>().into()
    }
}

/// Pieces, one behind the other.
impl FromIterator<Arc<[f32]>> for Sound {
    fn from_iter<T: IntoIterator<Item = Arc<[f32]>>>(pieces: T) -> Self {
        Self(pieces.into_iter().collect())
    }
}
