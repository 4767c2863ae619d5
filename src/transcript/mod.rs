//! What was said in a call, as lines that grow from partial to final, on one clock for both legs.

#![cfg_attr(not(test), warn(unreachable_pub))]

mod actor;
pub mod agree;
mod reason;
pub mod revise;

use std::time::SystemTime;

pub use actor::{Actor, ActorKind};
pub use reason::{EndReason, GapReason, LossCause};
use serde::{Deserialize, Serialize};

use crate::audio::MediaTime;
use crate::private::Private;
use crate::speech::finish::{Change, Mark};
use crate::speech::words::Word;
use crate::speech::{CallId, Leg};

/// One utterance as it stands on the operator's screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The utterance's number within the call, from 0 in order of start.
    pub id: u32,
    /// Who said it.
    pub leg: Leg,
    /// Counts the versions of this line from 1; a higher one replaces a lower one.
    pub revision: u32,
    /// The words, punctuated.
    pub text: Private<String>,
    /// Whether this version will stand: only an operator who undoes a change makes another one.
    pub is_final: bool,
    /// When the first word was heard.
    pub start: MediaTime,
    /// When the last word was heard.
    pub end: MediaTime,
    /// 0.0 to 1.0.
    pub confidence: f32,
    /// How many characters of the text no later version will change; of a final version all.
    #[serde(default)]
    pub committed: u32,
    /// When each word was said.
    #[serde(default)]
    pub words: Vec<Word>,
    /// Where the text differs from what was heard.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Where sensitive words stand.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Line {
    /// A line whose text stands whole, without times for its words.
    #[must_use]
    pub fn plain(id: u32, leg: Leg, text: &str, start: MediaTime, end: MediaTime) -> Self {
        Self {
            id,
            leg,
            revision: 1,
            text: text.into(),
            is_final: true,
            start,
            end,
            confidence: 1.0,
            committed: text.chars().count() as u32,
            words: Vec::new(),
            changes: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// When the characters from `from` up to `to` were said; the whole line's time where its words have none.
    #[must_use]
    pub fn time_of(&self, from: u32, to: u32) -> (MediaTime, MediaTime) {
        let mut within = self
            .words
            .iter()
            .filter(|word| word.from < to && from < word.to);
        match within.next() {
            None => (self.start, self.end),
            Some(first) => (first.start, within.next_back().unwrap_or(first).end),
        }
    }
}

/// Who is in a call, for the records and the screens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallInfo {
    /// The gateway's own identifier.
    pub call: CallId,
    /// The caller's number as the network gave it (the user part of From), if any.
    pub caller_number: Option<Private<String>>,
    /// The number or name that was called.
    pub called: String,
    /// The operator's address of record, e.g. `sip:op@127.0.0.1:5080`.
    pub operator: String,
    /// Wall time of the call's arrival, read once.
    pub started_at: SystemTime,
    /// How it came here.
    #[serde(default)]
    pub origin: Origin,
}

/// How a call came to us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The trunk that brought it, where trunks are set up.
    pub trunk: Option<String>,
    /// Who was called before the call was diverted here.
    pub diverted_from: Option<Private<String>>,
    /// What an exchange before us says about it in User-to-User (RFC 7433), as it came.
    pub user_to_user: Option<Private<String>>,
}

/// Something that went wrong with listening, and that the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Speech was heard on a leg but no text came out of it.
    SpeechWithoutText,
    /// No media arrives on a leg.
    NoMedia,
    /// This gateway does not recognise: the call has no transcript.
    RecognitionOff,
    /// A part of the recording is silence because the disk did not keep up.
    RecordingGap,
    /// The recording ends here: its file cannot be written.
    RecordingFailed,
    /// A forked call does not say who is the caller and who the operator: the two may be confused.
    UncertainLegs,
    /// The phone that the call was to be transferred to does not take it; the operator still has the caller.
    TransferFailed,
}

/// What happens to a call's recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingMark {
    /// The caller has heard the announcement to its end.
    Announced,
    /// Recording and recognition hear silence from here on.
    Paused,
    /// They hear the call again.
    Resumed,
    /// The recording alone is silent from here on: a card's, an identity or a secret number is read.
    NumberBegins,
    /// It has been read.
    NumberOver,
}

/// How a leg's sound travelled, told once when the call is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegMedia {
    /// Whose.
    pub leg: Leg,
    /// Packets that came from it.
    pub received: u64,
    /// Packets that it sent and that never came.
    pub lost: u64,
    /// Packets that came too late to be listened to.
    pub late: u64,
    /// How unevenly they came (RFC 3550), in microseconds.
    pub jitter_us: u64,
    /// What it would sound like, 1.0 to 4.5 (ITU-T G.107).
    pub mos: f64,
    /// Packets that went to it.
    pub sent: u64,
    /// How many of those never reached it, as it reported last (RTCP).
    pub reported_lost: Option<i32>,
    /// How unevenly they reached it, as it reported last, in microseconds.
    pub reported_jitter_us: Option<u64>,
    /// The way there and back, in microseconds, as its reports show it.
    pub round_trip_us: Option<u64>,
    /// Packets that its port refused, since they came from elsewhere.
    pub strays: u64,
    /// Packets that its port refused, since their tag was wrong or they were replayed.
    pub forged: u64,
}

/// What somebody noted beside what is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: MediaTime,
    /// Who.
    pub by: Actor,
    /// What.
    pub text: Private<String>,
}

/// What happens to a call's transcript, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TranscriptEvent {
    /// The call has come in.
    Started(CallInfo),
    /// The operator has answered: the call's clock stands at zero.
    Answered {
        /// Wall time of the answer, read once; every other time is relative to it.
        at: SystemTime,
    },
    /// A line has a new version.
    Line(Line),
    /// Speech that could not be recognised: an honest hole instead of a silent loss.
    Gap {
        /// The utterance that has no text.
        id: u32,
        /// Who spoke.
        leg: Leg,
        /// From when.
        start: MediaTime,
        /// Until when.
        end: MediaTime,
        /// Why.
        #[serde(deserialize_with = "reason::stored_gap")]
        reason: GapReason,
    },
    /// Listening is in trouble on a leg.
    Alarm {
        /// Which leg.
        leg: Leg,
        /// What is wrong.
        alarm: AlarmKind,
    },
    /// Something about the recording that belongs to a moment of the call.
    Recording {
        /// When.
        at: MediaTime,
        /// What.
        mark: RecordingMark,
    },
    /// Somebody has noted something beside what is said.
    Note(Note),
    /// How a leg's sound travelled; before the end of an answered call.
    Media(LegMedia),
    /// The call is over and the last words have been flushed; nothing follows.
    CallFinal {
        /// How long the call lasted after the answer; zero when it was never answered.
        duration: MediaTime,
        /// Why it ended.
        #[serde(deserialize_with = "reason::stored_end")]
        reason: EndReason,
    },
}

/// The finished and growing lines of one call, ordered by when they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    lines: Vec<Line>,
}

impl Transcript {
    /// Takes a new version of a line; an older revision than the one held is ignored.
    pub fn apply(&mut self, line: Line) {
        match self.lines.iter_mut().find(|held| held.id == line.id) {
            Some(held) if held.revision < line.revision => *held = line,
            Some(_) => {}
            None => {
                let at = self
                    .lines
                    .partition_point(|held| (held.start, held.id) <= (line.start, line.id));
                self.lines.insert(at, line);
            }
        }
    }

    /// All lines in order of their start.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line of an utterance as it stands.
    #[must_use]
    pub fn line(&self, id: u32) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == id)
    }

    /// The lines that will not change any more, in order of their start.
    pub fn final_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.is_final)
    }
}
