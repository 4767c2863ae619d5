//! The pen: everything that lies between what was recognised and what the operator reads, in its order.

use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::correct::{self, Replacement};
use super::figures::{self, Edit};
use super::numerals::is_numeral;
use super::vocabulary::Vocabulary;
use super::{punctuation, script};
use crate::private::Private;
use crate::speech::finish::{Change, ChangeKind, Finish, Mark, Spoken, Written};

/// Writes lines with the lists as they now are; clones share the lists, so that all calls see new ones at once.
#[derive(Clone, Default)]
pub struct Pen {
    lists: Arc<RwLock<Arc<Vocabulary>>>,
    corrects: bool,
}

impl Pen {
    /// A pen with these lists; `corrects`: whether it puts misheard words right, or only marks the sensitive ones.
    #[must_use]
    pub fn new(vocabulary: Vocabulary, corrects: bool) -> Self {
        if corrects {
            correct::warm_up();
        }
        Self {
            lists: Arc::new(RwLock::new(Arc::new(vocabulary))),
            corrects,
        }
    }

    /// The lists as they now are.
    #[must_use]
    pub fn lists(&self) -> Arc<Vocabulary> {
        let lists = self.lists.read();
        lists.map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |lists| lists.clone(),
        )
    }

    /// Takes new lists for all lines from now on.
    pub fn renew(&self, vocabulary: Vocabulary) {
        let mut lists = self
            .lists
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *lists = Arc::new(vocabulary);
    }
}

impl Finish for Pen {
    fn finish(&self, spoken: Spoken<'_>) -> Written {
        let lists = self.lists();
        let heard: Vec<char> = spoken.text.reveal().chars().collect();
        let mut tidy = punctuation::tidied(&heard, spoken.words);
        script::simplify(&mut tidy.letters);
        let replacements = if self.corrects {
            correct::replacements(&tidy.letters, &lists)
        } else {
            Vec::new()
        };
        for replacement in &replacements {
            tidy.letters[replacement.range.clone()].copy_from_slice(&replacement.letters);
        }
        let kept = names_with_numerals(&tidy.letters, &lists);
        let edits = figures::edits(&tidy.letters, &kept, spoken.is_final);
        let said = |range: &Range<usize>| {
            let (from, to) = (tidy.origin[range.start], tidy.origin[range.end - 1] + 1);
            Private::new(heard[from..to].iter().collect::<String>())
        };
        let mut text: Vec<char> = Vec::with_capacity(tidy.letters.len());
        let mut changes = Vec::new();
        let mut at = 0;
        for stretch in stretches(&edits, &replacements) {
            text.extend(&tidy.letters[at..stretch.range.start]);
            let from = text.len() as u32;
            let mut inner = stretch.range.start;
            for edit in &stretch.edits {
                text.extend(&tidy.letters[inner..edit.range.start]);
                text.extend(edit.text.chars());
                inner = edit.range.end;
            }
            text.extend(&tidy.letters[inner..stretch.range.end]);
            at = stretch.range.end;
            let change = Change {
                from,
                to: text.len() as u32,
                said: said(&stretch.range),
                kind: stretch.kind,
                list: stretch.list.clone(),
            };
            changes.push(change);
        }
        text.extend(&tidy.letters[at..]);
        if spoken.is_final {
            punctuation::end(&mut text);
        }
        changes.retain(|change| change.to as usize <= text.len());
        Written::instead_of(spoken, text.into_iter().collect(), changes)
    }

    fn marks(&self, text: &Private<String>) -> Vec<Mark> {
        self.lists().sensitive().marks(text.reveal())
    }
}

/// Where the lists' names hold numerals that are no numbers: 二十里店镇, 三站市场.
fn names_with_numerals(letters: &[char], lists: &Vocabulary) -> Vec<Range<usize>> {
    let digits_only = |name: &[char]| name.iter().all(|letter| is_numeral(*letter));
    let mut found = Vec::new();
    for start in 0..letters.len() {
        let ends = (start + 2..=letters.len().min(start + super::vocabulary::LONGEST)).rev();
        for end in ends {
            let name = &letters[start..end];
            if name.iter().any(|letter| is_numeral(*letter))
                && lists.get(name).is_some_and(|term| &*term.list != "用语")
                && !digits_only(name)
            {
                found.push(start..end);
                break;
            }
        }
    }
    found
}

/// A stretch that is written otherwise than it was heard.
struct Stretch {
    range: Range<usize>,
    edits: Vec<Edit>,
    kind: ChangeKind,
    list: String,
}

/// Edits and replacements as stretches that do not overlap; neighbouring edits of one number are one stretch.
fn stretches(edits: &[Edit], replacements: &[Replacement]) -> Vec<Stretch> {
    let numbers = edits.iter().map(|edit| Stretch {
        range: edit.range.clone(),
        edits: vec![edit.clone()],
        kind: ChangeKind::Number,
        list: String::new(),
    });
    let words = replacements.iter().map(|replacement| Stretch {
        range: replacement.range.clone(),
        edits: Vec::new(),
        kind: ChangeKind::Hotword,
        list: replacement.list.to_string(),
    });
    let mut all: Vec<Stretch> = numbers.chain(words).collect();
    all.sort_by_key(|stretch| (stretch.range.start, stretch.range.end));
    let mut merged: Vec<Stretch> = Vec::new();
    for stretch in all {
        match merged.last_mut() {
            Some(last)
                if stretch.range.start < last.range.end
                    || stretch.range.start == last.range.end
                        && stretch.kind == ChangeKind::Number
                        && last.kind == ChangeKind::Number =>
            {
                last.range.end = last.range.end.max(stretch.range.end);
                last.edits.extend(stretch.edits);
                if stretch.kind == ChangeKind::Hotword {
                    last.kind = ChangeKind::Hotword;
                    last.list = stretch.list;
                }
            }
            _ => merged.push(stretch),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::Leg;
    use crate::speech::words::Word;

    fn pen() -> Pen {
        Pen::new(
            Vocabulary::parse([(
                "words",
                "% list 行政区划\n芝罘区 二十里店镇\n% list 用语\n一二三四五 号楼\n% list 姓氏\n% slot surname\n王 张",
            )])
            .expect("a list"),
            true,
        )
    }

    fn written(pen: &Pen, text: &str, is_final: bool) -> (String, Vec<(String, String)>) {
        let said: Private<String> = text.into();
        let words: Vec<Word> = (0..text.chars().count() as u32)
            .map(|at| Word {
                from: at,
                to: at + 1,
                start: MediaTime::from_millis(u64::from(at) * 100),
                end: MediaTime::from_millis(u64::from(at) * 100 + 100),
                confidence: 0.9,
            })
            .collect();
        let written = pen.finish(Spoken {
            leg: Leg::Caller,
            text: &said,
            words: &words,
            is_final,
        });
        let letters: Vec<char> = written.text.reveal().chars().collect();
        let changes = written.changes.iter().map(|change| {
            let now = letters[change.from as usize..change.to as usize].iter();
            (change.said.reveal().clone(), now.collect())
        });
        let changes = changes.collect();
        (written.text.into_inner(), changes)
    }

    #[test]
    fn a_line_is_written_and_every_change_says_what_was_heard() {
        let (text, changes) = written(
            &pen(),
            "我住支湖區二十三號樓一單元二零零一,電話一三八六三五一二二零七",
            true,
        );
        assert_eq!(text, "我住芝罘区23号楼1单元2001，电话13863512207。");
        let change = |said: &str, now: &str| (said.to_owned(), now.to_owned());
        assert_eq!(
            changes,
            [
                change("支湖區", "芝罘区"),
                change("二十三", "23"),
                change("一", "1"),
                change("二零零一", "2001"),
                change("一三八六三五一二二零七", "13863512207"),
            ]
        );
    }

    #[test]
    fn names_with_numerals_keep_them_and_misheard_numbers_are_both_restored_and_written() {
        assert_eq!(written(&pen(), "二十里店镇三号", true).0, "二十里店镇3号。");
        let (text, changes) = written(&pen(), "拨打一二三刺五", true);
        assert_eq!(text, "拨打12345。");
        assert_eq!(changes, [("一二三刺五".to_owned(), "12345".to_owned())]);
        assert_eq!(written(&pen(), "免贵信亡", true).0, "免贵姓王。");
    }

    #[test]
    fn a_growing_line_gets_no_end_and_keeps_its_open_number() {
        assert_eq!(written(&pen(), "还剩三千六", false).0, "还剩三千六");
        assert_eq!(written(&pen(), "还剩三千六", true).0, "还剩3600。");
    }

    #[test]
    fn lists_are_renewed_for_all_who_share_them() {
        let pen = pen();
        let shared = pen.clone();
        pen.renew(Vocabulary::default());
        assert_eq!(written(&shared, "支湖区", true).0, "支湖区。");
    }

    #[test]
    fn words_keep_the_times_of_what_was_said() {
        let said: Private<String> = "充了两千块".into();
        let words: Vec<Word> = (0..5)
            .map(|at| Word {
                from: at,
                to: at + 1,
                start: MediaTime::from_millis(u64::from(at) * 100),
                end: MediaTime::from_millis(u64::from(at) * 100 + 100),
                confidence: 0.9,
            })
            .collect();
        let written = pen().finish(Spoken {
            leg: Leg::Caller,
            text: &said,
            words: &words,
            is_final: true,
        });
        assert_eq!(written.text.reveal(), "充了2000块。");
        let number = written
            .words
            .iter()
            .find(|word| word.from == 2)
            .expect("2000");
        assert_eq!(
            (number.to, number.start.as_millis(), number.end.as_millis()),
            (6, 200, 400)
        );
    }
}
