//! A change that an operator takes back, or lets stand again: the line gets a new version, its other changes stay.

use serde::{Deserialize, Serialize};

use super::Line;
use crate::private::Private;
use crate::speech::words::{Letter, words};

/// Which change of which line, and how it shall stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The utterance.
    pub line: u32,
    /// The change's place among those of the line, from 0; it stays the same until a final line is heard anew.
    pub change: usize,
    /// The version of the line in which it was seen, where that is known: a line that has been heard anew since has other
    /// changes, and stays as it is.
    pub seen: Option<u32>,
    /// Whether what was heard shall stand, or again what was written in its place.
    pub undone: bool,
}

/// The version of `line` in which its change number `at` stands so; `None` when the line is not final or has no such
/// change. A change that stands so already gives the line as it is.
#[must_use]
pub fn revised(line: &Line, at: usize, undone: bool) -> Option<Line> {
    let change = line.changes.get(at).filter(|_| line.is_final)?;
    if change.undone.is_some() == undone {
        return Some(line.clone());
    }
    let old: Vec<char> = line.text.reveal().chars().collect();
    let (from, to) = (change.from as usize, (change.to as usize).min(old.len()));
    let standing: String = old.get(from..to)?.iter().collect();
    let (text, undone) = match &change.undone {
        None => (change.said.clone(), Some(Private::new(standing))),
        Some(written) => (written.clone(), None),
    };
    let put: Vec<char> = text.reveal().chars().collect();
    let end = from + put.len();
    let moved = |place: u32| {
        let place = place as usize;
        (if place >= to { place - to + end } else { place }) as u32
    };
    let mut new = line.clone();
    new.revision += 1;
    new.words = put_in(line, &old, from..to, &put);
    for change in &mut new.changes {
        (change.from, change.to) = (moved(change.from), moved(change.to));
    }
    let change = &mut new.changes[at];
    (change.from, change.to, change.undone) = (from as u32, end as u32, undone);
    let letters: Vec<char> = [&old[..from], &put, &old[to..]].concat();
    new.committed = letters.len() as u32;
    new.text = Private::new(letters.into_iter().collect());
    // Their places are those of another text.
    new.marks.clear();
    Some(new)
}

/// The line's words with `put` in place of `range`: what is put in shares the time of what stood there.
fn put_in(
    line: &Line,
    old: &[char],
    range: std::ops::Range<usize>,
    put: &[char],
) -> Vec<crate::speech::words::Word> {
    if line.words.is_empty() {
        return Vec::new();
    }
    let (start, end) = line.time_of(range.start as u32, range.end as u32);
    let sure = line
        .words
        .iter()
        .filter(|word| (word.from as usize) < range.end && range.start < word.to as usize)
        .map(|word| word.confidence)
        .fold(1.0, f32::min);
    let share = |part: usize| {
        start
            + end
                .since(start)
                .mul_f64(part as f64 / put.len().max(1) as f64)
    };
    let inner = put.iter().enumerate().map(|(part, letter)| Letter {
        letter: *letter,
        start: share(part),
        end: share(part + 1),
        confidence: sure,
    });
    let outer = |at: usize| {
        let place = at as u32;
        let word = line
            .words
            .iter()
            .find(|word| word.from <= place && place < word.to);
        let (start, end) = word.map_or((line.start, line.start), |word| (word.start, word.end));
        Letter {
            letter: old[at],
            start,
            end,
            confidence: word.map_or(1.0, |word| word.confidence),
        }
    };
    let letters: Vec<Letter> = (0..range.start)
        .map(outer)
        .chain(inner)
        .chain((range.end..old.len()).map(outer))
        .collect();
    words(&letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::Leg;
    use crate::speech::finish::{Change, ChangeKind};
    use crate::speech::words::Word;

    /// 我住芝罘区23号楼。 as it was heard: 我住支湖区二十三号楼, one character each 100 ms.
    fn line() -> Line {
        let word = |from: u32, to: u32, start: u64, end: u64| Word {
            from,
            to,
            start: MediaTime::from_millis(start),
            end: MediaTime::from_millis(end),
            confidence: 0.9,
        };
        let change = |from: u32, to: u32, said: &str, kind: ChangeKind| Change {
            from,
            to,
            said: said.into(),
            kind,
            list: String::new(),
            undone: None,
        };
        let mut words: Vec<Word> = (0..5)
            .map(|at| word(at, at + 1, u64::from(at) * 100, u64::from(at) * 100 + 100))
            .collect();
        words.extend([
            word(5, 7, 500, 800),
            word(7, 8, 800, 900),
            word(8, 9, 900, 1_000),
        ]);
        Line {
            words,
            changes: vec![
                change(2, 5, "支湖区", ChangeKind::Hotword),
                change(5, 7, "二十三", ChangeKind::Number),
            ],
            ..Line::plain(
                3,
                Leg::Caller,
                "我住芝罘区23号楼。",
                MediaTime::ZERO,
                MediaTime::from_millis(1_000),
            )
        }
    }

    fn standing(line: &Line, at: usize) -> String {
        let change = &line.changes[at];
        let letters = line.text.reveal().chars();
        letters
            .skip(change.from as usize)
            .take((change.to - change.from) as usize)
            .collect()
    }

    #[test]
    fn what_was_heard_stands_again_and_the_other_changes_keep_their_places() {
        let undone = revised(&line(), 1, true).expect("a change");
        assert_eq!(undone.text.reveal(), "我住芝罘区二十三号楼。");
        assert_eq!((undone.revision, undone.committed), (2, 11));
        assert_eq!(
            (standing(&undone, 0), standing(&undone, 1)),
            ("芝罘区".into(), "二十三".into())
        );
        let undone = revised(&undone, 0, true).expect("a change");
        assert_eq!(undone.text.reveal(), "我住支湖区二十三号楼。");
        assert_eq!(standing(&undone, 1), "二十三");
        let times: Vec<u64> = undone
            .words
            .iter()
            .map(|word| word.start.as_millis())
            .collect();
        assert_eq!(times, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(
            undone.changes[0]
                .undone
                .as_ref()
                .map(|was| was.reveal().as_str()),
            Some("芝罘区")
        );
    }

    #[test]
    fn a_change_that_is_made_again_gives_the_line_as_it_was() {
        let undone = revised(&line(), 1, true).expect("a change");
        let again = revised(&undone, 1, false).expect("a change");
        assert_eq!(
            again,
            Line {
                revision: 3,
                ..line()
            }
        );
    }

    #[test]
    fn what_stands_so_already_stays_and_what_is_not_there_cannot_be_undone() {
        assert_eq!(revised(&line(), 0, false), Some(line()));
        assert_eq!(revised(&line(), 2, true), None);
        let tentative = Line {
            is_final: false,
            ..line()
        };
        assert_eq!(revised(&tentative, 0, true), None);
    }
}
