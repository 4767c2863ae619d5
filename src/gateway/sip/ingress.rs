//! What the stack sees, and what is answered without it.
//!
//! Everything that needs no dialog is answered without state (RFC 3261 §8.2.7), so that a flood of such requests costs
//! no memory. New INVITEs become calls; requests within dialogs go to their dialog.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::Dialog;
use rsipstack::sip::{Header, HeadersExt, Method, Request, SipMessage, StatusCode};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::transaction::Transaction;
use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::admission::{Admitted, Who};
use super::dialog::DialogEvent;
use super::ringing::HeldResponse;
use super::wire::{self, Message, Start};
use super::{Arrival, InviteKey, NewCall, Shared, call, enrol, grammar, kind_of, locked};
use crate::sip::Party;
use crate::sip::digest::Challenge;
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

/// The name of an algorithm as RFC 8760 has it, and as the stack has it.
pub(super) const SHA_256: &str = "algorithm=SHA-256";
pub(super) const STACK_SHA_256: &str = "algorithm=SHA256";

/// Status and headers of an answer without the stack.
pub(super) type Answer = (u16, Vec<(&'static str, String)>);

impl Shared {
    /// Hands a sound message to the stack, or returns the answer that it gets instead.
    pub(super) async fn receive(
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
                let held = self.ringing.hold(held)?;
                (held.response.into(), held.connection, held.from)
            }
            request @ SipMessage::Request(_) => (request, connection, from),
        };
        let taken = self.endpoint.on_received_message(parsed, connection, &from);
        if taken.await.is_err() {
            self.complain("has no place in a transaction", source);
            if let Some(key) = key_of(&message) {
                locked(&self.invites).remove(&key);
            }
            return message.reply(400, &[], source);
        }
        None
    }

    /// The bytes of an answer without state, which is counted if it refuses.
    pub(super) fn refuse(
        &self,
        message: &Message,
        (status, headers): &Answer,
        source: SocketAddr,
    ) -> Option<Vec<u8>> {
        if *status != 200 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        message.reply_to_stranger(*status, &headers, source)
    }

    /// Whether the stack knows the request's transaction, so that this is a retransmission.
    fn is_under_way(&self, request: &Request) -> bool {
        TransactionKey::from_request(request, TransactionRole::Server).is_ok_and(|key| {
            self.endpoint.transactions.get(&key).is_some()
                || self.endpoint.finished_transactions.get(&key).is_some()
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
                    || key_of(message).is_some_and(|key| locked(&self.invites).contains_key(&key))
            }
        };
        !is_under_way
            && !self.admission.vouches(now, message, flow.source.ip())
            && !locked(&self.registrar).uses(now, flow)
    }

    /// Who sent a new INVITE or a REGISTER.
    pub(super) fn admit(&self, now: Instant, message: &Message, flow: Flow) -> Admitted {
        let is_ours = |host: &str, port| self.addresses.are_ours(host, port);
        self.admission.admit(now, message, flow, is_ours)
    }

    /// Whether we have the dialog whose tag of ours is `tag`; `None` for a request that names none.
    fn knows_dialog(&self, message: &Message, tag: &str) -> Option<bool> {
        let id = DialogId {
            call_id: message.header("Call-ID")?.to_owned(),
            local_tag: tag.to_owned(),
            remote_tag: message.header("From").and_then(wire::tag)?.to_owned(),
        };
        Some(self.layer.get_dialog(&id).is_some() || self.ringing.has(&id.call_id))
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
        if let Some(known) = locked(&self.invites).get(&key) {
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
        let mut invites = locked(&self.invites);
        if !self.accepting.load(Ordering::Relaxed) || invites.len() >= self.config.max_calls {
            return Some(Some(self.later()));
        }
        if who == Who::Anybody && !self.has_room_for_stranger(&invites, flow) {
            // Who has a password may still use it.
            let challenge = self.admission.asks_for_credentials(Instant::now(), flow);
            return Some(Some(challenge.unwrap_or_else(|| self.later())));
        }
        invites.insert(
            key,
            Arrival {
                branch: branch.to_owned(),
                from: message.header("From").unwrap_or_default().to_owned(),
                flow,
                who,
                acknowledged: false,
                visited: self.ringing.visited_by(message),
            },
        );
        drop(invites);
        self.addresses
            .remember(flow.source, flow.transport, listener);
        None
    }

    /// Whether a stranger may hold one more of the calls: trunks and extensions have the rest, and of calls that nobody
    /// has acknowledged, so that they may come from anywhere, no source has more than its part.
    fn has_room_for_stranger(&self, invites: &HashMap<InviteKey, Arrival>, flow: Flow) -> bool {
        let config = &self.config;
        let nobody_else = config.trunks.is_empty() && config.extensions.is_empty();
        let all = if nobody_else {
            config.max_calls
        } else {
            config.max_calls / 2
        };
        let share = config.strangers.unwrap_or(all).min(config.max_calls);
        let strangers = invites.values().filter(|call| call.who == Who::Anybody);
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

/// Leaves the stack the one challenge that it can answer: it takes the first of several, whatever its algorithm, and
/// spells SHA-256 in its own way.
pub(super) fn simplify_challenges(message: &mut Message) {
    if !matches!(message.start, Start::Response { status: 401 | 407 }) {
        return;
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        if let Some(best) = Challenge::best(message.all(name)) {
            message.replace(name, vec![best.to_string().replace(SHA_256, STACK_SHA_256)]);
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
pub(super) async fn take_requests(
    shared: Arc<Shared>,
    mut incoming: TransactionReceiver,
    calls: mpsc::Sender<NewCall>,
) {
    while let Some(request) = incoming.recv().await {
        let method = request.original.method;
        let belongs_to_stack = matches!(method, Method::Ack | Method::Bye | Method::Cancel);
        if let Some(dialog) = shared.layer.match_dialog(&request) {
            // The stack keeps the dialog's beginning and its end; what is asked between is the call's.
            if belongs_to_stack {
                shared.until_cut(within_dialog(dialog, request));
                continue;
            }
            let id = dialog.id();
            if let Some(taker) = shared
                .dialog_of(&id)
                .or_else(|| shared.ringing.taker(&id.call_id))
            {
                hand_over(&shared, taker, request);
            } else {
                // A dialog that is only just being set up, or has just ended.
                let later = vec![Header::RetryAfter("2".into())];
                refuse(&shared, request, StatusCode::ServerInternalError, later);
            }
        } else if method == Method::Invite && !has_to_tag(&request) {
            call::begin(&shared, request, &calls);
        } else if let (Some(ringer), false) = (shared.ringer_of(&request), belongs_to_stack) {
            hand_over(&shared, ringer, request);
        } else {
            let status = StatusCode::CallTransactionDoesNotExist;
            refuse(&shared, request, status, vec![]);
        }
    }
}

/// Who takes a request.
type Taker = (Party, mpsc::Sender<DialogEvent>);

impl Shared {
    /// Whose a dialog is.
    fn dialog_of(&self, id: &DialogId) -> Option<Taker> {
        let key = (id.call_id.clone(), id.local_tag.clone());
        let dialogs = locked(&self.dialogs);
        let entry = dialogs.get(&key)?;
        Some((entry.party, entry.tell.clone()))
    }

    fn ringer_of(&self, request: &Transaction) -> Option<Taker> {
        self.ringing
            .taker(request.original.call_id_header().ok()?.value())
    }
}

/// Brings a request to the call that it belongs to.
fn hand_over(shared: &Arc<Shared>, (party, tell): Taker, request: Transaction) {
    if let Err(TrySendError::Full(unheard) | TrySendError::Closed(unheard)) =
        tell.try_send(DialogEvent::Request(party, Box::new(request)))
        && let DialogEvent::Request(_, request) = unheard
    {
        refuse(shared, *request, StatusCode::ServiceUnavailable, vec![]);
    }
}

fn has_to_tag(request: &Transaction) -> bool {
    request
        .original
        .to_header()
        .and_then(rsipstack::sip::To::tag)
        .is_ok_and(|tag| tag.is_some())
}

/// Answers in a task of its own: a stream whose peer does not read must not hold up the others.
pub(super) fn refuse(
    shared: &Shared,
    mut request: Transaction,
    status: StatusCode,
    headers: Vec<Header>,
) {
    shared.until_cut(async move {
        let _ = request.reply_with(status, headers, None).await;
        // A refused INVITE waits for its ACK.
        while request.receive().await.is_some() {}
    });
}

async fn within_dialog(mut dialog: Dialog, mut request: Transaction) {
    let _ = dialog.handle(&mut request).await;
    if request.last_response.is_none() {
        // Out of order, or before the dialog is confirmed (RFC 3261 §12.2.2).
        let _ = request.reply(StatusCode::ServerInternalError).await;
    }
}
