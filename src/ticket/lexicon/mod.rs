//! The words that the rules read by: one text file for each field, a list for each thought.
//!
//! A line that ends in a colon names a list; the words under it belong to it. `FILE.NAME` is how the rules ask for it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The files by the name that lists are asked for under.
const FILES: [(&str, &str); 13] = [
    ("backing", include_str!("backing.txt")),
    ("matter", include_str!("matter.txt")),
    ("money", include_str!("money.txt")),
    ("person", include_str!("person.txt")),
    ("phone", include_str!("phone.txt")),
    ("place", include_str!("place.txt")),
    ("repair", include_str!("repair.txt")),
    ("said", include_str!("said.txt")),
    ("subject", include_str!("subject.txt")),
    ("surnames", include_str!("surnames.txt")),
    ("urgency", include_str!("urgency.txt")),
    ("when", include_str!("when.txt")),
    ("wording", include_str!("wording.txt")),
];

static LISTS: LazyLock<HashMap<String, Vec<&'static str>>> = LazyLock::new(|| {
    let mut lists: HashMap<String, Vec<&'static str>> = HashMap::new();
    for (file, text) in FILES {
        let mut name = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(next) = line.strip_suffix(':') {
                name = format!("{file}.{next}");
            } else {
                let words = line.split_whitespace();
                lists.entry(name.clone()).or_default().extend(words);
            }
        }
    }
    lists
});

/// A list of words, read once.
pub(super) type Words = LazyLock<Vec<&'static str>>;
/// The same, each word with its weight.
pub(super) type Weighted = LazyLock<Vec<(&'static str, i32)>>;

/// The words of a list.
///
/// # Panics
/// When there is no such list: a test asks for every one that the rules name.
pub(super) fn list(name: &str) -> Vec<&'static str> {
    let list = LISTS.get(name);
    list.unwrap_or_else(|| panic!("no word list {name}"))
        .clone()
}

/// The words of a list with what they weigh, written `剩余:6`.
pub(super) fn weighted(name: &str) -> Vec<(&'static str, i32)> {
    let pair = |word: &'static str| {
        let (word, weight) = word.split_once(':')?;
        Some((word, weight.parse().ok()?))
    };
    list(name).into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::{FILES, LISTS, list};
    use crate::ticket::tests::sources;

    #[test]
    fn every_list_that_the_rules_name_is_there_and_every_list_is_named() {
        // Names of lists are the only texts of this form.
        let is_name = |text: &&str| {
            let parts = text.split_once('.');
            parts.is_some_and(|(file, name)| {
                FILES.iter().any(|(known, _)| *known == file)
                    && !name.is_empty()
                    && name
                        .bytes()
                        .all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            })
        };
        let sources = sources("src/ticket");
        let texts = sources.iter().flat_map(|(_, text)| text.split('"'));
        let named: Vec<&str> = texts
            .filter(is_name)
            .filter(|text| !text.ends_with(".txt"))
            .collect();
        assert!(named.len() > 10, "{named:?}");
        for name in &named {
            assert!(!list(name).is_empty(), "{name}");
        }
        for name in LISTS.keys() {
            assert!(
                name.is_empty() || named.contains(&name.as_str()),
                "nobody reads {name}"
            );
        }
    }
}
