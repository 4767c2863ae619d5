//! What a call does about what its parties signal.

use std::time::Instant;

use super::{CODECS, Call, Input, LEGS, NO_ANSWER, Output, State, index};
use crate::audio::codec::Codec;
use crate::sip::sdp::{Description, Direction};
use crate::sip::{SipCommand, SipEvent, status_for_caller};
use crate::speech::Leg;
use crate::transcript::TranscriptEvent;

impl Call {
    pub(super) fn signal(&mut self, now: Instant, event: SipEvent) {
        match (&self.state, event) {
            (State::Ringing { .. }, SipEvent::CallerCancelled) => {
                self.outputs
                    .push_back(Output::Sip(SipCommand::CancelOperator));
                self.close(now, "caller cancelled");
            }
            (State::Ringing { .. }, SipEvent::OperatorRinging { status, .. }) => {
                // Early media is not bridged, so its description is not passed on and 183 becomes 180.
                let status = if status == 183 { 180 } else { status };
                self.outputs.push_back(Output::Sip(SipCommand::Ring {
                    status,
                    answer: None,
                }));
            }
            (State::Ringing { .. }, SipEvent::OperatorAnswered { answer }) => {
                self.answer(now, &answer);
            }
            (State::Ringing { .. }, SipEvent::OperatorRejected { status, reason }) => {
                let told = status_for_caller(status);
                let reason = match status {
                    408 => NO_ANSWER.to_owned(),
                    _ if told == status => reason,
                    _ => format!("the operator's side said {status}"),
                };
                self.refuse(now, told, &reason);
            }
            (State::Ringing { .. }, SipEvent::HungUp { leg, cause }) => {
                self.outputs
                    .push_back(Output::Sip(SipCommand::CancelOperator));
                self.close(now, &format!("{leg} lost before the answer ({cause})"));
            }
            (State::Up, SipEvent::HungUp { leg, cause }) => {
                self.outputs
                    .push_back(Output::Sip(SipCommand::HangUp { leg: leg.other() }));
                let reason = if cause == "BYE" {
                    format!("{leg} hung up")
                } else {
                    format!("{leg} lost ({cause})")
                };
                self.hang_up(now, &reason);
            }
            (State::Up, SipEvent::Offered { leg, offer }) => {
                let answer = self.sides[index(leg)].renegotiate(offer.as_deref(), &CODECS);
                self.connect();
                self.outputs
                    .push_back(Output::Sip(SipCommand::AnswerOffer { leg, answer }));
            }
            (State::Up, SipEvent::OfferAnswered { leg, answer }) => {
                let side = &self.sides[index(leg)];
                let agreed =
                    Description::parse(&answer).and_then(|answer| side.negotiate(&answer, &CODECS));
                match agreed {
                    Ok(agreed) => {
                        self.sides[index(leg)].agree(agreed);
                        self.connect();
                    }
                    Err(error) => {
                        let reason = format!("{leg} answered our offer unusably: {error}");
                        self.handle(now, Input::End(&reason));
                    }
                }
            }
            // What crosses a hang-up on the wire has no effect any more.
            _ => {}
        }
    }

    fn answer(&mut self, now: Instant, answer: &str) {
        let agreed = Description::parse(answer).and_then(|operator| {
            // What the caller has too comes first, then what the phone likes best.
            let mut chosen: Vec<Codec> = operator
                .codecs()
                .into_iter()
                .filter(|codec| CODECS.contains(codec))
                .collect();
            let callers = self.offer.as_ref().map(Description::codecs);
            chosen.sort_by_key(|codec| callers.as_ref().is_some_and(|has| !has.contains(codec)));
            let operator = self.sides[1].negotiate(&operator, &chosen)?;
            let preferred: Vec<Codec> = std::iter::once(operator.codec).chain(CODECS).collect();
            let text = if let Some(offer) = &self.offer {
                let caller = self.sides[0].negotiate(offer, &preferred)?;
                self.sides[0].answer(offer, caller, Direction::SendRecv)
            } else {
                self.sides[0].offer(Direction::SendRecv, &[operator.codec], None)
            };
            self.sides[1].agree(operator);
            Ok(text)
        });
        match agreed {
            Ok(text) => {
                self.outputs
                    .push_back(Output::Sip(SipCommand::AnswerCaller { answer: text }));
                self.answered = Some(now);
                self.state = State::Up;
                for side in &mut self.sides {
                    side.open(now);
                }
                self.connect();
                let at = self.wall(now);
                self.outputs
                    .push_back(Output::Transcript(TranscriptEvent::Answered { at }));
                if !self.advised.is_empty() {
                    // The operator should see at once that this caller has called before.
                    self.redraft(false);
                }
            }
            Err(error) => {
                // The phone has accepted: its dialog is ended properly.
                self.outputs
                    .push_back(Output::Sip(SipCommand::HangUp { leg: Leg::Operator }));
                self.refuse(
                    now,
                    488,
                    &format!("the operator's phone answered unusably: {error}"),
                );
            }
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, status: u16, reason: &str) {
        self.outputs
            .push_back(Output::Sip(SipCommand::RejectCaller {
                status,
                reason: reason.to_owned(),
            }));
        self.close(now, reason);
    }

    /// Ends a call that was connected: what was said last is still recognised.
    pub(super) fn hang_up(&mut self, now: Instant, reason: &str) {
        self.ended = Some((now, reason.to_owned()));
        self.state = State::Flushing {
            until: now + self.setup.flush,
        };
        let wall = self.wall(now);
        for leg in LEGS {
            let (side, scribe) = (&mut self.sides[index(leg)], &mut self.scribe);
            side.goodbye(now, wall, &mut self.transmits);
            side.listen(now, true, |voiced, event| {
                scribe.listen(now, leg, event, voiced);
            });
        }
    }

    /// Ends a call that never was connected.
    fn close(&mut self, now: Instant, reason: &str) {
        self.ended = Some((now, reason.to_owned()));
        self.state = State::Flushing { until: now };
    }
}
