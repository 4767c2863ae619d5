//! Local agreement: text that two successive passes agree on is committed and does not change any more.
//!
//! A recogniser that hears more of a sentence rewrites its end again and again, but seldom its beginning. What two
//! passes wrote alike is therefore committed: every later version of the line begins with it. A number that may still
//! grow (一百 … 一百二十八 → 128) and punctuation at the end wait until something stands behind them.

use crate::speech::finish::{Change, Written};
use crate::speech::words::{Word, is_said};

/// One utterance's versions on their way to a line.
#[derive(Debug, Default)]
pub struct Agreement {
    /// The last version, whole.
    last: Option<Written>,
    /// How many of its characters are committed.
    committed: usize,
}

impl Agreement {
    /// Takes the next version; gives it as it may be shown, beginning with what is committed, and how many of its
    /// characters now are. Of the last version all are.
    pub fn take(&mut self, written: Written, is_last: bool) -> (Written, u32) {
        let shown = match &self.last {
            Some(last) if self.committed > 0 => kept(last, self.committed, written),
            _ => written,
        };
        let letters: Vec<char> = shown.text.reveal().chars().collect();
        if is_last {
            self.committed = letters.len();
        } else if let Some(last) = &self.last {
            let before = last.text.reveal().chars();
            let alike = before.zip(&letters).take_while(|(a, b)| a == *b).count();
            let boundary = settled(&letters, &shown.changes, alike);
            self.committed = self.committed.max(boundary);
        }
        self.last = Some(shown.clone());
        (shown, self.committed as u32)
    }

    /// The characters that are committed.
    #[must_use]
    pub fn committed(&self) -> String {
        let last = self.last.iter();
        last.flat_map(|last| last.text.reveal().chars().take(self.committed))
            .collect()
    }

    /// The words that are committed.
    pub fn committed_words(&self) -> impl Iterator<Item = &Word> {
        let last = self.last.iter();
        last.flat_map(|last| &last.words)
            .take_while(|word| word.to as usize <= self.committed)
    }
}

/// What may still grow when more is heard: digits, spoken numbers and what stands between their parts.
fn is_numeral(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || "零〇一二三四五六七八九十百千万亿两幺点半分之第.%".contains(letter)
}

/// Where the first `alike` characters end so that nothing before that place can still change.
fn settled(letters: &[char], changes: &[Change], alike: usize) -> usize {
    let mut at = alike;
    loop {
        let behind = letters.get(at).copied();
        let Some(&before) = letters[..at].last() else {
            return 0;
        };
        let open = !is_said(before)
            || is_numeral(before) && behind.is_none_or(|next| is_numeral(next) || !is_said(next))
            || before.is_ascii_alphanumeric()
                && behind.is_some_and(|next| next.is_ascii_alphanumeric());
        let within = changes
            .iter()
            .find(|change| (change.from as usize) < at && at < change.to as usize);
        if let Some(change) = within {
            at = change.from as usize;
        } else if open {
            at -= 1;
        } else {
            return at;
        }
    }
}

/// `new`, with the first `committed` characters of `old` in place of what the new version makes of them.
fn kept(old: &Written, committed: usize, new: Written) -> Written {
    let prefix: Vec<char> = old.text.reveal().chars().take(committed).collect();
    let letters: Vec<char> = new.text.reveal().chars().collect();
    if letters.starts_with(&prefix) {
        return new;
    }
    let behind = counterpart(&prefix, &letters);
    // A rewritten stretch is one thing: it is not taken in half.
    let behind = new.changes.iter().fold(behind, |behind, change| {
        if (change.from as usize) < behind && behind < change.to as usize {
            change.to as usize
        } else {
            behind
        }
    });
    // A comma between what stands and what goes on belongs to neither.
    let shift = |place: u32| place - behind as u32 + committed as u32;
    let text: String = prefix.iter().chain(&letters[behind..]).collect();
    let words = old
        .words
        .iter()
        .filter(|word| word.to as usize <= committed);
    let mut words: Vec<Word> = words.copied().collect();
    let until = words.last().map(|word| word.end);
    words.extend(
        new.words
            .iter()
            .filter(|word| word.from as usize >= behind)
            .map(|word| Word {
                from: shift(word.from),
                to: shift(word.to),
                start: until.map_or(word.start, |until| word.start.max(until)),
                end: until.map_or(word.end, |until| word.end.max(until)),
                ..*word
            }),
    );
    let changes = old
        .changes
        .iter()
        .filter(|change| change.to as usize <= committed);
    let mut changes: Vec<Change> = changes.cloned().collect();
    changes.extend(
        new.changes
            .iter()
            .filter(|change| change.from as usize >= behind)
            .map(|change| Change {
                from: shift(change.from),
                to: shift(change.to),
                ..change.clone()
            }),
    );
    Written {
        text: text.into(),
        words,
        changes,
    }
}

/// How many of `letters` are the new version of `prefix`: the beginning that takes the fewest edits to make it, and
/// of several the one nearest in length.
fn counterpart(prefix: &[char], letters: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=letters.len()).collect();
    for (i, a) in prefix.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in letters.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    (0..row.len())
        .min_by_key(|at| (row[*at], at.abs_diff(prefix.len())))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::finish::ChangeKind;

    fn written(text: &str) -> Written {
        let words = (0_u32..).zip(text.chars());
        let words = words.filter(|(_, letter)| is_said(*letter));
        Written {
            text: text.into(),
            words: words
                .map(|(at, _)| Word {
                    from: at,
                    to: at + 1,
                    start: MediaTime::from_millis(u64::from(at) * 100),
                    end: MediaTime::from_millis(u64::from(at) * 100 + 100),
                    confidence: 0.9,
                })
                .collect(),
            changes: Vec::new(),
        }
    }

    /// What is shown after each version, with a bar behind what is committed.
    fn versions(texts: &[&str]) -> Vec<String> {
        let mut agreement = Agreement::default();
        let last = texts.len() - 1;
        let shown = |(at, text): (usize, &&str)| {
            let (shown, committed) = agreement.take(written(text), at == last);
            let letters: Vec<char> = shown.text.into_inner().chars().collect();
            let (solid, rest) = letters.split_at(committed as usize);
            solid.iter().chain(&['|']).chain(rest).collect()
        };
        texts.iter().enumerate().map(shown).collect()
    }

    #[test]
    fn what_two_passes_wrote_alike_is_committed_and_all_of_the_last() {
        assert_eq!(
            versions(&["我要投", "我要投速。", "我要投诉一家店", "我要投诉一家店。"]),
            [
                "|我要投",
                "我要投|速。",
                "我要投|诉一家店",
                "我要投诉一家店。|"
            ]
        );
    }

    #[test]
    fn a_later_pass_that_contradicts_goes_on_behind_what_is_committed() {
        assert_eq!(
            versions(&[
                "你好我家",
                "你好我家",
                "您好，我家附近的",
                "您好，我家附近的店。"
            ]),
            [
                "|你好我家",
                "你好我家|",
                "你好我家|附近的",
                "你好我家附近的店。|"
            ]
        );
    }

    #[test]
    fn a_number_that_may_still_grow_and_punctuation_at_the_end_wait() {
        assert_eq!(
            versions(&["住一百。", "住一百。", "住一百二十八号", "住一百二十八号，"]),
            [
                "|住一百。",
                "住|一百。",
                "住|一百二十八号",
                "住一百二十八号，|"
            ]
        );
    }

    #[test]
    fn a_change_is_committed_as_a_whole_or_not() {
        let rewritten = |text: &str, to: u32| Written {
            changes: vec![Change {
                from: 1,
                to,
                said: "一百二".into(),
                kind: ChangeKind::Number,
                list: String::new(),
                undone: None,
            }],
            ..written(text)
        };
        let mut agreement = Agreement::default();
        agreement.take(rewritten("住芝罘区的", 4), false);
        assert_eq!(agreement.take(rewritten("住芝罘路的", 4), false).1, 1);
        let (shown, committed) = agreement.take(rewritten("住芝罘路的店", 4), false);
        assert_eq!((shown.changes.len(), committed), (1, 5));
    }

    #[test]
    fn every_version_begins_with_what_was_committed_before_and_its_words_lie_in_its_text() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(11);
        let letters = ['我', '要', '一', '百', '，', '店', '8'];
        for _ in 0..500 {
            let mut agreement = Agreement::default();
            let mut before = String::new();
            for pass in 0..8 {
                let length = random.random_range(0..10);
                let text: String = (0..length)
                    .map(|_| letters[random.random_range(0..letters.len())])
                    .collect();
                let (shown, committed) = agreement.take(written(&text), pass == 7);
                let count = shown.text.reveal().chars().count();
                assert!(shown.text.reveal().starts_with(&before));
                assert!(committed as usize <= count);
                assert!(shown.words.iter().all(|word| word.to as usize <= count));
                assert!(
                    shown
                        .words
                        .windows(2)
                        .all(|pair| pair[0].end <= pair[1].start)
                );
                before = agreement.committed();
                assert_eq!(before.chars().count(), committed as usize);
            }
        }
    }
}
