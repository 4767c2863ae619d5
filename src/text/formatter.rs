//! The formatter: everything that lies between what was recognised and what the operator reads, in its order.

use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::correct::{self, Replacement};
use super::inverse_text_normalization::{self, Edit};
use super::numerals::is_numeral;
use super::spans::{self, Standing};
use super::vocabulary::Vocabulary;
use super::{punctuation, script};
use crate::private::Private;
use crate::speech::Leg;
use crate::speech::finish::{Change, ChangeKind, Finish, Mark, Spoken, Written};

/// Writes lines with the lists as they now are; clones share the lists, so that all calls see new ones at once.
#[derive(Clone, Default)]
pub struct TranscriptFormatter {
    lists: Arc<RwLock<Arc<Vocabulary>>>,
    corrects: bool,
}

impl TranscriptFormatter {
    /// A formatter with these lists; `corrects`: whether it puts misheard words right, or only marks the sensitive ones.
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

impl Finish for TranscriptFormatter {
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
        let edits = inverse_text_normalization::edits(&tidy.letters, &kept, spoken.is_final);
        let said = |range: &Range<usize>| {
            let (from, to) = (tidy.origin[range.start], tidy.origin[range.end - 1] + 1);
            let mut said = heard[from..to].to_vec();
            script::simplify(&mut said);
            Private::new(said.into_iter().collect::<String>())
        };
        let mut text: Vec<char> = Vec::with_capacity(tidy.letters.len());
        // For each character of the text, which ones were heard.
        let mut source: Vec<(usize, usize)> = Vec::with_capacity(tidy.letters.len());
        let heard_as = |at: usize| (tidy.origin[at], tidy.origin[at] + 1);
        let mut changes = Vec::new();
        let mut at = 0;
        for stretch in stretches(&edits, &replacements) {
            let from = (text.len() + stretch.range.start - at) as u32;
            for edit in &stretch.edits {
                text.extend(&tidy.letters[at..edit.range.start]);
                source.extend((at..edit.range.start).map(heard_as));
                let figures: Vec<char> = edit.text.chars().collect();
                let one_by_one = figures.len() == edit.range.len();
                let whole = (
                    tidy.origin[edit.range.start],
                    tidy.origin[edit.range.end - 1] + 1,
                );
                source.extend((0..figures.len()).map(|place| {
                    if one_by_one {
                        heard_as(edit.range.start + place)
                    } else {
                        whole
                    }
                }));
                text.extend(figures);
                at = edit.range.end;
            }
            text.extend(&tidy.letters[at..stretch.range.end]);
            source.extend((at..stretch.range.end).map(heard_as));
            at = stretch.range.end;
            let change = Change {
                from,
                to: text.len() as u32,
                said: said(&stretch.range),
                kind: stretch.kind,
                list: stretch.list.clone(),
                undone: None,
            };
            changes.push(change);
        }
        text.extend(&tidy.letters[at..]);
        source.extend((at..tidy.letters.len()).map(heard_as));
        if spoken.is_final {
            punctuation::end(&mut text);
        }
        changes.retain(|change| change.to as usize <= text.len());
        // A full stop that was put at the end stands for nothing.
        source.resize(text.len(), (heard.len(), heard.len()));
        Written::instead_of(spoken, &text, &source, changes)
    }

    fn hints(&self, leg: Leg, names: &[Private<String>]) -> Private<String> {
        if !self.corrects {
            return Private::default();
        }
        let mut hints = String::new();
        for name in names {
            hints.push_str(name.reveal());
            hints.push('。');
        }
        hints.push_str(self.lists().prompt(leg));
        hints.into()
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
                && spans::standing(letters, start..end, false) == Standing::Word
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
mod tests;
