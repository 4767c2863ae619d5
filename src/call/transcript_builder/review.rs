//! The second hearing: a leg's newest utterances in one piece, and what becomes of their lines.

use std::time::Instant;

use super::{Note, Open, TranscriptBuilder};
use crate::private::Private;
use crate::speech::finish::Spoken;
use crate::speech::segmenter::RATE;
use crate::speech::window::Chapter;
use crate::speech::{Hypothesis, Leg, Outcome, Pass, Prompt, Utterance, UtteranceKey};
use crate::transcript::Line;

/// The pass number of a review, which is none of its utterance's own passes.
const REVIEW: u32 = u32::MAX;

impl TranscriptBuilder {
    /// Whether what was said is being heard once more.
    pub fn is_reviewing(&self) -> bool {
        self.hearing
            .values()
            .any(|hearing| hearing.review.is_some())
    }

    /// Has heard once more what has not been yet: nothing more will be said.
    pub fn review_rest(&mut self, now: Instant) {
        for leg in [Leg::Caller, Leg::Operator, Leg::Mono] {
            let is_left = |hearing: &super::Hearing| hearing.unreviewed;
            if self.hearing.get(&leg).is_some_and(is_left) {
                self.review(now, leg);
            }
        }
    }

    /// Keeps an utterance that has its text for a review, and asks for one.
    pub(super) fn remember(&mut self, now: Instant, id: u32, open: Open, heard: &Hypothesis) {
        let hearing = self.hearing.entry(open.leg).or_default();
        if open.cut.is_some() {
            // Its beginning stands in the line before as well; joined, it would be said twice.
            hearing.window.clear();
            return;
        }
        let Some(samples) = open
            .ended
            .filter(|_| self.reviews && !heard.words.is_empty())
        else {
            return;
        };
        let chapter = Chapter::new(id, samples, open.start, heard);
        hearing.window.push(chapter);
        hearing.unreviewed = true;
        self.review(now, open.leg);
    }

    fn review(&mut self, now: Instant, leg: Leg) {
        let Some(hearing) = self
            .hearing
            .get_mut(&leg)
            .filter(|hearing| hearing.review.is_none())
        else {
            return;
        };
        hearing.unreviewed = false;
        let Some(joined) = hearing.window.joined() else {
            return;
        };
        let samples = joined.sound();
        let start = joined.start();
        let utterance = Utterance {
            key: UtteranceKey {
                call: self.call.clone(),
                leg,
                id: joined.newest(),
                revision: REVIEW,
            },
            pass: Pass::Review,
            end: start + RATE.duration_of(samples.len() as u64),
            samples,
            start,
            voice: start,
            prompt: Prompt {
                hints: self.finish.hints(leg, &self.names),
                said: Private::default(),
            },
        };
        hearing.review = Some(joined);
        self.notes.push_back(Note::Recognize(utterance, now));
    }

    /// Takes what became of a review; false when the pass was none.
    pub(super) fn takes_review(
        &mut self,
        now: Instant,
        key: &UtteranceKey,
        outcome: &Outcome,
    ) -> bool {
        if key.revision != REVIEW {
            return false;
        }
        let Some(hearing) = self.hearing.get_mut(&key.leg) else {
            return true;
        };
        let more = hearing.unreviewed;
        let Some(joined) = hearing.review.take() else {
            return true;
        };
        let Outcome::Recognized(heard) = outcome else {
            // It gave way, or there was no time for it; a later utterance asks again.
            hearing.unreviewed = true;
            return true;
        };
        for (chapter, heard) in joined.divided(heard) {
            self.renew(key.leg, &chapter, &heard);
        }
        if more {
            self.review(now, key.leg);
        }
        true
    }

    /// Writes a line anew as it was heard in the review, if that is better.
    fn renew(&mut self, leg: Leg, chapter: &Chapter, heard: &Hypothesis) {
        let Some(old) = self.transcript.line(chapter.id) else {
            return;
        };
        // What an operator has decided about the line would be lost.
        let is_decided = old.changes.iter().any(|change| change.undone.is_some());
        if is_decided || !chapter.yields_to(heard) {
            return;
        }
        let written = self.finish.finish(Spoken {
            leg,
            text: &heard.text,
            words: &heard.words,
            is_final: true,
        });
        if written.text == old.text || written.text.reveal().is_empty() {
            return;
        }
        let line = Line {
            revision: old.revision + 1,
            committed: written.text.reveal().chars().count() as u32,
            marks: self.finish.marks(&written.text),
            start: written.words.first().map_or(old.start, |word| word.start),
            end: written.words.last().map_or(old.end, |word| word.end),
            confidence: heard.confidence,
            text: written.text,
            words: written.words,
            changes: written.changes,
            ..old.clone()
        };
        if let Some(hearing) = self.hearing.get_mut(&leg) {
            hearing.window.renew(chapter.id, heard);
        }
        self.expect_names(&line);
        self.renewed.insert(line.id, line.revision);
        self.transcript.apply(line.clone());
        self.notes.push_back(Note::Renewed(line));
    }
}
