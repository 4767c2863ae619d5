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
    ("asr_correction", include_str!("asr_correction.txt")),
    ("dialogue", include_str!("dialogue.txt")),
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
                    && name != "txt"
                    && name
                        .bytes()
                        .all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            })
        };
        let sources = sources("src/ticket");
        let texts = sources.iter().flat_map(|(_, text)| text.split('"'));
        let named: Vec<&str> = texts.filter(is_name).collect();
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

    /// How many texts with Chinese characters still stand in the code of a file, outside its tests. `model` has the labels of
    /// the contract, `reading` the prompt of a model; the others hold words beside the rule that reads them alone. The
    /// numbers may only fall: what moves to a list is taken off here.
    const IN_CODE: [(&str, usize); 28] = [
        ("src/text/correct.rs", 12),
        ("src/text/formatter.rs", 1),
        ("src/text/inverse_text_normalization.rs", 4),
        ("src/text/inverse_text_normalization/slots.rs", 311),
        ("src/text/punctuation.rs", 37),
        ("src/text/script.rs", 6),
        ("src/text/spans.rs", 3),
        ("src/ticket/asr_correction.rs", 14),
        ("src/ticket/backing.rs", 25),
        ("src/ticket/classifier/mod.rs", 17),
        ("src/ticket/dialogue.rs", 11),
        ("src/ticket/matter.rs", 97),
        ("src/ticket/model/field.rs", 26),
        ("src/ticket/model/limits.rs", 2),
        ("src/ticket/model/standard.rs", 9),
        ("src/ticket/money.rs", 69),
        ("src/ticket/numbers.rs", 2),
        ("src/ticket/person.rs", 120),
        ("src/ticket/phone.rs", 117),
        ("src/ticket/place/district.rs", 14),
        ("src/ticket/place/mod.rs", 16),
        ("src/ticket/place/parts.rs", 90),
        ("src/ticket/reading.rs", 7),
        ("src/ticket/subject.rs", 220),
        ("src/ticket/taxonomy.rs", 1),
        ("src/ticket/urgency.rs", 86),
        ("src/ticket/when.rs", 86),
        ("src/ticket/wording.rs", 171),
    ];

    /// The texts of a source that hold Chinese characters: no comments, no tests.
    fn chinese(source: &str) -> usize {
        let code = source
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let (mut count, mut inside, mut held) = (0, false, false);
        for line in lines {
            let mut letters = line.chars().peekable();
            let mut before = ' ';
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' if inside => {
                        letters.next();
                    }
                    '/' if !inside && letters.peek() == Some(&'/') => break,
                    '"' if !inside && before == '\'' && letters.peek() == Some(&'\'') => {}
                    '"' => {
                        count += usize::from(inside && held);
                        (inside, held) = (!inside, false);
                    }
                    '\u{4e00}'..='\u{9fff}' => held |= inside,
                    _ => {}
                }
                before = letter;
            }
        }
        count
    }

    #[test]
    fn the_words_of_the_language_move_from_the_code_to_lists_and_never_back() {
        let mut sources = sources("src/text");
        sources.extend(super::super::tests::sources("src/ticket"));
        let code = (sources.iter()).filter(|(name, _)| !name.contains("tests"));
        let found: Vec<(&str, usize)> = code
            .map(|(name, text)| (name.as_str(), chinese(text)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            chinese("let a = \"一\"; // \"二\"\nlet b = '\"'; c(\"三\\\"\", \"d\")"),
            2
        );
        for (name, count) in &found {
            let known = IN_CODE.iter().find(|(known, _)| known == name);
            let known = known.map_or(0, |(_, count)| *count);
            assert!(
                *count <= known,
                "{name} has {count} texts, {known} before: put words into src/ticket/lexicon"
            );
            assert!(
                *count >= known,
                "{name} has {count} texts: take {known} down to it"
            );
        }
        assert_eq!(
            found.len(),
            IN_CODE.len(),
            "a file without any leaves the list"
        );
    }
}
