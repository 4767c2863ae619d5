//! How a leg passes to another party: by REFER, blind or attended, or by INVITE with Replaces. The caller stays
//! connected, and transcript and draft go on.

use std::time::Instant;

use super::parties::Invitation;
use super::signal::loss;
use super::{Call, Output, Refusal, index};
use crate::sip::{DialogEnd, Party, SipCommand, Target};
use crate::speech::Leg;
use crate::transcript::{AlarmKind, EndReason, TranscriptEvent};

impl Call {
    /// The operator asks to be replaced. What a caller asks for would be dialled at the hotline's cost.
    pub(super) fn referred(&mut self, now: Instant, party: Party, target: Target) {
        let is_operator = self.parties.leg(party) == Some(Leg::Operator);
        let invited = is_operator.then(|| self.succeed(now, Some(party), target));
        let status = match &invited {
            Some(Ok(_)) => 202,
            Some(Err(Refusal::TransferUnderWay)) => 491,
            Some(Err(_)) => 503,
            None => 403,
        };
        self.tell(SipCommand::AnswerRefer { party, status });
        if let Some(Ok(invitation)) = invited {
            self.tell(invitation);
        }
    }

    /// The invitation of somebody to take the operator's place, as the party `by` or somebody outside the call wants it.
    pub(super) fn succeed(
        &mut self,
        now: Instant,
        by: Option<Party>,
        target: Target,
    ) -> Result<SipCommand, Refusal> {
        if self.parties.invited.is_some() {
            return Err(Refusal::TransferUnderWay);
        }
        let until = now + self.setup.ring;
        let successor = self.parties.invite(by, until);
        let party = successor.ok_or(Refusal::TooManyTransfers)?;
        // The successor is told to send where the operator sends; its answer decides from when.
        let offer = self.media_legs[1].offer_to_another(&self.setup.codecs);
        Ok(SipCommand::Invite {
            party,
            target,
            caller_number: self.setup.incoming.caller_number.clone(),
            offer,
        })
    }

    /// Tells who asked for a transfer how it goes.
    fn report_transfer(&mut self, invited: Invitation, status: u16) {
        if let Some(party) = invited.by {
            self.tell(SipCommand::ReportTransfer { party, status });
        } else if status >= 300 && !self.parties.operator_gone {
            let alarm = TranscriptEvent::Alarm {
                leg: Leg::Operator,
                alarm: AlarmKind::TransferFailed,
            };
            self.outputs.push_back(Output::Transcript(alarm));
        }
    }

    pub(super) fn successor_rings(&mut self, party: Party, status: u16) {
        if let Some(invited) = self
            .parties
            .invited
            .filter(|invited| invited.party == party)
        {
            self.report_transfer(invited, status);
        }
    }

    pub(super) fn successor_answered(&mut self, now: Instant, party: Party, answer: &str) {
        let Some(invited) = self
            .parties
            .invited
            .take_if(|invited| invited.party == party)
        else {
            // It was given up a moment ago.
            self.tell(SipCommand::HangUp { party });
            return;
        };
        let Ok(agreed) = self.chosen(Leg::Operator, answer) else {
            self.tell(SipCommand::HangUp { party });
            self.parties.invited = Some(invited);
            self.successor_refused(now, party, 488);
            return;
        };
        self.report_transfer(invited, 200);
        let gone = self.parties.operator_gone;
        let before = self.parties.hand_over(Leg::Operator, party);
        match invited.by {
            _ if gone => {}
            Some(_) => self.parties.let_go(now, before),
            // Its phone knows of no transfer, and waits for nothing.
            None => self.tell(SipCommand::HangUp { party: before }),
        }
        self.media_legs[1].begin_anew();
        self.media_legs[1].answered(agreed);
        self.settle(now);
        // If the caller was put on hold for the transfer, that is over.
        self.pass_on(Leg::Operator);
    }

    pub(super) fn successor_refused(&mut self, now: Instant, party: Party, status: u16) {
        let Some(invited) = self
            .parties
            .invited
            .take_if(|invited| invited.party == party)
        else {
            return;
        };
        self.report_transfer(invited, status);
        if self.parties.operator_gone {
            self.hang_up_all(None);
            self.hang_up(now, EndReason::TransferFailed { status });
        }
    }

    /// The successor has rung long enough.
    pub(super) fn give_up_successor(&mut self, now: Instant) {
        if let Some(invited) = self.parties.invited {
            self.tell(SipCommand::HangUp {
                party: invited.party,
            });
            self.successor_refused(now, invited.party, 408);
        }
    }

    /// Somebody comes with an INVITE that names the dialog of one of the legs.
    pub(super) fn taken_over(
        &mut self,
        now: Instant,
        party: Party,
        replaced: Party,
        offer: Option<&str>,
    ) {
        let Some(leg) = self.parties.leg(replaced) else {
            self.turn_away(party);
            return;
        };
        let other = self.media_legs[index(leg.other())].wish();
        let media_leg = &mut self.media_legs[index(leg)];
        let answer = media_leg
            .can_take(offer, &self.setup.codecs)
            .and_then(|()| {
                media_leg.begin_anew();
                media_leg.renegotiate(offer, other, &self.setup.codecs)
            });
        match answer {
            Ok(answer) => {
                self.tell(SipCommand::Answer {
                    party,
                    answer: Some(answer),
                });
                self.parties.hand_over(leg, party);
                self.tell(SipCommand::HangUp { party: replaced });
                self.settle(now);
                self.pass_on(leg);
            }
            Err(status) => self.tell(SipCommand::Reject {
                party,
                status,
                reason: "the offer cannot be taken".to_owned(),
            }),
        }
    }

    /// Whose place is taken is not here (RFC 3891 §3).
    pub(super) fn turn_away(&mut self, party: Party) {
        self.tell(SipCommand::Reject {
            party,
            status: 481,
            reason: "no such dialog".to_owned(),
        });
    }

    pub(super) fn party_hung_up(&mut self, now: Instant, party: Party, cause: DialogEnd) {
        if self.parties.has_left(party) {
            return;
        }
        let Some(leg) = self.parties.leg(party) else {
            // A successor that was lost before it answered.
            self.successor_refused(now, party, 480);
            return;
        };
        // Many phones hang up as soon as their REFER is accepted: the caller waits for the successor.
        if leg == Leg::Operator && self.parties.invited.is_some() {
            self.parties.operator_gone = true;
            return;
        }
        self.hang_up_all(Some(party));
        let reason = match loss(cause) {
            None => EndReason::HungUp { party: leg },
            Some(cause) => EndReason::Lost { party: leg, cause },
        };
        self.hang_up(now, reason);
    }
}
