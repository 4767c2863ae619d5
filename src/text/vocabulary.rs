//! The hotline's own words: place names, departments, matters, the phrases of its operators, surnames.
//!
//! A list is plain text that a hotline's staff can edit: words divided by spaces, `#` before a comment, and two
//! directives: `% list NAME` (what the words are, shown beside a correction) and `% slot …` behind it: `surname` (they
//! are looked up only where a surname stands), `sensitive` (they are marked, not corrected) or `harmless` (they are not
//! marked although they contain a sensitive word). `% weight 20` makes words of a list likelier than others.
//! `% prompt caller TEXT` and `% prompt operator TEXT` say how that side typically speaks; the recogniser reads it before.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::pinyin::{self, Syllable};
use super::sensitive::Sensitive;
use crate::speech::Leg;

/// The longest word: what is longer is a sentence, and no recogniser mishears all of one in a way that sounds alike.
pub const LONGEST: usize = 12;
/// The longest prompt: each recognition pays for every character.
const LONGEST_PROMPT: usize = 60;
/// The most words of all lists together; the search for them stays fast far beyond it, their memory does not.
const MOST_TERMS: usize = 100_000;
/// Syllables further apart than this are not taken for one another, whatever the rest of the word.
pub(super) const FARTHEST: f32 = 0.8;

/// A word of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its characters.
    pub letters: Box<[char]>,
    /// The list it stands in, e.g. `行政区划`.
    pub list: Arc<str>,
    /// How much likelier it is said than any listed word, 1 to 100.
    pub weight: u8,
}

/// What is wrong with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub why: String,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "word list {}, line {}: {}",
            self.file, self.line, self.why
        )
    }
}

impl std::error::Error for ListError {}

#[derive(Default)]
struct Node {
    children: Vec<(char, u32)>,
    /// The term that ends here.
    term: Option<u32>,
}

/// All lists, made ready for the search by sound.
pub struct Vocabulary {
    terms: Vec<Term>,
    by_text: HashMap<Box<[char]>, u32>,
    nodes: Vec<Node>,
    /// For each kind of syllable, the first characters that sound near it.
    openings: Vec<Vec<(char, u32)>>,
    surnames: Vec<String>,
    compound: HashSet<String>,
    sensitive: Sensitive,
    prompts: HashMap<Leg, String>,
}

/// What the words of a list are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Anywhere,
    Surname,
    Sensitive,
    Harmless,
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::build(Vec::new(), Vec::new(), Vec::new())
    }
}

impl Vocabulary {
    /// Reads lists: each with the name that errors call it by.
    ///
    /// # Errors
    /// [`ListError`] with file, line and remedy.
    pub fn parse<'a>(
        lists: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ListError> {
        let (mut terms, mut surnames, mut sensitive) = (Vec::new(), Vec::new(), Vec::new());
        let mut prompts = HashMap::new();
        for (file, text) in lists {
            let mut list: Arc<str> = file.into();
            let (mut slot, mut weight) = (Slot::Anywhere, 1);
            for (line, row) in (1..).zip(text.lines()) {
                let fault = |why: String| ListError {
                    file: file.to_owned(),
                    line,
                    why,
                };
                let row = row.trim_start_matches('\u{feff}').trim();
                if row.is_empty() || row.starts_with('#') {
                    continue;
                }
                if let Some(directive) = row.strip_prefix('%') {
                    match directive.split_whitespace().collect::<Vec<_>>()[..] {
                        ["list", name] => {
                            list = name.into();
                            (slot, weight) = (Slot::Anywhere, 1);
                        }
                        ["slot", "surname"] => slot = Slot::Surname,
                        ["slot", "sensitive"] => slot = Slot::Sensitive,
                        ["slot", "harmless"] => slot = Slot::Harmless,
                        ["weight", written] => {
                            weight = written
                                .parse()
                                .ok()
                                .filter(|weight| (1..=100).contains(weight))
                                .ok_or_else(|| {
                                    fault(format!("`{written}` is no weight; write 1 to 100"))
                                })?;
                        }
                        ["prompt", side @ ("caller" | "operator"), ref text @ ..] => {
                            let leg = if side == "caller" {
                                Leg::Caller
                            } else {
                                Leg::Operator
                            };
                            let text = text.concat();
                            if text.chars().count() > LONGEST_PROMPT {
                                return Err(fault(format!(
                                    "the {side}'s prompt is longer than {LONGEST_PROMPT} characters; keep what is said most"
                                )));
                            }
                            if prompts.insert(leg, text).is_some() {
                                return Err(fault(format!(
                                    "the {side} has a prompt already; keep one of the two"
                                )));
                            }
                        }
                        _ => {
                            return Err(fault(format!(
                                "`{row}` is no directive; write `% list NAME`, `% slot` with surname, sensitive or harmless, \
                                 `% weight NUMBER`, or `% prompt` with caller or operator and a text"
                            )));
                        }
                    }
                    continue;
                }
                for word in row.split_whitespace() {
                    let letters: Box<[char]> = word.chars().collect();
                    if letters.len() > LONGEST {
                        return Err(fault(format!(
                            "`{word}` is longer than {LONGEST} characters; divide words by spaces"
                        )));
                    }
                    if let Some(odd) = letters.iter().find(|letter| !letter.is_alphanumeric()) {
                        return Err(fault(format!(
                            "`{word}` holds `{odd}`; write words of characters, letters and digits only"
                        )));
                    }
                    match slot {
                        Slot::Surname => surnames.push(word.to_owned()),
                        Slot::Sensitive => {
                            sensitive.push((word.to_owned(), Some(list.as_ref().to_owned())));
                        }
                        Slot::Harmless => sensitive.push((word.to_owned(), None)),
                        Slot::Anywhere if letters.len() < 2 => {
                            return Err(fault(format!(
                                "`{word}` is a single character, which sounds like too many others; \
                                 write a word of two or more"
                            )));
                        }
                        Slot::Anywhere => terms.push(Term {
                            letters,
                            list: list.clone(),
                            weight,
                        }),
                    }
                    if terms.len() + surnames.len() + sensitive.len() > MOST_TERMS {
                        return Err(fault(format!(
                            "there are more than {MOST_TERMS} words; leave out those that nobody says"
                        )));
                    }
                }
            }
        }
        Ok(Self {
            prompts,
            ..Self::build(terms, surnames, sensitive)
        })
    }

    fn build(
        all: Vec<Term>,
        surnames: Vec<String>,
        sensitive: Vec<(String, Option<String>)>,
    ) -> Self {
        let mut nodes = vec![Node::default()];
        let mut terms: Vec<Term> = Vec::new();
        let mut by_text = HashMap::new();
        for term in all {
            if by_text.contains_key(&term.letters) {
                continue;
            }
            let number = terms.len() as u32;
            by_text.insert(term.letters.clone(), number);
            let mut at = 0_usize;
            for letter in &term.letters {
                let known = nodes[at].children.iter().find(|(known, _)| known == letter);
                at = if let Some((_, child)) = known {
                    *child as usize
                } else {
                    let child = nodes.len();
                    nodes[at].children.push((*letter, child as u32));
                    nodes.push(Node::default());
                    child
                };
            }
            nodes[at].term = Some(number);
            terms.push(term);
        }
        let mut openings = vec![Vec::new(); Syllable::KINDS];
        for (letter, child) in &nodes[0].children {
            for (kind, near) in openings.iter_mut().enumerate() {
                let sounds_near = pinyin::readings(*letter)
                    .iter()
                    .any(|reading| Syllable::kind_distance(kind, reading.kind()) <= FARTHEST);
                if sounds_near {
                    near.push((*letter, *child));
                }
            }
        }
        let compound = surnames
            .iter()
            .filter(|name| name.chars().count() > 1)
            .cloned()
            .collect();
        Self {
            terms,
            by_text,
            nodes,
            openings,
            surnames,
            compound,
            sensitive: Sensitive::new(sensitive),
            prompts: HashMap::new(),
        }
    }

    /// How many words there are, surnames not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Whether there is no word at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.surnames.is_empty()
    }

    /// The words in the order of their lists.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The word that is written so.
    #[must_use]
    pub fn get(&self, letters: &[char]) -> Option<&Term> {
        self.by_text
            .get(letters)
            .map(|at| &self.terms[*at as usize])
    }

    /// What a side typically says, for the recogniser to read before; empty where no list has one.
    #[must_use]
    pub fn prompt(&self, leg: Leg) -> &str {
        self.prompts.get(&leg).map_or("", String::as_str)
    }

    /// The words that are marked.
    #[must_use]
    pub const fn sensitive(&self) -> &Sensitive {
        &self.sensitive
    }

    /// Surnames, the most frequent first.
    #[must_use]
    pub fn surnames(&self) -> &[String] {
        &self.surnames
    }

    /// Whether `letters` begin with a surname, and how long it is.
    #[must_use]
    pub fn surname_at(&self, letters: &[char]) -> Option<usize> {
        let two: String = letters.iter().take(2).collect();
        if self.compound.contains(&two) {
            return Some(2);
        }
        let first = letters.first()?;
        self.surnames
            .iter()
            .any(|name| name.chars().eq([*first]))
            .then_some(1)
    }

    /// Calls `found` with each word that the beginning of `heard` may have been, and how far apart they sound.
    pub(super) fn sounding_like(&self, heard: &[char], mut found: impl FnMut(&Term, &Likeness)) {
        let Some(first) = heard.first() else { return };
        let mut opened: Vec<u32> = Vec::new();
        for reading in pinyin::readings(*first) {
            for (letter, child) in &self.openings[reading.kind()] {
                if opened.contains(child) {
                    continue;
                }
                opened.push(*child);
                self.follow(heard, *letter, *child, Likeness::default(), &mut found);
            }
        }
    }

    fn follow(
        &self,
        heard: &[char],
        letter: char,
        child: u32,
        so_far: Likeness,
        found: &mut impl FnMut(&Term, &Likeness),
    ) {
        let at = so_far.long;
        let Some(distance) = heard
            .get(at)
            .and_then(|heard| pinyin::distance(*heard, letter))
        else {
            return;
        };
        let is_far = distance > FARTHEST;
        if is_far && (at == 0 || so_far.far > 0) {
            return;
        }
        let likeness = Likeness {
            long: at + 1,
            changed: so_far.changed + usize::from(heard[at] != letter),
            distance: so_far.distance + distance,
            far: so_far.far + usize::from(is_far),
        };
        let node = &self.nodes[child as usize];
        if let Some(term) = node.term {
            found(&self.terms[term as usize], &likeness);
        }
        for (letter, child) in &node.children {
            self.follow(heard, *letter, *child, likeness, found);
        }
    }
}

/// How alike what was heard and a word sound.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Likeness {
    /// Characters of the word.
    pub long: usize,
    /// How many of them differ.
    pub changed: usize,
    /// The sum of their distances.
    pub distance: f32,
    /// How many of them sound nothing alike, one at most.
    pub far: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(text: &str) -> Vocabulary {
        Vocabulary::parse([("words.txt", text)]).expect("a list")
    }

    fn likes(vocabulary: &Vocabulary, heard: &str) -> Vec<String> {
        let heard: Vec<char> = heard.chars().collect();
        let mut found = Vec::new();
        vocabulary.sounding_like(&heard, |term, _| found.push(term.letters.iter().collect()));
        found
    }

    #[test]
    fn a_word_is_found_by_what_sounds_like_it() {
        let vocabulary = vocabulary("% list 行政区划\n芝罘区 莱山区\n福山区 芝罘\n");
        assert_eq!(likes(&vocabulary, "支湖区南大街"), ["芝罘", "芝罘区"]);
        assert_eq!(likes(&vocabulary, "来三区"), ["莱山区"]);
        assert_eq!(likes(&vocabulary, "湖山区"), ["福山区"]);
        assert!(likes(&vocabulary, "南大街").is_empty() && likes(&vocabulary, "").is_empty());
        assert_eq!(&*vocabulary.terms()[0].list, "行政区划");
    }

    #[test]
    fn a_word_in_two_lists_counts_once_and_comments_do_not() {
        let vocabulary = vocabulary("# 注释\n退款 退款\n\n% list 姓氏\n% slot surname\n王 欧阳\n");
        assert_eq!((vocabulary.len(), vocabulary.surnames().len()), (1, 2));
        let letters: Vec<char> = "欧阳先生".chars().collect();
        assert_eq!(vocabulary.surname_at(&letters), Some(2));
        assert_eq!(vocabulary.surname_at(&['王']), Some(1));
        assert_eq!(vocabulary.surname_at(&['亡']), None);
    }

    #[test]
    fn a_fault_names_file_line_and_remedy() {
        for (text, line, says) in [
            ("退款\n% lists x", 2, "% list NAME"),
            ("我", 1, "two or more"),
            ("退款，退货", 1, "`，`"),
            ("一二三四五六七八九十一二三", 1, "longer"),
            ("% prompt caller 你好\n% prompt caller 您好", 2, "already"),
            ("% prompt mono 你好", 1, "caller or operator"),
        ] {
            let fault = Vocabulary::parse([("w.txt", text)]).err().expect(text);
            assert_eq!(fault.line, line);
            let sentence = fault.to_string();
            assert!(
                sentence.contains("w.txt") && sentence.contains(says),
                "{sentence}"
            );
        }
    }
}
