//! Spoken numbers to the figures that an operator writes, slot by slot: telephone numbers, amounts, dates, times, house
//! and flat numbers, percentages. What fits no slot stays as it was said, and idioms are never touched.
//!
//! The work is a list of [`Edit`]s, each of which names the characters that it replaces, so that every figure can be
//! traced to what was said.

mod slots;

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::numerals::{self, Reading, digit, unit};
use super::spans::{self, Standing};

/// Characters to be replaced, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Which characters.
    pub range: Range<usize>,
    /// What is written in their place; as many characters as the range when each stands for one of them.
    pub text: String,
}

/// The idioms, and the number of the first that names a day.
static IDIOMS: LazyLock<(AhoCorasick, usize)> = LazyLock::new(|| {
    let (idioms, days) = include_str!("idioms.txt")
        .split_once("% days")
        .expect("the list of idioms has its days");
    let words = |text: &'static str| {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
    };
    let found = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(words(idioms).chain(words(days)))
        .expect("the list of idioms is constant");
    (found, words(idioms).count())
});

/// Which characters are in an idiom that stands alone, or where idiom and number cannot be told apart.
fn in_idioms(letters: &[char]) -> Vec<bool> {
    let (idioms, first_day) = &*IDIOMS;
    let text: String = letters.iter().collect();
    let mut marked = vec![false; letters.len()];
    let (mut byte, mut at) = (0, 0);
    while let Some(found) = idioms.find(Input::new(&text).range(byte..)) {
        at += text[byte..found.start()].chars().count();
        let end = at + text[found.range()].chars().count();
        let is_day = found.pattern().as_usize() >= *first_day;
        match spans::standing(letters, at..end, is_day) {
            Standing::Word => marked[at..end].fill(true),
            Standing::Either(from) => marked[from..end].fill(true),
            // Another may begin within it: 六一, but 一直 in 九六一直.
            Standing::Number => {
                byte = found.start() + letters[at].len_utf8();
                at += 1;
                continue;
            }
        }
        at = end;
        byte = found.end();
    }
    marked
}

/// What to write in place of the numbers in `letters`.
///
/// `kept` are ranges that stay as they are (names with numerals in them). Of a line that still grows (`complete` is
/// false) a number that touches the end is left as spoken, because the next word may change its reading.
#[must_use]
pub fn edits(letters: &[char], kept: &[Range<usize>], complete: bool) -> Vec<Edit> {
    let mut closed = in_idioms(letters);
    for range in kept {
        for at in range.clone() {
            if let Some(closed) = closed.get_mut(at) {
                *closed = true;
            }
        }
    }
    let page = Page { letters, closed };
    let mut edits: Vec<Edit> = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        match page.step(at) {
            Step::Stay(next) => at = next.max(at + 1),
            Step::Write(found) => {
                let end = found.iter().map(|edit| edit.range.end).max().unwrap_or(at);
                if !complete && end == letters.len() {
                    break;
                }
                edits.extend(found);
                at = end.max(at + 1);
            }
        }
    }
    edits.retain(|edit| letters[edit.range.clone()].iter().collect::<String>() != edit.text);
    edits
}

/// What a look at one place comes to.
enum Step {
    /// Nothing is written before that place.
    Stay(usize),
    /// This is written, and reading goes on behind it.
    Write(Vec<Edit>),
}

/// The characters with those that must not be touched.
struct Page<'a> {
    letters: &'a [char],
    closed: Vec<bool>,
}

/// A number that stands at one place.
#[derive(Clone)]
struct Number {
    range: Range<usize>,
    reading: Reading,
}

impl Number {
    /// Its value, unless it is vague.
    fn value(&self) -> Option<u64> {
        match &self.reading {
            Reading::Digits(digits) => digits.parse().ok(),
            Reading::One(value) => Some(u64::from(*value)),
            Reading::Cardinal(value) => Some(*value),
            Reading::Vague => None,
        }
    }

    /// As figures, unless it is vague.
    fn figures(&self) -> Option<String> {
        match &self.reading {
            Reading::Digits(digits) => Some(digits.clone()),
            _ => self.value().map(numerals::written),
        }
    }
}

impl Page<'_> {
    fn get(&self, at: usize) -> Option<char> {
        self.letters.get(at).copied()
    }

    fn before(&self, at: usize) -> Option<char> {
        at.checked_sub(1).and_then(|at| self.get(at))
    }

    /// Whether the text from `at` on begins with one of `words`, and how long that one is.
    fn starts(&self, at: usize, words: &[&str]) -> Option<usize> {
        let rest = self.letters.get(at..)?;
        words
            .iter()
            .filter(|word| {
                let mut rest = rest.iter();
                word.chars().all(|letter| rest.next() == Some(&letter))
            })
            .map(|word| word.chars().count())
            .max()
    }

    /// Whether the text before `at` ends with one of `words`.
    fn ends(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| {
            let mut rest = self.letters[..at].iter().rev();
            word.chars()
                .rev()
                .all(|letter| rest.next() == Some(&letter))
        })
    }

    /// The number that begins at `at` and does not reach into an idiom.
    fn number(&self, at: usize) -> Option<Number> {
        let end = (at..self.letters.len())
            .find(|at| self.closed[*at])
            .unwrap_or(self.letters.len());
        if at >= end {
            return None;
        }
        let mut range = numerals::run(self.letters, at, end);
        if self.last_is_article(&range) {
            range.end -= 1;
        }
        (!range.is_empty()).then(|| Number {
            reading: numerals::read(&self.letters[range.clone()]),
            range,
        })
    }

    /// Whether the last 一 of a run begins what the number is the price of: 六百一个月, 两千六一平, 三块五一斤.
    fn last_is_article(&self, run: &Range<usize>) -> bool {
        let Some(last) = run.end.checked_sub(1).filter(|last| *last > run.start) else {
            return false;
        };
        let counts = spans::quantity(self.letters, run.end).is_some()
            && !matches!(
                self.get(run.end),
                Some('块' | '元' | '角' | '毛' | '分' | '点')
            );
        if self.letters[last] != '一' || !counts {
            return false;
        }
        let before = self.letters[last - 1];
        match numerals::read(&self.letters[run.start..last]) {
            Reading::Cardinal(_) => before != '十',
            Reading::One(_) => matches!(self.before(run.start), Some('块' | '元')),
            _ => false,
        }
    }

    fn step(&self, at: usize) -> Step {
        if self.closed[at] {
            return Step::Stay(at + 1);
        }
        if let Some(long) = self.starts(at, &["百分之", "千分之", "万分之"]) {
            return self.share(at, at + long).unwrap_or(Step::Stay(at + long));
        }
        let Some(number) = self.number(at) else {
            return Step::Stay(at + 1);
        };
        let end = number.range.end;
        let first = self.letters[at];
        // 百货, 千万别; 几十, 数百; 十几, 二十几.
        let bare = unit(first).is_some() && first != '十';
        let some = unit(first).is_some()
            && self
                .before(at)
                .is_some_and(|before| "几数".contains(before));
        if bare || some || self.get(end) == Some('几') {
            return Step::Stay(end);
        }
        self.fraction(&number)
            .or_else(|| self.telephone(&number))
            .or_else(|| self.clock_or_decimal(&number))
            .or_else(|| self.year(&number))
            .or_else(|| self.money(&number))
            .or_else(|| self.counted(&number))
            .unwrap_or(Step::Stay(end))
    }

    /// Whether the characters from `at` on end a clause.
    fn is_end(&self, at: usize) -> bool {
        self.get(at).is_none_or(|letter| !letter.is_alphanumeric())
    }

    /// Whether the number's digits are two neighbours, which give only an idea before a unit: 三四天, 一二年.
    fn is_idea(&self, number: &Number) -> bool {
        match self.letters[number.range.clone()] {
            [a, b] if !a.is_ascii() && !b.is_ascii() => {
                let (a, b) = (digit(a), digit(b));
                a.zip(b)
                    .is_some_and(|(a, b)| b == a + 1 || (a, b) == (3, 5))
            }
            _ => false,
        }
    }
}

/// An edit that writes the number as it is.
fn plain(number: &Number) -> Option<Step> {
    let text = number.figures()?;
    Some(Step::Write(vec![Edit {
        range: number.range.clone(),
        text,
    }]))
}

#[cfg(test)]
mod tests;
