//! The trunks from our side: OPTIONS tells whether they live, REGISTER makes us known to those that want it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use metrics::gauge;
use tokio::time::timeout;

use crate::gateway::sip::edge::next_hop::NextHop;
use crate::gateway::sip::edge::resolve::is_worth_another_address;
use crate::gateway::sip::edge::sockets;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::challenges::wants_credentials;
use crate::gateway::sip::stack::message::{
    CallId, Header, Method, Param, Request, Response, SipMessage, StatusCodeKind, Uri,
};
use crate::gateway::sip::stack::transactions::{Transaction, TransactionKey, TransactionRole};
use crate::gateway::sip::stack::transports::SipAddr;
use crate::gateway::sip::stack::uris::{sip_uri, written};
use crate::gateway::sip::stack::{kind_of, values_of};
use crate::sip::digest::{Keyring, Patience};
use crate::sip::trunk::{Change, Enrolment, Health, Outcome, granted};

/// Questions without an answer after which a trunk is down.
const PATIENCE: u32 = 3;
/// 1 while a trunk answers, 0 while it does not.
const UP: &str = "xinqiao_trunk_up";
/// 1 while we are registered with a trunk that wants it, 0 while we are not.
const REGISTERED: &str = "xinqiao_trunk_registered";

/// A question is given up after so many T1 (5 s with the usual one).
const ANSWER_TIME: u32 = 10;

/// Starts the tasks of all trunks.
pub(crate) fn start(shared: &Arc<Shared>) {
    for (index, trunk) in shared.config.trunks.iter().enumerate() {
        let Some(uri) = trunk.uri.as_deref().and_then(sip_uri) else {
            continue;
        };
        if let Some(every) = trunk.options {
            shared.until_cut(watch(shared.clone(), index, uri.clone(), every));
        }
        if let Some(seconds) = trunk.register {
            shared.until_cut(enrol(shared.clone(), index, uri, seconds));
        }
    }
}

/// Asks a trunk whether it lives, for ever.
async fn watch(shared: Arc<Shared>, index: usize, uri: Uri, every: Duration) {
    let link = &shared.trunks[index];
    let mut health = Health::new(Instant::now(), every, PATIENCE);
    let mut question = Question::new(&shared, Method::Options, index, uri);
    loop {
        tokio::time::sleep_until(health.next().into()).await;
        let answer = question.ask(&shared, Vec::new()).await;
        // Any answer is a sign of life, except that it cannot take calls (or our own stack's that it was not reached).
        let answered = answer.is_some_and(|answer| !matches!(answer.status_code.code(), 408 | 503));
        let change = health.note(Instant::now(), answered);
        gauge!(UP, "trunk" => link.name.clone()).set(f64::from(u8::from(health.is_up())));
        match change {
            Some(Change::Up) => {
                link.up.store(true, Ordering::Relaxed);
                shared.log(|| tracing::info!(trunk = %link.name, "the trunk answers again"));
            }
            Some(Change::Down) => {
                link.up.store(false, Ordering::Relaxed);
                shared.log(|| {
                    tracing::error!(trunk = %link.name, "the trunk does not answer; calls go elsewhere");
                });
            }
            None => {}
        }
    }
}

/// Keeps us registered with a trunk, until the edge closes.
async fn enrol(shared: Arc<Shared>, index: usize, uri: Uri, seconds: u32) {
    let link = &shared.trunks[index];
    let mut enrolment = Enrolment::new(Instant::now(), seconds, rand::random());
    let mut question = Question::new(&shared, Method::Register, index, uri);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(enrolment.next().into()) => {}
            () = shared.closing.cancelled() => break,
        }
        let expires = enrolment.expires();
        let answer = question
            .ask(&shared, vec![Header::Expires(expires.into())])
            .await;
        let outcome = outcome_of(answer.as_ref(), expires, &question.contact);
        enrolment.note(Instant::now(), outcome);
        let registered = enrolment.is_registered(Instant::now());
        let before = link.registered.swap(registered, Ordering::Relaxed);
        gauge!(REGISTERED, "trunk" => link.name.clone()).set(f64::from(u8::from(registered)));
        let status = answer.map(|answer| answer.status_code.code());
        shared.log(|| match (before, registered) {
            (false, true) => tracing::info!(trunk = %link.name, "registered"),
            (true, false) => tracing::error!(trunk = %link.name, ?status, "no longer registered"),
            (false, false) => {
                let again = enrolment.next().saturating_duration_since(Instant::now());
                tracing::warn!(trunk = %link.name, ?status, ?again, "not registered");
            }
            (true, true) => {}
        });
    }
    if link.is_registered() {
        let _ = question.ask(&shared, vec![Header::Expires(0.into())]).await;
        link.registered.store(false, Ordering::Relaxed);
    }
}

fn outcome_of(answer: Option<&Response>, asked: u32, own: &str) -> Outcome {
    let number = |name: &str| {
        let value = value_of(answer?, name)?;
        value.split([';', ' ', '(']).next()?.trim().parse().ok()
    };
    match answer.map(|answer| answer.status_code.code()) {
        Some(200..=299) => {
            let contacts: Vec<String> = answer
                .map(|answer| values_of(answer, "Contact").collect())
                .unwrap_or_default();
            Outcome::Granted {
                seconds: granted(&contacts, number("Expires"), own).unwrap_or(asked),
            }
        }
        Some(423) => Outcome::TooBrief {
            least: number("Min-Expires").unwrap_or(0),
        },
        _ => Outcome::Failed {
            retry_after: number("Retry-After"),
        },
    }
}

fn value_of(response: &Response, name: &str) -> Option<String> {
    values_of(response, name).next()
}

/// A request that is sent again and again, with one Call-ID and growing numbers.
struct Question {
    method: Method,
    trunk: usize,
    uri: Uri,
    call_id: String,
    number: u32,
    /// The URI that we gave last.
    contact: String,
    keys: Keyring,
}

impl Question {
    fn new(shared: &Shared, method: Method, trunk: usize, mut uri: Uri) -> Self {
        uri.auth = None;
        let login = shared.config.trunks[trunk].login.clone();
        Self {
            method,
            trunk,
            uri,
            call_id: format!("{:032x}@{}", rand::random::<u128>(), shared.config.realm),
            number: 0,
            contact: String::new(),
            keys: Keyring::new(login),
        }
    }

    /// The final answer, with challenges answered; `None` when there is none in time.
    async fn ask(&mut self, shared: &Arc<Shared>, headers: Vec<Header>) -> Option<Response> {
        let hops = shared.hops_to_trunk(&self.uri, self.trunk).await.ok()?;
        let mut last = None;
        for hop in hops {
            let answer = self.ask_over(shared, &hop, &headers).await;
            let status = answer.as_ref().map(|answer| answer.status_code.code());
            last = answer.or(last);
            if !status.is_none_or(is_worth_another_address) {
                break;
            }
        }
        last
    }

    async fn ask_over(
        &mut self,
        shared: &Arc<Shared>,
        hop: &NextHop,
        headers: &[Header],
    ) -> Option<Response> {
        let limit = shared.config.t1 * ANSWER_TIME;
        sockets::connect(shared, hop.flow, &hop.host).await.ok()?;
        let mut patience = Patience::default();
        loop {
            let mut authenticated = headers.to_vec();
            authenticated.extend(self.credentials());
            let answer = timeout(limit, self.send(shared, hop, authenticated))
                .await
                .ok()??;
            if !wants_credentials(&mut self.keys, &mut patience, &answer) {
                return Some(answer);
            }
        }
    }

    fn credentials(&mut self) -> impl Iterator<Item = Header> + use<> {
        let (method, uri) = (self.method.to_string(), self.uri.to_string());
        let cnonce = format!("{:016x}", rand::random::<u64>());
        let credentials = self.keys.credentials(&method, &uri, &cnonce);
        credentials
            .into_iter()
            .map(|(name, value)| Header::Other(name.to_owned(), value))
    }

    async fn send(
        &mut self,
        shared: &Arc<Shared>,
        hop: &NextHop,
        headers: Vec<Header>,
    ) -> Option<Response> {
        self.number += 1;
        let user = hop.login.as_ref().map_or("gateway", |(user, _)| user);
        let mut own = self.uri.clone();
        own.auth = Some(user.into());
        own.params.clear();
        let from = crate::gateway::sip::stack::message::typed::From {
            display_name: None,
            uri: own.clone(),
            params: vec![Param::Tag(format!("{:016x}", rand::random::<u64>()).into())],
        };
        let asks_for_own = self.method == Method::Register;
        let to = crate::gateway::sip::stack::message::typed::To {
            display_name: None,
            uri: if asks_for_own { own } else { self.uri.clone() },
            params: Vec::new(),
        };
        let via = shared.stack.endpoint.get_via(None, None).ok()?;
        let call_id = Some(CallId::from(self.call_id.clone()));
        let mut request: Request = shared.stack.endpoint.make_request(
            self.method,
            self.uri.clone(),
            via,
            from,
            to,
            self.number,
            call_id,
        );
        let routes = hop.routes.iter().cloned().map(Header::from);
        request.headers.extend(routes.collect());
        let contact = crate::gateway::sip::stack::message::typed::Contact {
            display_name: None,
            uri: shared.contact(user, hop.flow),
            params: Vec::new(),
        };
        self.contact = written(&contact.uri);
        request.headers.push(Header::Contact(contact.into()));
        request.headers.extend(headers);
        let key = TransactionKey::from_request(&request, TransactionRole::Client).ok()?;
        let mut transaction =
            Transaction::new_client(key, request, shared.stack.endpoint.clone(), None);
        let peer = hop.flow.source.into();
        transaction.destination = Some(SipAddr::new(kind_of(hop.flow.transport), peer));
        transaction.send().await.ok()?;
        while let Some(message) = transaction.receive().await {
            if let SipMessage::Response(response) = message
                && response.status_code.kind() != StatusCodeKind::Provisional
            {
                return Some(response);
            }
        }
        None
    }
}
