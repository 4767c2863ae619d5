//! One utterance made ready for rules: fillers and spacing gone, one character form, each character's origin kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use super::Evidence;
use super::asr_correction::AsrCorrection;
use super::lexicon::{Words, list};
use crate::speech::Leg;
use crate::text::script::simplified_letter;
use crate::text::spelling;
use crate::transcript::{Line, Transcript};

/// How much of one utterance the rules read: five minutes of speech, and a bound on the work.
const MAX_CHARS: usize = 1000;

/// How sure a value is at most that rests on a word which was put in place of a misheard one.
pub(super) const MENDED: f32 = 0.6;
/// A text of which no more than one character in so many is traditional is written in simplified ones.
const SELDOM: usize = 10;
/// A word that the recogniser was less sure of may have been misheard.
const UNSURE: f32 = 0.5;

/// Which characters are a part of a word where the text is cut into words: they were heard rightly, or nobody can tell. A pair
/// that reaches from one word into the next is none.
fn in_words(letters: &[char]) -> Vec<bool> {
    let text: String = letters.iter().collect();
    let words = spelling::segmented(&text).into_iter();
    words
        .flat_map(|long| std::iter::repeat_n(long > 1, long))
        .collect()
}

/// Sounds that carry no meaning between words.
const FILLERS: &str = "嗯呃唔欸诶哎唉";

/// The character that the rules see for `letter`: simplified, half width, Chinese punctuation, lower case.
fn plain(letter: char) -> char {
    let letter = match letter {
        '！'..='～' => char::from_u32(letter as u32 - 0xFEE0).unwrap_or(letter),
        _ => letter,
    };
    match letter {
        ',' | ';' | ':' | '…' | '—' => '，',
        '!' => '。',
        '?' => '？',
        _ if letter.is_ascii() => letter.to_ascii_lowercase(),
        _ => simplified_letter(letter),
    }
}

/// How a caller takes back what was just said.
pub(super) static TAKES_BACK: Words = LazyLock::new(|| list("dialogue.takes_back"));

/// Whether a rule must not read across this character.
pub(super) fn is_stop(letter: char) -> bool {
    matches!(letter, '，' | '。' | '？' | '、')
}

/// An utterance as the rules read it.
#[derive(Clone, Debug)]
pub(super) struct PreparedUtterance {
    /// The line's id.
    pub id: u32,
    /// Who said it.
    pub leg: Leg,
    /// The plain characters.
    pub chars: Vec<char>,
    /// The same as text.
    pub text: String,
    /// Each plain character's byte offset in `text`.
    bytes: Vec<u32>,
    /// Each plain character's index in the utterance as recognised.
    origin: Vec<u32>,
    /// Of these, the capital letters.
    capitals: Vec<u32>,
    /// Somebody typed it: nothing in it was misheard.
    typed: bool,
    /// How sure the recogniser was of each plain character; empty where it did not say.
    sure: Vec<f32>,
    /// The plain characters that were put in place of misheard ones.
    mended: Vec<usize>,
    /// What takes long to find and never changes: it is looked for once, however often the call is drafted.
    pub found: Found,
}

/// What the rules have found in an utterance by itself, whatever stands around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Which ending of a place stands where, by the ending.
    pub place_ends: OnceLock<Vec<(usize, usize)>>,
    /// The names of organisations.
    pub organisations: OnceLock<Vec<Range<usize>>>,
    /// Each character's sound.
    pub sounds: OnceLock<Vec<char>>,
    /// Which characters are a part of a word with their neighbours.
    in_words: OnceLock<Vec<bool>>,
}

impl PreparedUtterance {
    /// Makes one line ready.
    pub fn new(line: &Line) -> Self {
        let mut said = Self::of(line.id, line.leg, line.text.reveal());
        if !line.words.is_empty() {
            let sure = |at: &u32| {
                let word = (line.words.iter()).find(|word| (word.from..word.to).contains(at));
                word.map_or(line.confidence, |word| word.confidence)
            };
            said.sure = said.origin.iter().map(sure).collect();
        }
        said
    }

    /// The same as a person wrote it: 刘昇 in simplified text is no 刘升.
    pub fn typed(line: &Line) -> Self {
        let said = Self {
            typed: true,
            ..Self::new(line)
        };
        let letters: Vec<char> = line.text.reveal().chars().collect();
        let written = |at: &u32| letters[*at as usize];
        let traditional: HashMap<usize, char> = (said.origin.iter().map(written).enumerate())
            .filter(|(_, letter)| simplified_letter(*letter) != *letter)
            .collect();
        if traditional.is_empty() || traditional.len() * SELDOM > said.chars.len() {
            return said;
        }
        Self {
            mended: Vec::new(),
            ..said.with(&traditional)
        }
    }

    /// Whether `word` may have been said where `range` stands, which sounds like it: each character that differs was heard
    /// with doubt, or is no part of a word as it stands.
    pub fn may_be(&self, range: Range<usize>, word: &[char]) -> bool {
        let mut differ = range
            .zip(word)
            .filter(|(at, said)| self.chars[*at] != **said);
        differ.all(|(at, _)| self.doubtful(at))
    }

    /// Whether the character at `at` may have been misheard.
    pub fn doubtful(&self, at: usize) -> bool {
        let in_words = (self.found.in_words).get_or_init(|| in_words(&self.chars));
        !self.typed && (self.unsure(at) || !in_words[at])
    }

    /// Whether the recogniser itself doubted the character at `at`.
    fn unsure(&self, at: usize) -> bool {
        self.sure.get(at).is_some_and(|sure| *sure < UNSURE)
    }

    /// Whether the recogniser doubted any of the characters that evidence points at.
    pub fn is_unsure(&self, evidence: &Evidence) -> bool {
        let pointed = |at: &usize| (evidence.start..evidence.end).contains(&self.origin[*at]);
        (0..self.chars.len())
            .filter(pointed)
            .any(|at| self.unsure(at))
    }

    /// The characters that evidence points at.
    pub fn pointed(&self, evidence: &Evidence) -> impl Iterator<Item = char> {
        let pointed = evidence.start..evidence.end;
        (self.chars.iter().zip(&self.origin))
            .filter(move |(_, origin)| pointed.contains(origin))
            .map(|(letter, _)| *letter)
    }

    /// The same, heard with doubt.
    #[cfg(test)]
    pub fn doubted(mut self) -> Self {
        self.sure = vec![UNSURE / 2.0; self.chars.len()];
        self
    }

    /// Whether somebody typed it.
    pub const fn is_typed(&self) -> bool {
        self.typed
    }

    /// Whether any of the characters that evidence points at was put in place of a misheard one.
    pub fn is_mended(&self, evidence: &Evidence) -> bool {
        (self.mended.iter()).any(|at| (evidence.start..evidence.end).contains(&self.origin[*at]))
    }

    /// Makes `text` ready.
    pub fn of(id: u32, leg: Leg, text: &str) -> Self {
        let raw: Vec<char> = text.chars().take(MAX_CHARS).map(plain).collect();
        let mut said = Self {
            id,
            leg,
            chars: Vec::with_capacity(raw.len()),
            text: String::with_capacity(text.len()),
            bytes: Vec::with_capacity(raw.len()),
            origin: Vec::with_capacity(raw.len()),
            capitals: (0..)
                .zip(text.chars().take(MAX_CHARS))
                .filter(|(_, letter)| matches!(letter, 'A'..='Z' | 'Ａ'..='Ｚ'))
                .map(|(index, _)| index)
                .collect(),
            typed: false,
            sure: Vec::new(),
            mended: Vec::new(),
            found: Found::default(),
        };
        for (index, &letter) in raw.iter().enumerate() {
            let before = said.chars.last().copied().unwrap_or('，');
            let after = raw.get(index + 1).copied().unwrap_or('，');
            let kept = if letter.is_whitespace() {
                // A recogniser without punctuation writes a pause as a space.
                let dropped = index > 0 && FILLERS.contains(raw[index - 1]);
                if before.is_ascii() || after.is_ascii() || is_stop(before) || dropped {
                    continue;
                }
                '，'
            } else if letter == '.' && !(before.is_ascii_digit() && after.is_ascii_digit()) {
                '。'
            } else if FILLERS.contains(letter) {
                // 「嗯」 alone is an answer; inside words it is noise.
                if raw.len() <= 3 || is_stop(after) && is_stop(before) {
                    letter
                } else {
                    continue;
                }
            } else {
                letter
            };
            said.bytes.push(said.text.len() as u32);
            said.text.push(kept);
            said.chars.push(kept);
            said.origin.push(index as u32);
        }
        said
    }

    /// The same with some characters replaced.
    pub fn with(&self, fixed: &HashMap<usize, char>) -> Self {
        let mut said = Self {
            chars: self.chars.clone(),
            text: String::with_capacity(self.text.len()),
            bytes: Vec::with_capacity(self.chars.len()),
            origin: self.origin.clone(),
            capitals: self.capitals.clone(),
            sure: self.sure.clone(),
            mended: self.mended.clone(),
            found: Found::default(),
            ..*self
        };
        for (at, letter) in said.chars.iter_mut().enumerate() {
            if let Some(right) = fixed.get(&at) {
                *letter = *right;
                said.mended.push(at);
            }
            said.bytes.push(said.text.len() as u32);
            said.text.push(*letter);
        }
        said
    }

    /// Whether the citizen said it; a recording with one channel counts as the citizen's.
    pub fn by_caller(&self) -> bool {
        self.leg != Leg::Operator
    }

    /// The characters of `range` as text.
    pub fn slice(&self, range: Range<usize>) -> String {
        self.chars[range].iter().collect()
    }

    /// The characters of `range` as a name, with its capital letters: 星光KTV.
    pub fn name(&self, range: Range<usize>) -> String {
        range
            .map(|at| match self.capitals.binary_search(&self.origin[at]) {
                Ok(_) => self.chars[at].to_ascii_uppercase(),
                Err(_) => self.chars[at],
            })
            .collect()
    }

    /// The range as evidence in the utterance as recognised. `range` is not empty.
    pub fn evidence(&self, range: &Range<usize>) -> Evidence {
        Evidence {
            utterance: self.id,
            start: self.origin[range.start],
            end: self.origin[range.end - 1] + 1,
        }
    }

    /// The whole utterance without its closing punctuation, as evidence.
    pub fn whole(&self) -> Option<Evidence> {
        let end = self.chars.iter().rposition(|letter| !is_stop(*letter))? + 1;
        Some(self.evidence(&(0..end)))
    }

    /// The character index of a byte offset in `text`.
    pub fn char_at(&self, byte: usize) -> usize {
        self.bytes.partition_point(|at| (*at as usize) < byte)
    }

    /// The first occurrence of `word`, as a range of characters.
    pub fn find(&self, word: &str) -> Option<Range<usize>> {
        self.find_from(0, word)
    }

    /// The first occurrence of `word` from `start` on. For words of a few characters in a sentence nothing is faster.
    fn find_from(&self, start: usize, word: &str) -> Option<Range<usize>> {
        let mut letters = word.chars();
        let first = letters.next()?;
        let rest = letters.as_str();
        let found = (start..self.chars.len())
            .find(|at| self.chars[*at] == first && self.starts_at(at + 1, rest))?;
        Some(found..found + 1 + rest.chars().count())
    }

    /// Every occurrence of any of `words`, grouped by word.
    pub fn find_all<'w>(
        &'w self,
        words: &'w [&str],
    ) -> impl Iterator<Item = (Range<usize>, &'w str)> {
        words.iter().flat_map(move |word| {
            let mut start = 0;
            std::iter::from_fn(move || {
                let found = self.find_from(start, word)?;
                start = found.end;
                Some((found, *word))
            })
        })
    }

    /// Whether any of `words` is said.
    pub fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.find(word).is_some())
    }

    /// The first (leftmost) of `words` that is said.
    pub fn first(&self, words: &[&str]) -> Option<Range<usize>> {
        words
            .iter()
            .filter_map(|word| self.find(word))
            .min_by_key(|range| (range.start, usize::MAX - range.end))
    }

    /// The clause around a character: from punctuation to punctuation.
    pub fn clause(&self, at: usize) -> Range<usize> {
        let start = self.chars[..at]
            .iter()
            .rposition(|letter| is_stop(*letter))
            .map_or(0, |stop| stop + 1);
        let end = self.chars[at..]
            .iter()
            .position(|letter| is_stop(*letter))
            .map_or(self.chars.len(), |stop| at + stop);
        start..end
    }

    /// The text of up to `count` characters before `at`.
    pub fn before(&self, at: usize, count: usize) -> String {
        self.slice(at.saturating_sub(count)..at)
    }

    /// Whether the characters from `at` on begin with `word`.
    pub fn starts_at(&self, at: usize, word: &str) -> bool {
        let mut rest = self.chars.get(at..).unwrap_or_default().iter();
        word.chars().all(|letter| rest.next() == Some(&letter))
    }

    /// All clauses, in order.
    pub fn clauses(&self) -> Vec<Range<usize>> {
        let mut clauses = Vec::new();
        let mut start = 0;
        for (index, letter) in self.chars.iter().enumerate() {
            if is_stop(*letter) {
                if index > start {
                    clauses.push(start..index);
                }
                start = index + 1;
            }
        }
        if start < self.chars.len() {
            clauses.push(start..self.chars.len());
        }
        clauses
    }

    /// Whether the utterance is a yes: it begins with one, or is nothing but one.
    pub fn affirms(&self) -> bool {
        static YES: Words = LazyLock::new(|| list("dialogue.yes"));
        !self.denies()
            && (self.text == "是"
                || self.text.starts_with("是，")
                || self.text.starts_with("是。")
                || YES.iter().any(|yes| self.text.starts_with(yes)))
    }

    /// Whether the utterance begins with a no or a correction.
    pub fn denies(&self) -> bool {
        static NO: Words = LazyLock::new(|| list("dialogue.no"));
        NO.iter().any(|no| self.text.starts_with(no))
    }
}

/// A call's final lines as the rules read them. What has been read stays read: each further line costs the same,
/// however long the call.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    lines: Vec<PreparedUtterance>,
    /// The revision of each.
    revisions: Vec<u32>,
}

impl Dialogue {
    /// Reads what is new in the transcript, and gives back all of it.
    ///
    /// Without `correction` the lines are what somebody typed.
    pub(super) fn follow(
        &mut self,
        transcript: &Transcript,
        correction: Option<&AsrCorrection>,
    ) -> &[PreparedUtterance] {
        let read = std::mem::take(self);
        let mut read: HashMap<u32, (u32, PreparedUtterance)> =
            (read.revisions.into_iter().zip(read.lines))
                .map(|(revision, said)| (said.id, (revision, said)))
                .collect();
        for line in transcript.final_lines() {
            let said = match read.remove(&line.id) {
                Some((revision, said)) if revision == line.revision => said,
                _ => {
                    let said = match correction {
                        Some(correction) => correction.mend(PreparedUtterance::new(line)),
                        None => PreparedUtterance::typed(line),
                    };
                    if said.chars.is_empty() {
                        continue;
                    }
                    said
                }
            };
            self.lines.push(said);
            self.revisions.push(line.revision);
        }
        &self.lines
    }
}

/// What the operator asked last before utterance `index`, when nothing but the citizen's words and the operator's
/// short acknowledgements lie between.
pub(super) fn question(talk: &[PreparedUtterance], index: usize) -> Option<&PreparedUtterance> {
    talk[..index]
        .iter()
        .rev()
        .filter(|said| !said.by_caller())
        .find(|said| {
            // 贵姓？ asks, 对吧？ only makes sure.
            let short = said.chars.len() == 3
                && said.chars[2] == '？'
                && !"对是好行嗯啊".contains(said.chars[0]);
            said.chars.len() > 3 || short
        })
}

/// What the citizen said next after utterance `index`, unless the operator went on first.
pub(super) fn reply(talk: &[PreparedUtterance], index: usize) -> Option<&PreparedUtterance> {
    talk.get(index + 1).filter(|said| said.by_caller())
}

/// Whether the words right before `at` in its clause say that it is not so, or only might be.
pub(super) fn negated(said: &PreparedUtterance, at: usize) -> bool {
    static NOT: Words = LazyLock::new(|| list("dialogue.not"));
    let clause = said.clause(at);
    let before = said.slice(at.saturating_sub(4).max(clause.start)..at);
    // 「是不是」「能不能」 ask, they do not deny.
    let asked = ["是不是", "能不能", "要不要", "可不可以", "会不会", "有没有"];
    !asked.iter().any(|word| before.contains(word)) && NOT.iter().any(|not| before.contains(not))
}

#[cfg(test)]
mod tests {
    use super::super::asr_correction::AsrCorrection;
    use super::{Dialogue, PreparedUtterance};
    use crate::audio::MediaTime;
    use crate::speech::Leg;
    use crate::transcript::{Line, Transcript};

    fn said(text: &str) -> PreparedUtterance {
        PreparedUtterance::of(0, Leg::Caller, text)
    }

    #[test]
    fn fillers_and_spaces_go_and_the_evidence_still_points_at_the_words_as_recognised() {
        let said = said("那个 我姓呃 張， Y T 八八");
        assert_eq!(said.text, "那个，我姓张，yt八八");
        let name = said.find("张").expect("said");
        let evidence = said.evidence(&name);
        assert_eq!((evidence.start, evidence.end), (7, 8));
    }

    #[test]
    fn a_line_is_read_once_and_again_only_when_it_has_changed() {
        let correction = AsrCorrection::new(["退款"].into_iter()).expect("few words");
        let mut transcript = Transcript::default();
        let line = |id: u32, revision, text| Line {
            revision,
            ..Line::plain(
                id,
                Leg::Caller,
                text,
                MediaTime::from_millis(id.into()),
                MediaTime::ZERO,
            )
        };
        let mut talk = Dialogue::default();
        let texts = |talk: &mut Dialogue, transcript: &Transcript| -> Vec<String> {
            let said = talk.follow(transcript, Some(&correction)).iter();
            said.map(|said| said.text.clone()).collect()
        };
        transcript.apply(line(1, 1, "我要退宽"));
        assert_eq!(texts(&mut talk, &transcript), ["我要退款"]);
        // A sign that a line was not read again.
        talk.lines[0].text.push('！');
        transcript.apply(line(0, 1, "你好"));
        transcript.apply(line(2, 1, ""));
        assert_eq!(texts(&mut talk, &transcript), ["你好", "我要退款！"]);
        transcript.apply(line(1, 2, "我不要退宽"));
        assert_eq!(texts(&mut talk, &transcript), ["你好", "我不要退款"]);
    }

    #[test]
    fn full_width_digits_and_a_decimal_point_become_plain() {
        assert_eq!(said("１３８块,3.5万.").text, "138块，3.5万。");
    }

    #[test]
    fn a_yes_is_told_from_a_no() {
        assert!(said("对，就这个").affirms());
        assert!(said("是的。").affirms());
        assert!(!said("对不起，不是").affirms());
        assert!(said("不对，是八八").denies());
    }

    #[test]
    fn what_a_person_typed_and_what_is_a_word_is_never_mended() {
        let correction =
            AsrCorrection::new(["退款", "预付卡", "限高"].into_iter()).expect("few words");
        let read = |text: &str, confidence: Option<f32>, typed: bool| {
            let mut line = Line::plain(0, Leg::Caller, text, MediaTime::ZERO, MediaTime::ZERO);
            if let Some(confidence) = confidence {
                line.words = vec![crate::speech::words::Word {
                    from: 0,
                    to: text.chars().count() as u32,
                    start: MediaTime::ZERO,
                    end: MediaTime::ZERO,
                    confidence,
                }];
            }
            let mut transcript = Transcript::default();
            transcript.apply(line);
            let mut talk = Dialogue::default();
            let said = talk.follow(&transcript, (!typed).then_some(&correction));
            let whole = said[0].whole().expect("words");
            (said[0].text.clone(), said[0].is_mended(&whole))
        };
        // No word stands there, and whoever typed it meant it.
        assert_eq!(
            read("预付咖没用完", None, false),
            ("预付卡没用完".to_owned(), true)
        );
        assert_eq!(
            read("预付咖没用完", None, true),
            ("预付咖没用完".to_owned(), false)
        );
        assert_eq!(
            read("预付咖没用完", Some(0.3), true),
            ("预付咖没用完".to_owned(), false)
        );
        // A word stands there: only the recogniser's doubt makes it another.
        assert!(!read("预付家具卡", Some(0.9), false).1);
        assert_eq!(read("山东路", None, false), ("山东路".to_owned(), false));
        assert_eq!(
            read("海市东路四号楼", None, false),
            ("海市东路四号楼".to_owned(), false)
        );
        assert!(!read("高坪县高坪乡", None, false).1);
        // A name keeps its traditional character in simplified text; text that is traditional does not.
        let named = "昨天刘昇在南大街的店里买了东西";
        assert_eq!(read(named, None, true), (named.to_owned(), false));
        assert_eq!(
            read("我要投訴這家飯店，電話打不通", None, true),
            ("我要投诉这家饭店，电话打不通".to_owned(), false)
        );
    }
}
