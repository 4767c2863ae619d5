//! What the stack sees, and what is answered without it.
//!
//! Everything that needs no dialog is answered without state (RFC 3261 §8.2.7), so that a flood of such requests costs
//! no memory. New INVITEs become calls; requests within dialogs go to their dialog.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::gateway::sip::b2bua;
use crate::gateway::sip::b2bua::new_call::NewCall;
use crate::gateway::sip::dialog::table::{Arrival, DialogEvent, HeldResponse, InviteKey, Taker};
use crate::gateway::sip::edge::admission::{Admitted, Answer, Who};
use crate::gateway::sip::edge::wire::Message;
use crate::gateway::sip::edge::{enrol, grammar, wire};
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::challenges::simplify_challenges;
use crate::gateway::sip::stack::dialogs::{Dialog, DialogId};
use crate::gateway::sip::stack::kind_of;
use crate::gateway::sip::stack::message::{
    Header, HeadersExt, Method, Request, SipMessage, StatusCode,
};
use crate::gateway::sip::stack::transactions::{
    Transaction, TransactionKey, TransactionReceiver, TransactionRole,
};
use crate::gateway::sip::stack::transports::{SipAddr, SipConnection};
use crate::sip::limits::Place;
use crate::sip::registrar::Flow;
use crate::sip::{multipart, siprec};

/// The extensions that a request may demand of us (RFC 3261 §8.2.2.3).
const UNDERSTOOD: [&str; 4] = ["siprec", "100rel", "timer", "replaces"];
/// The bodies that are read.
const ACCEPT: &str = "application/sdp, multipart/mixed, multipart/related, multipart/alternative, application/rs-metadata+xml";

/// One source may hold this part of the strangers' calls before they are acknowledged, and at least so many.
const STRANGERS_PART: usize = 4;
const LEAST_PART: usize = 8;

impl Shared {
    /// Hands a sound message to the stack, or returns the answer that it gets instead.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        message: Message,
        connection: SipConnection,
        flow: Flow,
        listener: usize,
    ) -> Option<Vec<u8>> {
        let source = flow.source;
        let kind = kind_of(flow.transport);
        let now = Instant::now();
        if message.method().is_some() && self.is_unwelcome(now, &message, flow) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if let Some(answer) = self.screen(&message) {
            return self.refuse(&message, &answer, source);
        }
        if message.method() == Some("REGISTER") {
            return enrol::register(self, &message, flow, listener, now);
        }
        let mut shown = message.clone();
        shown.simplify_addresses();
        shown.mend_contact(source);
        simplify_challenges(&mut shown);
        let parsed = SipMessage::try_from(shown.to_bytes().as_slice())
            .ok()
            .and_then(|parsed| SipConnection::update_msg_received(parsed, source, kind).ok());
        let Some(parsed) = parsed else {
            self.complain("has headers that cannot be read", source);
            return message.reply(400, &[], source);
        };
        if let SipMessage::Request(request) = &parsed
            && !matches!(request.method, Method::Ack | Method::Cancel)
            && !self.is_under_way(request)
            && let Some(refused) = self.screen_first(&message, flow, listener)
        {
            let answer = refused?;
            return self.refuse(&message, &answer, source);
        }
        let from = SipAddr::new(kind, source.into());
        let (parsed, connection, from) = match parsed {
            SipMessage::Response(response) => {
                let held = HeldResponse {
                    response,
                    connection,
                    from,
                };
                let held = self.dialogs.hold(held)?;
                (held.response.into(), held.connection, held.from)
            }
            request @ SipMessage::Request(_) => (request, connection, from),
        };
        let taken = self
            .stack
            .endpoint
            .on_received_message(parsed, connection, &from);
        if taken.await.is_err() {
            self.complain("has no place in a transaction", source);
            if let Some(key) = key_of(&message) {
                self.dialogs.let_go(&key);
            }
            return message.reply(400, &[], source);
        }
        None
    }

    /// Whether the stack knows the request's transaction, so that this is a retransmission.
    fn is_under_way(&self, request: &Request) -> bool {
        TransactionKey::from_request(request, TransactionRole::Server).is_ok_and(|key| {
            self.stack.endpoint.transactions.get(&key).is_some()
                || self
                    .stack
                    .endpoint
                    .finished_transactions
                    .get(&key)
                    .is_some()
        })
    }

    /// Whether a request is not looked at at all: a scanner's, or an unauthenticated new one from where nobody is heard.
    fn is_unwelcome(&self, now: Instant, message: &Message, flow: Flow) -> bool {
        if self.admission.is_scanner(message) {
            return true;
        }
        if self.admission.hears(now, flow.source) {
            return false;
        }
        let is_under_way = match message.header("To").and_then(wire::tag) {
            Some(tag) => self.knows_dialog(message, tag).unwrap_or_default(),
            None => {
                matches!(message.method(), Some("ACK" | "CANCEL"))
                    || key_of(message).is_some_and(|key| self.dialogs.arrival(&key).is_some())
            }
        };
        !is_under_way
            && !self.admission.vouches(now, message, flow.source.ip())
            && !locked(&self.registrar.bindings).uses(now, flow)
    }

    /// Whether we have the dialog whose tag of ours is `tag`; `None` for a request that names none.
    fn knows_dialog(&self, message: &Message, tag: &str) -> Option<bool> {
        let id = DialogId {
            call_id: message.header("Call-ID")?.to_owned(),
            local_tag: tag.to_owned(),
            remote_tag: message.header("From").and_then(wire::tag)?.to_owned(),
        };
        Some(self.stack.layer.get_dialog(&id).is_some() || self.dialogs.is_ringing(&id.call_id))
    }

    /// What a request gets that would open a transaction, if it may not; `Some(None)` is silence.
    #[allow(clippy::option_option)]
    fn screen_first(
        &self,
        message: &Message,
        flow: Flow,
        listener: usize,
    ) -> Option<Option<Answer>> {
        match message.header("To").and_then(wire::tag) {
            Some(tag) => (!self.knows_dialog(message, tag)?).then(|| Some((481, vec![]))),
            None if message.method() == Some("INVITE") => {
                self.screen_new_call(message, flow, listener)
            }
            // Outside of a dialog there is nothing to end or to change.
            None => Some(Some((481, vec![]))),
        }
    }

    #[allow(clippy::option_option)]
    fn screen_new_call(
        &self,
        message: &Message,
        flow: Flow,
        listener: usize,
    ) -> Option<Option<Answer>> {
        let key = key_of(message)?;
        let branch = message.branch().unwrap_or_default();
        if let Some(known) = self.dialogs.arrival(&key) {
            // The same request over another path is a loop or a fork that met again (RFC 3261 §8.2.2.2).
            return (known.branch != branch).then(|| Some((482, vec![])));
        }
        // The next hop would get one less (RFC 7332).
        if message.header("Max-Forwards") == Some("0") {
            return Some(Some((483, vec![])));
        }
        // It would take one of no branches (RFC 5393 §5.3.3.1).
        if message.header("Max-Breadth") == Some("0") {
            return Some(Some((440, vec![])));
        }
        // Strangers first: they are told nothing, not even how busy we are.
        let who = match self.admit(Instant::now(), message, flow) {
            Admitted::As(who) => who,
            Admitted::Not(answer) => return Some(Some(answer)),
            Admitted::Dropped => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Some(None);
            }
        };
        let arrival = Arrival {
            branch: branch.to_owned(),
            from: message.header("From").unwrap_or_default().to_owned(),
            flow,
            who: who.clone(),
            acknowledged: false,
            visited: self.dialogs.visited_by(message),
        };
        let refused = self.dialogs.take_in(key, arrival, |running| {
            if !self.accepting.load(Ordering::Relaxed) || running.len() >= self.config.max_calls {
                return Some(self.later());
            }
            if who == Who::Anybody && !self.has_room_for_stranger(running, flow) {
                // Who has a password may still use it.
                let challenge = self.admission.asks_for_credentials(Instant::now(), flow);
                return Some(challenge.unwrap_or_else(|| self.later()));
            }
            None
        });
        if refused.is_some() {
            return Some(refused);
        }
        self.transport
            .addresses
            .remember(flow.source, flow.transport, listener);
        None
    }

    /// Whether a stranger may hold one more of the calls: trunks and extensions have the rest, and of calls that nobody
    /// has acknowledged, so that they may come from anywhere, no source has more than its part.
    fn has_room_for_stranger(&self, running: &[&Arrival], flow: Flow) -> bool {
        let config = &self.config;
        let nobody_else = config.trunks.is_empty() && config.extensions.is_empty();
        let all = if nobody_else {
            config.max_calls
        } else {
            config.max_calls / 2
        };
        let share = config.strangers.unwrap_or(all).min(config.max_calls);
        let strangers = running.iter().filter(|call| call.who == Who::Anybody);
        let network = Place::network(flow.source.ip());
        let (mut held, mut unsure) = (0, 0);
        for call in strangers {
            held += 1;
            let is_unsure = !call.acknowledged && Place::network(call.flow.source.ip()) == network;
            unsure += usize::from(is_unsure);
        }
        held < share && unsure < (share / STRANGERS_PART).max(LEAST_PART)
    }

    fn later(&self) -> Answer {
        let later = self.config.retry_after.to_string();
        (503, vec![("Retry-After", later)])
    }

    /// What any request gets that no part of us serves: status and headers.
    fn screen(&self, message: &Message) -> Option<Answer> {
        let method = message.method()?;
        let allow = ("Allow", wire::ALLOW.to_owned());
        let accept = ("Accept", ACCEPT.to_owned());
        match method {
            "ACK" | "CANCEL" => return None,
            "INVITE" | "BYE" | "UPDATE" | "OPTIONS" | "PRACK" | "INFO" | "REFER" => {}
            "REGISTER" if !self.config.extensions.is_empty() => {}
            _ => return Some((405, vec![allow])),
        }
        if grammar::is_broken(message) {
            return Some((400, vec![]));
        }
        if grammar::is_foreign(message) {
            return Some((416, vec![]));
        }
        if method == "INVITE" && grammar::refuses_descriptions(message) {
            return Some((406, vec![accept]));
        }
        let unknown: Vec<_> = message
            .tokens("Require")
            .filter(|tag| !UNDERSTOOD.contains(&tag.as_str()))
            .collect();
        if !unknown.is_empty() {
            return Some((420, vec![("Unsupported", unknown.join(", "))]));
        }
        if method == "OPTIONS" {
            // Who asks whether we live sends his calls elsewhere while we drain.
            return Some(if self.accepting.load(Ordering::Relaxed) {
                (200, vec![allow, accept])
            } else {
                self.later()
            });
        }
        // The bodies of INFO and REFER are for the dialog to judge; a BYE ends the call whatever it brings along
        // (§15.1.2); and what need not be understood is no reason to refuse (§20.11).
        if matches!(method, "INFO" | "REFER" | "BYE")
            || message
                .header("Content-Disposition")
                .is_some_and(multipart::is_optional)
        {
            return None;
        }
        let body = message.to_body()?;
        match body.media_type().as_str() {
            "application/sdp" => None,
            kind if siprec::is_metadata(kind) => None,
            kind if multipart::is_multipart(kind) => {
                let broken = body.description().err()?;
                Some((broken.status(), vec![]))
            }
            _ => Some((415, vec![accept])),
        }
    }
}

fn key_of(message: &Message) -> Option<InviteKey> {
    Some((
        message.header("Call-ID")?.to_owned(),
        message.header("From").and_then(wire::tag)?.to_owned(),
        message.cseq()?.0,
    ))
}

/// Takes the requests that open a transaction, for ever.
pub(crate) async fn take_requests(
    shared: Arc<Shared>,
    mut incoming: TransactionReceiver,
    calls: mpsc::Sender<NewCall>,
) {
    while let Some(request) = incoming.recv().await {
        let method = request.original.method;
        let belongs_to_stack = matches!(method, Method::Ack | Method::Bye | Method::Cancel);
        if let Some(dialog) = shared.stack.layer.match_dialog(&request) {
            // The stack keeps the dialog's beginning and its end; what is asked between is the call's.
            if belongs_to_stack {
                shared.until_cut(within_dialog(dialog, request));
                continue;
            }
            let id = dialog.id();
            let entry = shared.dialogs.entry(&id.call_id, &id.local_tag);
            let taker = entry.map(|entry| (entry.party, entry.tell));
            if let Some(taker) = taker.or_else(|| shared.dialogs.ringer(&id.call_id)) {
                hand_over(&shared, taker, request);
            } else {
                // A dialog that is only just being set up, or has just ended.
                let later = vec![Header::RetryAfter("2".into())];
                shared.turn_down(request, StatusCode::ServerInternalError, later);
            }
        } else if method == Method::Invite && !has_to_tag(&request) {
            b2bua::begin(&shared, request, &calls);
        } else if let (Some(ringer), false) = (ringer_of(&shared, &request), belongs_to_stack) {
            hand_over(&shared, ringer, request);
        } else {
            let status = StatusCode::CallTransactionDoesNotExist;
            shared.turn_down(request, status, vec![]);
        }
    }
}

/// Brings a request to the call that it belongs to.
fn hand_over(shared: &Arc<Shared>, (party, tell): Taker, request: Transaction) {
    if let Err(TrySendError::Full(unheard) | TrySendError::Closed(unheard)) =
        tell.try_send(DialogEvent::Request(party, Box::new(request)))
        && let DialogEvent::Request(_, request) = unheard
    {
        shared.turn_down(*request, StatusCode::ServiceUnavailable, vec![]);
    }
}

/// Who takes a request of a phone that rings.
fn ringer_of(shared: &Shared, request: &Transaction) -> Option<Taker> {
    let call_id = request.original.call_id_header().ok()?;
    shared.dialogs.ringer(call_id.value())
}

fn has_to_tag(request: &Transaction) -> bool {
    request
        .original
        .to_header()
        .and_then(crate::gateway::sip::stack::message::To::tag)
        .is_ok_and(|tag| tag.is_some())
}

async fn within_dialog(mut dialog: Dialog, mut request: Transaction) {
    let _ = dialog.handle(&mut request).await;
    if request.last_response.is_none() {
        // Out of order, or before the dialog is confirmed (RFC 3261 §12.2.2).
        let _ = request.reply(StatusCode::ServerInternalError).await;
    }
}
