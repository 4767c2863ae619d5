//! What a ggml file says about its model before it is loaded: its size, and which attention heads know the time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use whisper_rs::{DtwMode, DtwModelPreset};

/// "ggml" as whisper.cpp's converter writes it.
const MAGIC: u32 = 0x6767_6d6c;
/// The magic and the eleven numbers behind it.
const HEADER: usize = 48;
/// English-only models lack the multilingual token.
const MULTILINGUAL: u32 = 51_865;
/// Layers of the decoder whose heads are taken when the model is none of the known ones.
const TOP_LAYERS: i32 = 2;

/// The numbers of a model's header that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    vocabulary: u32,
    audio_layers: u32,
    text_layers: u32,
    mels: u32,
}

impl Shape {
    /// Reads a model's header; `None` when the file holds none.
    pub fn read(path: &Path) -> Option<Self> {
        let mut header = [0; HEADER];
        File::open(path).ok()?.read_exact(&mut header).ok()?;
        Self::parse(&header)
    }

    fn parse(header: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = header[at * 4..at * 4 + 4].try_into();
            u32::from_le_bytes(bytes.expect("four bytes"))
        };
        (number(0) == MAGIC).then(|| Self {
            vocabulary: number(1),
            audio_layers: number(5),
            text_layers: number(9),
            mels: number(10),
        })
    }

    /// How whisper.cpp finds out when each token was said: by the heads that are known to follow the voice.
    pub fn timing(self) -> DtwMode<'static> {
        let multilingual = self.vocabulary >= MULTILINGUAL;
        let model_preset = match (self.audio_layers, self.text_layers, multilingual) {
            (4, 4, true) => DtwModelPreset::Tiny,
            (4, 4, false) => DtwModelPreset::TinyEn,
            (6, 6, true) => DtwModelPreset::Base,
            (6, 6, false) => DtwModelPreset::BaseEn,
            (12, 12, true) => DtwModelPreset::Small,
            (12, 12, false) => DtwModelPreset::SmallEn,
            (24, 24, true) => DtwModelPreset::Medium,
            (24, 24, false) => DtwModelPreset::MediumEn,
            (32, 4, true) => DtwModelPreset::LargeV3Turbo,
            (32, 32, true) if self.mels == 128 => DtwModelPreset::LargeV3,
            (32, 32, true) => DtwModelPreset::LargeV2,
            // A distilled or newer model: the last layers' heads follow the voice well enough.
            _ => {
                let n_top = TOP_LAYERS.min(self.text_layers as i32).max(1);
                return DtwMode::TopMost { n_top };
            }
        };
        DtwMode::ModelPreset { model_preset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(vocabulary: u32, audio_layers: u32, text_layers: u32, mels: u32) -> [u8; HEADER] {
        let numbers = [
            MAGIC,
            vocabulary,
            1_500,
            512,
            8,
            audio_layers,
            448,
            512,
            8,
            text_layers,
            mels,
            7,
        ];
        let mut header = [0; HEADER];
        for (bytes, number) in header.chunks_exact_mut(4).zip(numbers) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
        header
    }

    #[test]
    fn every_size_of_model_has_its_heads_and_an_unknown_one_its_last_layers() {
        let timing = |vocabulary, audio, text, mels| {
            let shape = Shape::parse(&header(vocabulary, audio, text, mels)).expect("a header");
            format!("{:?}", shape.timing())
        };
        for (numbers, wanted) in [
            ((51_865, 4, 4, 80), "Tiny"),
            ((51_864, 6, 6, 80), "BaseEn"),
            ((51_865, 6, 6, 80), "Base"),
            ((51_865, 12, 12, 80), "Small"),
            ((51_865, 24, 24, 80), "Medium"),
            ((51_865, 32, 32, 80), "LargeV2"),
            ((51_866, 32, 32, 128), "LargeV3"),
            ((51_866, 32, 4, 128), "LargeV3Turbo"),
            ((51_866, 32, 2, 128), "TopMost"),
        ] {
            let (vocabulary, audio, text, mels) = numbers;
            let said = timing(vocabulary, audio, text, mels);
            assert!(said.contains(wanted), "{said} for {wanted}");
        }
        assert_eq!(Shape::parse(&[0; HEADER]), None);
    }
}
