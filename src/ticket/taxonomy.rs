//! What a hotline's tickets are made of, as data: categories, departments, places, phrases; checked when loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, MatchKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::FieldName;
use super::asr_correction::AsrCorrection;
use super::classifier::train::train;
use super::classifier::{Classifier, samples};
use super::dialing::Dialing;
use super::lexicon::Words;
use super::limits::{Table, WrittenTable};
use super::model::{Limits, RequestType, Urgency};
use super::{person, phone, place, subject, wording};

/// The texts of the files of a taxonomy; [`Sources::EMBEDDED`] is the city of Yantai's.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `categories.toml`.
    pub categories: &'a str,
    /// `departments.toml`.
    pub departments: &'a str,
    /// `places.toml`.
    pub places: &'a str,
    /// `phrases.toml`.
    pub phrases: &'a str,
    /// `matters.csv`: what callers say, by category; may be missing.
    pub matters: Option<&'a str>,
}

impl Sources<'static> {
    /// The files that are compiled in.
    pub const EMBEDDED: Self = Self {
        categories: include_str!("../../deploy/examples/yantai/categories.toml"),
        departments: include_str!("../../deploy/examples/yantai/departments.toml"),
        places: include_str!("../../deploy/examples/yantai/places.toml"),
        phrases: include_str!("../../deploy/examples/yantai/phrases.toml"),
        matters: Some(include_str!("../../deploy/examples/yantai/matters.csv")),
    };
}

/// Why a taxonomy cannot be used: which file and line, what is wrong there, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaxonomyError {
    /// The file's name, e.g. `categories.toml`.
    pub file: &'static str,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for TaxonomyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} line {}: {}; {}",
            self.file, self.line, self.what, self.remedy
        )
    }
}

impl std::error::Error for TaxonomyError {}

/// A value that applies when one of some words is said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topic {
    pub when: Vec<String>,
    pub text: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Joint {
    pub when: Vec<String>,
    pub department: Spanned<String>,
}

/// One kind of matter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Category {
    pub name: Spanned<[String; 2]>,
    pub departments: Vec<Spanned<String>>,
    strong: Vec<Spanned<String>>,
    keywords: Vec<Spanned<String>>,
    pub usual: RequestType,
    pub issue: String,
    #[serde(default)]
    pub money: bool,
    /// Second levels of categories that give way to it where one of its strong phrases was said.
    #[serde(default)]
    pub over: Vec<Spanned<String>>,
    #[serde(default)]
    pub utility: bool,
    #[serde(default)]
    pub place_is_subject: bool,
    #[serde(default)]
    pub things: Vec<String>,
    #[serde(default)]
    pub joint: Vec<Joint>,
    #[serde(default)]
    pub topics: Vec<Topic>,
    #[serde(default)]
    pub demand: Option<String>,
    #[serde(default)]
    pub urgent_when: Vec<String>,
    /// Labels of a trained classifier that stand for it.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How long its tickets may take, where that differs from all others'.
    #[serde(default)]
    limits: WrittenTable,
    pub needs: Vec<FieldName>,
}

impl Category {
    /// The words that point to it.
    pub fn signs(&self) -> impl Iterator<Item = &str> {
        self.strong
            .iter()
            .chain(&self.keywords)
            .map(|word| word.get_ref().as_str())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Categories {
    /// How long tickets may take.
    #[serde(default)]
    limits: WrittenTable,
    category: Vec<Category>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Department {
    name: Spanned<String>,
    matters: String,
    aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Departments {
    department: Vec<Department>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct District {
    name: Spanned<String>,
    aliases: Vec<String>,
    /// For each syllable of the name, the characters that a recogniser may write for it.
    #[serde(default)]
    sounds: Vec<String>,
    places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    city: String,
    area_code: Spanned<String>,
    usual_address: String,
    district: Vec<District>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Demand {
    text: String,
    cues: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrases {
    demand: Vec<Demand>,
    urgency: BTreeMap<Spanned<Urgency>, Vec<String>>,
    request: BTreeMap<RequestType, BTreeMap<String, i32>>,
}

/// Phrases that each stand for a value, found in one pass.
pub(super) struct Phrasebook<T> {
    automaton: AhoCorasick,
    values: Vec<T>,
}

impl<T> Phrasebook<T> {
    fn new(pairs: Vec<(String, T)>, kind: MatchKind) -> Result<Self, TaxonomyError> {
        let (phrases, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(kind)
            .build(phrases)
            .map_err(|error| too_many(&error))?;
        Ok(Self { automaton, values })
    }

    /// Each match, overlapping ones too, with its byte range. Only for books made for overlapping search.
    pub fn overlapping<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (Range<usize>, &'t T)> {
        self.automaton
            .find_overlapping_iter(text)
            .map(|found| (found.range(), &self.values[found.pattern().as_usize()]))
    }

    /// The longest matches from left to right, with their byte ranges.
    pub fn longest<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (Range<usize>, &'t T)> {
        self.automaton
            .find_iter(text)
            .map(|found| (found.range(), &self.values[found.pattern().as_usize()]))
    }
}

/// A place word's meaning.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceWord {
    /// The district's index.
    pub district: usize,
    /// Whether the word names the district itself and not something in it.
    pub is_district: bool,
}

/// A loaded, checked taxonomy.
pub struct Taxonomy {
    pub(super) categories: Vec<Category>,
    /// How long tickets of each may take.
    limits: Vec<Table>,
    departments: Vec<Department>,
    pub(super) districts: Vec<String>,
    pub(super) city: String,
    pub(super) dialing: Dialing,
    pub(super) usual_address: String,
    /// Category index and weight.
    pub(super) signs: Phrasebook<(usize, i32)>,
    pub(super) place_words: Phrasebook<PlaceWord>,
    /// What the ticket says the caller wants.
    pub(super) demands: Phrasebook<String>,
    /// What they say of the urgency.
    pub(super) alarms: Phrasebook<Urgency>,
    /// Kind of request and weight.
    pub(super) requests: Phrasebook<(RequestType, i32)>,
    /// Department index.
    aliases: Phrasebook<usize>,
    /// Puts misheard words right.
    pub(super) correction: AsrCorrection,
    /// What the examples of `matters.csv` taught.
    taught: Option<Arc<Classifier>>,
}

/// The words that the rules look for.
static RULES: [&Words; 9] = [
    &phone::CONTACT,
    &phone::OWN,
    &person::NAME_ASKED,
    &place::ASKED,
    &place::PLACE_ENDINGS,
    &subject::ASKED,
    &subject::ENDINGS,
    &subject::BRANDS,
    &wording::ASKED,
];

fn too_many(error: &aho_corasick::BuildError) -> TaxonomyError {
    TaxonomyError {
        file: "categories.toml",
        line: 0,
        what: format!("the phrases are too many ({error})"),
        remedy: "shorten the lists".to_owned(),
    }
}

/// How many spellings a district's sounds may make.
const MAX_SPELLINGS: usize = 1000;

/// Every spelling that takes one character of each sound.
fn spelled(sounds: &[String]) -> Vec<String> {
    let start = if sounds.is_empty() {
        Vec::new()
    } else {
        vec![String::new()]
    };
    sounds.iter().fold(start, |words, sound| {
        words
            .iter()
            .flat_map(|word| sound.chars().map(move |letter| format!("{word}{letter}")))
            .collect()
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at.min(text.len())].matches('\n').count() + 1
}

fn read<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, TaxonomyError> {
    toml::from_str(text).map_err(|error| TaxonomyError {
        file,
        line: error.span().map_or(0, |span| line_of(text, span.start)),
        what: error.message().replace('\n', " "),
        remedy: "compare with the file of that name in deploy/examples/yantai".to_owned(),
    })
}

impl Taxonomy {
    /// The taxonomy that is compiled in.
    pub fn embedded() -> Self {
        /// It is learned once a process.
        static TAUGHT: OnceLock<Arc<Classifier>> = OnceLock::new();
        let untaught = Sources {
            matters: None,
            ..Sources::EMBEDDED
        };
        let mut taxonomy =
            Self::parse(&untaught).expect("the compiled-in taxonomy is checked by a test");
        taxonomy.taught = Sources::EMBEDDED.matters.map(|matters| {
            let learn = || Arc::new(taxonomy.learn(matters).expect("checked by a test too"));
            TAUGHT.get_or_init(learn).clone()
        });
        taxonomy
    }

    /// Reads and checks the files' texts, and learns from the examples.
    ///
    /// # Errors
    /// [`TaxonomyError`] naming file and line: malformed TOML or CSV, an unknown key or field, a department that is
    /// not listed, an empty phrase, a name that is there twice, an unknown kind of request or urgency, an example of a
    /// category that is not there.
    pub fn parse(sources: &Sources<'_>) -> Result<Self, TaxonomyError> {
        let Categories { limits, category } = read("categories.toml", sources.categories)?;
        let Departments { department } = read("departments.toml", sources.departments)?;
        let places: Places = read("places.toml", sources.places)?;
        let phrases: Phrases = read("phrases.toml", sources.phrases)?;
        let fault = |file, text: &str, span: Range<usize>, what: String, remedy: &str| {
            Err(TaxonomyError {
                file,
                line: line_of(text, span.start),
                what,
                remedy: remedy.to_owned(),
            })
        };

        let limits_of = |written, otherwise| {
            Table::read(written, otherwise).map_err(|(span, what, remedy)| TaxonomyError {
                file: "categories.toml",
                line: line_of(sources.categories, span.start),
                what,
                remedy: remedy.to_owned(),
            })
        };
        let general = limits_of(&limits, Table::default())?;
        let limits = category
            .iter()
            .map(|entry| limits_of(&entry.limits, general))
            .collect::<Result<Vec<_>, _>>()?;

        let mut signs = Vec::new();
        for (index, entry) in category.iter().enumerate() {
            let text = sources.categories;
            if category[..index]
                .iter()
                .any(|known| known.name.get_ref() == entry.name.get_ref())
            {
                let what = format!("category {} is there twice", entry.name.get_ref().join("/"));
                return fault(
                    "categories.toml",
                    text,
                    entry.name.span(),
                    what,
                    "merge the two or rename one",
                );
            }
            let joint = entry.joint.iter().map(|joint| &joint.department);
            for name in entry.departments.iter().chain(joint) {
                if !department
                    .iter()
                    .any(|known| known.name.get_ref() == name.get_ref())
                {
                    let what = format!("department {} is not known", name.get_ref());
                    return fault(
                        "categories.toml",
                        text,
                        name.span(),
                        what,
                        "add it to departments.toml or correct the name",
                    );
                }
            }
            if entry.departments.is_empty() {
                let what = format!(
                    "category {} has no department",
                    entry.name.get_ref().join("/")
                );
                return fault(
                    "categories.toml",
                    text,
                    entry.name.span(),
                    what,
                    "name the lead department first in `departments`",
                );
            }
            if let Some(unknown) = entry.over.iter().find(|over| {
                !category
                    .iter()
                    .any(|known| known.name.get_ref()[1] == *over.get_ref())
            }) {
                let what = format!("{} is no category's second level", unknown.get_ref());
                return fault(
                    "categories.toml",
                    text,
                    unknown.span(),
                    what,
                    "write the second level as it stands in a `name`",
                );
            }
            for (words, weight) in [(&entry.strong, 3), (&entry.keywords, 1)] {
                for word in words {
                    if word.get_ref().trim().is_empty() {
                        return fault(
                            "categories.toml",
                            text,
                            word.span(),
                            "a phrase is empty".to_owned(),
                            "remove it",
                        );
                    }
                    signs.push((word.get_ref().to_lowercase(), (index, weight)));
                }
            }
        }

        let mut aliases = Vec::new();
        for (index, entry) in department.iter().enumerate() {
            if department[..index]
                .iter()
                .any(|known| known.name.get_ref() == entry.name.get_ref())
            {
                let what = format!("department {} is there twice", entry.name.get_ref());
                return fault(
                    "departments.toml",
                    sources.departments,
                    entry.name.span(),
                    what,
                    "merge the two",
                );
            }
            aliases.push((entry.name.get_ref().clone(), index));
            aliases.extend(entry.aliases.iter().map(|alias| (alias.clone(), index)));
        }

        let area_code = places.area_code.get_ref();
        if !area_code.starts_with('0') || !area_code.bytes().all(|digit| digit.is_ascii_digit()) {
            let what = format!("area_code {area_code} is no area code");
            return fault(
                "places.toml",
                sources.places,
                places.area_code.span(),
                what,
                "write its digits with the leading 0",
            );
        }
        let mut place_words = Vec::new();
        for (index, entry) in places.district.iter().enumerate() {
            let own = std::iter::once(entry.name.get_ref()).chain(&entry.aliases);
            place_words.extend(own.map(|word| {
                (
                    word.clone(),
                    PlaceWord {
                        district: index,
                        is_district: true,
                    },
                )
            }));
            let spellings = entry
                .sounds
                .iter()
                .map(|sound| sound.chars().count())
                .product::<usize>();
            if spellings > MAX_SPELLINGS {
                let what = format!(
                    "the sounds of {} make {spellings} spellings",
                    entry.name.get_ref()
                );
                return fault(
                    "places.toml",
                    sources.places,
                    entry.name.span(),
                    what,
                    "keep to the likeliest characters, 1000 spellings in all",
                );
            }
            let misheard = spelled(&entry.sounds).into_iter();
            place_words.extend(misheard.map(|word| {
                (
                    word,
                    PlaceWord {
                        district: index,
                        is_district: true,
                    },
                )
            }));
            let inside = entry.places.iter();
            place_words.extend(inside.map(|word| {
                (
                    word.clone(),
                    PlaceWord {
                        district: index,
                        is_district: false,
                    },
                )
            }));
        }

        let mut demands = Vec::new();
        for entry in &phrases.demand {
            for cue in &entry.cues {
                if cue.get_ref().trim().is_empty() {
                    return fault(
                        "phrases.toml",
                        sources.phrases,
                        cue.span(),
                        "a phrase is empty".to_owned(),
                        "remove it",
                    );
                }
                demands.push((cue.get_ref().clone(), entry.text.clone()));
            }
        }
        let mut alarms = Vec::new();
        for (level, words) in &phrases.urgency {
            let urgency = *level.get_ref();
            if urgency == Urgency::Normal {
                return fault(
                    "phrases.toml",
                    sources.phrases,
                    level.span(),
                    format!("{} needs no words", urgency.word()),
                    "write them under 紧急 or 特急, or remove them",
                );
            }
            alarms.extend(words.iter().map(|word| (word.clone(), urgency)));
        }
        let mut requests = Vec::new();
        for (kind, words) in &phrases.request {
            requests.extend(
                words
                    .iter()
                    .map(|(word, weight)| (word.clone(), (*kind, *weight))),
            );
        }

        let listed = (signs.iter().map(|(word, _)| word.as_str()))
            .chain(aliases.iter().map(|(word, _)| word.as_str()))
            .chain(place_words.iter().map(|(word, _)| word.as_str()))
            .chain(demands.iter().map(|(word, _)| word.as_str()))
            // Two letters of danger are heard or not: 那条河 is not 跳河.
            .chain(
                (alarms.iter().map(|(word, _)| word.as_str()))
                    .filter(|word| word.chars().count() > 2),
            )
            .chain(requests.iter().map(|(word, _)| word.as_str()))
            .chain(RULES.iter().flat_map(|list| list.iter().copied()));
        let correction = AsrCorrection::new(listed).map_err(|error| too_many(&error))?;

        let mut taxonomy = Self {
            taught: None,
            correction,
            categories: category,
            limits,
            departments: department,
            districts: places
                .district
                .into_iter()
                .map(|entry| entry.name.into_inner())
                .collect(),
            city: places.city,
            dialing: Dialing::new(places.area_code.into_inner()),
            usual_address: places.usual_address,
            signs: Phrasebook::new(signs, MatchKind::Standard)?,
            place_words: Phrasebook::new(place_words, MatchKind::LeftmostLongest)?,
            demands: Phrasebook::new(demands, MatchKind::LeftmostLongest)?,
            alarms: Phrasebook::new(alarms, MatchKind::LeftmostLongest)?,
            requests: Phrasebook::new(requests, MatchKind::LeftmostLongest)?,
            aliases: Phrasebook::new(aliases, MatchKind::LeftmostLongest)?,
        };
        if let Some(matters) = sources.matters {
            let taught = taxonomy.learn(matters)?;
            taxonomy.taught = Some(Arc::new(taught));
        }
        Ok(taxonomy)
    }

    /// Learns from examples of what callers say.
    fn learn(&self, matters: &str) -> Result<Classifier, TaxonomyError> {
        let fault = |line, what, remedy: &str| TaxonomyError {
            file: "matters.csv",
            line,
            what,
            remedy: remedy.to_owned(),
        };
        let samples = samples::read(matters.as_bytes())
            .map_err(|error| fault(error.line as usize, error.what, error.remedy))?;
        if let Some(foreign) = samples
            .iter()
            .find(|sample| self.meaning(&sample.label).is_empty())
        {
            let at = matters.find(&foreign.label).unwrap_or_default();
            let what = format!("{} is no category", foreign.label);
            return Err(fault(
                line_of(matters, at),
                what,
                "write the two levels as in categories.toml, with / between them",
            ));
        }
        train(&samples).map_err(|error| fault(0, error.to_string(), "or remove the file"))
    }

    /// What the examples of `matters.csv` taught.
    pub(super) const fn taught(&self) -> Option<&Arc<Classifier>> {
        self.taught.as_ref()
    }

    /// Every department with what it handles, for pages and reports.
    pub fn departments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.departments
            .iter()
            .map(|entry| (entry.name.get_ref().as_str(), entry.matters.as_str()))
    }

    /// The city's districts.
    #[must_use]
    pub fn districts(&self) -> &[String] {
        &self.districts
    }

    /// The district that `text` names, or names something in.
    pub(super) fn district_in(&self, text: &str) -> Option<&str> {
        let word = self.place_words.longest(text).next();
        word.map(|(_, word)| self.districts[word.district].as_str())
    }

    /// Every category's two levels.
    pub fn category_names(&self) -> impl Iterator<Item = &[String; 2]> {
        self.categories.iter().map(|entry| entry.name.get_ref())
    }

    /// The category of these two levels.
    pub(super) fn category(&self, levels: &[String]) -> Option<&Category> {
        self.index_of(levels).map(|index| &self.categories[index])
    }

    fn index_of(&self, levels: &[String]) -> Option<usize> {
        self.categories
            .iter()
            .position(|entry| entry.name.get_ref() == levels)
    }

    /// How long a ticket of this category and urgency may take; nothing when that is not set.
    #[must_use]
    pub fn limits(&self, levels: &[String], urgency: Urgency) -> Option<Limits> {
        self.limits[self.index_of(levels)?].of(urgency)
    }

    /// The categories that a classifier's label stands for: named in full, by its second level or its first, or listed.
    pub(super) fn meaning(&self, label: &str) -> Vec<usize> {
        let means = |category: &Category| {
            let [first, second] = category.name.get_ref();
            label == first
                || label == second
                || label
                    .split_once('/')
                    .is_some_and(|(one, other)| one == first && other == second)
                || category.labels.iter().any(|known| known == label)
        };
        (0..self.categories.len())
            .filter(|index| means(&self.categories[*index]))
            .collect()
    }

    /// The departments named in `text`, by full or short name, with their byte ranges.
    pub(super) fn named_departments<'t>(
        &'t self,
        text: &'t str,
    ) -> impl Iterator<Item = (Range<usize>, &'t str)> {
        self.aliases
            .longest(text)
            .map(|(range, index)| (range, self.departments[*index].name.get_ref().as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Sources, Taxonomy, TaxonomyError};

    fn broken(sources: Sources<'_>) -> TaxonomyError {
        Taxonomy::parse(&sources).err().expect("refused")
    }

    #[test]
    fn the_compiled_in_taxonomy_is_sound() {
        let taxonomy = Taxonomy::parse(&Sources::EMBEDDED).expect("sound");
        assert_eq!(taxonomy.departments().count(), 24);
        assert!(taxonomy.districts.contains(&"芝罘区".to_owned()));
    }

    #[test]
    fn a_department_that_is_not_listed_is_named_with_its_line() {
        let wrong = Sources::EMBEDDED
            .categories
            .replacen("[\"邮政管理局\"]", "[\"邮管局子\"]", 1);
        let error = broken(Sources {
            categories: &wrong,
            ..Sources::EMBEDDED
        });
        let line = wrong
            .lines()
            .position(|line| line.contains("邮管局子"))
            .expect("there")
            + 1;
        assert_eq!((error.file, error.line), ("categories.toml", line));
        assert!(
            error.to_string().contains("邮管局子")
                && error.to_string().contains("departments.toml")
        );
    }

    #[test]
    fn an_unknown_key_a_wrong_kind_and_broken_toml_are_refused_with_their_lines() {
        let error = broken(Sources {
            places: "city = \"x\"\ncolour = 1\n",
            ..Sources::EMBEDDED
        });
        assert_eq!((error.file, error.line), ("places.toml", 2));
        let wrong =
            Sources::EMBEDDED
                .categories
                .replacen("usual = \"投诉\"", "usual = \"抱怨\"", 1);
        assert!(
            broken(Sources {
                categories: &wrong,
                ..Sources::EMBEDDED
            })
            .to_string()
            .contains("抱怨")
        );
        let error = broken(Sources {
            departments: "[[department]\n",
            ..Sources::EMBEDDED
        });
        assert_eq!((error.file, error.line), ("departments.toml", 1));
    }

    #[test]
    fn an_example_of_no_category_is_refused_with_its_line_and_no_examples_are_fine() {
        let error = broken(Sources {
            matters: Some("label,text\n住房与物业/供水,停水了\n住房与物业/供酒,没酒了\n"),
            ..Sources::EMBEDDED
        });
        assert_eq!((error.file, error.line), ("matters.csv", 3));
        assert!(error.to_string().contains("供酒"), "{error}");
        let error = broken(Sources {
            matters: Some("label,text\n住房与物业/供水\n"),
            ..Sources::EMBEDDED
        });
        assert_eq!((error.file, error.line), ("matters.csv", 2));
        let untaught = Sources {
            matters: None,
            ..Sources::EMBEDDED
        };
        assert!(Taxonomy::parse(&untaught).is_ok_and(|taxonomy| taxonomy.taught().is_none()));
    }

    #[test]
    fn a_field_that_no_ticket_has_is_refused() {
        let wrong = Sources::EMBEDDED
            .categories
            .replacen("\"event_time\"", "\"shoe_size\"", 1);
        assert!(
            broken(Sources {
                categories: &wrong,
                ..Sources::EMBEDDED
            })
            .what
            .contains("shoe_size")
        );
    }
}
