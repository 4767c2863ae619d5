//! Why a call ended, and why a stretch of it has no text: codes with their parameters.
//!
//! The page has a sentence for each in its reader's language. The English ones here are for the log, for the command
//! line, and for clients that still read sentences.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::ActorKind;
use crate::speech::Leg;

/// Why a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum EndReason {
    /// A party hung up.
    HungUp {
        /// Who.
        party: Leg,
    },
    /// The caller gave up before the answer.
    Cancelled,
    /// A party's dialog failed.
    Lost {
        /// Whose.
        party: Leg,
        /// What failed.
        #[serde(flatten)]
        cause: LossCause,
    },
    /// The same before the answer.
    LostBeforeAnswer {
        /// Whose.
        party: Leg,
        /// What failed.
        #[serde(flatten)]
        cause: LossCause,
    },
    /// The operator's phone rang long enough, or nothing answered on the way to it.
    NoAnswer,
    /// The operator's phone, or the path to it, refused.
    Rejected {
        /// The SIP status, 300 to 699.
        status: u16,
        /// What it said with it; empty where that does not concern the caller.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// The caller's or the recording client's offer cannot be served.
    UnusableOffer {
        /// What is wrong with it.
        detail: String,
    },
    /// A party answered an offer of ours with what cannot be served.
    UnusableAnswer {
        /// Who.
        party: Leg,
        /// What is wrong with it.
        detail: String,
    },
    /// The operator had left when the phone that the call was transferred to refused.
    TransferFailed {
        /// The SIP status, 300 to 699.
        status: u16,
    },
    /// It had lasted as long as a call may.
    TooLong {
        /// How long that is.
        seconds: u64,
    },
    /// No media came any more, so a hang-up was lost on the way.
    NoMedia {
        /// From whom; from neither side when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        party: Option<Leg>,
        /// For how long.
        seconds: u64,
    },
    /// Somebody who is not a party of the call had it ended.
    EndedBy {
        /// What kind of somebody.
        actor: ActorKind,
    },
    /// The signalling's task ended without a word.
    SignallingLost,
    /// The gateway stopped.
    ShuttingDown,
    /// What an older version wrote and this one does not know.
    Other {
        /// Its sentence.
        detail: String,
    },
}

/// What ended a dialog that nobody hung up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum LossCause {
    /// It never acknowledged the answer to its INVITE (RFC 3261 §13.3.1.4).
    NoAck,
    /// It never acknowledged a reliable provisional response (RFC 3262 §3).
    NoPrack,
    /// It did not refresh its session in time (RFC 4028 §10).
    SessionExpired,
    /// It answered a request within the dialog with a status that ends it (RFC 3261 §12.2.1.2).
    Refused {
        /// That status.
        status: u16,
    },
    /// Something else broke.
    Other {
        /// What.
        detail: String,
    },
}

/// Why a stretch of speech has no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum GapReason {
    /// No recognition worker had room for it.
    Overload,
    /// The recogniser failed on it.
    EngineFailed,
    /// The call was over before it was its turn.
    CallOver,
    /// What an older version wrote and this one does not know.
    Other {
        /// Its sentence.
        detail: String,
    },
}

/// What phones say with the statuses that they refuse calls with (RFC 3261 §21).
const PHRASES: [(&str, u16); 4] = [
    ("Temporarily Unavailable", 480),
    ("Busy Here", 486),
    ("Busy Everywhere", 600),
    ("Decline", 603),
];

const CANCELLED: &str = "caller cancelled";
const NO_ANSWER: &str = "the operator's phone does not answer";
const SIGNALLING_LOST: &str = "the signalling was lost";
const SHUTTING_DOWN: &str = "the gateway is shutting down";

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp { party } => write!(f, "{party} hung up"),
            Self::Cancelled => f.write_str(CANCELLED),
            Self::Lost { party, cause } => write!(f, "{party} lost ({cause})"),
            Self::LostBeforeAnswer { party, cause } => {
                write!(f, "{party} lost before the answer ({cause})")
            }
            Self::NoAnswer => f.write_str(NO_ANSWER),
            Self::Rejected { status, detail } if detail.is_empty() => {
                write!(f, "the operator's side said {status}")
            }
            Self::UnusableAnswer { party, detail } => {
                write!(f, "{party} answered our offer unusably: {detail}")
            }
            Self::TransferFailed { status } => write!(f, "the transfer failed ({status})"),
            Self::TooLong { seconds } => {
                write!(f, "the longest time of a call, {seconds} s, was over")
            }
            Self::NoMedia {
                party: None,
                seconds,
            } => write!(f, "no media from either side for {seconds} s"),
            Self::NoMedia {
                party: Some(party),
                seconds,
            } => write!(f, "no media from the {party} for {seconds} s"),
            Self::EndedBy { actor } => write!(f, "ended by a {}", actor.name()),
            Self::SignallingLost => f.write_str(SIGNALLING_LOST),
            Self::ShuttingDown => f.write_str(SHUTTING_DOWN),
            Self::Rejected { detail, .. }
            | Self::UnusableOffer { detail }
            | Self::Other { detail } => f.write_str(detail),
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAck => f.write_str("no ACK"),
            Self::NoPrack => f.write_str("no PRACK"),
            Self::SessionExpired => f.write_str("session expired"),
            Self::Refused { status } => write!(f, "{status} within the dialog"),
            Self::Other { detail } => f.write_str(detail),
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overload => "recognition is overloaded",
            Self::EngineFailed => "recognition failed",
            Self::CallOver => "the call was over before it was recognised",
            Self::Other { detail } => detail,
        })
    }
}

/// What is between two texts.
fn between<'a>(sentence: &'a str, before: &str, after: &str) -> Option<&'a str> {
    sentence.strip_prefix(before)?.strip_suffix(after)
}

impl EndReason {
    /// The reason that an older version wrote as a sentence.
    #[must_use]
    pub fn of_sentence(sentence: &str) -> Self {
        let constant = match sentence {
            CANCELLED => Some(Self::Cancelled),
            NO_ANSWER => Some(Self::NoAnswer),
            SIGNALLING_LOST => Some(Self::SignallingLost),
            SHUTTING_DOWN => Some(Self::ShuttingDown),
            _ => None,
        };
        constant
            .or_else(|| Self::with_party(sentence))
            .or_else(|| Self::with_number(sentence))
            .or_else(|| {
                let (detail, status) = PHRASES.iter().find(|(phrase, _)| *phrase == sentence)?;
                Some(Self::Rejected {
                    status: *status,
                    detail: (*detail).to_owned(),
                })
            })
            .unwrap_or_else(|| Self::Other {
                detail: sentence.to_owned(),
            })
    }

    fn with_party(sentence: &str) -> Option<Self> {
        if let Some(detail) = sentence.strip_prefix("the operator's phone answered unusably: ") {
            return Some(Self::UnusableAnswer {
                party: Leg::Operator,
                detail: detail.to_owned(),
            });
        }
        let (party, rest) = [Leg::Caller, Leg::Operator].into_iter().find_map(|leg| {
            let rest = sentence.strip_prefix(leg.as_str())?;
            Some((leg, rest))
        })?;
        if rest == " hung up" {
            return Some(Self::HungUp { party });
        }
        if let Some(detail) = rest.strip_prefix(" answered our offer unusably: ") {
            let detail = detail.to_owned();
            return Some(Self::UnusableAnswer { party, detail });
        }
        if let Some(cause) = between(rest, " lost before the answer (", ")") {
            let cause = LossCause::of_sentence(cause);
            return Some(Self::LostBeforeAnswer { party, cause });
        }
        let cause = LossCause::of_sentence(between(rest, " lost (", ")")?);
        Some(Self::Lost { party, cause })
    }

    fn with_number(sentence: &str) -> Option<Self> {
        if let Some(status) = sentence.strip_prefix("the operator's side said ") {
            return Some(Self::Rejected {
                status: status.parse().ok()?,
                detail: String::new(),
            });
        }
        if let Some(status) = between(sentence, "the transfer failed (", ")") {
            let status = status.parse().ok()?;
            return Some(Self::TransferFailed { status });
        }
        if let Some(seconds) = between(sentence, "the longest time of a call, ", " s, was over") {
            let seconds = seconds.parse().ok()?;
            return Some(Self::TooLong { seconds });
        }
        let (whom, seconds) = between(sentence, "no media from ", " s")?.split_once(" for ")?;
        let party = match whom {
            "the caller" => Some(Leg::Caller),
            "the operator" => Some(Leg::Operator),
            "either side" => None,
            _ => return None,
        };
        let seconds = seconds.parse().ok()?;
        Some(Self::NoMedia { party, seconds })
    }
}

impl LossCause {
    fn of_sentence(sentence: &str) -> Self {
        let refused = sentence.strip_suffix(" within the dialog");
        if let Some(status) = refused.and_then(|status| status.parse().ok()) {
            return Self::Refused { status };
        }
        match sentence {
            "no ACK" => Self::NoAck,
            "no PRACK" => Self::NoPrack,
            "session expired" => Self::SessionExpired,
            other => Self::Other {
                detail: other.to_owned(),
            },
        }
    }
}

impl GapReason {
    const SENTENCES: [(Self, &str); 3] = [
        (Self::Overload, "识别繁忙，此处未能转写"),
        (Self::EngineFailed, "识别出错，此处未能转写"),
        (Self::CallOver, "通话已结束，此处未及转写"),
    ];

    /// The sentence that stood in its place before there were codes; for clients that show it as it is.
    #[must_use]
    pub fn sentence(&self) -> &str {
        let known = Self::SENTENCES.iter().find(|(reason, _)| reason == self);
        match (self, known) {
            (Self::Other { detail }, _) => detail,
            (_, known) => known.map_or("", |(_, sentence)| sentence),
        }
    }

    /// The reason that an older version wrote as a sentence.
    #[must_use]
    pub fn of_sentence(sentence: &str) -> Self {
        let known = Self::SENTENCES.into_iter().find(|(_, is)| *is == sentence);
        known.map_or_else(
            || Self::Other {
                detail: sentence.to_owned(),
            },
            |(reason, _)| reason,
        )
    }
}

/// What is stored: a code with its parameters, or the sentence of an older version.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored<T> {
    Sentence(String),
    Code(T),
}

/// Reads the end of a call as it is stored.
pub(super) fn stored_end<'de, D: Deserializer<'de>>(from: D) -> Result<EndReason, D::Error> {
    Ok(match Stored::deserialize(from)? {
        Stored::Sentence(sentence) => EndReason::of_sentence(&sentence),
        Stored::Code(reason) => reason,
    })
}

/// Reads the reason of a gap as it is stored.
pub(super) fn stored_gap<'de, D: Deserializer<'de>>(from: D) -> Result<GapReason, D::Error> {
    Ok(match Stored::deserialize(from)? {
        Stored::Sentence(sentence) => GapReason::of_sentence(&sentence),
        Stored::Code(reason) => reason,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audio::MediaTime;
    use crate::transcript::TranscriptEvent;

    const CALLER: Leg = Leg::Caller;

    fn detail(text: &str) -> String {
        text.to_owned()
    }

    /// Every reason, as JSON and as the sentence that was stored before there were codes.
    fn ends() -> Vec<(EndReason, serde_json::Value, &'static str)> {
        let (party, operator) = (CALLER, Leg::Operator);
        let lost = |cause| EndReason::Lost { party, cause };
        vec![
            (
                EndReason::HungUp { party: operator },
                json!({"code": "hung_up", "party": "operator"}),
                "operator hung up",
            ),
            (
                EndReason::Cancelled,
                json!({"code": "cancelled"}),
                "caller cancelled",
            ),
            (
                lost(LossCause::NoAck),
                json!({"code": "lost", "party": "caller", "cause": "no_ack"}),
                "caller lost (no ACK)",
            ),
            (
                lost(LossCause::SessionExpired),
                json!({"code": "lost", "party": "caller", "cause": "session_expired"}),
                "caller lost (session expired)",
            ),
            (
                lost(LossCause::Refused { status: 481 }),
                json!({"code": "lost", "party": "caller", "cause": "refused", "status": 481}),
                "caller lost (481 within the dialog)",
            ),
            (
                lost(LossCause::Other {
                    detail: detail("ProxyError(502)"),
                }),
                json!({"code": "lost", "party": "caller", "cause": "other", "detail": "ProxyError(502)"}),
                "caller lost (ProxyError(502))",
            ),
            (
                EndReason::LostBeforeAnswer {
                    party,
                    cause: LossCause::NoPrack,
                },
                json!({"code": "lost_before_answer", "party": "caller", "cause": "no_prack"}),
                "caller lost before the answer (no PRACK)",
            ),
            (
                EndReason::NoAnswer,
                json!({"code": "no_answer"}),
                "the operator's phone does not answer",
            ),
            (
                EndReason::Rejected {
                    status: 486,
                    detail: detail("Busy Here"),
                },
                json!({"code": "rejected", "status": 486, "detail": "Busy Here"}),
                "Busy Here",
            ),
            (
                EndReason::Rejected {
                    status: 503,
                    detail: String::new(),
                },
                json!({"code": "rejected", "status": 503}),
                "the operator's side said 503",
            ),
            (
                EndReason::UnusableAnswer {
                    party: operator,
                    detail: detail("no codec"),
                },
                json!({"code": "unusable_answer", "party": "operator", "detail": "no codec"}),
                "operator answered our offer unusably: no codec",
            ),
            (
                EndReason::TransferFailed { status: 408 },
                json!({"code": "transfer_failed", "status": 408}),
                "the transfer failed (408)",
            ),
            (
                EndReason::TooLong { seconds: 14_400 },
                json!({"code": "too_long", "seconds": 14_400}),
                "the longest time of a call, 14400 s, was over",
            ),
            (
                EndReason::NoMedia {
                    party: None,
                    seconds: 60,
                },
                json!({"code": "no_media", "seconds": 60}),
                "no media from either side for 60 s",
            ),
            (
                EndReason::NoMedia {
                    party: Some(party),
                    seconds: 600,
                },
                json!({"code": "no_media", "party": "caller", "seconds": 600}),
                "no media from the caller for 600 s",
            ),
            (
                EndReason::SignallingLost,
                json!({"code": "signalling_lost"}),
                "the signalling was lost",
            ),
            (
                EndReason::ShuttingDown,
                json!({"code": "shutting_down"}),
                "the gateway is shutting down",
            ),
            (
                EndReason::Other {
                    detail: detail("the moon was full"),
                },
                json!({"code": "other", "detail": "the moon was full"}),
                "the moon was full",
            ),
        ]
    }

    fn read(reason: &serde_json::Value) -> EndReason {
        let event = json!({"kind": "call_final", "duration": 0, "reason": reason});
        match serde_json::from_value(event).expect("an event") {
            TranscriptEvent::CallFinal { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_end_is_stored_as_a_code_and_the_sentences_of_older_versions_are_read() {
        for (reason, code, sentence) in ends() {
            assert_eq!(serde_json::to_value(&reason).expect("JSON"), code);
            assert_eq!(reason.to_string(), sentence);
            assert_eq!(read(&code), reason);
            assert_eq!(read(&sentence.into()), reason, "{sentence}");
        }
        // No older version wrote this one.
        let actor = ActorKind::Service;
        let code = json!({"code": "ended_by", "actor": "service"});
        let reason = EndReason::EndedBy { actor };
        assert_eq!(serde_json::to_value(&reason).expect("JSON"), code);
        assert_eq!(
            (read(&code), reason.to_string().as_str()),
            (reason, "ended by a service")
        );
        // This one had a sentence of its own.
        let answered = read(&"the operator's phone answered unusably: no codec".into());
        assert!(matches!(answered, EndReason::UnusableAnswer { .. }));
        // What only looks like a known sentence stays as it is.
        for sentence in [
            "",
            "no media from Mars for 3 s",
            "the transfer failed (soon)",
            "caller lost",
        ] {
            let detail = sentence.to_owned();
            assert_eq!(read(&sentence.into()), EndReason::Other { detail });
        }
    }

    #[test]
    fn a_gap_is_stored_as_a_code_and_the_sentences_of_older_versions_are_read() {
        let event = |reason: serde_json::Value| json!({"kind": "gap", "id": 3, "leg": "caller", "start": 0, "end": 0, "reason": reason});
        for (reason, code, sentence) in [
            (GapReason::Overload, "overload", "识别繁忙，此处未能转写"),
            (
                GapReason::EngineFailed,
                "engine_failed",
                "识别出错，此处未能转写",
            ),
            (GapReason::CallOver, "call_over", "通话已结束，此处未及转写"),
        ] {
            let gap = TranscriptEvent::Gap {
                id: 3,
                leg: CALLER,
                start: MediaTime::ZERO,
                end: MediaTime::ZERO,
                reason: reason.clone(),
            };
            let stored = event(json!({"code": code}));
            assert_eq!(serde_json::to_value(&gap).expect("JSON"), stored);
            for stored in [stored, event(sentence.into())] {
                let read: TranscriptEvent = serde_json::from_value(stored).expect("an event");
                assert_eq!(read, gap);
            }
            assert_eq!(reason.sentence(), sentence);
        }
        assert_eq!(GapReason::of_sentence("风大").sentence(), "风大");
    }
}
