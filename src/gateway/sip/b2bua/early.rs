//! What an invited phone asks before its answer is settled: a change of its early media by UPDATE (RFC 3311), a sign of
//! life, or that we take the offer of its 200, where our INVITE had none.
//!
//! An invitation may have forked: each phone that rings has an early dialog of its own, with its own numbers and its
//! own offers. None of them ends the invitation.

use std::sync::Arc;

use crate::gateway::sip::dialog::bodies::{allows, description};
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::message::{
    Header, HeadersExt, Method, Request, Response, SipMessage, StatusCode,
};
use crate::gateway::sip::stack::transactions::Transaction;
use crate::sip::{Party, SipEvent};

/// The forks of one invitation that are told apart; more phones do not ring at once.
const MOST_FORKS: usize = 16;

/// What brought an offer.
enum Open {
    Update(Box<Transaction>),
    /// The 2xx to our INVITE, by its Call-ID.
    Answer(String),
}

impl Open {
    fn update(self) -> Option<Box<Transaction>> {
        match self {
            Self::Update(request) => Some(request),
            Self::Answer(_) => None,
        }
    }
}

/// One phone that rings.
struct Early {
    tag: String,
    /// The number of its last request.
    number: u32,
    /// Its answer to the INVITE's offer was acknowledged, or an UPDATE of its own has been accepted since: what stands
    /// for it now. Only then may it offer anything (RFC 3311 §5.2).
    described: Option<String>,
    /// What it has described last, acknowledged or not.
    previewed: Option<String>,
    /// What we answered to it last.
    ours: Option<String>,
    takes_updates: bool,
    /// Its offer that the call is to answer.
    open: Option<(Open, String)>,
    /// Its offer, come while its answer to ours was still being acknowledged.
    parked: Option<Box<Transaction>>,
}

impl Early {
    fn new(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            number: 0,
            described: None,
            previewed: None,
            ours: None,
            takes_updates: false,
            open: None,
            parked: None,
        }
    }
}

/// What is left of an early dialog when its phone answers.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What the phone described acknowledgedly, and whether nothing was told of another fork since.
    pub described: Option<(String, bool)>,
    /// What is its answer if its 2xx has none: what it, or else any phone of this invitation, has described last.
    pub previewed: Option<String>,
    /// What we answered to it last.
    pub ours: Option<String>,
    pub takes_updates: bool,
    pub number: u32,
    pub open: Option<Box<Transaction>>,
}

/// The phones that ring by one invitation; the requests of theirs that nobody answers are refused when it is over.
pub(crate) struct EarlyDialogs {
    shared: Arc<Shared>,
    known: Vec<Early>,
    /// Whose description the call was told last.
    latest: Option<String>,
    /// The last description of a provisional response, whosever it was.
    previewed: Option<String>,
}

impl EarlyDialogs {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            known: Vec::new(),
            latest: None,
            previewed: None,
        }
    }

    fn fork(&mut self, tag: &str) -> Option<&mut Early> {
        let at = match self.known.iter().position(|early| early.tag == tag) {
            Some(at) => at,
            None if self.known.len() < MOST_FORKS => {
                self.known.push(Early::new(tag));
                self.known.len() - 1
            }
            None => return None,
        };
        Some(&mut self.known[at])
    }

    /// Takes a provisional response, which has been acknowledged if it is to be; what the call is told of it.
    pub(crate) fn note(&mut self, party: Party, response: &Response) -> Vec<SipEvent> {
        // Where our INVITE offered nothing, nothing answers.
        let call_id = response.header_value("Call-ID").unwrap_or_default();
        let told = description(response).filter(|_| !self.shared.dialogs.is_late(&call_id));
        let mut events = vec![SipEvent::Ringing {
            party,
            status: response.status_code.code(),
            answer: told.clone(),
        }];
        if told.is_some() {
            self.previewed.clone_from(&told);
        }
        let to = response.header_value("To").unwrap_or_default();
        let Some(tag) = wire::tag(&to) else {
            return events;
        };
        if told.is_some() {
            self.latest = Some(tag.to_owned());
        }
        let Some(early) = self.fork(tag) else {
            return events;
        };
        early.takes_updates |= allows(response, "UPDATE");
        if told.is_some() {
            early.previewed.clone_from(&told);
        }
        if response.header_contains_token("Require", "100rel") && early.described.is_none() {
            early.described = told;
        }
        if let Some(parked) = early.parked.take() {
            events.extend(self.take(party, parked));
        }
        events
    }

    /// Takes a request of a phone that rings.
    pub(crate) fn take(&mut self, party: Party, request: Box<Transaction>) -> Option<SipEvent> {
        let shared = self.shared.clone();
        let original = &request.original;
        let from = original.header_value("From").unwrap_or_default();
        let call_id = original.header_value("Call-ID").unwrap_or_default();
        let number = original.cseq_header().ok().and_then(|cseq| cseq.seq().ok());
        let is_open = self.known.iter().any(|early| early.open.is_some());
        let early = wire::tag(&from)
            .map(str::to_owned)
            .and_then(|tag| self.fork(&tag));
        let (Some(early), Some(number)) = (early, number) else {
            let status = StatusCode::CallTransactionDoesNotExist;
            reply(&shared, request, status, vec![]);
            return None;
        };
        if number < early.number {
            reply(&shared, request, StatusCode::ServerInternalError, vec![]);
            return None;
        }
        early.number = number;
        let offer = description(original);
        match (original.method, offer) {
            (Method::Update | Method::Info, None) => {
                reply(&shared, request, StatusCode::OK, vec![]);
                None
            }
            (Method::Update, Some(_))
                if early.described.is_none()
                    && early.parked.is_none()
                    && shared.stack.provisionals.answers(&call_id, &early.tag) =>
            {
                early.parked = Some(request);
                None
            }
            (Method::Update, Some(_)) if early.described.is_none() => {
                // Our own offer has no answer yet that is sure.
                reply(&shared, request, StatusCode::RequestPending, vec![]);
                None
            }
            (Method::Update, Some(_)) if is_open => {
                let later = vec![Header::RetryAfter("1".into())];
                reply(&shared, request, StatusCode::ServerInternalError, later);
                None
            }
            (Method::Update, Some(offer)) => {
                early.open = Some((Open::Update(request), offer.clone()));
                Some(SipEvent::Offered {
                    party,
                    offer: Some(offer),
                })
            }
            _ => {
                let allow = vec![Header::Allow("UPDATE, INFO".into())];
                reply(&shared, request, StatusCode::MethodNotAllowed, allow);
                None
            }
        }
    }

    /// Answers the offer that the call was told of.
    pub(crate) fn answer(&mut self, answer: Result<String, u16>) {
        let open = self.known.iter_mut().find(|early| early.open.is_some());
        let Some(early) = open else {
            return;
        };
        let Some((open, offer)) = early.open.take() else {
            return;
        };
        match (open, &answer) {
            (Open::Update(request), Ok(ours)) => {
                let headers = vec![
                    Header::ContentType("application/sdp".into()),
                    Header::Allow(wire::ALLOW.into()),
                ];
                respond(&self.shared, request, StatusCode::OK, headers, Some(ours));
            }
            (Open::Update(request), Err(status)) => {
                reply(&self.shared, request, (*status).into(), vec![]);
            }
            // An offer that cannot be taken ends in a BYE, but is acknowledged before (§13.2.2.4).
            (Open::Answer(call_id), _) => {
                answer_late(&self.shared, &call_id, answer.clone().ok());
            }
        }
        if let Ok(ours) = answer {
            self.latest = Some(early.tag.clone());
            (early.described, early.ours) = (Some(offer), Some(ours));
        }
    }

    /// The phone accepts with an offer, for our INVITE had none.
    pub(crate) fn offered_late(
        &mut self,
        party: Party,
        call_id: String,
        tag: &str,
        offer: String,
    ) -> Option<SipEvent> {
        let shared = self.shared.clone();
        let Some(early) = self.fork(tag).filter(|early| early.open.is_none()) else {
            answer_late(&shared, &call_id, None);
            return None;
        };
        early.open = Some((Open::Answer(call_id), offer.clone()));
        Some(SipEvent::Offered {
            party,
            offer: Some(offer),
        })
    }

    /// What is left of the dialog of the phone that answers.
    pub(crate) fn answered(mut self, tag: &str) -> Outcome {
        let at = self.known.iter().position(|early| early.tag == tag);
        let Some(early) = at.map(|at| self.known.swap_remove(at)) else {
            return Outcome {
                previewed: self.previewed.take(),
                ..Outcome::default()
            };
        };
        let is_latest = self.latest.as_deref() == Some(tag);
        Outcome {
            described: early.described.map(|text| (text, is_latest)),
            previewed: early.previewed.or_else(|| self.previewed.take()),
            ours: early.ours,
            takes_updates: early.takes_updates,
            number: early.number,
            open: early
                .open
                .and_then(|(open, _)| open.update())
                .or(early.parked),
        }
    }
}

impl Drop for EarlyDialogs {
    fn drop(&mut self) {
        // Not where the edge itself is being cut.
        if tokio::runtime::Handle::try_current().is_ok() {
            let open = self.known.iter_mut().flat_map(|early| {
                let open = early.open.take().and_then(|(open, _)| open.update());
                open.into_iter().chain(early.parked.take())
            });
            for request in open {
                reply(&self.shared, request, StatusCode::RequestTerminated, vec![]);
            }
        }
    }
}

/// Lets the stack see the 2xx that was held back, and acknowledge it with our answer.
pub(crate) fn answer_late(shared: &Arc<Shared>, call_id: &str, answer: Option<String>) {
    let Some(held) = shared.dialogs.settle(call_id, answer) else {
        return;
    };
    let edge = shared.clone();
    shared.until_cut(async move {
        let message = SipMessage::Response(held.response);
        let received =
            edge.stack
                .endpoint
                .on_received_message(message, held.connection, &held.from);
        let _ = received.await;
    });
}

fn reply(shared: &Shared, request: Box<Transaction>, status: StatusCode, headers: Vec<Header>) {
    respond(shared, request, status, headers, None);
}

fn respond(
    shared: &Shared,
    mut request: Box<Transaction>,
    status: StatusCode,
    headers: Vec<Header>,
    body: Option<&str>,
) {
    let body = body.map(|text| text.as_bytes().to_vec());
    let mut response = shared
        .stack
        .endpoint
        .make_response(&request.original, status, body);
    response.headers.push(own_contact(&request.original));
    response.headers.extend(headers);
    shared.until_cut(async move {
        let _ = request.respond(response).await;
        while request.receive().await.is_some() {}
    });
}

/// Where the phone's requests lead is the Contact that we gave it.
fn own_contact(request: &Request) -> Header {
    Header::Contact(format!("<{}>", request.uri).into())
}
