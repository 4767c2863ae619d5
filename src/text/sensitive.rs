//! Sensitive words: where somebody speaks of harming themselves or others, threatens, or announces a gathering.
//!
//! They are data beside the other word lists (`% slot sensitive`, one `% list` a category); words of `% slot harmless`
//! (笑死, 热死) are known so that they are not taken for others.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::speech::finish::Mark;

/// The words of all categories, ready for the search.
#[derive(Default)]
pub struct Sensitive {
    search: Option<AhoCorasick>,
    /// Each word's category; `None` for the harmless ones.
    categories: Vec<Option<String>>,
}

impl Sensitive {
    /// Takes words with their categories.
    #[must_use]
    pub fn new(words: Vec<(String, Option<String>)>) -> Self {
        let (words, categories): (Vec<_>, Vec<_>) = words.into_iter().unzip();
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&words);
        Self {
            // It fails only past 4 GiB of words, which no list that was read can hold.
            search: search.ok().filter(|_| !words.is_empty()),
            categories,
        }
    }

    /// Where they stand in `text`.
    #[must_use]
    pub fn marks(&self, text: &str) -> Vec<Mark> {
        let Some(search) = &self.search else {
            return Vec::new();
        };
        let place = |byte: usize| text[..byte].chars().count() as u32;
        search
            .find_iter(text)
            .filter_map(|found| {
                Some(Mark {
                    from: place(found.start()),
                    to: place(found.end()),
                    category: self.categories[found.pattern().as_usize()].clone()?,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_marked_with_range_and_category_and_harmless_ones_are_not() {
        let word =
            |word: &str, category: Option<&str>| (word.to_owned(), category.map(str::to_owned));
        let sensitive = Sensitive::new(vec![
            word("不想活", Some("自伤自杀")),
            word("弄死", Some("暴力威胁")),
            word("死", Some("暴力威胁")),
            word("热死", None),
        ]);
        let marks = sensitive.marks("热死了，我不想活了，弄死他");
        let found: Vec<_> = marks
            .iter()
            .map(|mark| (mark.from, mark.to, mark.category.as_str()))
            .collect();
        assert_eq!(found, [(5, 8, "自伤自杀"), (10, 12, "暴力威胁")]);
        assert!(Sensitive::default().marks("我不想活了").is_empty());
    }
}
