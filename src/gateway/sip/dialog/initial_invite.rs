//! The INVITE that began a dialog, while it is not answered: what rings, what is acknowledged (RFC 3262), and the answer.

use std::time::{Duration, Instant};

use crate::gateway::sip::dialog::bodies::{description, granted, with_sdp};
use crate::gateway::sip::dialog::{Dialog, Open};
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Method, Request, StatusCode};
use crate::gateway::sip::stack::transactions::{
    Transaction, TransactionEvent, TransactionEventSender,
};
use crate::sip::reliable::{Due, Reliable};
use crate::sip::session::{Grant, TimerHeaders};
use crate::sip::{DialogEnd, SipEvent};

/// What waits for a PRACK, with its description.
enum Next {
    Ring(Option<String>),
    Accept(Option<String>),
}

/// The INVITE that began the dialog, while it is not answered.
pub(crate) struct Unanswered {
    respond: TransactionEventSender,
    /// The caller demands that provisional responses be acknowledged, or takes them so.
    demands: bool,
    takes: bool,
    reliable: Reliable,
    /// The response that waits for its PRACK, and what is to follow it.
    last: Option<(Vec<Header>, Option<Vec<u8>>)>,
    next: Option<Next>,
    /// The INVITE had no offer, and a provisional response of ours made one.
    offered: bool,
    grant: Option<Grant>,
    /// The INVITE has none, so that ours is answered in PRACK or ACK.
    without_offer: bool,
}

impl Unanswered {
    pub(crate) fn new(
        invite: &Request,
        t1: Duration,
        respond: TransactionEventSender,
        grant: Option<Grant>,
        without_offer: bool,
    ) -> Self {
        let demands = invite.header_contains_token("Require", "100rel");
        Self {
            respond,
            demands,
            takes: demands || invite.header_contains_token("Supported", "100rel"),
            reliable: Reliable::new(t1, rand::random()),
            last: None,
            next: None,
            offered: false,
            grant,
            without_offer,
        }
    }
}

impl Dialog {
    /// Answers provisionally: 183 with a description, 180 without.
    pub(crate) fn ring(&mut self, description: Option<String>) {
        let Some(unanswered) = &mut self.unanswered else {
            return;
        };
        if unanswered.reliable.is_waiting() {
            // RFC 3262 §3: one after the other; only the newest matters.
            if !matches!(unanswered.next, Some(Next::Accept(_))) {
                unanswered.next = Some(Next::Ring(description));
            }
            return;
        }
        let describes = description.is_some();
        let (headers, body) = description.map_or((Vec::new(), None), with_sdp);
        let mut headers = headers;
        if unanswered.demands || (unanswered.takes && describes) {
            let number = unanswered.reliable.send(Instant::now(), describes);
            headers.push(Header::Require("100rel".into()));
            headers.push(Header::RSeq(number.to_string().into()));
            unanswered.last = Some((headers.clone(), body.clone()));
            unanswered.offered |= describes && unanswered.without_offer;
        }
        let _ = self.stack.ringing(Some(headers), body);
    }

    /// Accepts; a provisional response that carried a description has to be acknowledged first (RFC 3262 §3).
    pub(crate) fn accept(&mut self, description: Option<String>) {
        let Some(unanswered) = &mut self.unanswered else {
            return;
        };
        if unanswered.reliable.holds_the_answer() {
            unanswered.next = Some(Next::Accept(description));
            return;
        }
        let grant = unanswered.grant;
        let answer_follows = unanswered.without_offer && description.is_some();
        if let Some(description) = &description {
            self.session.described(description);
        }
        let (mut headers, body) = description.map_or((Vec::new(), None), with_sdp);
        if headers.is_empty() {
            headers.push(Header::Allow(wire::ALLOW.into()));
        }
        headers.extend(granted(grant));
        if self.records {
            headers.push(self.own_contact());
        }
        let _ = self.stack.accept(Some(headers), body);
        self.session.answered(answer_follows);
        self.session.granted(Instant::now(), grant);
        self.registration.is_answered();
        self.unanswered = None;
    }

    /// Refuses; the stack ends the dialog.
    pub(crate) fn reject(&mut self, status: u16, reason: &str) {
        if self.unanswered.take().is_some() {
            // RFC 3326; the phrase of the status line is the stack's.
            let plain: String = reason
                .chars()
                .filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\'))
                .collect();
            let reason =
                (!plain.is_empty()).then(|| format!("SIP;cause={status};text=\"{plain}\""));
            let _ = self.stack.reject(Some(status.into()), reason);
        }
    }

    /// A caller that ends its early dialog by BYE still gets a final response to its INVITE (RFC 3261 §15.1.2).
    pub(crate) fn ended_early(&mut self) {
        if let Some(unanswered) = self.unanswered.take() {
            let response = self.response(
                &self.stack.initial_request(),
                StatusCode::RequestTerminated,
                vec![],
                None,
            );
            let _ = unanswered.respond.send(TransactionEvent::Respond(response));
        }
    }

    pub(crate) fn take_prack(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let (invite, rack) = (self.stack.initial_request(), request.original.rack_value());
        let invite = invite.cseq_header().ok().and_then(|cseq| cseq.seq().ok());
        let acknowledges = rack.is_some_and(|(number, cseq, method)| {
            method == Method::Invite
                && Some(cseq) == invite
                && self
                    .unanswered
                    .as_mut()
                    .is_some_and(|unanswered| unanswered.reliable.acknowledge(number))
        });
        let Some(unanswered) = self.unanswered.as_mut().filter(|_| acknowledges) else {
            self.reply(request, StatusCode::CallTransactionDoesNotExist, vec![]);
            return None;
        };
        let described = description(&request.original);
        let answers = std::mem::take(&mut unanswered.offered);
        // The first offer is settled, by our description or by the one that comes here: there may be another one now.
        if unanswered
            .last
            .take()
            .is_some_and(|(_, body)| body.is_some())
        {
            self.session.answered(false);
        }
        match described {
            Some(offer)
                if !answers && self.session.asked(true, TimerHeaders::default()).is_ok() =>
            {
                self.open = Some(Open::Other(request, None));
                Some(SipEvent::Offered {
                    party: self.party,
                    offer: Some(offer),
                })
            }
            described => {
                self.reply(request, StatusCode::OK, vec![]);
                described
                    .filter(|_| answers)
                    .map(|answer| SipEvent::OfferAnswered {
                        party: self.party,
                        answer,
                    })
            }
        }
    }

    /// Repeats what waits for its PRACK; what comes of it if there is none.
    pub(crate) fn tick_unanswered(&mut self, now: Instant) -> Option<SipEvent> {
        let unanswered = self.unanswered.as_mut()?;
        loop {
            match unanswered.reliable.poll(now) {
                Due::Resend => {
                    if let Some((headers, body)) = unanswered.last.clone() {
                        let _ = self.stack.ringing(Some(headers), body);
                    }
                }
                Due::GiveUp => {
                    self.reject(504, "no PRACK");
                    return Some(self.hung_up(DialogEnd::NoPrack));
                }
                Due::At(_) | Due::Nothing => return None,
            }
        }
    }

    /// When [`Dialog::tick_unanswered`] has something to do.
    pub(crate) fn unanswered_deadline(&mut self, now: Instant) -> Option<Instant> {
        match self.unanswered.as_mut()?.reliable.poll(now) {
            Due::At(at) => Some(at),
            _ => None,
        }
    }

    /// What waited for a PRACK follows its answer.
    pub(crate) fn pracked(&mut self) {
        let next = self
            .unanswered
            .as_mut()
            .filter(|unanswered| !unanswered.reliable.is_waiting())
            .and_then(|unanswered| unanswered.next.take());
        match next {
            Some(Next::Accept(description)) => self.accept(description),
            Some(Next::Ring(description)) => self.ring(description),
            None => {}
        }
    }
}
