//! Hypotheses of passages of one sentence, put together: behind a pause, and behind a cut.
//!
//! While somebody speaks on after a short pause, what was said before the pause is known already: later tentative
//! passes hear only what follows, are told the text before as their prompt, and their text goes behind it. And where
//! an utterance was too long and had to be cut in the middle of a word, the next one begins a little before the cut;
//! what both heard there is written once.

use std::time::Duration;

use crate::audio::MediaTime;
use crate::private::Private;
use crate::speech::Hypothesis;
use crate::speech::words::{Word, is_said};

/// Characters that are told as prompt: a clause or two.
const TOLD: usize = 24;
/// Characters that an overlap can hold: fast speech has eight a second.
const MOST_REPEATED: usize = 6;

/// What ends a passage for the recogniser, which does not know that the sentence goes on.
fn is_stop(letter: char) -> bool {
    "。．.！!，,、；;…".contains(letter)
}

/// The end of `text` as a prompt for what follows it.
#[must_use]
pub fn told(text: &Private<String>) -> Private<String> {
    let letters: Vec<char> = text.reveal().chars().collect();
    Private::new(
        letters[letters.len().saturating_sub(TOLD)..]
            .iter()
            .collect(),
    )
}

/// `before` and, behind a comma, `after` as one hypothesis.
#[must_use]
pub fn joined(before: &Hypothesis, after: &Hypothesis) -> Hypothesis {
    let first = before.text.reveal().trim_end_matches(is_stop);
    let mut second = after.text.reveal().trim_start_matches(is_stop);
    // The recogniser may say what it was told once more.
    if !first.is_empty() {
        second = second.strip_prefix(first).unwrap_or(second);
    }
    if second.is_empty() {
        return before.clone();
    }
    if first.is_empty() {
        return after.clone();
    }
    let skipped = after.text.reveal().chars().count() - second.chars().count();
    let comma = !before.text.reveal().ends_with(['？', '?']);
    let text = format!("{first}{}{second}", if comma { "，" } else { "" });
    let shift = first.chars().count() + usize::from(comma);
    let later = after
        .words
        .iter()
        .filter(|word| word.from as usize >= skipped);
    let later = later.map(|word| moved(word, shift as i64 - skipped as i64));
    let counts = (before.words.len() as f32, after.words.len() as f32);
    Hypothesis {
        words: before.words.iter().copied().chain(later).collect(),
        confidence: if counts.0 + counts.1 > 0.0 {
            (before.confidence * counts.0 + after.confidence * counts.1) / (counts.0 + counts.1)
        } else {
            before.confidence.min(after.confidence)
        },
        text: Private::new(text),
        took: after.took,
    }
}

fn moved(word: &Word, by: i64) -> Word {
    let place = |at: u32| (i64::from(at) + by).max(0) as u32;
    Word {
        from: place(word.from),
        to: place(word.to),
        ..*word
    }
}

/// What an utterance heard that begins before the `cut` at which the one with the text `before` was ended: without what
/// that one has already.
#[must_use]
pub fn without_overlap(before: &str, cut: MediaTime, heard: &Hypothesis) -> Hypothesis {
    let said: Vec<char> = before.chars().filter(|letter| is_said(*letter)).collect();
    let letters: Vec<char> = heard.text.reveal().chars().collect();
    let places: Vec<usize> = (0..letters.len())
        .filter(|at| is_said(letters[*at]))
        .collect();
    let repeated = (1..=MOST_REPEATED.min(said.len()).min(places.len()))
        .rev()
        .find(|count| {
            let end = said[said.len() - count..].iter();
            let start = places[..*count].iter().map(|at| &letters[*at]);
            end.eq(start)
        });
    let skipped = if let Some(count) = repeated {
        places[count - 1] + 1
    } else {
        // Heard differently: what was mostly said before the cut belongs to the utterance before.
        let middle = |word: &Word| word.start + word.end.since(word.start) / 2;
        let early = heard.words.iter().take_while(|word| middle(word) < cut);
        early.last().map_or(0, |word| word.to as usize)
    };
    let rest: String = letters[skipped..].iter().collect();
    let trimmed = rest.trim_start_matches(|letter| is_stop(letter) || letter == ' ');
    let skipped = letters.len() - trimmed.chars().count();
    Hypothesis {
        words: heard
            .words
            .iter()
            .filter(|word| word.from as usize >= skipped)
            .map(|word| moved(word, -(skipped as i64)))
            .collect(),
        text: trimmed.into(),
        ..heard.clone()
    }
}

/// How much of an utterance is heard by both sides of a cut in a word.
pub const OVERLAP: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;

    /// One character each 200 ms from `start` on.
    fn heard(text: &str, start: u64) -> Hypothesis {
        let said = (0_u32..)
            .zip(text.chars())
            .filter(|(_, letter)| is_said(*letter));
        let time = |place: u32| MediaTime::from_millis(start + u64::from(place) * 200);
        Hypothesis {
            text: text.into(),
            words: said
                .map(|(at, _)| Word {
                    from: at,
                    to: at + 1,
                    start: time(at),
                    end: time(at + 1),
                    confidence: 0.9,
                })
                .collect(),
            confidence: 0.9,
            took: Duration::ZERO,
        }
    }

    fn consistent(hypothesis: &Hypothesis) {
        let letters: Vec<char> = hypothesis.text.reveal().chars().collect();
        for word in &hypothesis.words {
            assert!(
                letters[word.from as usize..word.to as usize]
                    .iter()
                    .all(|letter| is_said(*letter))
            );
        }
        let said = letters.iter().filter(|letter| is_said(**letter)).count();
        assert_eq!(hypothesis.words.len(), said);
    }

    #[test]
    fn what_follows_a_pause_stands_behind_a_comma_and_its_words_move_along() {
        for (before, after, wanted) in [
            (
                "我家附近的西饼店倒闭了。",
                "但我的卡还没用完。",
                "我家附近的西饼店倒闭了，但我的卡还没用完。",
            ),
            ("请问？", "，怎么退款", "请问？怎么退款"),
            ("我住在", "我住在芝罘区", "我住在，芝罘区"),
            ("好的。", "。", "好的。"),
            ("。", "好的", "好的"),
        ] {
            let whole = joined(&heard(before, 0), &heard(after, 5_000));
            assert_eq!(whole.text.reveal(), wanted);
            consistent(&whole);
        }
    }

    #[test]
    fn what_both_sides_of_a_cut_heard_is_written_once() {
        let cut = MediaTime::from_millis(400);
        for (before, after, wanted) in [
            ("我要投诉一家", "一家西饼店", "西饼店"),
            ("我要投诉，一", "一家西饼店", "家西饼店"),
            // Heard differently: by the time.
            ("我要投诉", "素一家西饼店", "家西饼店"),
            ("我要投诉", "", ""),
        ] {
            let rest = without_overlap(before, cut, &heard(after, 0));
            assert_eq!(rest.text.reveal(), wanted);
            consistent(&rest);
        }
    }

    #[test]
    fn a_prompt_is_the_end_of_what_was_said() {
        let long: String = "我".repeat(100) + "要投诉";
        let prompt = told(&long.into());
        assert_eq!(prompt.reveal().chars().count(), TOLD);
        assert!(prompt.reveal().ends_with("要投诉"));
    }
}
