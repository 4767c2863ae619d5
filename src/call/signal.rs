//! What a call does about what its parties signal.

use std::time::{Duration, Instant};

use super::media::MediaLeg;
use super::{Call, Input, LEGS, Output, State, index};
use crate::audio::codec::Codec;
use crate::rtp::dtmf::{Key, Press};
use crate::sip::sdp::{Description, Direction, Negotiated, SdpError};
use crate::sip::{DialogEnd, Party, SipCommand, SipEvent, status_for_caller};
use crate::speech::Leg;
use crate::transcript::{EndReason, LossCause, TranscriptEvent};

impl Call {
    pub(super) fn tell(&mut self, command: SipCommand) {
        self.outputs.push_back(Output::Sip(command));
    }

    pub(super) fn signal(&mut self, now: Instant, event: SipEvent) {
        if let SipEvent::Acknowledged { party } | SipEvent::OfferAnswered { party, .. } = event
            && let Some(leg) = self.parties.leg(party)
        {
            self.media_legs[index(leg)].acknowledged();
            if let Some(tap) = &mut self.tap {
                tap.streams.acknowledged();
            }
        }
        match self.state {
            State::Ringing { .. } => self.signal_ringing(now, event),
            State::Up => self.signal_up(now, event),
            // What crosses a hang-up on the wire has no effect any more.
            State::Flushing { .. } | State::Over => {
                if let SipEvent::TakenOver { party, .. } = event {
                    self.turn_away(party);
                }
            }
        }
    }

    fn signal_ringing(&mut self, now: Instant, event: SipEvent) {
        match event {
            SipEvent::Cancelled {
                party: Party::CALLER,
            } => {
                self.tell(SipCommand::HangUp {
                    party: Party::OPERATOR,
                });
                self.close(now, EndReason::Cancelled);
            }
            SipEvent::Ringing {
                party: Party::OPERATOR,
                status,
                answer,
            } => {
                // Where early media cannot be bridged, its description is not passed on and 183 becomes 180.
                let answer = answer
                    .filter(|_| self.setup.rules.early_media)
                    .and_then(|answer| self.early(&answer));
                let status = if status == 183 && answer.is_none() {
                    180
                } else {
                    status
                };
                if self.is_announcing() {
                    // What it plays is heard afterwards, without being told again.
                    self.ringing_after = answer.is_none().then_some(status);
                    return;
                }
                self.tell(SipCommand::Ring {
                    party: Party::CALLER,
                    status,
                    answer,
                });
            }
            SipEvent::Answered {
                party: Party::OPERATOR,
                answer,
            } => self.answer(now, &answer),
            SipEvent::Accepted {
                party: Party::OPERATOR,
                description,
            } => {
                if self.media_legs[1].has_agreed() {
                    self.answer_as_agreed(now);
                } else {
                    self.answer(now, &description);
                }
            }
            // Phones that demand keys demand the secured profile too, and take none beside plain RTP.
            SipEvent::Rejected {
                party: Party::OPERATOR,
                status: 488,
                ..
            } if self.media_legs[1].insist() => self.invite_operator(),
            SipEvent::Rejected {
                party: Party::OPERATOR,
                status,
                reason,
            } => {
                let told = status_for_caller(status);
                let reason = match status {
                    408 => EndReason::NoAnswer,
                    _ => EndReason::Rejected {
                        status,
                        detail: if told == status {
                            reason
                        } else {
                            String::new()
                        },
                    },
                };
                self.refuse(now, told, reason);
            }
            SipEvent::HungUp { party, cause } => {
                self.tell(SipCommand::HangUp {
                    party: Party::OPERATOR,
                });
                let party = self.parties.leg(party).unwrap_or(Leg::Caller);
                let reason = match loss(cause) {
                    None => EndReason::HungUp { party },
                    Some(cause) => EndReason::LostBeforeAnswer { party, cause },
                };
                self.close(now, reason);
            }
            // Early media is changed (UPDATE), or its offer answered (PRACK).
            SipEvent::Offered { party, offer } => self.offered(now, party, offer.as_deref()),
            SipEvent::OfferAnswered { party, answer } => self.offer_answered(now, party, &answer),
            SipEvent::Referred { party, .. } => {
                self.tell(SipCommand::AnswerRefer { party, status: 403 });
            }
            SipEvent::TakenOver { party, .. } => self.turn_away(party),
            _ => {}
        }
    }

    fn signal_up(&mut self, now: Instant, event: SipEvent) {
        if self.tap.is_some() {
            return self.signal_tap(now, event);
        }
        match event {
            SipEvent::HungUp { party, cause } => self.party_hung_up(now, party, cause),
            SipEvent::Offered { party, offer } => self.offered(now, party, offer.as_deref()),
            SipEvent::OfferAnswered { party, answer } => self.offer_answered(now, party, &answer),
            SipEvent::Keyed { party, key, millis } => {
                if let Some(leg) = self.parties.leg(party) {
                    let duration = Duration::from_millis(millis.into());
                    self.press(leg.other(), key, duration);
                }
            }
            SipEvent::Referred { party, target } => self.referred(now, party, target),
            SipEvent::Ringing { party, status, .. } => self.successor_rings(party, status),
            SipEvent::Answered { party, answer }
            | SipEvent::Accepted {
                party,
                description: answer,
            } => self.successor_answered(now, party, &answer),
            SipEvent::Rejected { party, status, .. } => self.successor_refused(now, party, status),
            SipEvent::TakenOver {
                party,
                replaced,
                offer,
            } => {
                self.taken_over(now, party, replaced, offer.as_deref());
            }
            // A refused offer leaves the session as it was: the leg only does not know that the other one holds.
            SipEvent::OfferRefused { .. }
            | SipEvent::Cancelled { .. }
            | SipEvent::Acknowledged { .. }
            | SipEvent::Described { .. } => {}
        }
    }

    /// What a recording client signals.
    fn signal_tap(&mut self, now: Instant, event: SipEvent) {
        match event {
            SipEvent::HungUp { party, cause } => self.party_hung_up(now, party, cause),
            SipEvent::Offered { offer, .. } => self.streams_offered(now, offer.as_deref()),
            SipEvent::Described { body, .. } => self.described(&body),
            SipEvent::Referred { party, .. } => {
                self.tell(SipCommand::AnswerRefer { party, status: 403 });
            }
            SipEvent::TakenOver { party, .. } => self.turn_away(party),
            _ => {}
        }
    }

    /// What the party on a leg chose of our offer.
    pub(super) fn chosen(&self, leg: Leg, answer: &str) -> Result<Negotiated, SdpError> {
        let theirs = Description::parse(answer)?;
        // What the caller has too comes first, then what the phone likes best.
        let mut chosen: Vec<Codec> = theirs
            .codecs()
            .into_iter()
            .filter(|codec| self.setup.codecs.contains(codec))
            .collect();
        let others = self.offer.as_ref().filter(|_| leg == Leg::Operator);
        let others = others.map(Description::codecs);
        chosen.sort_by_key(|codec| others.as_ref().is_some_and(|has| !has.contains(codec)));
        self.media_legs[index(leg)].negotiate(&theirs, &chosen)
    }

    /// Bridges what the operator's side plays before it answers; gives the description that the caller gets for it.
    fn early(&mut self, answer: &str) -> Option<String> {
        // An offer of ours reaches the caller only in a response that is acknowledged.
        let sip = self.setup.incoming.sip()?;
        if self.offer.is_none() && !sip.invite.takes_reliably() {
            return None;
        }
        let operator = self.chosen(Leg::Operator, answer).ok()?;
        let text = self.describe_to_caller(operator.codec).ok()?;
        self.media_legs[1].agree(operator);
        self.connect();
        Some(text)
    }

    /// Our description for the caller. What a provisional response has said, the final one repeats (RFC 3261 §13.2.1).
    pub(super) fn describe_to_caller(&mut self, operators: Codec) -> Result<String, SdpError> {
        if let Some(told) = &self.told {
            return Ok(told.clone());
        }
        // The operator's choice first, so that nothing needs to be transcoded where the caller knows it too.
        let mut preferred = vec![operators];
        preferred.extend(&self.setup.codecs);
        let text = if let Some(offer) = &self.offer {
            let caller = self.media_legs[0].negotiate(offer, &preferred)?;
            self.media_legs[0].answer(offer, caller, Direction::SendRecv)
        } else {
            self.media_legs[0].offer(Direction::SendRecv, &[operators], None)
        };
        self.told = Some(text.clone());
        Ok(text)
    }

    fn answer(&mut self, now: Instant, answer: &str) {
        let agreed = self.chosen(Leg::Operator, answer).and_then(|operator| {
            let text = self.describe_to_caller(operator.codec)?;
            self.media_legs[1].answered(operator);
            Ok(text)
        });
        self.answered_with(now, agreed);
    }

    /// The operator answers, and what was agreed on with the phone while it rang stands.
    fn answer_as_agreed(&mut self, now: Instant) {
        let codec = self.media_legs[1].speaks().map(|(codec, _)| codec);
        let codec = codec.unwrap_or(self.setup.codecs[0]);
        let agreed = self.describe_to_caller(codec);
        self.answered_with(now, agreed);
    }

    /// Connects the legs; `agreed` is our description for the caller.
    fn answered_with(&mut self, now: Instant, agreed: Result<String, SdpError>) {
        match agreed {
            Ok(text) => {
                // An offer of ours that a PRACK has answered is not made again (RFC 3262 §5).
                let settled = self.offer.is_none() && self.media_legs[0].has_agreed();
                self.tell(SipCommand::Answer {
                    party: Party::CALLER,
                    answer: (!settled).then_some(text),
                });
                self.answered = Some(now);
                self.state = State::Up;
                for media_leg in &mut self.media_legs {
                    media_leg.open(now);
                }
                self.connect();
                let at = self.wall(now);
                self.outputs
                    .push_back(Output::Transcript(TranscriptEvent::Answered { at }));
                // From now on there is a ticket, whatever happens; and the operator sees at once that this caller has
                // called before.
                self.redraft();
            }
            Err(error) => {
                // The phone has accepted: its dialog is ended properly.
                self.tell(SipCommand::HangUp {
                    party: Party::OPERATOR,
                });
                self.refuse(now, 488, unusable(Leg::Operator, &error));
            }
        }
    }

    /// A party changes its session: holds, resumes, takes another codec or another address.
    fn offered(&mut self, now: Instant, party: Party, offer: Option<&str>) {
        let Some(leg) = self.parties.leg(party) else {
            // Who has been replaced, or is not yet there, settles nothing any more.
            self.tell(SipCommand::AnswerOffer {
                party,
                answer: Err(488),
            });
            return;
        };
        let other = self.media_legs[index(leg.other())].wish();
        let mut codecs = self.setup.codecs.clone();
        if let (State::Ringing { .. }, Leg::Operator, Some(has)) = (&self.state, leg, &self.offer) {
            // What the caller has too comes first, for then nothing is made anew.
            let has = has.codecs();
            codecs.sort_by_key(|codec| !has.contains(codec));
        }
        let media_leg = &mut self.media_legs[index(leg)];
        let before = media_leg.wish();
        let answer = media_leg.renegotiate(offer, other, &codecs);
        let changed = before != media_leg.wish();
        if matches!(self.state, State::Ringing { .. }) && leg == Leg::Caller {
            self.told = answer.clone().ok().or(self.told.take());
        }
        self.settle(now);
        self.tell(SipCommand::AnswerOffer { party, answer });
        if changed {
            self.pass_on(leg);
        }
    }

    fn offer_answered(&mut self, now: Instant, party: Party, answer: &str) {
        let Some(leg) = self.parties.leg(party) else {
            return;
        };
        match self.chosen(leg, answer) {
            Ok(agreed) => {
                let media_leg = &mut self.media_legs[index(leg)];
                let before = media_leg.wish();
                media_leg.answered(agreed);
                let changed = before != media_leg.wish();
                self.settle(now);
                if changed {
                    self.pass_on(leg);
                }
            }
            Err(error) => {
                self.handle(now, Input::End(unusable(leg, &error)));
            }
        }
    }

    /// Tells the other leg which way media flow now, so that a held phone shows it and sends nothing into the void.
    pub(super) fn pass_on(&mut self, from: Leg) {
        if !matches!(self.state, State::Up) {
            return;
        }
        let to = from.other();
        let party = self.parties.of(to);
        if self.parties.leg(party) != Some(to) {
            return;
        }
        let direction = self.media_legs[index(from)].wish();
        if self.media_legs[index(to)].was_told() == direction {
            return;
        }
        let offer = self.media_legs[index(to)].reoffer(direction, &self.setup.codecs);
        self.tell(SipCommand::Offer { party, offer });
    }

    /// Passes a key on to a leg: in its stream, or by INFO where it takes none there.
    fn press(&mut self, leg: Leg, key: char, duration: Duration) {
        let press = Key::from_char(key).map(|key| Press { key, duration });
        let media_leg = &mut self.media_legs[index(leg)];
        if !press.is_some_and(|press| media_leg.press(press)) {
            self.tell_key(leg, key, duration);
        }
    }

    pub(super) fn tell_key(&mut self, leg: Leg, key: char, duration: Duration) {
        let party = self.parties.of(leg);
        let millis = duration.as_millis().min(5_000) as u16;
        self.tell(SipCommand::Key { party, key, millis });
    }

    /// Makes the streams fit what has been agreed on. While one leg holds the other, what it plays is no speech of its
    /// own, and what the held one says is meant for nobody.
    pub(super) fn settle(&mut self, now: Instant) {
        let talking = self.media_legs.iter().all(MediaLeg::talks);
        for media_leg in &mut self.media_legs {
            media_leg.be_heard(now, talking);
        }
        self.connect();
    }

    pub(super) fn refuse(&mut self, now: Instant, status: u16, reason: EndReason) {
        self.tell(SipCommand::Reject {
            party: Party::CALLER,
            status,
            reason: reason.to_string(),
        });
        self.close(now, reason);
    }

    /// Ends the dialogs of everybody but `except`, or lets go of who is tapped.
    pub(super) fn hang_up_all(&mut self, except: Option<Party>) {
        if self.is_tapped() {
            self.outputs.push_back(Output::EndTap);
            return;
        }
        let ends: Vec<Party> = LEGS
            .into_iter()
            .map(|leg| self.parties.of(leg))
            .filter(|party| self.parties.leg(*party).is_some())
            .collect();
        let others: Vec<Party> = self.parties.others().collect();
        for party in ends.into_iter().chain(others) {
            if Some(party) != except {
                self.tell(SipCommand::HangUp { party });
            }
        }
    }

    /// Ends a call that was connected: what was said last is still recognised.
    pub(super) fn hang_up(&mut self, now: Instant, reason: EndReason) {
        self.ended = Some((now, reason));
        self.state = State::Flushing {
            until: now + self.setup.flush,
        };
        let wall = self.wall(now);
        if let Some(tap) = &mut self.tap {
            tap.streams.goodbye(now, wall, &mut self.transmits);
        }
        for leg in LEGS {
            self.media_legs[index(leg)].goodbye(now, wall, &mut self.transmits);
            self.listen(now, leg, true);
        }
    }

    /// Ends a call that never was connected.
    fn close(&mut self, now: Instant, reason: EndReason) {
        self.ended = Some((now, reason));
        self.state = State::Flushing { until: now };
    }
}

fn unusable(party: Leg, error: &SdpError) -> EndReason {
    let detail = error.to_string();
    EndReason::UnusableAnswer { party, detail }
}

/// What ended a dialog, unless its party hung up.
pub(super) fn loss(cause: DialogEnd) -> Option<LossCause> {
    Some(match cause {
        DialogEnd::Bye => return None,
        DialogEnd::NoAck => LossCause::NoAck,
        DialogEnd::NoPrack => LossCause::NoPrack,
        DialogEnd::SessionExpired => LossCause::SessionExpired,
        DialogEnd::Refused(status) => LossCause::Refused { status },
        DialogEnd::Broken(detail) => LossCause::Other { detail },
    })
}
