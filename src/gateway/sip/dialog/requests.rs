//! The requests that we send within a dialog: where they go (RFC 3261 §12.2), and how they are authenticated to a peer that
//! asks who sends them (§22).
//!
//! The stack sends what belongs to the INVITE that began the dialog; all that follows is sent from here. Its own way
//! would give the dialog up at a challenge that it cannot answer, never counts a nonce, and keeps to the stream that the
//! dialog began on when the peer has long named another target.

use std::sync::{Arc, Mutex};

use crate::gateway::sip::dialog::table::Beginning;
use crate::gateway::sip::edge::streams::Carried;
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::challenges::wants_credentials;
use crate::gateway::sip::stack::dialogs::{Dialog as StackDialog, InviteDialog};
use crate::gateway::sip::stack::message::uri::ParamsExt;
use crate::gateway::sip::stack::message::{
    Header, HeadersExt, Host, Method, Param, Request, Response, Route, Scheme, SipMessage,
    StatusCodeKind, ToTypedHeader, Uri,
};
use crate::gateway::sip::stack::transactions::{Transaction, TransactionKey, TransactionRole};
use crate::gateway::sip::stack::transports::SipAddr;
use crate::gateway::sip::stack::{kind_of, uris};
use crate::sip::Transport;
use crate::sip::digest::{Keyring, Patience, Realm};
use crate::sip::registrar::Flow;

/// The hops that a request of ours may take (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u32 = 70;

/// What we send within one dialog.
pub(crate) struct Requests {
    shared: Arc<Shared>,
    dialog: InviteDialog,
    contact: Uri,
    state: Mutex<RequestState>,
    stays: bool,
}

struct RequestState {
    /// The number of our last request.
    number: u32,
    keys: Keyring,
    flow: Flow,
    stream: Option<Carried>,
    /// The peer has named another host since it chose that flow.
    moved: bool,
}

impl Requests {
    pub(crate) fn new(shared: &Arc<Shared>, dialog: &InviteDialog, begun: Beginning) -> Self {
        let mut keys = Keyring::new(begun.login);
        if dialog.role() == TransactionRole::Client {
            // What the stack has authenticated the INVITE with serves on.
            let invite = dialog.initial_request();
            for by in Realm::ALL {
                if let Some(credentials) = invite.header_value(by.credentials_header()) {
                    keys.used(by, &credentials);
                }
            }
        }
        if dialog.role() == TransactionRole::Server
            && let Some(named) = target(&dialog.initial_request())
        {
            if !dialog.snapshot().route_set.is_empty() {
                // The stack has added what carried the INVITE, which here is the proxy's and not the target's.
                StackDialog::Invite(dialog.clone()).set_remote_target(named, None);
            } else if begun.stays && leads_away(&named, begun.flow) {
                let target = returned(named, begun.flow);
                StackDialog::Invite(dialog.clone()).set_remote_target(target, None);
            }
        }
        Self {
            shared: shared.clone(),
            dialog: dialog.clone(),
            contact: begun.contact,
            state: Mutex::new(RequestState {
                number: 0,
                keys,
                flow: begun.flow,
                stream: begun.stream,
                moved: false,
            }),
            stays: begun.stays,
        }
    }

    /// Our Contact.
    pub(crate) const fn contact(&self) -> &Uri {
        &self.contact
    }

    /// Takes the target that a peer names in a request that changes it, or in the answer to one of ours (§12.2.1.2).
    pub(crate) fn refresh(&self, message: &impl HeadersExt) {
        let Some(mut uri) = target(message) else {
            return;
        };
        let before = self.dialog.snapshot();
        let mut state = locked(&self.state);
        if self.stays && before.route_set.is_empty() && leads_away(&uri, state.flow) {
            uri = returned(uri, state.flow);
        }
        // Who speaks over a stream and names no transport means that stream; not so one behind a proxy.
        if uri.transport().is_none()
            && before.route_set.is_empty()
            && state.flow.transport != Transport::Udp
        {
            uri.params
                .push(Param::Transport(kind_of(state.flow.transport)));
        }
        let before = before.remote_uri;
        state.moved |=
            uri.host_with_port != before.host_with_port || uri.transport() != before.transport();
        drop(state);
        StackDialog::Invite(self.dialog.clone()).set_remote_target(uri, None);
    }

    /// The final answer to a request, with challenges answered; `None` when it could not be sent.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        method: Method,
        headers: Vec<Header>,
        body: Option<Vec<u8>>,
    ) -> Option<Response> {
        let mut patience = Patience::default();
        loop {
            let answer = self.send(method, headers.clone(), body.clone()).await?;
            let again = wants_credentials(&mut locked(&self.state).keys, &mut patience, &answer);
            if !again {
                return Some(answer);
            }
        }
    }

    async fn send(
        self: &Arc<Self>,
        method: Method,
        headers: Vec<Header>,
        body: Option<Vec<u8>>,
    ) -> Option<Response> {
        let snapshot = self.dialog.snapshot();
        let flow = self
            .flow_to(&snapshot.remote_uri, &snapshot.route_set)
            .await;
        let request = self.compose(method, headers, body)?;
        let key = TransactionKey::from_request(&request, TransactionRole::Client).ok()?;
        let endpoint = self.shared.stack.endpoint.clone();
        let mut transaction = Transaction::new_client(key, request, endpoint, None);
        let destination = SipAddr::new(kind_of(flow.transport), flow.source.into());
        transaction.destination = Some(destination);
        transaction.send().await.ok()?;
        let mut acknowledged = 0;
        while let Some(message) = transaction.receive().await {
            let SipMessage::Response(response) = message else {
                continue;
            };
            if response.status_code.kind() != StatusCodeKind::Provisional {
                return Some(response);
            }
            // RFC 3262 §4, also of an INVITE within the dialog.
            let reliable = response.header_contains_token("Require", "100rel");
            if let (true, Some(number)) = (reliable, response.rseq_value())
                && number > acknowledged
            {
                acknowledged = number;
                self.acknowledge(&response, number);
            }
        }
        None
    }

    fn acknowledge(self: &Arc<Self>, response: &Response, number: u32) {
        let cseq = response.cseq_header().ok();
        let Some(invite) = cseq.and_then(|cseq| cseq.seq().ok()) else {
            return;
        };
        let headers = vec![Header::RAck(format!("{number} {invite} INVITE").into())];
        let requests = self.clone();
        self.shared.until_cut(async move {
            let _ = requests.ask(Method::PRack, headers, None).await;
        });
    }

    /// Where a request goes now: over the stream that the dialog uses while that stands and leads to its target, else
    /// to the first proxy of its route or to the target.
    async fn flow_to(&self, target: &Uri, routes: &[Route]) -> Flow {
        let (flow, moved) = {
            let state = locked(&self.state);
            (state.flow, state.moved)
        };
        if flow.transport != Transport::Udp && !moved && self.shared.transport.streams.is_open(flow)
        {
            return flow;
        }
        let proxy = routes
            .first()
            .and_then(|route| route.clone().typed().ok())
            .map(|route| route.uri);
        if self.stays && proxy.as_ref().is_some_and(|proxy| leads_away(proxy, flow)) {
            return flow;
        }
        // A peer whose target leads nowhere is where it was last.
        let Ok(found) = self.shared.reach(proxy.as_ref().unwrap_or(target)).await else {
            return flow;
        };
        if found != flow {
            let stream = Carried::new(&self.shared.transport.streams, found);
            let mut state = locked(&self.state);
            (state.flow, state.stream) = (found, stream);
        }
        locked(&self.state).moved = false;
        found
    }

    fn compose(&self, method: Method, more: Vec<Header>, body: Option<Vec<u8>>) -> Option<Request> {
        let snapshot = self.dialog.snapshot();
        let invite = self.dialog.initial_request();
        let (from, to) = (invite.header_value("From")?, invite.header_value("To")?);
        // As the INVITE had them, but for the tag that it did not know yet (RFC 3261 §12.2.1.1).
        let (from, to) = match snapshot.role {
            TransactionRole::Client => (from, tagged(to, &snapshot.id.remote_tag)),
            TransactionRole::Server => (tagged(to, &snapshot.id.local_tag), from),
        };
        let (number, credentials) = {
            let mut state = locked(&self.state);
            state.number = state.number.max(snapshot.local_cseq) + 1;
            let cnonce = format!("{:016x}", rand::random::<u64>());
            let uri = uris::written(&snapshot.remote_uri);
            let credentials = state.keys.credentials(&method.to_string(), &uri, &cnonce);
            (state.number, credentials)
        };
        let via = self.shared.stack.endpoint.get_via(None, None).ok()?;
        let mut headers = vec![
            Header::Via(via.into()),
            Header::CallId(snapshot.id.call_id.into()),
            Header::From(from.into()),
            Header::To(to.into()),
            Header::CSeq(format!("{number} {method}").into()),
            Header::Contact(format!("<{}>", self.contact).into()),
            Header::UserAgent(self.shared.config.user_agent.clone().into()),
            Header::MaxForwards(MAX_FORWARDS.into()),
        ];
        headers.extend(snapshot.route_set.into_iter().map(Header::Route));
        headers.extend(
            credentials
                .into_iter()
                .map(|(name, value)| Header::Other(name.to_owned(), value)),
        );
        headers.extend(more);
        Some(Request {
            method,
            uri: snapshot.remote_uri,
            headers: headers.into(),
            body: body.unwrap_or_default(),
            version: crate::gateway::sip::stack::message::Version::V2,
        })
    }
}

/// Whether a URI names another machine than the one at the other end of a flow.
fn leads_away(uri: &Uri, flow: Flow) -> bool {
    !matches!(uri.host_with_port.host, Host::IpAddr(ip) if ip.to_canonical() == flow.source.ip().to_canonical())
}

/// The URI with that machine in the place of the one that it names.
fn returned(mut uri: Uri, flow: Flow) -> Uri {
    uri.host_with_port = flow.source.into();
    uri.params
        .retain(|param| !matches!(param, Param::Transport(_)));
    if flow.transport != Transport::Udp {
        uri.params.push(Param::Transport(kind_of(flow.transport)));
    }
    uri
}

/// A To value with its tag.
fn tagged(value: String, tag: &str) -> String {
    match wire::tag(&value) {
        Some(_) => value,
        None => format!("{value};tag={tag}"),
    }
}

/// Where the sender of a message wants the requests within its dialog.
fn target(message: &impl HeadersExt) -> Option<Uri> {
    let contacts = message.typed_contact_headers().ok()?;
    let uri = uris::mended(&contacts.into_iter().next()?.uri);
    matches!(uri.scheme, Some(Scheme::Sip | Scheme::Sips)).then_some(uri)
}
