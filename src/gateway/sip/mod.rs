//! The SIP edge: `rsipstack` behind our own sockets, turned into the typed events and commands of [`crate::sip`].
//!
//! ```text
//! UDP datagram ──┐                    ┌─ stateless answer: 400 401 405 413 415 420 440 481 482 483 503 505 513, OPTIONS
//! TCP/TLS stream ┴► wire ─► ingress ──┼─► REGISTER of an extension ─► bindings
//!                                     └─► stack: transactions, dialogs ─► one task a call ◄─► the call
//! ```
//! - `wire` cuts, repairs and checks bytes; `listen` takes the addresses, `sockets` owns them and `tls` the certificates;
//!   `admission` knows who may do what; `ingress` decides what the stack sees; `enrol` serves the extensions' REGISTER.
//! - `call` drives the two dialogs of one call, each a `dialog`; `next_hop` leads from a URI to the addresses to try, by
//!   `resolve` where a name has to be looked up; `invite` tries them and `ringing` knows them till they have answered;
//!   `trunks` asks the trunks whether they live, and registers with those that want it.
//! - The stack writes every message to the log. It runs on threads of its own whose log is switched off; what this
//!   edge has to say goes to the log of the program explicitly, and never holds a number or a name.

mod ack_credentials;
mod admission;
mod call;
mod config;
mod dialog;
mod enrol;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod grammar;
mod ingress;
mod invite;
mod listen;
mod next_hop;
mod prack;
mod resolve;
mod ringing;
mod sockets;
mod tls;
mod trunks;
mod uris;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rsipstack::EndpointBuilder;
use rsipstack::dialog::dialog_layer::DialogLayer;
use rsipstack::sip::{
    Header, HostWithPort, Param, Scheme, SipMessage, Transport as SipTransport, Uri,
};
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption, MessageInspector};
use rsipstack::transport::{SipAddr, TransportLayer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;

use self::admission::{Admission, Who};
pub use self::config::{BindError, Extension, Listener, SipConfig, Trunk};
use self::listen::{Addresses, Taken};
pub use self::next_hop::{RouteSecurity, RouteSecurityLookup, local_address_towards};
use self::sockets::Datagrams;
use self::tls::Tls;
pub use self::tls::{TlsError, TlsFiles};
pub use self::trunks::TrunkState;
use crate::listener::ConnectionGuard;
pub use crate::sip::Transport;
use crate::sip::registrar::{Binding, Flow, Registrar};
use crate::sip::{IncomingCall, SipCommand, SipEvent};
use crate::telemetry::Sparse;

/// Calls that wait for the gateway to take them; past it 503.
const NEW_CALLS: usize = 64;
/// Events that wait for the call, and commands that wait for the adapter; a call that lets so many pile up is ended.
const CALL_QUEUE: usize = 32;
/// How long running dialogs have for their BYE when the edge closes.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Stands in a route's URI for the number that was called; no number has it.
pub const THE_CALLED: &str = "*called*";

/// A call that arrived; dropping it, or either channel, ends it.
#[derive(Debug)]
pub struct NewCall {
    /// What its INVITE says.
    pub incoming: IncomingCall,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// Whom to invite, as SIP URIs in the order to try them; empty when no rule says so.
    pub route: Vec<String>,
    /// What is known of the ways there.
    pub route_security: RouteSecurityLookup,
    /// What happens; `None` when both legs have ended.
    pub events: mpsc::Receiver<SipEvent>,
    /// What to do.
    pub commands: mpsc::Sender<SipCommand>,
}

/// A call that we place: its first party is [`crate::sip::Party::OPERATOR`], begun by [`SipCommand::Invite`].
#[derive(Debug)]
pub struct PlacedCall {
    /// What happens; `None` when the call has ended.
    pub events: mpsc::Receiver<SipEvent>,
    /// What to do.
    pub commands: mpsc::Sender<SipCommand>,
}

/// What is alive at a moment, and what was refused so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SipCounts {
    /// Calls with a running task.
    pub calls: usize,
    /// Dialogs that the stack keeps.
    pub dialogs: usize,
    /// Transactions that the stack keeps, with the finished ones that absorb retransmissions for 64 T1.
    pub transactions: usize,
    /// TCP and TLS connections.
    pub connections: usize,
    /// Places where extensions are registered.
    pub registered: usize,
    /// Tasks of all kinds.
    pub tasks: usize,
    /// Packets and streams dropped as malformed, since the start.
    pub malformed: u64,
    /// Requests answered without the stack, since the start.
    pub refused: u64,
}

/// The running edge; dropping it cuts everything, [`SipEdge::close`] says goodbye first.
pub struct SipEdge {
    shared: Arc<Shared>,
    runtime: StackThreads,
}

/// The threads of the stack. They end whenever this is dropped, also by a start that is given up, and nobody waits for
/// them: a runtime must not be waited for where tasks run.
struct StackThreads(Option<tokio::runtime::Runtime>);

impl Drop for StackThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl StackThreads {
    fn handle(&self) -> &tokio::runtime::Handle {
        let runtime = self.0.as_ref();
        runtime.expect("taken only when dropped").handle()
    }
}

/// What identifies an INVITE however it reached us (RFC 3261 §8.2.2.2): Call-ID, tag of From, number.
type InviteKey = (String, String, u32);

/// How an INVITE reached us.
#[derive(Clone, Debug)]
struct Arrival {
    branch: String,
    /// Its From as it came, for the stack may be shown another one.
    from: String,
    flow: Flow,
    who: Who,
    /// The caller has taken our answer, and so is where its INVITE came from.
    acknowledged: bool,
    /// The URIs that we had sent its call to before it came back to us.
    visited: Vec<String>,
}

/// That an INVITE's dialog lives, so that its retransmissions are known and it counts.
struct Alive {
    shared: Arc<Shared>,
    key: InviteKey,
}

impl Alive {
    fn new(shared: &Arc<Shared>, key: InviteKey) -> Self {
        Self {
            shared: shared.clone(),
            key,
        }
    }

    fn acknowledged(&self) {
        if let Some(arrival) = locked(&self.shared.invites).get_mut(&self.key) {
            arrival.acknowledged = true;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        locked(&self.shared.invites).remove(&self.key);
    }
}

/// What all tasks of the edge share.
struct Shared {
    config: SipConfig,
    addresses: Arc<Addresses>,
    tls: Tls,
    admission: Admission,
    endpoint: EndpointInnerRef,
    layer: Arc<DialogLayer>,
    datagrams: Datagrams,
    resolver: resolve::NameResolver,
    registrar: Mutex<Registrar>,
    /// Answers to REGISTER, for their retransmissions.
    enrolled: Mutex<enrol::Answers>,
    trunks: Vec<trunks::TrunkLink>,
    accepting: AtomicBool,
    /// The INVITEs whose calls run.
    invites: Mutex<HashMap<InviteKey, Arrival>>,
    /// Who sits at which dialog, by Call-ID and our tag.
    dialogs: Mutex<HashMap<(String, String), dialog::DialogEntry>>,
    early: Arc<prack::ReliableProvisionals>,
    ringing: ringing::Ringing,
    /// The streams; cancelled when they are closed.
    streams: Mutex<HashMap<Flow, CancellationToken>>,
    /// How many calls each stream carries.
    carried: Mutex<HashMap<Flow, usize>>,
    /// Keeps the streams within their limits.
    connections: Arc<ConnectionGuard>,
    calls: AtomicUsize,
    malformed: AtomicU64,
    refused: AtomicU64,
    complaints: Sparse,
    handshakes: Sparse,
    /// Ends calls.
    closing: CancellationToken,
    /// Ends everything.
    cut: CancellationToken,
    tasks: TaskTracker,
    /// The program's log; the threads here have none.
    log: Dispatch,
}

impl SipEdge {
    /// Takes the addresses and starts the stack.
    ///
    /// # Errors
    /// [`BindError`] with the remedy.
    pub async fn bind(config: SipConfig) -> Result<(Self, mpsc::Receiver<NewCall>), BindError> {
        let tls = Tls::load(config.tls.clone()).map_err(BindError::Tls)?;
        let speaks_tls = |listener: &Listener| listener.transport == Transport::Tls;
        if config.listeners.iter().any(speaks_tls) && tls.acceptor().is_none() {
            return Err(BindError::Tls(TlsError::NoCertificate));
        }
        let (taken, addresses) = listen::bind(&config.listeners)?;
        let log = tracing::dispatcher::get_default(Clone::clone);
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sip")
            .enable_all()
            // The stack logs whole messages, also from tasks that it spawns: no log on its threads.
            .on_thread_start(|| {
                std::mem::forget(tracing::dispatcher::set_default(&Dispatch::none()));
            })
            .build()
            .map_err(BindError::Threads)?;
        let runtime = StackThreads(Some(threads));
        let (calls, new_calls) = mpsc::channel(NEW_CALLS);
        let started = runtime
            .handle()
            .spawn(Shared::start(config, tls, taken, addresses, log, calls));
        let shared = started
            .await
            .map_err(io::Error::other)
            .and_then(|shared| shared)
            .map_err(BindError::Threads)?;
        Ok((Self { shared, runtime }, new_calls))
    }

    /// The first listener's address, with the real port; the IP is unspecified when all interfaces are listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.addresses.first()
    }

    /// The trunks, in the order of the configuration.
    #[must_use]
    pub fn trunks(&self) -> Vec<TrunkState> {
        self.shared
            .trunks
            .iter()
            .map(trunks::TrunkLink::state)
            .collect()
    }

    /// Whether new calls are taken; if not, an INVITE gets 503 with Retry-After and running calls go on.
    pub fn set_accepting(&self, accepting: bool) {
        self.shared.accepting.store(accepting, Ordering::Relaxed);
    }

    /// Brings back where extensions were registered before a restart; those that are not set up any more are left out.
    pub fn restore(&self, places: Vec<(String, Binding)>) {
        let mut registrar = locked(&self.shared.registrar);
        for (name, binding) in places {
            let mut extensions = self.shared.config.extensions.iter();
            if extensions.any(|extension| extension.name == name) {
                registrar.restore(&name, binding);
            }
        }
    }

    /// A call that we place.
    #[must_use]
    pub fn place_call(&self) -> PlacedCall {
        let (events, commands) = call::place(&self.shared, self.handle());
        PlacedCall { events, commands }
    }

    /// What is alive, and what was refused.
    #[must_use]
    pub fn counts(&self) -> SipCounts {
        let shared = &self.shared;
        let stats = shared.endpoint.get_stats();
        SipCounts {
            calls: shared.calls.load(Ordering::Relaxed),
            dialogs: shared.layer.len(),
            transactions: stats.running_transactions + stats.finished_transactions,
            connections: shared.connections.open(),
            registered: locked(&shared.registrar).len(Instant::now()),
            tasks: shared.tasks.len(),
            malformed: shared.malformed.load(Ordering::Relaxed),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Refuses new calls, ends the running ones by BYE, CANCEL or 503, waits for that at most five seconds, and gives
    /// the address back.
    pub async fn close(mut self) {
        self.set_accepting(false);
        self.shared.closing.cancel();
        let calls_end = async {
            while self.shared.calls.load(Ordering::Relaxed) > 0
                || !self.shared.layer.is_empty()
                || self
                    .shared
                    .trunks
                    .iter()
                    .any(trunks::TrunkLink::is_registered)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_GRACE, calls_end).await;
        self.shared.cut.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(CLOSE_GRACE, self.shared.tasks.wait()).await;
        self.stop();
    }

    fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    fn stop(&mut self) {
        self.shared.cut.cancel();
        self.shared.datagrams.close();
    }
}

impl Drop for SipEdge {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for SipEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipEdge")
            .field("local", &self.local_addr())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn start(
        config: SipConfig,
        tls: Tls,
        taken: Vec<Taken>,
        addresses: Addresses,
        log: Dispatch,
        calls: mpsc::Sender<NewCall>,
    ) -> io::Result<Arc<Self>> {
        let addresses = Arc::new(addresses);
        let mut udp = HashMap::new();
        let mut listeners = Vec::new();
        for (listener, taken) in taken.into_iter().enumerate() {
            match taken {
                Taken::Datagrams(socket) => {
                    let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
                    udp.insert(listener, socket);
                }
                Taken::Streams(socket, transport) => {
                    listeners.push((tokio::net::TcpListener::from_std(socket)?, transport));
                }
            }
        }
        let cut = CancellationToken::new();
        let transport = TransportLayer::new(cut.child_token());
        let datagrams = Datagrams::new(addresses.clone(), udp.clone());
        let name = addresses.first();
        let sender = datagrams.clone().for_stack(name).await;
        transport.add_transport(sender.into());
        let locator = next_hop::Locator::default();
        let early = Arc::<prack::ReliableProvisionals>::default();
        let ringing = ringing::Ringing::default();
        let endpoint = EndpointBuilder::new()
            .with_cancel_token(cut.child_token())
            .with_transport_layer(transport)
            .with_user_agent(&config.user_agent)
            .with_option(EndpointOption {
                t1: config.t1,
                t2: config.t1 * 8,
                t4: config.t1 * 10,
                t1x64: config.t1 * 64,
                // Without one, the stack signs with its own maker's domain.
                callid_suffix: Some("xinqiao".to_owned()),
                ..EndpointOption::default()
            })
            .with_target_locator(Box::new(locator.clone()))
            .with_inspector(Box::new(Finish {
                retry_after: config.retry_after,
                early: early.clone(),
                ringing: ringing.clone(),
                ack_credentials: ack_credentials::AckCredentials::default(),
            }))
            .build();
        let incoming = endpoint.incoming_transactions().map_err(io::Error::other)?;
        let now = Instant::now();
        let connections = tracing::dispatcher::with_default(&log, || {
            ConnectionGuard::new("sip", config.connections())
        });
        let shared = Arc::new(Self {
            layer: Arc::new(DialogLayer::new(endpoint.inner.clone())),
            endpoint: endpoint.inner,
            admission: Admission::new(&config, now, log.clone()),
            resolver: resolve::NameResolver::new(&config.nameservers, config.uris()),
            registrar: Mutex::new(Registrar::new(config.terms)),
            enrolled: Mutex::default(),
            trunks: config.trunks.iter().map(trunks::TrunkLink::new).collect(),
            config,
            addresses,
            tls,
            datagrams,
            accepting: AtomicBool::new(true),
            invites: Mutex::default(),
            dialogs: Mutex::default(),
            early,
            ringing,
            streams: Mutex::default(),
            carried: Mutex::default(),
            connections,
            calls: AtomicUsize::new(0),
            malformed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            complaints: Sparse::new(Duration::from_secs(1)),
            handshakes: Sparse::new(Duration::from_secs(1)),
            closing: cut.child_token(),
            cut,
            tasks: TaskTracker::new(),
            log,
        });
        locator.serve(&shared);
        let stack = shared.endpoint.clone();
        shared.until_cut(async move {
            let _ = stack.serve().await;
        });
        for (listener, socket) in udp {
            let answers = shared.datagrams.of(listener).for_stack(name).await;
            shared.until_cut(sockets::serve_udp(
                shared.clone(),
                socket,
                listener,
                answers,
            ));
        }
        for (socket, transport) in listeners {
            shared.until_cut(sockets::serve_streams(shared.clone(), socket, transport));
        }
        shared.until_cut(ingress::take_requests(shared.clone(), incoming, calls));
        shared.until_cut(tls::keep_fresh(shared.clone()));
        trunks::start(&shared);
        Ok(shared)
    }

    /// Runs `work` on the edge's threads until it ends or everything is cut.
    fn until_cut(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = cut.cancelled() => {}
            }
        });
    }

    /// Writes to the program's log, which the threads here do not have.
    fn log(&self, write: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.log, write);
    }

    /// Counts a malformed packet, and says so at most once a second.
    fn complain(&self, what: &'static str, source: SocketAddr) {
        let so_far = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.complaints.take(Instant::now()).is_some() {
            self.log(|| tracing::warn!(%source, so_far, "a sip message {what} and was dropped"));
        }
    }

    /// Whether a stream carries a call or leads to an extension, so that its silence means nothing.
    fn is_needed(&self, flow: Flow) -> bool {
        locked(&self.carried).contains_key(&flow)
            || locked(&self.registrar).uses(Instant::now(), flow)
    }

    /// Our Contact as a peer can reach it.
    fn contact(&self, user: &str, flow: Flow) -> Uri {
        let host = match self.addresses.towards(flow.source, flow.transport) {
            Some(listener) => self.addresses.name(listener, flow.source.ip()),
            // We do not listen to this transport: the peer has our stream.
            None => SocketAddr::new(
                local_address_for(flow.source.ip()),
                self.addresses.first().port(),
            )
            .to_string(),
        };
        Uri {
            scheme: Some(Scheme::Sip),
            auth: Some(user.into()),
            host_with_port: HostWithPort::try_from(host.as_str())
                .unwrap_or_else(|_| self.addresses.first().into()),
            params: match flow.transport {
                Transport::Udp => Vec::new(),
                other => vec![Param::Transport(kind_of(other))],
            },
            ..Uri::default()
        }
    }
}

/// The stack's word for it.
const fn kind_of(transport: Transport) -> SipTransport {
    match transport {
        Transport::Udp => SipTransport::Udp,
        Transport::Tcp => SipTransport::Tcp,
        Transport::Tls => SipTransport::Tls,
    }
}

/// The last touch on messages that leave: a 503 says when to come back (RFC 3261 §21.5.4), credentials name their
/// algorithm as others do, a PRACK finds its way, and an ACK
/// takes along what its INVITE was authenticated with and what a late offer is answered.
struct Finish {
    retry_after: u32,
    early: Arc<prack::ReliableProvisionals>,
    ringing: ringing::Ringing,
    ack_credentials: ack_credentials::AckCredentials,
}

impl MessageInspector for Finish {
    fn before_send(&self, mut message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
        match &mut message {
            SipMessage::Response(response) if response.status_code.code() == 503 => response
                .headers
                .unique_push(Header::RetryAfter(self.retry_after.to_string().into())),
            SipMessage::Request(request) => {
                request.uri = uris::verbatim(std::mem::take(&mut request.uri));
                let right = |value: &str| {
                    value
                        .replace(ingress::STACK_SHA_256, ingress::SHA_256)
                        .replace("qop=\"auth\"", "qop=auth")
                };
                for header in request.headers.iter_mut() {
                    match header {
                        Header::Authorization(value) => *value = right(value.value()).into(),
                        Header::ProxyAuthorization(value) => *value = right(value.value()).into(),
                        _ => {}
                    }
                }
            }
            SipMessage::Response(_) => {}
        }
        if let SipMessage::Request(request) = &mut message {
            self.early.lead(request);
            self.ringing.complete(request);
            self.ack_credentials.follow(request);
        }
        message
    }

    fn after_received(&self, mut message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
        if let SipMessage::Response(response) = &mut message {
            self.early.note(response);
        }
        message
    }
}

/// The address of this machine that packets to `peer` leave from, so the one that `peer` can reach.
///
/// Asks the system's routes; nothing is sent. Without a route it is the loopback address.
#[must_use]
pub fn local_address_for(peer: IpAddr) -> IpAddr {
    let any: SocketAddr = if peer.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect((peer, 9))?;
            socket.local_addr()
        })
        .map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// The data behind the locks here is whole after every statement, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
