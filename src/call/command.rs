//! What can be asked of a running call from outside it, and what it says to that.
//!
//! The call owns what it is asked about (the edits of its draft, its lines, its legs), so it alone decides; the answer
//! is there at once, and what follows from it comes out of [`Call::poll`] like everything else.

use std::fmt;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Call, Input, Output, State};
use crate::private::Private;
use crate::sip::Target;
use crate::ticket::{FieldName, FieldValue};
use crate::transcript::revise::Revision;
use crate::transcript::{Actor, EndReason, Note, TranscriptEvent};

/// Characters that a note has at most.
const LONGEST_NOTE: usize = 1_000;

/// Digits and signs of a number that can be dialled, at most.
const LONGEST_NUMBER: usize = 32;

/// What a call is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Write into a field of the draft: nothing that is said afterwards changes it.
    Edit {
        /// Which.
        name: FieldName,
        /// What; `None` gives the field back to what is said.
        value: Option<FieldValue>,
    },
    /// Take a change of a line back, or make it again.
    Revise(Revision),
    /// Let recording and recognition hear silence, or the call again.
    Pause {
        /// Silence.
        paused: bool,
    },
    /// Note something beside what is said.
    Note {
        /// What, 1 to 1000 characters.
        text: Private<String>,
    },
    /// End the call on both legs.
    HangUp,
    /// Invite somebody in the operator's place, as if the operator's phone had asked for it: the operator stays until
    /// they answer.
    Transfer {
        /// A `sip:` or `sips:` URI, or a number, which is dialled where the operator's phone is.
        to: Private<String>,
    },
}

impl Command {
    /// Its stable name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Edit { .. } => "edit",
            Self::Revise(_) => "revise",
            Self::Pause { .. } => "pause",
            Self::Note { .. } => "note",
            Self::HangUp => "hang_up",
            Self::Transfer { .. } => "transfer",
        }
    }
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call is not running, or its last draft has been begun.
    NotRunning,
    /// The value does not fit the field.
    Unfit(&'static str),
    /// No final line of the call has such a change.
    NoSuchChange,
    /// The line has been heard anew since it was seen so: its changes are others.
    HeardAnew,
    /// The note is empty or too long.
    UnfitNote,
    /// The operator has not answered yet.
    NotAnswered,
    /// The call takes place elsewhere and is only listened to here.
    TakesPlaceElsewhere,
    /// It is no number and no SIP URI.
    NoDestination,
    /// A transfer is under way.
    TransferUnderWay,
    /// The call has been transferred as often as it can be.
    TooManyTransfers,
    /// More is asked of the call than it can take.
    Busy,
    /// The call did not answer in time; what was asked is not done.
    NoAnswer,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRunning => {
                "the call is not running here; correct the ticket in the ticketing system"
            }
            Self::Unfit(what) => return write!(f, "the value does not fit: {what}"),
            Self::NoSuchChange => {
                "no final line of the call has such a change; name one of those that came with it"
            }
            Self::HeardAnew => {
                "the line has been heard anew and has other changes; look at it again"
            }
            Self::UnfitNote => "the note does not fit: write 1 to 1000 characters",
            Self::NotAnswered => {
                "the operator has not answered yet; wait for the answer, or hang up"
            }
            Self::TakesPlaceElsewhere => {
                "the call takes place elsewhere and is only listened to here; do it where the operator's phone is"
            }
            Self::NoDestination => {
                "the destination is no number and no SIP URI; give e.g. 1002 or sip:1002@192.0.2.20"
            }
            Self::TransferUnderWay => "a transfer is under way; wait until it has come off or failed",
            Self::TooManyTransfers => "the call has been transferred as often as it can be",
            Self::Busy => "too much is asked of the call at once; try again",
            Self::NoAnswer => "the call does not answer, and nothing was done; try again",
        })
    }
}

impl std::error::Error for Refusal {}

impl Call {
    /// Does what `actor` asks.
    ///
    /// # Errors
    /// [`Refusal`], and nothing has changed.
    pub fn command(
        &mut self,
        now: Instant,
        actor: &Actor,
        command: Command,
    ) -> Result<(), Refusal> {
        if self.drafting.closing || matches!(self.state, State::Over) {
            return Err(Refusal::NotRunning);
        }
        match command {
            Command::Edit { name, value } => self.edit(name, value),
            Command::Revise(revision) => self.builder.revise(revision),
            Command::Pause { paused } => {
                self.is_connected()?;
                self.pause(now, paused);
                Ok(())
            }
            Command::Note { text } => self.note(now, actor, &text),
            Command::HangUp => {
                self.is_connected()?;
                self.bridged_operator()?;
                let actor = actor.kind();
                self.handle(now, Input::End(EndReason::EndedBy { actor }));
                Ok(())
            }
            Command::Transfer { to } => {
                let is_connected = self.is_connected()?;
                let target = destination(to.reveal(), self.bridged_operator()?);
                if !is_connected {
                    return Err(Refusal::NotAnswered);
                }
                let invited = self.succeed(now, None, target.ok_or(Refusal::NoDestination)?);
                self.tell(invited?);
                Ok(())
            }
        }
    }

    fn edit(&mut self, name: FieldName, value: Option<FieldValue>) -> Result<(), Refusal> {
        let has_a_ticket = self.answered.is_some();
        // What is written while the phone rings stands in the first draft.
        if !has_a_ticket && !matches!(self.state, State::Ringing { .. }) {
            return Err(Refusal::NotRunning);
        }
        let value = value.map(|value| name.holds(value)).transpose();
        self.advised.write(name, value.map_err(Refusal::Unfit)?);
        if has_a_ticket {
            self.redraft();
        }
        Ok(())
    }

    fn note(&mut self, now: Instant, actor: &Actor, text: &Private<String>) -> Result<(), Refusal> {
        let text = text.reveal().trim();
        if text.is_empty() || text.chars().count() > LONGEST_NOTE {
            return Err(Refusal::UnfitNote);
        }
        self.outputs
            .push_back(Output::Transcript(TranscriptEvent::Note(Note {
                at: self.clock(now),
                by: actor.clone(),
                text: text.into(),
            })));
        Ok(())
    }

    /// Whether the operator has answered a call that is not over.
    fn is_connected(&self) -> Result<bool, Refusal> {
        match self.state {
            State::Ringing { .. } => Ok(false),
            State::Up => Ok(true),
            State::Flushing { .. } | State::Over => Err(Refusal::NotRunning),
        }
    }

    /// The SIP URI of the operator in a call that is bridged here.
    fn bridged_operator(&self) -> Result<&str, Refusal> {
        match (self.setup.incoming.sip(), &self.tap) {
            (Some(sip), None) => Ok(&sip.operator),
            _ => Err(Refusal::TakesPlaceElsewhere),
        }
    }
}

/// Where somebody wants to be connected to: a SIP URI, or a number at the host of the operator's phone.
fn destination(wanted: &str, operator: &str) -> Option<Target> {
    let wanted = wanted.trim();
    if let Some(target) = Target::from_refer_to(wanted, None) {
        return Some(target);
    }
    let is_between = |letter: char| matches!(letter, ' ' | '-' | '(' | ')');
    let dialled: String = wanted
        .chars()
        .filter(|letter| !is_between(*letter))
        .collect();
    let (sign, digits) = match dialled.strip_prefix('+') {
        Some(digits) => ("+", digits),
        None => ("", dialled.as_str()),
    };
    let is_number = (1..=LONGEST_NUMBER).contains(&digits.len())
        && digits
            .chars()
            .all(|digit| digit.is_ascii_digit() || matches!(digit, '*' | '#'));
    let (scheme, rest) = operator.split_once(':')?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    // A bare # would begin a fragment (RFC 3261 §25.1).
    let digits = digits.replace('#', "%23");
    is_number.then(|| Target::new(&format!("{scheme}:{sign}{digits}@{host}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_dialled_where_the_operators_phone_is_and_a_uri_as_it_stands() {
        let operator = "sip:1001@192.0.2.20:5062;transport=tcp";
        for (wanted, uri) in [
            ("1002", "sip:1002@192.0.2.20:5062;transport=tcp"),
            (
                " (0535) 628-1234 ",
                "sip:05356281234@192.0.2.20:5062;transport=tcp",
            ),
            (
                "+86 535 6281234",
                "sip:+865356281234@192.0.2.20:5062;transport=tcp",
            ),
            ("*21#", "sip:*21%23@192.0.2.20:5062;transport=tcp"),
            ("sip:1002@pbx.example", "sip:1002@pbx.example"),
            ("<sips:1002@pbx.example>", "sips:1002@pbx.example"),
        ] {
            assert_eq!(destination(wanted, operator), Some(Target::new(uri)));
        }
        let at_a_host = destination("1002", "sips:queue.example");
        assert_eq!(at_a_host, Some(Target::new("sips:1002@queue.example")));
    }

    #[test]
    fn what_can_be_neither_dialled_nor_invited_is_no_destination() {
        for wanted in [
            "",
            "+",
            "  ",
            "王科长",
            "1002@pbx",
            "tel:1002",
            "12+34",
            "sip:",
            "1002;x=y",
            "http://192.0.2.9/",
            &"1".repeat(LONGEST_NUMBER + 1),
        ] {
            let found = destination(wanted, "sip:1001@192.0.2.20");
            assert_eq!(found, None, "{wanted}");
        }
    }
}
