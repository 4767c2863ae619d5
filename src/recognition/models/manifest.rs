//! The manifest: which models and sample recordings exist, where they come from, and what proves them.

use std::fmt;

use serde::Deserialize;

/// Everything that can be pulled.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Speech models.
    #[serde(rename = "model")]
    pub models: Vec<Model>,
    /// Sample recordings.
    #[serde(default)]
    pub samples: Vec<Samples>,
}

/// A speech model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name used in settings and commands.
    pub name: String,
    /// One line for the list.
    pub description: String,
    /// SPDX identifier.
    pub licence: String,
    /// File name in the model folder: a ggml file in `q8_0`.
    pub file: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where it can come from, in the order in which to try.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// One way to a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// `CTranslate2` float16 weights spread over Python packages.
    Ctranslate2 {
        /// The packages.
        packages: Vec<Package>,
        /// The parts of `model.bin` inside them, in order.
        parts: Vec<String>,
        /// The vocabulary inside them: a JSON list, or one token a line.
        vocabulary: String,
        /// Of the joined parts.
        sha256: String,
        /// Of the joined parts, in bytes.
        size: u64,
        /// Of the converted file.
        result_sha256: String,
    },
    /// A ggml f16 file at a web address.
    Ggml {
        /// The address.
        url: String,
        /// Of the file at that address.
        sha256: String,
        /// Of the file at that address, in bytes.
        size: u64,
    },
}

/// A Python package of exactly one version.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of its wheel.
    pub sha256: String,
}

/// Recordings with their text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Folder name below the model folder's `samples`.
    pub name: String,
    /// SPDX identifier.
    pub licence: String,
    /// The package that carries them.
    pub package: Package,
    /// Where they lie in it, ending in a slash.
    pub folder: String,
}

/// A manifest that cannot be used; the message names the line.
#[derive(Debug)]
pub struct ManifestError(toml::de::Error);

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model manifest is not valid: {}", self.0)
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl Manifest {
    /// The manifest that the binary carries.
    #[must_use]
    pub fn embedded() -> Self {
        Self::parse(include_str!("../../../models/manifest.toml"))
            .expect("the embedded manifest is tested")
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        toml::from_str(text).map_err(ManifestError)
    }

    /// The model of that name.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_manifest_names_licence_size_and_digest_of_everything() {
        let manifest = Manifest::embedded();
        let base = manifest.model("whisper-base").expect("the default model");
        assert_eq!(
            (base.licence.as_str(), base.size, base.sources.len()),
            ("MIT", 81_768_585, 3)
        );
        for source in &base.sources {
            let (Source::Ctranslate2 { sha256, .. } | Source::Ggml { sha256, .. }) = source;
            assert_eq!(sha256.len(), 64);
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_name_and_line() {
        let text = include_str!("../../../models/manifest.toml").replacen("licence", "license", 1);
        let error = Manifest::parse(&text).expect_err("refused").to_string();
        assert!(
            error.contains("license") && error.contains("line 10"),
            "{error}"
        );
    }
}
