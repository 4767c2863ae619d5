//! Tests of the transcript builder: passes and outcomes in, lines, gaps and alarms out.

use super::*;
use crate::speech::RecognizerError;
use crate::speech::finish::AsHeard;
use crate::speech::words::{Letter, words};
use crate::text::formatter::TranscriptFormatter;
use crate::text::vocabulary::Vocabulary;

/// A builder with a stopwatch; speaks in milliseconds of one leg's clock.
struct Desk {
    builder: TranscriptBuilder,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self {
            builder: TranscriptBuilder::new(CallId::new("c1"), Arc::new(AsHeard)),
            now: Instant::now(),
        }
    }

    fn began(&mut self, leg: Leg, number: u32, start: u64) {
        let event = Event::Began {
            number,
            start: MediaTime::from_millis(start),
        };
        self.builder
            .listen(self.now, leg, event, Duration::from_millis(start));
    }

    fn due(&mut self, leg: Leg, number: u32, pass: Pass, length: usize) {
        let segment = Segment {
            number,
            pass,
            samples: vec![0.0; length].into(),
            start: MediaTime::from_millis(u64::from(number) * 1_000),
            voice: MediaTime::from_millis(u64::from(number) * 1_000),
            cut: None,
            end: MediaTime::from_millis(u64::from(number) * 1_000 + length as u64),
        };
        self.builder
            .listen(self.now, leg, Event::Due(segment), Duration::from_secs(1));
    }

    /// The passes that were sent since last asked, and what was told.
    fn notes(&mut self) -> (Vec<(UtteranceKey, Pass)>, Vec<TranscriptEvent>) {
        let (mut sent, mut told) = (Vec::new(), Vec::new());
        while let Some(note) = self.builder.note() {
            match note {
                Note::Recognize(utterance, _) => sent.push((utterance.key, utterance.pass)),
                Note::Tell(event) => told.push(event),
                Note::Renewed(line) => told.push(TranscriptEvent::Line(line)),
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
        self.builder
            .heard(self.now, key, outcome, Duration::from_secs(1));
    }

    fn lines(&mut self) -> Vec<(u32, String, bool)> {
        let line = |event| match event {
            TranscriptEvent::Line(line) => Some((line.id, line.text.into_inner(), line.is_final)),
            _ => None,
        };
        self.notes().1.into_iter().filter_map(line).collect()
    }
}

/// Each character takes 100 ms from `start` on.
fn spoken(text: &str, start: u64) -> Hypothesis {
    let time = |at: u32| MediaTime::from_millis(start + 100 * u64::from(at));
    let letters = (0..).zip(text.chars());
    let letters: Vec<Letter> = letters
        .map(|(at, letter)| Letter {
            letter,
            start: time(at),
            end: time(at + 1),
            confidence: 0.8,
        })
        .collect();
    Hypothesis {
        text: text.into(),
        words: words(&letters),
        confidence: 0.8,
        took: Duration::ZERO,
    }
}

/// A desk that reviews, at which the caller has said two things of a second each, and the review that was asked for.
fn reviewing() -> (Desk, UtteranceKey) {
    reviewing_of(Arc::new(AsHeard), ["我要投素电梯", "没人来休"])
}

fn reviewing_of(finish: Arc<dyn Finish>, said: [&str; 2]) -> (Desk, UtteranceKey) {
    let mut desk = Desk::new();
    desk.builder = TranscriptBuilder::new(CallId::new("c1"), finish).reviewing(true);
    for (number, text) in (0..).zip(said) {
        desk.began(Leg::Caller, number, u64::from(number) * 1_000);
        desk.due(Leg::Caller, number, Pass::Final, 16_000);
        let (key, pass) = desk.sent();
        assert_eq!(pass, Pass::Final);
        let heard = spoken(text, u64::from(number) * 1_000);
        desk.outcome(&key, Outcome::Recognized(heard));
        assert!(!desk.builder.is_waiting());
    }
    let (sent, _) = desk.notes();
    let [(review, Pass::Review)] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert!(desk.builder.is_reviewing());
    (desk, review.clone())
}

#[test]
fn what_is_heard_better_in_one_piece_is_written_anew() {
    let (mut desk, review) = reviewing();
    // The first second holds ten characters' time; a comma takes time too.
    let heard = spoken("我要投诉电梯，，，，没人来修。", 0);
    desk.outcome(&review, Outcome::Recognized(heard));
    let lines = desk.lines();
    assert_eq!(
        lines,
        [
            line(0, "我要投诉电梯，，，，", true),
            line(1, "没人来修。", true)
        ]
    );
    let second = desk.builder.transcript().line(1).expect("a line");
    assert_eq!((second.revision, second.start.as_millis()), (2, 1_000));
    assert!(!desk.builder.is_reviewing() && !desk.builder.is_waiting());
}

#[test]
fn a_change_seen_before_its_line_was_heard_anew_is_not_undone_in_its_place() {
    let words = [("words", "% list 行政区划\n芝罘区\n莱山区")];
    let formatter = TranscriptFormatter::new(Vocabulary::parse(words).expect("a list"), true);
    let said = ["来三区的电提", "没人来修"];
    let (mut desk, review) = reviewing_of(Arc::new(formatter), said);
    assert_eq!(
        desk.builder
            .transcript()
            .line(0)
            .expect("a line")
            .changes
            .len(),
        1
    );
    let heard = spoken("支湖区的电梯，，，，没人来修。", 0);
    desk.outcome(&review, Outcome::Recognized(heard));
    assert_eq!(desk.lines()[0].1, "芝罘区的电梯。");
    let mut undo = |change, seen| {
        let answer = desk.builder.revise(Revision {
            line: 0,
            change,
            seen,
            undone: true,
        });
        (answer, desk.lines())
    };
    assert_eq!(undo(0, Some(1)), (Err(Refusal::HeardAnew), vec![]));
    assert_eq!(undo(9, Some(2)), (Err(Refusal::NoSuchChange), vec![]));
    let heard = line(0, "支湖区的电梯。", true);
    assert_eq!(undo(0, Some(2)), (Ok(()), vec![heard]));
}

#[test]
fn a_review_that_lost_words_changes_nothing_and_one_that_gave_way_is_asked_for_again() {
    let (mut desk, review) = reviewing();
    desk.outcome(&review, Outcome::Superseded);
    assert!(!desk.builder.is_reviewing());
    assert!(
        desk.notes().0.is_empty(),
        "it would only be in the way again"
    );
    desk.builder.review_rest(desk.now);
    let (again, pass) = desk.sent();
    assert_eq!((&again, pass), (&review, Pass::Review));
    desk.outcome(&again, Outcome::Recognized(spoken("我要", 0)));
    assert_eq!(desk.lines(), []);
    desk.builder.review_rest(desk.now);
    assert!(desk.notes().0.is_empty(), "nothing new was said");
}

#[test]
fn what_was_said_during_a_review_is_reviewed_after_it() {
    let (mut desk, review) = reviewing();
    desk.began(Leg::Caller, 2, 2_000);
    desk.due(Leg::Caller, 2, Pass::Final, 16_000);
    let (key, _) = desk.sent();
    desk.outcome(&key, Outcome::Recognized(spoken("好吧", 2_000)));
    assert!(desk.notes().0.is_empty(), "one at a time");
    desk.outcome(&review, Outcome::Shed);
    desk.builder.review_rest(desk.now);
    let (next, pass) = desk.sent();
    assert_eq!((next.id, pass), (2, Pass::Review));
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
    assert!(!desk.builder.is_waiting());
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
    assert!(desk.builder.is_waiting());
    desk.outcome(&endpoint, Outcome::Superseded);
    let (again, pass) = desk.sent();
    assert_eq!((again.revision, pass), (2, Pass::Final));
    desk.heard(&again, "再见。");
    assert_eq!(desk.lines(), [line(0, "再见。", true)]);
    assert!(!desk.builder.is_waiting());
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
        desk.builder
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
    desk.builder.give_up();
    assert!(matches!(
        &desk.notes().1[..],
        [TranscriptEvent::Gap { id: 0, .. }]
    ));
    assert!(!desk.builder.is_waiting());
}

#[test]
fn behind_a_long_passage_only_the_rest_is_heard_and_the_passage_is_its_prompt() {
    let mut desk = Desk::new();
    let seconds = |seconds: usize| seconds * 16_000;
    desk.began(Leg::Caller, 0, 0);
    desk.due(Leg::Caller, 0, Pass::Endpoint, seconds(4));
    let (endpoint, _) = desk.sent();
    desk.heard(&endpoint, "我要投诉。");
    desk.notes();
    // Too little to say anything.
    desk.due(Leg::Caller, 0, Pass::Partial, seconds(4) + 1_600);
    assert!(desk.notes().0.is_empty());
    desk.due(Leg::Caller, 0, Pass::Partial, seconds(6));
    let Some(Note::Recognize(rest, _)) = desk.builder.note() else {
        panic!("a pass over the rest");
    };
    assert_eq!(rest.samples.len(), seconds(2));
    assert_eq!(rest.start, MediaTime::from_millis(4_000));
    assert_eq!(rest.prompt.said.reveal(), "我要投诉。");
    desk.heard(&rest.key, "一家店");
    assert_eq!(desk.lines(), [line(0, "我要投诉，一家店", false)]);
    // What will stand is heard whole.
    desk.due(Leg::Caller, 0, Pass::Final, seconds(7));
    let Some(Note::Recognize(last, _)) = desk.builder.note() else {
        panic!("a pass over all");
    };
    assert_eq!(last.samples.len(), seconds(7));
    assert!(last.prompt.said.reveal().is_empty());
}

#[test]
fn a_committed_beginning_stays_when_the_last_pass_hears_it_otherwise() {
    let mut desk = Desk::new();
    desk.began(Leg::Caller, 0, 0);
    for (length, text) in [(900, "我住在支湖"), (1_800, "我住在支湖区南")] {
        desk.due(Leg::Caller, 0, Pass::Partial, length);
        let (partial, _) = desk.sent();
        desk.heard(&partial, text);
    }
    let told = desk.notes().1;
    assert!(matches!(&told[..], [TranscriptEvent::Line(line)] if line.committed == 5));
    desk.due(Leg::Caller, 0, Pass::Final, 2_000);
    let (last, _) = desk.sent();
    desk.heard(&last, "我住在芝罘区南大街。");
    assert_eq!(desk.lines(), [line(0, "我住在支湖区南大街。", true)]);
}

#[test]
fn a_change_that_an_operator_takes_back_is_a_new_version_of_the_line_and_nothing_else_moves() {
    let formatter = TranscriptFormatter::new(
        Vocabulary::parse([(
            "words",
            "% list 行政区划\n芝罘区\n% list 敏感\n% slot sensitive\n二十三",
        )])
        .expect("a list"),
        true,
    );
    let mut desk = Desk::new();
    desk.builder = TranscriptBuilder::new(CallId::new("c1"), Arc::new(formatter));
    desk.began(Leg::Caller, 0, 0);
    desk.due(Leg::Caller, 0, Pass::Final, 900);
    let (key, _) = desk.sent();
    desk.heard(&key, "在支湖区二十三号");
    assert_eq!(desk.lines(), [line(0, "在芝罘区23号。", true)]);
    let revise = |desk: &mut Desk, change, undone| {
        let revision = Revision {
            line: 0,
            change,
            seen: None,
            undone,
        };
        let answer = desk.builder.revise(revision);
        answer.map(|()| desk.lines())
    };
    let becomes = |text| Ok(vec![line(0, text, true)]);
    assert_eq!(revise(&mut desk, 0, true), becomes("在支湖区23号。"));
    assert_eq!(revise(&mut desk, 1, true), becomes("在支湖区二十三号。"));
    let now = desk.builder.transcript().line(0).expect("a line");
    assert_eq!(
        (now.revision, now.marks.len()),
        (3, 1),
        "marks are of the text that stands"
    );
    // What stands so already says nothing, and what is not there is refused.
    assert_eq!(revise(&mut desk, 1, true), Ok(vec![]));
    assert_eq!(revise(&mut desk, 2, true), Err(Refusal::NoSuchChange));
    assert_eq!(revise(&mut desk, 0, false), becomes("在芝罘区二十三号。"));
}

#[test]
fn the_decoder_is_told_how_the_side_speaks_and_what_was_misheard_before_until_somebody_takes_it_back()
 {
    let lists = Vocabulary::parse([(
        "words",
        "% list 行政区划\n芝罘区 莱山区\n% prompt caller 我要投诉。\n% prompt operator 请问您贵姓？",
    )]);
    let mut desk = Desk::new();
    let formatter = TranscriptFormatter::new(lists.expect("a list"), true);
    desk.builder = TranscriptBuilder::new(CallId::new("c1"), Arc::new(formatter));
    let say = |desk: &mut Desk, leg, number, text: &str| {
        desk.began(leg, number, 0);
        desk.due(leg, number, Pass::Final, 900);
        let mut hints = None;
        while let Some(note) = desk.builder.note() {
            if let Note::Recognize(utterance, _) = note {
                hints = Some((utterance.key, utterance.prompt.hints.into_inner()));
            }
        }
        let (key, hints) = hints.expect("a pass");
        desk.heard(&key, text);
        hints
    };
    assert_eq!(say(&mut desk, Leg::Caller, 0, "我在支湖区"), "我要投诉。");
    assert_eq!(
        say(&mut desk, Leg::Operator, 0, "来三区"),
        "芝罘区。请问您贵姓？"
    );
    assert_eq!(
        say(&mut desk, Leg::Caller, 1, "好的"),
        "芝罘区。莱山区。我要投诉。"
    );
    let revision = Revision {
        line: 0,
        change: 0,
        seen: None,
        undone: true,
    };
    desk.builder
        .revise(revision)
        .expect("there is such a change");
    assert_eq!(say(&mut desk, Leg::Caller, 2, "对"), "莱山区。我要投诉。");
}
