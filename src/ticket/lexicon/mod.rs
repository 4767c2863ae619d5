//! The words that the rules read by: one text file for each field, a list for each thought.
//!
//! A line that ends in a colon names a list; the words under it belong to it. `FILE.NAME` is how the rules ask for it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The files by the name that lists are asked for under.
const FILES: [(&str, &str); 6] = [
    ("matter", include_str!("matter.txt")),
    ("money", include_str!("money.txt")),
    ("phone", include_str!("phone.txt")),
    ("place", include_str!("place.txt")),
    ("subject", include_str!("subject.txt")),
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

/// The words of a list.
///
/// # Panics
/// When there is no such list: a test asks for every one that the rules name.
pub(super) fn list(name: &str) -> Vec<&'static str> {
    let list = LISTS.get(name);
    list.unwrap_or_else(|| panic!("no word list {name}"))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::{LISTS, list};
    use crate::ticket::tests::sources;

    #[test]
    fn every_list_that_the_rules_name_is_there_and_every_list_is_named() {
        let mut named: Vec<String> = Vec::new();
        for (_, text) in sources("src/ticket") {
            let calls = text.split("list(\"").skip(1);
            named.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
        assert!(named.len() > 10, "{named:?}");
        for name in &named {
            assert!(!list(name).is_empty(), "{name}");
        }
        for name in LISTS.keys() {
            assert!(
                name.is_empty() || named.contains(name),
                "nobody reads {name}"
            );
        }
    }
}
