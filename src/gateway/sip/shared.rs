//! What all tasks of the edge share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;

use super::dialog::table::DialogTable;
use super::edge::admission::{Admission, Admitted, Answer};
use super::edge::config::SipConfig;
use super::edge::listen::{Addresses, local_address_for};
use super::edge::registrar::Registrations;
use super::edge::resolve::NameResolver;
use super::edge::streams::Streams;
use super::edge::tls::Tls;
use super::edge::trunk_link::TrunkLink;
use super::edge::wire::Message;
use super::lock::locked;
use super::stack::datagrams::Datagrams;
use super::stack::endpoint::Stack;
use super::stack::kind_of;
use super::stack::message::{Header, HostWithPort, Param, Scheme, StatusCode, Uri};
use super::stack::transactions::Transaction;
use crate::listener::ConnectionGuard;
use crate::sip::Transport;
use crate::sip::registrar::Flow;
use crate::telemetry::Sparse;

/// What all tasks of the edge share.
pub(crate) struct Shared {
    pub(crate) config: SipConfig,
    pub(crate) transport: Transports,
    pub(crate) stack: Stack,
    pub(crate) admission: Admission,
    pub(crate) registrar: Registrations,
    pub(crate) trunks: Vec<TrunkLink>,
    pub(crate) dialogs: Arc<DialogTable>,
    pub(crate) accepting: AtomicBool,
    pub(crate) calls: AtomicUsize,
    pub(crate) malformed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) complaints: Sparse,
    pub(crate) handshakes: Sparse,
    /// Ends calls.
    pub(crate) closing: CancellationToken,
    /// Ends everything.
    pub(crate) cut: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// The program's log; the threads here have none.
    pub(crate) log: Dispatch,
}

/// What messages travel by.
pub(crate) struct Transports {
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) tls: Tls,
    pub(crate) datagrams: Datagrams,
    pub(crate) resolver: NameResolver,
    pub(crate) streams: Arc<Streams>,
    /// Keeps the streams within their limits.
    pub(crate) connections: Arc<ConnectionGuard>,
}

impl Shared {
    /// Runs `work` on the edge's threads until it ends or everything is cut.
    pub(crate) fn until_cut(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = cut.cancelled() => {}
            }
        });
    }

    /// Writes to the program's log, which the threads here do not have.
    pub(crate) fn log(&self, write: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.log, write);
    }

    /// Counts a malformed packet, and says so at most once a second.
    pub(crate) fn complain(&self, what: &'static str, source: SocketAddr) {
        let so_far = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.complaints.take(Instant::now()).is_some() {
            self.log(|| tracing::warn!(%source, so_far, "a sip message {what} and was dropped"));
        }
    }

    /// Whether a stream carries a call or leads to an extension, so that its silence means nothing.
    pub(crate) fn is_needed(&self, flow: Flow) -> bool {
        self.transport.streams.carries(flow)
            || locked(&self.registrar.bindings).uses(Instant::now(), flow)
    }

    /// Our Contact as a peer can reach it.
    pub(crate) fn contact(&self, user: &str, flow: Flow) -> Uri {
        let host = match self
            .transport
            .addresses
            .towards(flow.source, flow.transport)
        {
            Some(listener) => self.transport.addresses.name(listener, flow.source.ip()),
            // We do not listen to this transport: the peer has our stream.
            None => SocketAddr::new(
                local_address_for(flow.source.ip()),
                self.transport.addresses.first().port(),
            )
            .to_string(),
        };
        Uri {
            scheme: Some(Scheme::Sip),
            auth: Some(user.into()),
            host_with_port: HostWithPort::try_from(host.as_str())
                .unwrap_or_else(|_| self.transport.addresses.first().into()),
            params: match flow.transport {
                Transport::Udp => Vec::new(),
                other => vec![Param::Transport(kind_of(other))],
            },
            ..Uri::default()
        }
    }

    /// Who sent a new INVITE or a REGISTER.
    pub(crate) fn admit(&self, now: Instant, message: &Message, flow: Flow) -> Admitted {
        let is_ours = |host: &str, port| self.transport.addresses.are_ours(host, port);
        self.admission.admit(now, message, flow, is_ours)
    }

    /// The bytes of an answer without state, which is counted if it refuses.
    pub(crate) fn refuse(
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

    /// Refuses a request in a task of its own: a stream whose peer does not read must not hold up the others.
    pub(crate) fn turn_down(
        &self,
        mut request: Transaction,
        status: StatusCode,
        headers: Vec<Header>,
    ) {
        self.until_cut(async move {
            let _ = request.reply_with(status, headers, None).await;
            // A refused INVITE waits for its ACK.
            while request.receive().await.is_some() {}
        });
    }
}
