//! When each word was said: words as ranges of a text, with times from the call's clock.
//!
//! A word is one Chinese character, or one run of Latin letters or digits; punctuation belongs to none. Words are
//! ranges rather than texts of their own, so that they say nothing about a citizen and survive any rewriting of the
//! text: [`carry`] brings them from what was heard to what is written.

use serde::{Deserialize, Serialize};

use crate::audio::MediaTime;

/// A word of a text and when it was said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// Its first character, counted in characters (Unicode scalar values) of the text.
    pub from: u32,
    /// Behind its last character.
    pub to: u32,
    /// When it began.
    pub start: MediaTime,
    /// When it ended.
    pub end: MediaTime,
    /// How sure the recogniser is of it, 0.0 to 1.0.
    pub confidence: f32,
}

/// One character of what was heard, with its time and the probability of its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letter {
    /// The character.
    pub letter: char,
    /// When it began.
    pub start: MediaTime,
    /// When it ended.
    pub end: MediaTime,
    /// 0.0 to 1.0.
    pub confidence: f32,
}

/// Whether a character joins its neighbours of the same kind to one word.
fn joins(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
}

/// Whether a character is said at all.
#[must_use]
pub fn is_said(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '%'
}

/// The words of a text whose characters have times.
#[must_use]
pub fn words(letters: &[Letter]) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (at, letter) in (0_u32..).zip(letters) {
        if !is_said(letter.letter) {
            continue;
        }
        match words.last_mut() {
            Some(last)
                if last.to == at
                    && joins(letter.letter)
                    && joins(letters[at as usize - 1].letter) =>
            {
                last.to = at + 1;
                last.end = last.end.max(letter.end);
                last.confidence = last.confidence.min(letter.confidence);
            }
            _ => words.push(Word {
                from: at,
                to: at + 1,
                start: letter.start,
                end: letter.end.max(letter.start),
                confidence: letter.confidence.clamp(0.0, 1.0),
            }),
        }
    }
    words
}

/// The words of `written`, with the times of those of `heard` that they came from.
///
/// The two texts are aligned by the fewest edits. A character that was put in between has the time between its
/// neighbours, so that 一百二十八 → 128 spans what it stands for.
#[must_use]
pub fn carry(heard: &str, words: &[Word], written: &str) -> Vec<Word> {
    if heard == written || words.is_empty() {
        return words.to_vec();
    }
    let heard: Vec<char> = heard.chars().collect();
    let written: Vec<char> = written.chars().collect();
    carry_along(words, &written, &stretches(&heard, &written))
}

/// The words of `written`, each character of which stands for a stretch of the characters of what was heard.
#[must_use]
pub fn carry_along(words: &[Word], written: &[char], source: &[(usize, usize)]) -> Vec<Word> {
    if words.is_empty() {
        return Vec::new();
    }
    let mut letters: Vec<Letter> = written
        .iter()
        .zip(source)
        .map(|(letter, (from, to))| {
            let within = |word: &&Word| (word.from as usize) < *to && *from < word.to as usize;
            let said: Vec<&Word> = words.iter().filter(within).collect();
            let before = || {
                let word = words.iter().rev().find(|word| word.to as usize <= *from);
                word.map_or(words[0].start, |word| word.end)
            };
            let after = || {
                let word = words.iter().find(|word| word.from as usize >= *to);
                word.map_or_else(before, |word| word.start)
            };
            let sure = |word: &&Word| word.confidence;
            Letter {
                letter: *letter,
                start: said.first().map_or_else(before, |word| word.start),
                end: said.last().map_or_else(after, |word| word.end),
                confidence: said.iter().map(sure).fold(1.0, f32::min),
            }
        })
        .collect();
    // Those that stand for one stretch together share its time: 五点半 → 5:30.
    let (mut at, mut until) = (0, words[0].start);
    while at < letters.len() {
        let together = source[at..]
            .iter()
            .take_while(|range| **range == source[at]);
        let count = together.count() as u32;
        // A word of several characters may have come apart.
        let start = letters[at].start.max(until);
        let end = letters[at].end.max(start);
        let share = |part: u32| start + end.since(start) * part / count;
        for (part, letter) in (0..count).zip(&mut letters[at..]) {
            (letter.start, letter.end) = (share(part), share(part + 1));
        }
        until = share(count - 1);
        at += count as usize;
    }
    self::words(&letters)
}

/// For each character of `to` the range of `from` that the fewest edits assign to it: one character where they match
/// or one replaced the other, and for a changed stretch as a whole the whole stretch.
fn stretches(from: &[char], to: &[char]) -> Vec<(usize, usize)> {
    let kept = kept(from, to);
    let mut source = vec![(0, 0); to.len()];
    let (mut i, mut j) = (0, 0);
    for (a, b) in kept
        .into_iter()
        .chain(std::iter::once((from.len(), to.len())))
    {
        // What lies between two kept characters was rewritten: evenly, when as many came out as went in.
        let (left, right) = (a - i, b - j);
        for (at, source) in source[j..b].iter_mut().enumerate() {
            *source = if left == right {
                (i + at, i + at + 1)
            } else {
                (i, a)
            };
        }
        if b < to.len() {
            source[b] = (a, a + 1);
        }
        (i, j) = (a + 1, b + 1);
    }
    source
}

/// The pairs of places that a longest common subsequence keeps.
fn kept(a: &[char], b: &[char]) -> Vec<(usize, usize)> {
    let width = b.len() + 1;
    let mut longest = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = if a[i] == b[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character each 100 ms.
    fn said(text: &str) -> Vec<Word> {
        let letters: Vec<Letter> = (0_u64..)
            .zip(text.chars())
            .map(|(at, letter)| Letter {
                letter,
                start: MediaTime::from_millis(at * 100),
                end: MediaTime::from_millis(at * 100 + 100),
                confidence: 0.5,
            })
            .collect();
        words(&letters)
    }

    /// Each word as its text and its milliseconds.
    fn timed(text: &str, words: &[Word]) -> Vec<(String, u64, u64)> {
        let letters: Vec<char> = text.chars().collect();
        words
            .iter()
            .map(|word| {
                let text = letters[word.from as usize..word.to as usize].iter();
                (text.collect(), word.start.as_millis(), word.end.as_millis())
            })
            .collect()
    }

    fn word(text: &str, start: u64, end: u64) -> (String, u64, u64) {
        (text.to_owned(), start, end)
    }

    #[test]
    fn a_character_or_a_run_of_latin_letters_is_a_word_and_punctuation_is_none() {
        let text = "用wifi，好";
        assert_eq!(
            timed(text, &said(text)),
            [
                word("用", 0, 100),
                word("wifi", 100, 500),
                word("好", 600, 700)
            ]
        );
    }

    #[test]
    fn a_rewritten_number_has_the_time_of_what_was_said() {
        let heard = "在一百二十八号，对";
        assert_eq!(
            timed(
                "在128号，对。",
                &carry(heard, &said(heard), "在128号，对。")
            ),
            [
                word("在", 0, 100),
                word("128", 100, 600),
                word("号", 600, 700),
                word("对", 800, 900)
            ]
        );
    }

    #[test]
    fn a_corrected_character_keeps_its_time() {
        let heard = "住支湖区吧";
        let carried = carry(heard, &said(heard), "住芝罘区吧");
        assert_eq!(
            timed("住芝罘区吧", &carried)[1..3],
            [word("芝", 100, 200), word("罘", 200, 300)]
        );
    }

    #[test]
    fn whatever_is_written_its_words_lie_in_order_and_within_what_was_heard() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..2_000 {
            let mut text = |letters: &[char]| -> String {
                let length = random.random_range(0..12);
                (0..length)
                    .map(|_| letters[random.random_range(0..letters.len())])
                    .collect()
            };
            let heard = text(&['一', '百', '号', '，', 'a']);
            let written = text(&['1', '百', '号', '，', 'a', 'b']);
            let before = said(&heard);
            let after = carry(&heard, &before, &written);
            for word in &after {
                assert!(word.from < word.to && word.to as usize <= written.chars().count());
                assert!(word.start <= word.end, "{heard} → {written}: {word:?}");
                assert!(word.end.as_millis() <= heard.chars().count() as u64 * 100);
            }
            for pair in after.windows(2) {
                assert!(pair[0].to <= pair[1].from && pair[0].start <= pair[1].start);
            }
        }
    }
}
