//! The SIP edge: `rsipstack` behind our own sockets, turned into the typed events and commands of [`crate::sip`].
//!
//! ```text
//! UDP datagram ─┐                    ┌─ stateless answer: 400 405 415 420 481 482 483 503 505, OPTIONS
//! TCP stream ───┴► wire ─► ingress ──┤
//!                                    └─► stack: transactions, dialogs ─► one task a call ◄─► the call
//! ```
//! - `wire` cuts, repairs and checks bytes; `sockets` owns UDP and TCP; `ingress` decides what the stack sees;
//!   `call` drives the two dialogs of one call, each a `side`; `invite` finds the way to the operator's phone.
//! - The stack writes every message to the log. It runs on threads of its own whose log is switched off; what this
//!   edge has to say goes to the log of the program explicitly, and never holds a number or a name.

mod call;
mod grammar;
mod ingress;
mod invite;
mod side;
mod sockets;
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
use rsipstack::sip::{Header, Param, Scheme, SipMessage, Transport as SipTransport, Uri};
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption, MessageInspector};
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, TransportLayer};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;

pub use self::invite::local_address_towards;
use crate::sip::{IncomingCall, SipCommand, SipEvent};

/// Calls that wait for the gateway to take them; past it 503.
const NEW_CALLS: usize = 64;
/// Events that wait for the call, and commands that wait for the adapter; a call that lets so many pile up is ended.
const CALL_QUEUE: usize = 32;
/// How long running dialogs have for their BYE when the edge closes.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// How the edge listens, and its times.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// UDP and TCP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The User-Agent header.
    pub user_agent: String,
    /// RFC 3261's T1, the estimate of a round trip; a transaction is given up after 64 of them.
    pub t1: Duration,
    /// How long the operator's phone may leave our INVITE without any answer; then 408.
    pub operator_reply: Duration,
    /// How long the operator's phone may ring; then 408.
    pub ring: Duration,
    /// Calls at a time; past it a new INVITE gets 503.
    pub max_calls: usize,
    /// TCP connections at a time; past it they are closed at once.
    pub max_connections: usize,
    /// A TCP connection that brings nothing for so long, and carries no call, is closed.
    pub tcp_idle: Duration,
    /// The Retry-After of every 503, in seconds.
    pub retry_after: u32,
}

impl SipConfig {
    /// The usual values for `listen`.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            user_agent: concat!("xinqiao/", env!("CARGO_PKG_VERSION")).to_owned(),
            t1: Duration::from_millis(500),
            operator_reply: Duration::from_secs(5),
            ring: Duration::from_mins(1),
            max_calls: 1_000,
            max_connections: 1_000,
            tcp_idle: Duration::from_mins(5),
            retry_after: 10,
        }
    }
}

/// Why the edge does not start.
#[derive(Debug)]
pub enum BindError {
    /// The address cannot be listened on.
    Address {
        /// Which, with its transport.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The threads of the stack cannot be started.
    Threads(io::Error),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "sip address {address} is in use by another program; stop that one or set another with --set sip.listen=ADDRESS:PORT"
                )
            }
            Self::Address { address, source } => write!(
                f,
                "cannot listen on sip address {address}: {source}; set another with --set sip.listen=ADDRESS:PORT"
            ),
            Self::Threads(source) => write!(f, "cannot start the sip threads: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } | Self::Threads(source) => Some(source),
        }
    }
}

/// What carries a peer's SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// A call that arrived; dropping it, or either channel, ends it.
#[derive(Debug)]
pub struct NewCall {
    /// What its INVITE says.
    pub incoming: IncomingCall,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// What happens; `None` when both legs have ended.
    pub events: mpsc::Receiver<SipEvent>,
    /// What to do.
    pub commands: mpsc::Sender<SipCommand>,
}

/// A call that we place: its only leg is [`crate::speech::Leg::Operator`], begun by [`SipCommand::InviteOperator`].
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
    /// TCP connections.
    pub connections: usize,
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
    runtime: Option<tokio::runtime::Runtime>,
}

/// What identifies an INVITE however it reached us (RFC 3261 §8.2.2.2): Call-ID, tag of From, number.
type InviteKey = (String, String, u32);

/// How an INVITE reached us.
#[derive(Clone, Debug)]
struct Arrival {
    branch: String,
    source: SocketAddr,
    transport: Transport,
}

/// What all tasks of the edge share.
struct Shared {
    config: SipConfig,
    local: SocketAddr,
    endpoint: EndpointInnerRef,
    layer: Arc<DialogLayer>,
    udp: UdpConnection,
    socket: sockets::SendOnly,
    accepting: AtomicBool,
    /// The INVITEs whose calls run.
    invites: Mutex<HashMap<InviteKey, Arrival>>,
    /// Streams that we opened, by peer.
    streams: Mutex<HashMap<SocketAddr, CancellationToken>>,
    /// How many calls each stream carries, by peer.
    carried: Mutex<HashMap<SocketAddr, usize>>,
    calls: AtomicUsize,
    connections: AtomicUsize,
    malformed: AtomicU64,
    refused: AtomicU64,
    last_complaint: Mutex<Option<Instant>>,
    /// Ends calls.
    closing: CancellationToken,
    /// Ends everything.
    cut: CancellationToken,
    tasks: TaskTracker,
    /// The program's log; the threads here have none.
    log: Dispatch,
}

impl SipEdge {
    /// Takes the address over UDP and TCP and starts the stack.
    ///
    /// # Errors
    /// [`BindError`] with the remedy.
    pub async fn bind(config: SipConfig) -> Result<(Self, mpsc::Receiver<NewCall>), BindError> {
        let (udp, tcp, local) = sockets::bind(config.listen)?;
        let log = tracing::dispatcher::get_default(Clone::clone);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sip")
            .enable_all()
            // The stack logs whole messages, also from tasks that it spawns: no log on its threads.
            .on_thread_start(|| {
                std::mem::forget(tracing::dispatcher::set_default(&Dispatch::none()));
            })
            .build()
            .map_err(BindError::Threads)?;
        let (calls, new_calls) = mpsc::channel(NEW_CALLS);
        let started = runtime.spawn(Shared::start(config, udp, tcp, local, log, calls));
        let shared = started
            .await
            .map_err(io::Error::other)
            .and_then(|shared| shared)
            .map_err(BindError::Threads)?;
        Ok((
            Self {
                shared,
                runtime: Some(runtime),
            },
            new_calls,
        ))
    }

    /// The address in use, with the real port; the IP is unspecified when all interfaces are listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Whether new calls are taken; if not, an INVITE gets 503 with Retry-After and running calls go on.
    pub fn set_accepting(&self, accepting: bool) {
        self.shared.accepting.store(accepting, Ordering::Relaxed);
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
            connections: shared.connections.load(Ordering::Relaxed),
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
            while self.shared.calls.load(Ordering::Relaxed) > 0 || !self.shared.layer.is_empty() {
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
        self.runtime
            .as_ref()
            .expect("taken only when the edge is consumed")
            .handle()
    }

    fn stop(&mut self) {
        self.shared.cut.cancel();
        self.shared.socket.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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
            .field("local", &self.shared.local)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn start(
        config: SipConfig,
        udp: UdpSocket,
        tcp: std::net::TcpListener,
        local: SocketAddr,
        log: Dispatch,
        calls: mpsc::Sender<NewCall>,
    ) -> io::Result<Arc<Self>> {
        let udp = Arc::new(tokio::net::UdpSocket::from_std(udp)?);
        let tcp = tokio::net::TcpListener::from_std(tcp)?;
        let cut = CancellationToken::new();
        let transport = TransportLayer::new(cut.child_token());
        let socket = sockets::SendOnly::new(udp.clone());
        let sender = sockets::stack_udp(socket.clone(), advertised(local)).await;
        transport.add_transport(sender.clone().into());
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
            .with_inspector(Box::new(Finish {
                retry_after: config.retry_after,
            }))
            .build();
        let incoming = endpoint.incoming_transactions().map_err(io::Error::other)?;
        let shared = Arc::new(Self {
            layer: Arc::new(DialogLayer::new(endpoint.inner.clone())),
            endpoint: endpoint.inner,
            config,
            local,
            udp: sender,
            socket,
            accepting: AtomicBool::new(true),
            invites: Mutex::default(),
            streams: Mutex::default(),
            carried: Mutex::default(),
            calls: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            malformed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_complaint: Mutex::default(),
            closing: cut.child_token(),
            cut,
            tasks: TaskTracker::new(),
            log,
        });
        let stack = shared.endpoint.clone();
        shared.until_cut(async move {
            let _ = stack.serve().await;
        });
        shared.until_cut(sockets::serve_udp(shared.clone(), udp));
        shared.until_cut(sockets::serve_tcp(shared.clone(), tcp));
        shared.until_cut(ingress::take_requests(shared.clone(), incoming, calls));
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
        let now = Instant::now();
        let mut last = locked(&self.last_complaint);
        if last.is_none_or(|last| now - last >= Duration::from_secs(1)) {
            *last = Some(now);
            self.log(|| tracing::warn!(%source, so_far, "a sip message {what} and was dropped"));
        }
    }

    /// Our Contact as `peer` can reach it.
    fn contact(&self, peer: SocketAddr, transport: Transport) -> Uri {
        let address = if self.local.ip().is_unspecified() {
            SocketAddr::new(local_address_for(peer.ip()), self.local.port())
        } else {
            self.local
        };
        Uri {
            scheme: Some(Scheme::Sip),
            auth: Some("gateway".into()),
            host_with_port: address.into(),
            params: match transport {
                Transport::Udp => Vec::new(),
                Transport::Tcp => vec![Param::Transport(SipTransport::Tcp)],
            },
            ..Uri::default()
        }
    }
}

/// The last touch on messages that leave: a 503 says when to come back (RFC 3261 §21.5.4).
struct Finish {
    retry_after: u32,
}

impl MessageInspector for Finish {
    fn before_send(&self, mut message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
        if let SipMessage::Response(response) = &mut message
            && response.status_code.code() == 503
        {
            response
                .headers
                .unique_push(Header::RetryAfter(self.retry_after.to_string().into()));
        }
        message
    }

    fn after_received(&self, message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
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

/// What Via says; peers answer to where the packet came from, so one address does for all.
fn advertised(local: SocketAddr) -> SocketAddr {
    if local.ip().is_unspecified() {
        // Any address that is reached over the default route; nothing is sent there.
        SocketAddr::new(
            local_address_for(Ipv4Addr::new(192, 0, 2, 1).into()),
            local.port(),
        )
    } else {
        local
    }
}

/// The data behind the locks here is whole after every statement, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
