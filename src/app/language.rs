//! What the gateway knows of the hotline's language: the taxonomy, the word lists, and who drafts with them.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{StartError, word_lists};
use crate::config::delivery::LanguageModel as ModelSettings;
use crate::config::{Config, Text};
use crate::language_model::{KeyError, LanguageModel};
use crate::text::formatter::TranscriptFormatter;
use crate::ticket::classifier::Classifier;
use crate::ticket::reading::Reader;
use crate::ticket::{Drafter, Sources, Taxonomy};

/// Read from files, with nothing running.
pub(super) struct Language {
    pub drafter: Drafter,
    pub formatter: TranscriptFormatter,
    /// Reads along beside the rules, where there is one.
    pub model: Option<LanguageModel>,
}

impl Language {
    pub fn read(config: &Config) -> Result<Self, StartError> {
        let drafter = Drafter::new(taxonomy(config.ticketing.taxonomy.as_deref())?);
        let drafter = match classifier(config.ticketing.classifier.as_deref())? {
            Some(classifier) => drafter
                .advised_by(classifier)
                .map_err(StartError::ForeignClassifier)?,
            None => drafter,
        };
        let model = language_model(&config.language_model, drafter.taxonomy());
        Ok(Self {
            formatter: formatter(&config.text)?,
            model: model.map_err(StartError::ModelKey)?,
            drafter,
        })
    }
}

/// The taxonomy of a folder's files, or the embedded example.
///
/// # Errors
/// [`StartError::TaxonomyFile`] or [`StartError::Taxonomy`].
pub fn taxonomy(folder: Option<&Path>) -> Result<Taxonomy, StartError> {
    let Some(folder) = folder else {
        return Ok(Taxonomy::embedded());
    };
    let read = |name: &str| {
        let file = folder.join(name);
        std::fs::read_to_string(&file).map_err(|source| StartError::TaxonomyFile { file, source })
    };
    let (categories, departments) = (read("categories.toml")?, read("departments.toml")?);
    let (places, phrases) = (read("places.toml")?, read("phrases.toml")?);
    let matters = match read("matters.csv") {
        Err(StartError::TaxonomyFile { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            None
        }
        matters => Some(matters?),
    };
    let sources = Sources {
        categories: &categories,
        departments: &departments,
        places: &places,
        phrases: &phrases,
        matters: matters.as_deref(),
    };
    Taxonomy::parse(&sources).map_err(StartError::Taxonomy)
}

/// The classifier of a file, if there is to be one.
fn classifier(file: Option<&Path>) -> Result<Option<Classifier>, StartError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let bytes = std::fs::read(file).map_err(|source| StartError::ClassifierFile {
        file: file.to_owned(),
        source,
    })?;
    Classifier::from_bytes(&bytes)
        .map(Some)
        .map_err(StartError::Classifier)
}

/// What writes the lines.
fn formatter(settings: &Text) -> Result<TranscriptFormatter, StartError> {
    let lists = word_lists::read(settings.hotwords.as_deref()).map_err(StartError::Lists)?;
    Ok(TranscriptFormatter::new(lists, settings.corrections))
}

fn language_model(
    settings: &ModelSettings,
    taxonomy: &Taxonomy,
) -> Result<Option<LanguageModel>, KeyError> {
    let Some(url) = &settings.url else {
        return Ok(None);
    };
    let made = LanguageModel::new(
        url,
        &settings.model,
        settings.api_key_file.as_deref(),
        Duration::from_secs(settings.timeout_s),
        settings.allow_public,
        Reader::new(taxonomy),
    );
    made.map(Some)
}
