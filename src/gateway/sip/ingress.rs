//! What the stack sees, and what is answered without it.
//!
//! Everything that needs no dialog is answered without state (RFC 3261 §8.2.7), so that a flood of such requests costs
//! no memory. New INVITEs become calls; requests within dialogs go to their dialog.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::Dialog;
use rsipstack::sip::{
    HeadersExt, Method, Request, SipMessage, StatusCode, Transport as SipTransport,
};
use rsipstack::transaction::TransactionReceiver;
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::transaction::Transaction;
use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::mpsc;

use super::wire::{self, Message, Start};
use super::{Arrival, InviteKey, NewCall, Shared, Transport, call, grammar, locked};

/// The extensions that a request may demand of us (RFC 3261 §8.2.2.3).
const UNDERSTOOD: [&str; 1] = ["siprec"];
/// The bodies that are read.
const ACCEPT: &str = "application/sdp, multipart/mixed";

/// Status and headers of an answer without the stack.
type Answer = (u16, Vec<(&'static str, String)>);

impl Shared {
    /// Hands a sound message to the stack, or returns the answer that it gets instead.
    pub(super) async fn receive(
        &self,
        message: Message,
        connection: SipConnection,
        source: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let kind = match transport {
            Transport::Udp => SipTransport::Udp,
            Transport::Tcp => SipTransport::Tcp,
        };
        if let Some(answer) = screen(&message) {
            return self.refuse(&message, &answer, source);
        }
        let parsed = SipMessage::try_from(message.to_bytes().as_slice())
            .ok()
            .and_then(|parsed| SipConnection::update_msg_received(parsed, source, kind).ok());
        let Some(parsed) = parsed else {
            self.complain("has headers that cannot be read", source);
            return message.reply(400, &[], source);
        };
        if let SipMessage::Request(request) = &parsed
            && !matches!(request.method, Method::Ack | Method::Cancel)
            && !self.is_under_way(request)
            && let Some(answer) = self.screen_first(&message, source, transport)
        {
            return self.refuse(&message, &answer, source);
        }
        let from = SipAddr::new(kind, source.into());
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

    fn refuse(&self, message: &Message, answer: &Answer, source: SocketAddr) -> Option<Vec<u8>> {
        let (status, headers) = answer;
        if *status != 200 {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        message.reply(*status, &headers, source)
    }

    /// Whether the stack knows the request's transaction, so that this is a retransmission.
    fn is_under_way(&self, request: &Request) -> bool {
        TransactionKey::from_request(request, TransactionRole::Server).is_ok_and(|key| {
            self.endpoint.transactions.get(&key).is_some()
                || self.endpoint.finished_transactions.get(&key).is_some()
        })
    }

    /// What a request gets that would open a transaction, if it may not.
    fn screen_first(
        &self,
        message: &Message,
        source: SocketAddr,
        transport: Transport,
    ) -> Option<Answer> {
        let is_invite =
            matches!(&message.start, Start::Request { method, .. } if method == "INVITE");
        match message.header("To").and_then(wire::tag) {
            Some(tag) => {
                let id = DialogId {
                    call_id: message.header("Call-ID")?.to_owned(),
                    local_tag: tag.to_owned(),
                    remote_tag: message.header("From").and_then(wire::tag)?.to_owned(),
                };
                self.layer.get_dialog(&id).is_none().then(|| (481, vec![]))
            }
            None if is_invite => self.screen_new_call(message, source, transport),
            // Outside of a dialog there is nothing to end or to change.
            None => Some((481, vec![])),
        }
    }

    fn screen_new_call(
        &self,
        message: &Message,
        source: SocketAddr,
        transport: Transport,
    ) -> Option<Answer> {
        let key = key_of(message)?;
        let branch = message.branch().unwrap_or_default();
        let mut invites = locked(&self.invites);
        if let Some(known) = invites.get(&key) {
            // The same request over another path is a loop or a fork that met again (RFC 3261 §8.2.2.2).
            return (known.branch != branch).then(|| (482, vec![]));
        }
        // The next hop would get one less (RFC 7332).
        if message.header("Max-Forwards") == Some("0") {
            return Some((483, vec![]));
        }
        if !self.accepting.load(Ordering::Relaxed) || invites.len() >= self.config.max_calls {
            let later = self.config.retry_after.to_string();
            return Some((503, vec![("Retry-After", later)]));
        }
        invites.insert(
            key,
            Arrival {
                branch: branch.to_owned(),
                source,
                transport,
            },
        );
        None
    }
}

/// What any request gets that no part of us serves: status and headers.
fn screen(message: &Message) -> Option<Answer> {
    let Start::Request { method, .. } = &message.start else {
        return None;
    };
    let allow = ("Allow", wire::ALLOW.to_owned());
    let accept = ("Accept", ACCEPT.to_owned());
    match method.as_str() {
        "ACK" | "CANCEL" => return None,
        "INVITE" | "BYE" | "UPDATE" | "OPTIONS" => {}
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
        return Some((200, vec![allow, accept]));
    }
    let body = message.to_body()?;
    match body.media_type().as_str() {
        "application/sdp" => None,
        "multipart/mixed" => {
            let broken = body.description().err()?;
            Some((broken.status(), vec![]))
        }
        _ => Some((415, vec![accept])),
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
        if let Some(dialog) = shared.layer.match_dialog(&request) {
            shared.until_cut(within_dialog(dialog, request));
        } else if request.original.method == Method::Invite && !has_to_tag(&request) {
            call::begin(&shared, request, &calls);
        } else {
            refuse(&shared, request, StatusCode::CallTransactionDoesNotExist);
        }
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
pub(super) fn refuse(shared: &Shared, mut request: Transaction, status: StatusCode) {
    shared.until_cut(async move {
        let _ = request.reply(status).await;
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
