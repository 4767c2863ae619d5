//! Words by their sound: what a recogniser wrote may be read aloud again, and then it is what was said.
//!
//! Used where the place tells what to expect (the operator's question, the words beside a number), never to change
//! what was recognised; [`super::asr_correction`] does that, with more care.

use std::ops::Range;
use std::sync::LazyLock;

use super::dialogue::PreparedUtterance;
use crate::text::pinyin::{Syllable, readings};

/// Syllables that are as good as the same on a telephone line are further apart than this only when they are not.
const SAME: f32 = 0.21;
/// The first of the private characters that stand for sounds.
const SOUNDS: u32 = 0xF_0000;

/// One private character for each group of syllables that sound the same.
static GROUPS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let mut group: Vec<usize> = (0..Syllable::KINDS).collect();
    for kind in 0..Syllable::KINDS {
        for other in 0..kind {
            if Syllable::kind_distance(kind, other) < SAME {
                let (from, to) = (group[kind], group[other]);
                for member in &mut group {
                    if *member == from {
                        *member = to;
                    }
                }
            }
        }
    }
    group
        .into_iter()
        .map(|group| char::from_u32(SOUNDS + group as u32).unwrap_or(' '))
        .collect()
});

/// The sound of a character; what is no Chinese character sounds like itself.
pub(super) fn sound(letter: char) -> char {
    readings(letter)
        .first()
        .map_or(letter, |reading| GROUPS[reading.kind()])
}

/// Whether two characters sound the same.
pub(super) fn alike(one: char, other: char) -> bool {
    one == other || sound(one) == sound(other)
}

/// Whether `word` sounds in `letters` from `at` on.
pub(super) fn sounds_at(letters: &[char], at: usize, word: &str) -> bool {
    let mut rest = letters.get(at..).unwrap_or_default().iter();
    word.chars()
        .all(|letter| rest.next().is_some_and(|heard| alike(*heard, letter)))
}

/// Where one of `words` sounds first in `said`. Single characters sound like too many others and do not count.
pub(super) fn heard(said: &PreparedUtterance, words: &[&str]) -> Option<Range<usize>> {
    let of = || said.chars.iter().copied().map(sound).collect();
    let sounds: &Vec<char> = said.found.sounds.get_or_init(of);
    words
        .iter()
        .filter_map(|word| {
            let mut letters = word.chars();
            let first = sound(letters.next()?);
            let rest = letters.as_str();
            let long = 1 + rest.chars().count();
            let at = (0..(sounds.len() + 1).saturating_sub(long)).find(|at| {
                sounds[*at] == first
                    && (sounds[at + 1..].iter().zip(rest.chars()))
                        .all(|(heard, letter)| *heard == sound(letter))
            })?;
            (long > 1).then_some(at..at + long)
        })
        .min_by_key(|range| (range.start, usize::MAX - range.end))
}

/// Whether one of `words` is said, or sounds like it.
pub(super) fn has(said: &PreparedUtterance, words: &[&str]) -> bool {
    said.has(words) || heard(said, words).is_some()
}

#[cfg(test)]
mod tests {
    use super::{alike, has, heard};
    use crate::speech::Leg;
    use crate::ticket::dialogue::PreparedUtterance;

    #[test]
    fn a_word_is_heard_however_it_was_written() {
        let said = PreparedUtterance::of(0, Leg::Operator, "先生您跪兴？");
        assert_eq!(heard(&said, &["贵姓"]), Some(3..5));
        assert!(has(&said, &["先生"]) && !has(&said, &["地址"]));
        assert!(alike('圣', '剩') && !alike('电', '话'));
    }

    #[test]
    fn a_single_character_is_not_taken_by_its_sound() {
        assert_eq!(
            heard(&PreparedUtterance::of(0, Leg::Caller, "他教我"), &["叫"]),
            None
        );
    }
}
