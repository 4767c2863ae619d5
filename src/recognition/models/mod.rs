//! The models on this machine: which there are, where they came from, whether they are whole, and how to get them.

mod ct2;
mod fetch;
mod ggml;
mod manifest;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use ct2::Ct2Error;
pub use ggml::ConvertError;
pub use manifest::{Manifest, ManifestError, Model, Package, Samples, Source};

/// Hears how long work gets on.
pub trait Progress {
    /// `done` of `total` bytes of `phase`; `total` is 0 when it is not known.
    fn update(&mut self, phase: &str, done: u64, total: u64);
    /// A line for the person who waits.
    fn note(&mut self, line: &str);
}

/// Why a model cannot be had or used.
#[derive(Debug)]
pub enum ModelError {
    /// No model of that name in the manifest.
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The model is not on this machine.
    Missing {
        /// Its name.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The model's file is not what was pulled.
    Damaged {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file could not be read or written.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No source worked; one line for each.
    Sources {
        /// The model or samples wanted.
        name: String,
        /// Why each source failed.
        tried: Vec<String>,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, known } => {
                write!(
                    f,
                    "there is no model {name:?}; the manifest has {}",
                    known.join(", ")
                )
            }
            Self::Missing { name, path } => write!(
                f,
                "speech model {name} is not at {}; get it with `xinqiao models pull {name}`",
                path.display()
            ),
            Self::Damaged { name, why } => {
                write!(
                    f,
                    "speech model {name} is damaged ({why}); renew it with `xinqiao models pull {name}`"
                )
            }
            Self::File { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Self::Sources { name, tried } => {
                write!(
                    f,
                    "{name} could not be had from any source: {}",
                    tried.join("; ")
                )
            }
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What is known of a model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// SPDX identifier.
    pub licence: String,
    /// Bytes on disk when present, else bytes that it will take.
    pub size: u64,
    /// Where it is or would be.
    pub path: PathBuf,
    /// Whether it is there.
    pub present: bool,
}

/// Written beside a model when it has been verified and converted.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    sha256: String,
    size: u64,
    source: String,
}

/// A folder of models.
#[derive(Clone, Debug)]
pub struct ModelStore {
    dir: PathBuf,
    manifest: Manifest,
}

impl ModelStore {
    /// The models of the embedded manifest, kept in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            manifest: Manifest::embedded(),
        }
    }

    /// Every model of the manifest with its state here.
    #[must_use]
    pub fn list(&self) -> Vec<ModelStatus> {
        self.manifest
            .models
            .iter()
            .map(|model| {
                let path = self.dir.join(&model.file);
                let on_disk = fs::metadata(&path).ok().map(|meta| meta.len());
                ModelStatus {
                    name: model.name.clone(),
                    description: model.description.clone(),
                    licence: model.licence.clone(),
                    size: on_disk.unwrap_or(model.size),
                    present: on_disk.is_some(),
                    path,
                }
            })
            .collect()
    }

    /// The file of model `name`, or of a ggml file given as a path.
    ///
    /// # Errors
    /// [`ModelError`] when there is none; the sentence says how to get it.
    pub fn path_of(&self, name: &str) -> Result<PathBuf, ModelError> {
        if Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "bin")
        {
            let path = PathBuf::from(name);
            return match fs::metadata(&path) {
                Ok(_) => Ok(path),
                Err(source) => Err(ModelError::File { path, source }),
            };
        }
        let model = self.model(name)?;
        let path = self.dir.join(&model.file);
        match fs::metadata(&path) {
            Err(_) => Err(ModelError::Missing {
                name: name.to_owned(),
                path,
            }),
            Ok(meta) if meta.len() != model.size => Err(ModelError::Damaged {
                name: name.to_owned(),
                why: format!("{} bytes instead of {}", meta.len(), model.size),
            }),
            Ok(_) => Ok(path),
        }
    }

    /// Reads the whole file of `name` and compares it with the digest noted when it was made.
    ///
    /// # Errors
    /// [`ModelError`] when it is missing, has no receipt, or differs.
    pub fn verify(&self, name: &str, progress: &mut dyn Progress) -> Result<PathBuf, ModelError> {
        let path = self.path_of(name)?;
        let damaged = |why: String| ModelError::Damaged {
            name: name.to_owned(),
            why,
        };
        let receipt: Receipt = fs::read(receipt_path(&path))
            .map_err(|_| damaged("its receipt is missing".into()))
            .and_then(|raw| {
                serde_json::from_slice(&raw)
                    .map_err(|error| damaged(format!("its receipt: {error}")))
            })?;
        let found = sha256_of(&path, |done| {
            progress.update("verifying", done, receipt.size);
        })?;
        if found == receipt.sha256 {
            Ok(path)
        } else {
            Err(damaged(format!(
                "its sha256 is {found}, not {}",
                receipt.sha256
            )))
        }
    }

    /// Brings model `name` to this machine, verified, unless it is here already and whole.
    ///
    /// # Errors
    /// [`ModelError`]; the folder then holds no half model.
    pub fn pull(&self, name: &str, progress: &mut dyn Progress) -> Result<PathBuf, ModelError> {
        let model = self.model(name)?.clone();
        let _lock = self.lock()?;
        match self.verify(name, progress) {
            Ok(path) => return Ok(path),
            Err(ModelError::Missing { .. }) => {}
            Err(error) => progress.note(&error.to_string()),
        }
        let path = self.dir.join(&model.file);
        let mut tried = Vec::new();
        for source in &model.sources {
            match fetch::model(source, &self.cache(), progress) {
                Ok(bytes) if bytes.len() as u64 != model.size => {
                    tried.push(format!(
                        "{}: {} bytes instead of {}",
                        fetch::label(source),
                        bytes.len(),
                        model.size
                    ));
                }
                Ok(bytes) => {
                    let receipt = Receipt {
                        sha256: hex(&Sha256::digest(&bytes)),
                        size: bytes.len() as u64,
                        source: fetch::label(source),
                    };
                    let receipt =
                        serde_json::to_vec_pretty(&receipt).expect("a receipt is plain data");
                    // The receipt goes first: a model without one counts as damaged, a receipt alone as nothing.
                    write_whole(&receipt_path(&path), &receipt)?;
                    write_whole(&path, &bytes)?;
                    // What was downloaded is no longer needed; a failure to tidy up is not a failure to pull.
                    let _ = fs::remove_dir_all(self.cache());
                    return Ok(path);
                }
                Err(error) => {
                    progress.note(&format!("{}: {error}", fetch::label(source)));
                    tried.push(format!("{}: {error}", fetch::label(source)));
                }
            }
        }
        Err(ModelError::Sources {
            name: name.to_owned(),
            tried,
        })
    }

    /// Brings the sample recordings `name` and returns their folder.
    ///
    /// # Errors
    /// [`ModelError`]; the folder then does not exist.
    pub fn pull_samples(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, ModelError> {
        let samples = self
            .manifest
            .samples
            .iter()
            .find(|samples| samples.name == name)
            .ok_or_else(|| {
                let known = self
                    .manifest
                    .samples
                    .iter()
                    .map(|samples| samples.name.clone())
                    .collect();
                ModelError::Unknown {
                    name: name.to_owned(),
                    known,
                }
            })?;
        let _lock = self.lock()?;
        let folder = self.dir.join("samples").join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        let failed = |why: String| ModelError::Sources {
            name: format!("samples {name}"),
            tried: vec![why],
        };
        let files = fetch::samples(samples, &self.cache(), progress)
            .map_err(|error| failed(error.to_string()))?;
        let half = folder.with_extension("part");
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| ModelError::File { path, source }
        };
        fs::create_dir_all(&half).map_err(file_error(&half))?;
        for (file, bytes) in files {
            write_whole(&half.join(file), &bytes)?;
        }
        fs::rename(&half, &folder).map_err(file_error(&folder))?;
        Ok(folder)
    }

    fn model(&self, name: &str) -> Result<&Model, ModelError> {
        self.manifest
            .model(name)
            .ok_or_else(|| ModelError::Unknown {
                name: name.to_owned(),
                known: self
                    .manifest
                    .models
                    .iter()
                    .map(|model| model.name.clone())
                    .collect(),
            })
    }

    fn cache(&self) -> PathBuf {
        self.dir.join("download")
    }

    /// Held while this process changes the folder; a second process waits for the first.
    fn lock(&self) -> Result<File, ModelError> {
        let path = self.dir.join(".lock");
        fs::create_dir_all(&self.dir)
            .and_then(|()| File::create(&path))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| ModelError::File { path, source })
    }
}

fn receipt_path(model: &Path) -> PathBuf {
    model.with_extension("receipt.json")
}

/// Writes `bytes` so that `path` is either as before or whole, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let half = path.with_extension("part");
    File::create(&half)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&half, path))
        .map_err(|source| ModelError::File {
            path: path.to_owned(),
            source,
        })
}

fn sha256_of(path: &Path, mut progress: impl FnMut(u64)) -> Result<String, ModelError> {
    let in_file = |source| ModelError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(in_file)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = file.read(&mut chunk).map_err(in_file)?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&chunk[..read]);
        done += read as u64;
        progress(done);
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Keeps what it is told, for a test to look at.
    #[derive(Default)]
    pub struct Told(pub Vec<String>);

    impl Progress for Told {
        fn update(&mut self, _phase: &str, _done: u64, _total: u64) {}
        fn note(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }

    #[test]
    fn a_missing_model_is_named_with_the_command_that_brings_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = ModelStore::new(dir.path())
            .path_of("whisper-base")
            .expect_err("missing")
            .to_string();
        assert!(
            error.contains("xinqiao models pull whisper-base"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_model_is_answered_with_the_known_ones() {
        let error = ModelStore::new("nowhere")
            .path_of("whisper-bse")
            .expect_err("unknown")
            .to_string();
        assert_eq!(
            error,
            "there is no model \"whisper-bse\"; the manifest has whisper-base"
        );
    }

    #[test]
    fn a_model_cut_short_or_changed_is_damaged() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = ModelStore::new(dir.path());
        let path = dir.path().join("ggml-base-q8_0.bin");
        fs::write(&path, b"half").expect("writable");
        assert!(matches!(
            store.path_of("whisper-base"),
            Err(ModelError::Damaged { .. })
        ));
        File::create(&path)
            .and_then(|file| file.set_len(81_768_585))
            .expect("writable");
        let receipt = Receipt {
            sha256: "00".repeat(32),
            size: 81_768_585,
            source: "test".into(),
        };
        fs::write(
            receipt_path(&path),
            serde_json::to_vec(&receipt).expect("plain"),
        )
        .expect("writable");
        let error = store
            .verify("whisper-base", &mut Told::default())
            .expect_err("changed")
            .to_string();
        assert!(error.contains("sha256"), "{error}");
    }
}
