//! What the peer asks within its dialog: offers, keys, transfers; and what it is answered.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::gateway::sip::dialog::Dialog;
use crate::gateway::sip::dialog::bodies::{
    description, granted, pressed, progress, said, with_sdp,
};
use crate::gateway::sip::dialog::table::DialogEvent;
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::stack::message::{
    Header, HeadersExt, Method, Request, SipMessage, StatusCode, StatusCodeKind,
};
use crate::gateway::sip::stack::transactions::{
    Transaction, TransactionEvent, TransactionEventSender,
};
use crate::sip::multipart::{self, media_type};
use crate::sip::session::Grant;
use crate::sip::{SipEvent, Target};

/// Progress of a transfer that waits to be told: trying, ringing and the end, with some to spare.
const REPORTS: usize = 8;

/// A peer's request that the call has not answered yet.
pub(crate) enum Open {
    Invite(Box<Request>, TransactionEventSender, Option<Grant>),
    Other(Box<Transaction>, Option<Grant>),
}

impl Dialog {
    /// Takes a request within the dialog.
    pub(crate) fn take(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let number = original
            .cseq_header()
            .ok()
            .and_then(|cseq| cseq.seq().ok())
            .unwrap_or(0);
        if number < self.number {
            // RFC 3261 §12.2.2
            self.reply(request, StatusCode::ServerInternalError, vec![]);
            return None;
        }
        self.number = number;
        match original.method {
            Method::Invite | Method::Update => self.take_offer(request),
            Method::PRack => self.take_prack(request),
            Method::Info => self.take_info(request),
            Method::Refer => self.take_refer(request),
            _ => {
                let allow = vec![Header::Allow(wire::ALLOW.into())];
                self.reply(request, StatusCode::MethodNotAllowed, allow);
                None
            }
        }
    }

    /// What was asked while the phone rang, and has no answer yet.
    pub(crate) fn was_early(&mut self, number: u32, open: Option<Box<Transaction>>) {
        self.number = number;
        if let Some(request) = open
            && self.session.asked(true, said(&request.original)).is_ok()
        {
            self.open = Some(Open::Other(request, None));
        }
    }

    fn take_offer(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let is_invite = original.method == Method::Invite;
        if is_invite && self.unanswered.is_some() {
            // A second INVITE before the answer to the first (RFC 3261 §14.2).
            let later = vec![Header::RetryAfter("5".into())];
            self.reply(request, StatusCode::ServerInternalError, later);
            return None;
        }
        let offer = description(original);
        let offers = is_invite || offer.is_some();
        match self.session.asked(offers, said(original)) {
            Err(refusal) => {
                let mut headers = Vec::new();
                headers.extend(
                    refusal
                        .retry_after
                        .map(|seconds| Header::RetryAfter(seconds.to_string().into())),
                );
                headers.extend(
                    refusal
                        .min_se
                        .map(|seconds| Header::MinSE(seconds.to_string().into())),
                );
                self.reply(request, refusal.status.into(), headers);
                None
            }
            Ok(grant) if offers => {
                self.open = Some(if is_invite {
                    let (original, respond) = (
                        Box::new(request.original.clone()),
                        request.tu_sender.clone(),
                    );
                    self.drive(*request);
                    Open::Invite(original, respond, grant)
                } else {
                    Open::Other(request, grant)
                });
                Some(SipEvent::Offered {
                    party: self.party,
                    offer,
                })
            }
            Ok(grant) => {
                // Only a sign of life (RFC 3311).
                self.session.granted(Instant::now(), grant);
                self.requests.refresh(&request.original);
                self.reply(request, StatusCode::OK, granted(grant));
                None
            }
        }
    }

    /// Answers the open offer.
    pub(crate) fn answer(&mut self, answer: Result<String, u16>) {
        let Some(open) = self.open.take() else {
            return;
        };
        let now = Instant::now();
        let (status, headers, body, described) = match answer {
            Ok(description) => {
                let (headers, body) = with_sdp(description.clone());
                (StatusCode::OK, headers, body, Some(description))
            }
            Err(status) => (status.into(), vec![], None, None),
        };
        let accepted = described.is_some();
        if let Some(description) = &described {
            self.session.described(description);
        }
        match open {
            Open::Invite(original, respond, grant) => {
                let mut headers = headers;
                if accepted {
                    self.requests.refresh(&*original);
                    headers.extend(granted(grant));
                    self.session.granted(now, grant);
                }
                self.session
                    .answered(accepted && description(&*original).is_none());
                let response = self.response(&original, status, headers, body);
                let _ = respond.send(TransactionEvent::Respond(response));
            }
            Open::Other(request, grant) => {
                let mut headers = headers;
                if accepted && request.original.method == Method::Update {
                    self.requests.refresh(&request.original);
                    headers.extend(granted(grant));
                    self.session.granted(now, grant);
                }
                self.session.answered(false);
                let response = self.response(&request.original, status, headers, body);
                self.respond(request, response);
            }
        }
    }

    /// Runs a re-INVITE until its ACK.
    fn drive(&self, mut request: Transaction) {
        let (tell, party) = (self.tell.clone(), self.party);
        self.shared.until_cut(async move {
            let _ = request.send_trying().await;
            while let Some(message) = request.receive().await {
                let SipMessage::Request(message) = message else {
                    continue;
                };
                match message.method {
                    Method::Ack => {
                        let _ = tell
                            .send(DialogEvent::Acked(party, description(&message)))
                            .await;
                        return;
                    }
                    Method::Cancel => {
                        let _ = request.reply(StatusCode::RequestTerminated).await;
                    }
                    _ => {}
                }
            }
            let accepted = request
                .last_response
                .as_ref()
                .is_some_and(|last| last.status_code.kind() == StatusCodeKind::Successful);
            if accepted {
                let _ = tell.send(DialogEvent::NotAcked(party)).await;
            }
        });
    }

    /// The ACK of a re-INVITE.
    pub(crate) fn acked(&mut self, answer: Option<String>) -> Option<SipEvent> {
        let party = self.party;
        self.session
            .acknowledged()
            .then_some(SipEvent::OfferAnswered {
                party,
                answer: answer?,
            })
    }

    fn take_info(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let kind = request
            .original
            .header_value("Content-Type")
            .map(|kind| media_type(&kind))
            .unwrap_or_default();
        let is_optional = request
            .original
            .header_value("Content-Disposition")
            .is_some_and(|disposition| multipart::is_optional(&disposition));
        let text = (!request.original.body.is_empty())
            .then(|| String::from_utf8_lossy(&request.original.body).into_owned());
        let is_key = matches!(kind.as_str(), "application/dtmf-relay" | "application/dtmf");
        let key = match &text {
            Some(text) if is_key => pressed(text),
            // An empty one is a sign of life.
            None => None,
            Some(_) if is_optional => None,
            Some(_) => {
                let accept = vec![Header::Accept(
                    "application/dtmf-relay, application/dtmf".into(),
                )];
                self.reply(request, StatusCode::UnsupportedMediaType, accept);
                return None;
            }
        };
        let status = if text.is_some() && is_key && key.is_none() {
            StatusCode::BadRequest
        } else {
            StatusCode::OK
        };
        self.reply(request, status, vec![]);
        let (key, millis) = key?;
        Some(SipEvent::Keyed {
            party: self.party,
            key,
            millis,
        })
    }

    fn take_refer(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let targets: Vec<String> = original
            .headers
            .iter()
            .filter_map(|header| match header {
                Header::ReferTo(target) => Some(target.to_string()),
                _ => None,
            })
            .collect();
        let referred_by = original.header_value("Referred-By");
        let target = match targets.as_slice() {
            [line] => {
                let value = line.split_once(':').map_or("", |(_, value)| value).trim();
                Target::from_refer_to(value, referred_by.as_deref())
            }
            _ => None,
        };
        let Some(target) = target else {
            self.reply(request, StatusCode::BadRequest, vec![]);
            return None;
        };
        if self.refer.is_some() {
            self.reply(request, StatusCode::RequestPending, vec![]);
            return None;
        }
        self.refer = Some(request);
        Some(SipEvent::Referred {
            party: self.party,
            target,
        })
    }

    /// Answers the REFER; one that is accepted is told of the transfer's progress, unless it wants none (RFC 4488).
    pub(crate) fn answer_refer(&mut self, status: u16) {
        let Some(request) = self.refer.take() else {
            return;
        };
        let silent = request
            .original
            .header_value("Refer-Sub")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let mut headers = Vec::new();
        if silent {
            headers.push(Header::Other("Refer-Sub".to_owned(), "false".to_owned()));
        }
        if status != 202 || silent {
            self.reply(request, status.into(), headers);
            return;
        }
        let response = self.response(&request.original, status.into(), headers, None);
        let (reports, mut queue) = mpsc::channel(REPORTS);
        self.reports = Some(reports);
        let requests = self.requests.clone();
        let mut request = request;
        self.shared.until_cut(async move {
            let _ = request.respond(response).await;
            // Each waits for the answer to the one before, so that none overtakes another.
            while let Some(status) = queue.recv().await {
                let (headers, body) = progress(status);
                requests.ask(Method::Notify, headers, Some(body)).await;
            }
        });
        self.report(100);
    }

    /// Tells the party that referred how far its successor is; one that does not listen misses what is between.
    pub(crate) fn report(&mut self, status: u16) {
        if let Some(reports) = &self.reports {
            let _ = reports.try_send(status);
        }
        if status >= 200 {
            self.reports = None;
        }
    }
}
