//! Several utterances of one leg in one piece, to be heard once more together.
//!
//! An utterance alone is a clause; with what was said before and after it the decoder hears better: names come back,
//! and the subject is known. So the newest utterances of a leg are kept, and when nothing else is to be done they are
//! recognised as one stretch of speech, whose words are then divided among them again by their times.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::segmenter::RATE;
use super::words::{Word, is_said};
use super::{Hypothesis, Sound};
use crate::audio::MediaTime;
use crate::private::Private;

/// The model hears 30 s at most.
const LONGEST: Duration = Duration::from_secs(28);
/// The decoder writes some 220 tokens at most, up to two a character.
const MOST_LETTERS: usize = 105;
/// What was heard in one piece is less sure than this only where it is worse.
const LESS_SURE: f32 = 0.05;

/// One utterance that has its text.
#[derive(Clone)]
pub struct Chapter {
    /// Its number within the call.
    pub id: u32,
    /// 16 kHz mono.
    pub samples: Arc<[f32]>,
    /// When the first sample was heard.
    pub start: MediaTime,
    /// Characters said.
    letters: usize,
    /// How sure the recogniser was of its words.
    confidence: f32,
}

impl Chapter {
    /// The utterance and what was heard in it.
    #[must_use]
    pub fn new(id: u32, samples: Arc<[f32]>, start: MediaTime, heard: &Hypothesis) -> Self {
        Self {
            id,
            samples,
            start,
            letters: letters(heard),
            confidence: mean(&heard.words),
        }
    }

    /// Whether `heard` may take the place of what stands: it is neither a part of it nor more than can have been said,
    /// and about as sure.
    #[must_use]
    pub fn yields_to(&self, heard: &Hypothesis) -> bool {
        let (old, new) = (self.letters, letters(heard));
        let apart = old.abs_diff(new);
        new > 0 && apart <= 2.max(old / 4) && mean(&heard.words) + LESS_SURE >= self.confidence
    }
}

fn letters(heard: &Hypothesis) -> usize {
    let text = heard.text.reveal().chars();
    text.filter(|letter| is_said(*letter)).count()
}

fn mean(words: &[Word]) -> f32 {
    words.iter().map(|word| word.confidence).sum::<f32>() / words.len().max(1) as f32
}

/// The newest utterances of a leg, as many as can be heard in one piece.
#[derive(Default)]
pub struct Window {
    chapters: VecDeque<Chapter>,
}

impl Window {
    /// Takes the next utterance; the oldest that no longer fit go.
    pub fn push(&mut self, chapter: Chapter) {
        self.chapters.push_back(chapter);
        while self.long() > RATE.samples_in(LONGEST) || self.letters() > MOST_LETTERS {
            self.chapters.pop_front();
        }
    }

    /// Notes what now stands in place of what was heard in an utterance.
    pub fn renew(&mut self, id: u32, heard: &Hypothesis) {
        if let Some(chapter) = self.chapters.iter_mut().find(|chapter| chapter.id == id) {
            chapter.letters = letters(heard);
            chapter.confidence = mean(&heard.words);
        }
    }

    /// Forgets what was said: what comes next does not follow it.
    pub fn clear(&mut self) {
        self.chapters.clear();
    }

    /// All in one piece; `None` when that would be nothing new.
    #[must_use]
    pub fn joined(&self) -> Option<Joined> {
        let chapters: Vec<Chapter> = self.chapters.iter().cloned().collect();
        (chapters.len() > 1).then_some(Joined { chapters })
    }

    fn long(&self) -> u64 {
        let long = |chapter: &Chapter| chapter.samples.len() as u64;
        self.chapters.iter().map(long).sum()
    }

    fn letters(&self) -> usize {
        self.chapters.iter().map(|chapter| chapter.letters).sum()
    }
}

/// Utterances that are heard in one piece.
pub struct Joined {
    chapters: Vec<Chapter>,
}

impl Joined {
    /// The newest utterance.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.chapters.last().map_or(0, |chapter| chapter.id)
    }

    /// When the first sample was heard; the times of what is heard in the piece count from here.
    #[must_use]
    pub fn start(&self) -> MediaTime {
        let first = self.chapters.first();
        first.map_or(MediaTime::ZERO, |chapter| chapter.start)
    }

    /// The sound, without the pauses between the utterances.
    #[must_use]
    pub fn sound(&self) -> Sound {
        let pieces = self.chapters.iter();
        pieces.map(|chapter| chapter.samples.clone()).collect()
    }

    /// What of `heard` was said in which utterance, on the call's clock.
    #[must_use]
    pub fn divided(&self, heard: &Hypothesis) -> Vec<(Chapter, Hypothesis)> {
        let text: Vec<char> = heard.text.reveal().chars().collect();
        let middle = |word: &Word| {
            let half = word.end.since(word.start) / 2;
            word.start.since(self.start()) + half
        };
        let mut rest = &heard.words[..];
        let (mut from, mut letter) = (Duration::ZERO, 0);
        let mut divided = Vec::with_capacity(self.chapters.len());
        for (at, chapter) in self.chapters.iter().enumerate() {
            let long = RATE.duration_of(chapter.samples.len() as u64);
            let to = from + long;
            let is_last = at + 1 == self.chapters.len();
            let own = rest
                .iter()
                .position(|word| !is_last && middle(word) >= to)
                .unwrap_or(rest.len());
            let words = &rest[..own];
            rest = &rest[own..];
            // What stands behind a word belongs to it.
            let end = rest
                .first()
                .map_or(text.len(), |next| next.from as usize)
                .min(text.len());
            let piece: String = text[letter..end].iter().collect();
            let bare = piece.trim_start_matches(|letter: char| !is_said(letter));
            let skipped = letter + piece.chars().count() - bare.chars().count();
            let moved = words.iter().map(|word| {
                let time = |time: MediaTime| {
                    let within = time.since(self.start()).saturating_sub(from).min(long);
                    chapter.start + within
                };
                Word {
                    from: word.from - skipped as u32,
                    to: word.to - skipped as u32,
                    start: time(word.start),
                    end: time(word.end),
                    confidence: word.confidence,
                }
            });
            let moved: Vec<Word> = moved.collect();
            divided.push((
                chapter.clone(),
                Hypothesis {
                    text: Private::new(bare.trim_end().to_owned()),
                    confidence: mean(&moved),
                    words: moved,
                    took: heard.took,
                },
            ));
            (from, letter) = (to, end);
        }
        divided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, start: u64, step: u64) -> Hypothesis {
        let mut time = start;
        let mut words = Vec::new();
        for (at, letter) in (0..).zip(text.chars()) {
            if is_said(letter) {
                words.push(Word {
                    from: at,
                    to: at + 1,
                    start: MediaTime::from_millis(time),
                    end: MediaTime::from_millis(time + step),
                    confidence: 0.8,
                });
                time += step;
            }
        }
        Hypothesis {
            text: text.into(),
            words,
            confidence: 0.8,
            took: Duration::ZERO,
        }
    }

    /// An utterance of a second from `start` on.
    fn second(id: u32, start: u64, text: &str) -> Chapter {
        let start = MediaTime::from_millis(start);
        Chapter::new(
            id,
            vec![id as f32; 16_000].into(),
            start,
            &heard(text, 0, 200),
        )
    }

    #[test]
    fn what_is_heard_in_one_piece_is_divided_by_its_times() {
        let mut window = Window::default();
        window.push(second(3, 5_000, "好的，"));
        assert!(window.joined().is_none());
        window.push(second(7, 20_000, "免贵姓王"));
        let joined = window.joined().expect("two");
        assert_eq!((joined.newest(), joined.start().as_millis()), (7, 5_000));
        let sound = joined.sound();
        let whole = sound.joined();
        assert_eq!((sound.len(), whole.len()), (32_000, 32_000));
        assert_eq!((whole[0], whole[31_999]), (3.0, 7.0));
        // Three characters in the first second, three in the other.
        let divided = joined.divided(&heard("，好的啊。免贵姓，", 5_000, 330));
        let texts: Vec<&str> = divided
            .iter()
            .map(|(_, piece)| piece.text.reveal().as_str())
            .collect();
        assert_eq!(texts, ["好的啊。", "免贵姓，"]);
        let (chapter, piece) = &divided[1];
        assert_eq!((chapter.id, piece.words.len()), (7, 3));
        assert_eq!((piece.words[0].from, piece.words[2].to), (0, 3));
        assert_eq!(piece.words[0].start.as_millis(), 20_000);
        assert!(piece.words[2].end.as_millis() <= 21_000);
        // All of it in one of them: the other has heard nothing.
        let divided = joined.divided(&heard("好的啊", 5_000, 100));
        assert_eq!(divided[1].1.text.reveal(), "");
    }

    #[test]
    fn what_is_missing_too_long_or_unsure_does_not_take_the_place_of_what_stands() {
        let chapter = second(0, 0, "我要投诉电梯坏了");
        let with = |text: &str, confidence: f32| {
            let mut heard = heard(text, 0, 100);
            heard
                .words
                .iter_mut()
                .for_each(|word| word.confidence = confidence);
            heard
        };
        assert!(chapter.yields_to(&with("我要投诉电梯坏啦。", 0.78)));
        assert!(!chapter.yields_to(&with("", 0.9)));
        assert!(!chapter.yields_to(&with("我要投诉", 0.9)));
        assert!(!chapter.yields_to(&with("我要投诉电梯坏了三天没有人修", 0.9)));
        assert!(!chapter.yields_to(&with("我要投诉电梯坏啦", 0.6)));
    }

    #[test]
    fn a_window_holds_no_more_than_can_be_heard() {
        let mut window = Window::default();
        for id in 0..60 {
            window.push(second(id, u64::from(id) * 1_000, "好"));
        }
        assert_eq!(window.joined().expect("many").sound().len(), 28 * 16_000);
        let long = "长".repeat(60);
        window.push(second(60, 90_000, &long));
        window.push(second(61, 99_000, &long));
        assert!(
            window.joined().is_none(),
            "two are more than the decoder writes"
        );
        window.clear();
        window.push(second(62, 99_000, "好"));
        assert!(window.joined().is_none());
    }
}
