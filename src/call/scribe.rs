//! Keeps one call's transcript: numbers its utterances over both legs, sends passes to the recogniser, and turns what
//! comes back into lines, honest gaps and alarms.
//!
//! An end-point pass has the extent of the final that follows if the pause lasts, so its hypothesis is promoted to
//! the final line without recognising again. Whatever happens to a pass, an utterance that has ended leaves exactly
//! one trace: a final line, a gap, or nothing when no words were in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audio::MediaTime;
use crate::speech::finish::{Finish, Spoken};
use crate::speech::segmenter::{Event, Segment};
use crate::speech::{CallId, Hypothesis, Leg, Outcome, Pass, Prompt, Utterance, UtteranceKey};
use crate::transcript::agree::Agreement;
use crate::transcript::{AlarmKind, Line, Transcript, TranscriptEvent};

/// How much voice may go by on a leg without a word of text before the operator is told: longer than any single
/// utterance, so that a slow recognition is not yet an alarm.
const DEAF_AFTER: Duration = Duration::from_secs(20);

/// By when a partial is wanted.
const PARTIAL_DUE: Duration = Duration::from_millis(900);

/// By when an end-point pass is wanted: when the end-pointer will be sure.
const ENDPOINT_DUE: Duration = Duration::from_millis(400);

/// What the scribe wants done.
#[derive(Debug)]
pub enum Note {
    /// Have this recognised by then.
    Recognize(Utterance, Instant),
    /// Tell whoever watches.
    Tell(TranscriptEvent),
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

/// How one leg is heard.
#[derive(Default)]
struct Hearing {
    /// Voice since the last text.
    voiced_at_text: Duration,
    alarmed: bool,
}

/// One call's transcript in the making.
pub struct Scribe {
    call: CallId,
    finish: Arc<dyn Finish>,
    next_id: u32,
    open: BTreeMap<u32, Open>,
    hearing: BTreeMap<Leg, Hearing>,
    transcript: Transcript,
    notes: VecDeque<Note>,
}

impl Scribe {
    /// A scribe with an empty page, which writes what it hears by `finish`.
    #[must_use]
    pub fn new(call: CallId, finish: Arc<dyn Finish>) -> Self {
        Self {
            call,
            finish,
            next_id: 0,
            open: BTreeMap::new(),
            hearing: BTreeMap::new(),
            transcript: Transcript::default(),
            notes: VecDeque::new(),
        }
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
        match segment.pass {
            Pass::Partial => {
                open.endpoint = None;
                self.send(id, Pass::Partial, segment.samples, now + PARTIAL_DUE);
            }
            Pass::Endpoint => {
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
                        self.conclude(id, &hypothesis);
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
        }
    }

    fn send(&mut self, id: u32, pass: Pass, samples: Arc<[f32]>, due: Instant) {
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
            samples,
            start: open.start,
            voice: open.voice,
            end: open.end,
            prompt: Prompt::default(),
        };
        self.notes.push_back(Note::Recognize(utterance, due));
    }

    /// Takes what became of a pass; `voiced` is all the voice heard on its leg so far.
    pub fn heard(&mut self, now: Instant, key: &UtteranceKey, outcome: Outcome, voiced: Duration) {
        let Some(open) = self.open.get_mut(&key.id) else {
            return;
        };
        let awaited = open.awaited == Some(key.revision);
        match outcome {
            Outcome::Recognized(hypothesis) => {
                if !hypothesis.text.reveal().is_empty() {
                    let hearing = self.hearing.entry(key.leg).or_default();
                    *hearing = Hearing {
                        voiced_at_text: voiced,
                        alarmed: false,
                    };
                }
                if awaited {
                    self.conclude(key.id, &hypothesis);
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
            Outcome::Shed if awaited => self.gap(key.id, "识别繁忙，此处未能转写"),
            Outcome::Failed(_) if awaited => self.gap(key.id, "识别出错，此处未能转写"),
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

    /// Nothing more will be recognised: what still waits becomes a gap.
    pub fn give_up(&mut self) {
        let waiting: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| open.awaited.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.gap(id, "通话已结束，此处未及转写");
        }
    }

    fn conclude(&mut self, id: u32, hypothesis: &Hypothesis) {
        // A line that was shown is taken back with an empty final version when no words were in it after all.
        if !hypothesis.text.reveal().is_empty()
            || self.open.get(&id).is_some_and(|open| open.shown > 0)
        {
            self.show(id, hypothesis, true);
        }
        self.open.remove(&id);
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
        };
        self.transcript.apply(line.clone());
        self.tell(TranscriptEvent::Line(line));
    }

    /// Ends an utterance that has no final text: the last tentative words stand, and the hole is said.
    fn gap(&mut self, id: u32, reason: &str) {
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
            reason: reason.to_owned(),
        });
    }

    fn tell(&mut self, event: TranscriptEvent) {
        self.notes.push_back(Note::Tell(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::Private;
    use crate::speech::RecognizerError;
    use crate::speech::finish::AsHeard;

    /// A scribe with a stopwatch; speaks in milliseconds of one leg's clock.
    struct Desk {
        scribe: Scribe,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            Self {
                scribe: Scribe::new(CallId::new("c1"), Arc::new(AsHeard)),
                now: Instant::now(),
            }
        }

        fn began(&mut self, leg: Leg, number: u32, start: u64) {
            let event = Event::Began {
                number,
                start: MediaTime::from_millis(start),
            };
            self.scribe
                .listen(self.now, leg, event, Duration::from_millis(start));
        }

        fn due(&mut self, leg: Leg, number: u32, pass: Pass, length: usize) {
            let segment = Segment {
                number,
                pass,
                samples: vec![0.0; length].into(),
                start: MediaTime::from_millis(u64::from(number) * 1_000),
                voice: MediaTime::from_millis(u64::from(number) * 1_000),
                end: MediaTime::from_millis(u64::from(number) * 1_000 + length as u64),
            };
            self.scribe
                .listen(self.now, leg, Event::Due(segment), Duration::from_secs(1));
        }

        /// The passes that were sent since last asked, and what was told.
        fn notes(&mut self) -> (Vec<(UtteranceKey, Pass)>, Vec<TranscriptEvent>) {
            let (mut sent, mut told) = (Vec::new(), Vec::new());
            while let Some(note) = self.scribe.note() {
                match note {
                    Note::Recognize(utterance, _) => sent.push((utterance.key, utterance.pass)),
                    Note::Tell(event) => told.push(event),
                }
            }
            (sent, told)
        }

        fn sent(&mut self) -> (UtteranceKey, Pass) {
            self.notes().0.pop().expect("a pass was sent")
        }

        fn heard(&mut self, key: &UtteranceKey, text: &str) {
            let hypothesis = Hypothesis {
                text: Private::from(text),
                words: Vec::new(),
                confidence: 0.9,
                took: Duration::ZERO,
            };
            self.outcome(key, Outcome::Recognized(hypothesis));
        }

        fn outcome(&mut self, key: &UtteranceKey, outcome: Outcome) {
            self.scribe
                .heard(self.now, key, outcome, Duration::from_secs(1));
        }

        fn lines(&mut self) -> Vec<(u32, String, bool)> {
            let line = |event| match event {
                TranscriptEvent::Line(line) => {
                    Some((line.id, line.text.into_inner(), line.is_final))
                }
                _ => None,
            };
            self.notes().1.into_iter().filter_map(line).collect()
        }
    }

    fn line(id: u32, text: &str, is_final: bool) -> (u32, String, bool) {
        (id, text.to_owned(), is_final)
    }

    #[test]
    fn an_end_point_that_is_confirmed_becomes_final_without_another_pass() {
        let mut desk = Desk::new();
        desk.began(Leg::Caller, 0, 0);
        desk.due(Leg::Caller, 0, Pass::Endpoint, 900);
        let (endpoint, _) = desk.sent();
        desk.heard(&endpoint, "你好。");
        assert_eq!(desk.lines(), [line(0, "你好。", false)]);
        desk.due(Leg::Caller, 0, Pass::Final, 900);
        assert!(!desk.scribe.is_waiting());
        let (sent, told) = desk.notes();
        assert_eq!(sent, []);
        assert!(
            matches!(&told[..], [TranscriptEvent::Line(line)] if line.is_final && line.revision == 2)
        );
    }

    #[test]
    fn an_end_point_under_way_is_waited_for_and_a_superseded_one_is_recognised_again() {
        let mut desk = Desk::new();
        desk.began(Leg::Caller, 0, 0);
        desk.due(Leg::Caller, 0, Pass::Endpoint, 900);
        let (endpoint, _) = desk.sent();
        desk.due(Leg::Caller, 0, Pass::Final, 900);
        assert!(desk.notes().0.is_empty());
        assert!(desk.scribe.is_waiting());
        desk.outcome(&endpoint, Outcome::Superseded);
        let (again, pass) = desk.sent();
        assert_eq!((again.revision, pass), (2, Pass::Final));
        desk.heard(&again, "再见。");
        assert_eq!(desk.lines(), [line(0, "再见。", true)]);
        assert!(!desk.scribe.is_waiting());
    }

    #[test]
    fn speech_that_goes_on_after_a_pause_needs_a_pass_over_all_of_it() {
        let mut desk = Desk::new();
        desk.began(Leg::Operator, 0, 0);
        desk.due(Leg::Operator, 0, Pass::Endpoint, 900);
        let (endpoint, _) = desk.sent();
        desk.due(Leg::Operator, 0, Pass::Final, 1_800);
        let (last, pass) = desk.sent();
        assert_eq!(pass, Pass::Final);
        // The late end-point pass holds half of the words.
        desk.heard(&endpoint, "请问");
        assert_eq!(desk.lines(), []);
        desk.heard(&last, "请问您贵姓？");
        assert_eq!(desk.lines(), [line(0, "请问您贵姓？", true)]);
    }

    #[test]
    fn an_older_pass_that_comes_late_is_not_shown() {
        let mut desk = Desk::new();
        desk.began(Leg::Caller, 0, 0);
        desk.due(Leg::Caller, 0, Pass::Partial, 900);
        let (first, _) = desk.sent();
        desk.due(Leg::Caller, 0, Pass::Partial, 1_800);
        let (second, _) = desk.sent();
        desk.heard(&second, "我要投诉");
        desk.heard(&first, "我要");
        assert_eq!(desk.lines(), [line(0, "我要投诉", false)]);
    }

    #[test]
    fn ids_count_over_both_legs_and_a_line_without_words_is_taken_back() {
        let mut desk = Desk::new();
        desk.began(Leg::Operator, 0, 0);
        desk.began(Leg::Caller, 0, 100);
        desk.due(Leg::Caller, 0, Pass::Partial, 900);
        let (partial, _) = desk.sent();
        assert_eq!(partial.id, 1);
        desk.heard(&partial, "嗯");
        desk.due(Leg::Caller, 0, Pass::Final, 1_000);
        let (last, _) = desk.sent();
        desk.heard(&last, "");
        assert_eq!(desk.lines(), [line(1, "", true)]);
    }

    #[test]
    fn a_final_that_cannot_be_kept_leaves_its_tentative_words_and_a_gap() {
        for outcome in [
            Outcome::Shed,
            Outcome::Failed(RecognizerError::Engine("out of memory".to_owned())),
        ] {
            let mut desk = Desk::new();
            desk.began(Leg::Caller, 0, 0);
            desk.due(Leg::Caller, 0, Pass::Partial, 900);
            let (partial, _) = desk.sent();
            desk.heard(&partial, "我住在");
            desk.due(Leg::Caller, 0, Pass::Final, 1_000);
            let (last, _) = desk.sent();
            desk.notes();
            desk.outcome(&last, outcome);
            let (_, told) = desk.notes();
            assert!(
                matches!(&told[..], [TranscriptEvent::Line(line), TranscriptEvent::Gap { id: 0, .. }]
                    if line.is_final && line.text.reveal() == "我住在"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn long_speech_without_a_word_of_text_is_an_alarm_once() {
        let mut desk = Desk::new();
        for second in [10, 21, 30] {
            let event = Event::Began {
                number: second as u32,
                start: MediaTime::from_millis(second * 1_000),
            };
            desk.scribe
                .listen(desk.now, Leg::Caller, event, Duration::from_secs(second));
        }
        let alarm = TranscriptEvent::Alarm {
            leg: Leg::Caller,
            alarm: AlarmKind::SpeechWithoutText,
        };
        assert_eq!(desk.notes().1, [alarm]);
    }

    #[test]
    fn what_still_waits_when_the_scribe_gives_up_becomes_a_gap() {
        let mut desk = Desk::new();
        desk.began(Leg::Caller, 0, 0);
        desk.due(Leg::Caller, 0, Pass::Final, 900);
        desk.notes();
        desk.scribe.give_up();
        assert!(matches!(
            &desk.notes().1[..],
            [TranscriptEvent::Gap { id: 0, .. }]
        ));
        assert!(!desk.scribe.is_waiting());
    }
}
