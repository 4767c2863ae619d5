//! Keeps one call's transcript: numbers its utterances over both legs, sends passes to the recogniser, and turns what
//! comes back into lines, honest gaps and alarms.
//!
//! Tentative passes behind a pause hear only what follows it: what was said before is known by then, told to the decoder
//! as its prompt, and put before what it hears.
//!
//! An end-point pass has the extent of the final that follows if the pause lasts, so its hypothesis is promoted to
//! the final line without recognising again. Whatever happens to a pass, an utterance that has ended leaves exactly
//! one trace: a final line, a gap, or nothing when no words were in it.
//!
//! Where there is time, a leg's newest utterances are heard once more in one piece (`review`), and their lines get a new
//! version where that one is heard better.

mod review;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Refusal;
use crate::audio::MediaTime;
use crate::private::Private;
use crate::speech::finish::{ChangeKind, Finish, Spoken};
use crate::speech::passage::{joined, told, without_overlap};
use crate::speech::segmenter::{Event, RATE, Segment};
use crate::speech::window::{Joined, Window};
use crate::speech::{CallId, Hypothesis, Leg, Outcome, Pass, Prompt, Utterance, UtteranceKey};
use crate::transcript::agree::Agreement;
use crate::transcript::revise::{Revision, revised};
use crate::transcript::{AlarmKind, GapReason, Line, Transcript, TranscriptEvent};

/// How much voice may go by on a leg without a word of text before the operator is told: longer than any single
/// utterance, so that a slow recognition is not yet an alarm.
const DEAF_AFTER: Duration = Duration::from_secs(20);

/// By when a partial is wanted.
const PARTIAL_DUE: Duration = Duration::from_millis(900);

/// By when an end-point pass is wanted: when the end-pointer will be sure.
const ENDPOINT_DUE: Duration = Duration::from_millis(400);

/// A passage before a pause that is worth not hearing again.
const LONG_PASSAGE: Duration = Duration::from_secs(3);

/// Less than this behind a passage says nothing yet.
const LEAST_REST: Duration = Duration::from_millis(600);

/// Names that the decoder is told to expect.
const NAMES_TOLD: usize = 4;

/// What the scribe wants done.
#[derive(Debug)]
pub enum Note {
    /// Have this recognised by then.
    Recognize(Utterance, Instant),
    /// Tell whoever watches.
    Tell(TranscriptEvent),
    /// The same of a final line that was heard once more.
    Renewed(Line),
}

/// An utterance that has no final line yet.
struct Open {
    leg: Leg,
    /// The leg's own count.
    number: u32,
    start: MediaTime,
    voice: MediaTime,
    end: MediaTime,
    /// Passes sent so far.
    passes: u32,
    /// The newest pass that has been shown, and how many versions of the line were.
    shown_pass: u32,
    shown: u32,
    /// What of them will not change any more.
    agreement: Agreement,
    /// The end-point pass of the current pause.
    endpoint: Option<Endpoint>,
    /// The newest end-point pass and its samples, also when the speaker has gone on since.
    pause: Option<(u32, usize)>,
    /// What was heard up to a pause behind which the speaker went on.
    passage: Option<Passage>,
    /// The tentative pass that hears only what follows a passage, and that passage.
    behind: Option<(u32, Passage)>,
    /// The leg's utterance before, and where that one was cut in a word.
    before: Option<u32>,
    cut: Option<MediaTime>,
    /// Set when the utterance has ended: its samples, for a final pass of its own should it need one.
    ended: Option<Arc<[f32]>>,
    /// The pass that will be final once it comes back.
    awaited: Option<u32>,
}

struct Endpoint {
    pass: u32,
    samples: usize,
    heard: Option<Hypothesis>,
}

/// The beginning of an utterance, and what was heard in it.
#[derive(Clone)]
struct Passage {
    samples: usize,
    heard: Hypothesis,
}

impl Open {
    /// What pass `revision` heard, in its place in the sentence; `before` is the leg's line before.
    fn placed(&mut self, revision: u32, heard: Hypothesis, before: Option<&Line>) -> Hypothesis {
        let behind = self.behind.take_if(|(pass, _)| *pass == revision);
        if let Some((_, passage)) = behind {
            return joined(&passage.heard, &heard);
        }
        let heard = match (self.cut, before) {
            (Some(cut), Some(before)) => without_overlap(before.text.reveal(), cut, &heard),
            _ => heard,
        };
        if let Some((pass, samples)) = self.pause
            && pass == revision
            && samples as u64 >= RATE.samples_in(LONG_PASSAGE)
            && !heard.text.reveal().is_empty()
        {
            let heard = heard.clone();
            self.passage = Some(Passage { samples, heard });
        }
        heard
    }
}

/// How one leg is heard.
#[derive(Default)]
struct Hearing {
    /// Its newest utterance.
    newest: Option<u32>,
    /// Voice since the last text.
    voiced_at_text: Duration,
    alarmed: bool,
    /// Its newest utterances that have their text, and their review that is under way.
    window: Window,
    review: Option<Joined>,
    /// Something was said since the last review was asked for.
    unreviewed: bool,
}

/// One call's transcript in the making.
pub struct TranscriptBuilder {
    call: CallId,
    finish: Arc<dyn Finish>,
    reviews: bool,
    next_id: u32,
    open: BTreeMap<u32, Open>,
    hearing: BTreeMap<Leg, Hearing>,
    transcript: Transcript,
    /// Since which version lines are as they were heard anew.
    renewed: BTreeMap<u32, u32>,
    /// Words of the lists that were misheard in this call, the newest last.
    names: Vec<Private<String>>,
    notes: VecDeque<Note>,
}

impl TranscriptBuilder {
    /// A scribe with an empty page, which writes what it hears by `finish`.
    #[must_use]
    pub fn new(call: CallId, finish: Arc<dyn Finish>) -> Self {
        Self {
            call,
            finish,
            reviews: false,
            next_id: 0,
            open: BTreeMap::new(),
            hearing: BTreeMap::new(),
            transcript: Transcript::default(),
            renewed: BTreeMap::new(),
            names: Vec::new(),
            notes: VecDeque::new(),
        }
    }

    /// The same, which has what was said heard once more while there is time.
    #[must_use]
    pub const fn reviewing(mut self, reviews: bool) -> Self {
        self.reviews = reviews;
        self
    }

    /// What stands so far.
    pub const fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// The next thing to be done.
    pub fn note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Whether there is something to be done.
    pub fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Whether an utterance that has ended still waits for its text.
    pub fn is_waiting(&self) -> bool {
        self.open.values().any(|open| open.awaited.is_some())
    }

    /// Takes what the leg's end-pointer found; `voiced` is all the voice heard on the leg so far.
    pub fn listen(&mut self, now: Instant, leg: Leg, event: Event, voiced: Duration) {
        match event {
            Event::Began { number, start } => {
                let hearing = self.hearing.entry(leg).or_default();
                let before = hearing.newest.replace(self.next_id);
                self.open.insert(
                    self.next_id,
                    Open {
                        leg,
                        number,
                        start,
                        voice: start,
                        end: start,
                        passes: 0,
                        shown_pass: 0,
                        shown: 0,
                        agreement: Agreement::default(),
                        endpoint: None,
                        pause: None,
                        passage: None,
                        behind: None,
                        before,
                        cut: None,
                        ended: None,
                        awaited: None,
                    },
                );
                self.next_id += 1;
            }
            Event::Due(segment) => self.due(now, leg, segment),
        }
        let hearing = self.hearing.entry(leg).or_default();
        if !hearing.alarmed && voiced.saturating_sub(hearing.voiced_at_text) > DEAF_AFTER {
            hearing.alarmed = true;
            self.tell(TranscriptEvent::Alarm {
                leg,
                alarm: AlarmKind::SpeechWithoutText,
            });
        }
    }

    fn due(&mut self, now: Instant, leg: Leg, segment: Segment) {
        let Some((&id, open)) = self
            .open
            .iter_mut()
            .rev()
            .find(|(_, open)| open.leg == leg && open.number == segment.number)
        else {
            // The segmenter announces every utterance before its first pass.
            return;
        };
        open.end = segment.end;
        open.start = segment.start;
        open.voice = segment.voice;
        open.cut = segment.cut;
        match segment.pass {
            Pass::Partial => {
                open.endpoint = None;
                self.send_partial(id, segment.samples, now + PARTIAL_DUE);
            }
            Pass::Endpoint => {
                open.pause = Some((open.passes + 1, segment.samples.len()));
                open.endpoint = Some(Endpoint {
                    pass: open.passes + 1,
                    samples: segment.samples.len(),
                    heard: None,
                });
                self.send(id, Pass::Endpoint, segment.samples, now + ENDPOINT_DUE);
            }
            Pass::Final => {
                open.ended = Some(segment.samples.clone());
                match open.endpoint.take() {
                    Some(Endpoint {
                        samples,
                        heard: Some(hypothesis),
                        ..
                    }) if samples == segment.samples.len() => {
                        self.conclude(now, id, &hypothesis);
                    }
                    Some(Endpoint {
                        samples,
                        pass,
                        heard: None,
                    }) if samples == segment.samples.len() => {
                        open.awaited = Some(pass);
                    }
                    _ => {
                        open.awaited = Some(open.passes + 1);
                        self.send(id, Pass::Final, segment.samples, now);
                    }
                }
            }
            // Nothing that the end-pointer asks for.
            Pass::Review => {}
        }
    }

    /// Sends a tentative pass over what is not known yet.
    fn send_partial(&mut self, id: u32, samples: Arc<[f32]>, due: Instant) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let Some(passage) = &open.passage else {
            self.send(id, Pass::Partial, samples, due);
            return;
        };
        let rest = &samples[passage.samples.min(samples.len())..];
        if (rest.len() as u64) < RATE.samples_in(LEAST_REST) {
            return;
        }
        let start = open.start + RATE.duration_of(passage.samples as u64);
        open.behind = Some((open.passes + 1, passage.clone()));
        let (rest, said) = (rest.into(), told(&passage.heard.text));
        self.send_from(id, Pass::Partial, (rest, start, start), said, due);
    }

    fn send(&mut self, id: u32, pass: Pass, samples: Arc<[f32]>, due: Instant) {
        if let Some(open) = self.open.get(&id) {
            let from = (samples, open.start, open.voice);
            self.send_from(id, pass, from, Private::default(), due);
        }
    }

    /// Sends samples with the times of the first one and of the first voice, and what was `said` before them.
    fn send_from(
        &mut self,
        id: u32,
        pass: Pass,
        (samples, start, voice): (Arc<[f32]>, MediaTime, MediaTime),
        said: Private<String>,
        due: Instant,
    ) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.passes += 1;
        let utterance = Utterance {
            key: UtteranceKey {
                call: self.call.clone(),
                leg: open.leg,
                id,
                revision: open.passes,
            },
            pass,
            samples: samples.into(),
            start,
            voice,
            end: open.end,
            prompt: Prompt {
                hints: self.finish.hints(open.leg, &self.names),
                said,
            },
        };
        self.notes.push_back(Note::Recognize(utterance, due));
    }

    /// Takes what became of a pass; `voiced` is all the voice heard on its leg so far.
    pub fn heard(&mut self, now: Instant, key: &UtteranceKey, outcome: Outcome, voiced: Duration) {
        if self.takes_review(now, key, &outcome) {
            return;
        }
        let Some(open) = self.open.get_mut(&key.id) else {
            return;
        };
        let awaited = open.awaited == Some(key.revision);
        match outcome {
            Outcome::Recognized(hypothesis) => {
                if !hypothesis.text.reveal().is_empty() {
                    let hearing = self.hearing.entry(key.leg).or_default();
                    hearing.voiced_at_text = voiced;
                    hearing.alarmed = false;
                }
                let before = open.before.and_then(|before| self.transcript.line(before));
                let hypothesis = open.placed(key.revision, hypothesis, before);
                if awaited {
                    self.conclude(now, key.id, &hypothesis);
                } else if open.awaited.is_none() && open.shown_pass < key.revision {
                    open.shown_pass = key.revision;
                    if let Some(endpoint) = open
                        .endpoint
                        .as_mut()
                        .filter(|endpoint| endpoint.pass == key.revision)
                    {
                        endpoint.heard = Some(hypothesis.clone());
                    }
                    if !hypothesis.text.reveal().is_empty() {
                        self.show(key.id, &hypothesis, false);
                    }
                }
            }
            // An end-point pass that gave way: the utterance has ended since, so it needs a pass of its own.
            Outcome::Superseded if awaited => {
                if let Some(samples) = open.ended.clone() {
                    open.awaited = Some(open.passes + 1);
                    self.send(key.id, Pass::Final, samples, now);
                }
            }
            Outcome::Shed if awaited => self.gap(key.id, GapReason::Overload),
            Outcome::Failed(_) if awaited => self.gap(key.id, GapReason::EngineFailed),
            Outcome::Superseded | Outcome::Shed | Outcome::Failed(_) => {
                // The pause's final must not wait for a pass that will not come.
                if open
                    .endpoint
                    .as_ref()
                    .is_some_and(|endpoint| endpoint.pass == key.revision)
                {
                    open.endpoint = None;
                }
            }
        }
    }

    /// Takes a change of a final line back, or makes it again; the line's new version is told like any other.
    ///
    /// # Errors
    /// [`Refusal::NoSuchChange`], or [`Refusal::HeardAnew`] where it was seen in another hearing of the line.
    pub fn revise(&mut self, revision: Revision) -> Result<(), Refusal> {
        let old = self
            .transcript
            .line(revision.line)
            .ok_or(Refusal::NoSuchChange)?;
        let renewed = self.renewed.get(&revision.line);
        if renewed.is_some_and(|since| revision.seen.is_some_and(|seen| seen < *since)) {
            return Err(Refusal::HeardAnew);
        }
        let mut line =
            revised(old, revision.change, revision.undone).ok_or(Refusal::NoSuchChange)?;
        if line.revision > old.revision {
            self.expect_names(&line);
            line.marks = self.finish.marks(&line.text);
            self.transcript.apply(line.clone());
            self.tell(TranscriptEvent::Line(line));
        }
        Ok(())
    }

    /// Nothing more will be recognised: what still waits becomes a gap.
    pub fn give_up(&mut self) {
        let waiting: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.awaited.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.gap(id, GapReason::CallOver);
        }
    }

    fn conclude(&mut self, now: Instant, id: u32, hypothesis: &Hypothesis) {
        // A line that was shown is taken back with an empty final version when no words were in it after all.
        if !hypothesis.text.reveal().is_empty()
            || self.open.get(&id).is_some_and(|open| open.shown > 0)
        {
            self.show(id, hypothesis, true);
        }
        if let Some(open) = self.open.remove(&id) {
            self.remember(now, id, open, hypothesis);
        }
    }

    fn show(&mut self, id: u32, hypothesis: &Hypothesis, is_final: bool) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let written = self.finish.finish(Spoken {
            leg: open.leg,
            text: &hypothesis.text,
            words: &hypothesis.words,
            is_final,
        });
        // That there were no words after all is the one thing that takes back what was committed.
        let (written, committed) = if written.text.reveal().is_empty() {
            (written, 0)
        } else {
            open.agreement.take(written, is_final)
        };
        let marks = self.finish.marks(&written.text);
        open.shown += 1;
        let line = Line {
            id,
            leg: open.leg,
            revision: open.shown,
            text: written.text,
            is_final,
            start: written.words.first().map_or(open.voice, |word| word.start),
            end: written.words.last().map_or(open.end, |word| word.end),
            confidence: hypothesis.confidence,
            committed,
            words: written.words,
            changes: written.changes,
            marks,
        };
        self.expect_names(&line);
        self.transcript.apply(line.clone());
        self.tell(TranscriptEvent::Line(line));
    }

    /// What was misheard once will be misheard again: the decoder is told the words that a line was put right with.
    fn expect_names(&mut self, line: &Line) {
        let letters: Vec<char> = line.text.reveal().chars().collect();
        let hotwords = line
            .changes
            .iter()
            .filter(|change| change.kind == ChangeKind::Hotword && change.to - change.from > 1);
        for change in hotwords {
            let (from, to) = (change.from as usize, change.to as usize);
            let standing = || Private::new(letters[from..to].iter().collect::<String>());
            // What an operator took back is not expected any more.
            let name = change.undone.clone().unwrap_or_else(standing);
            self.names.retain(|known| *known != name);
            if change.undone.is_none() {
                self.names.push(name);
            }
        }
        let surplus = self.names.len().saturating_sub(NAMES_TOLD);
        self.names.drain(..surplus);
    }

    /// Ends an utterance that has no final text: the last tentative words stand, and the hole is said.
    fn gap(&mut self, id: u32, reason: GapReason) {
        let Some(Open {
            leg, start, end, ..
        }) = self.open.remove(&id)
        else {
            return;
        };
        if let Some(mut line) = self
            .transcript
            .lines()
            .iter()
            .find(|line| line.id == id)
            .cloned()
        {
            line.revision += 1;
            line.is_final = true;
            line.committed = line.text.reveal().chars().count() as u32;
            self.transcript.apply(line.clone());
            self.tell(TranscriptEvent::Line(line));
        }
        self.tell(TranscriptEvent::Gap {
            id,
            leg,
            start,
            end,
            reason,
        });
    }

    fn tell(&mut self, event: TranscriptEvent) {
        self.notes.push_back(Note::Tell(event));
    }
}

#[cfg(test)]
mod tests;
