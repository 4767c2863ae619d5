//! The SIP edge: `rsipstack` behind our own sockets, turned into the typed events and commands of [`crate::sip`].
//!
//! ```text
//! UDP datagram ──┐                    ┌─ stateless answer: 400 401 405 413 415 420 440 481 482 483 503 505 513, OPTIONS
//! TCP/TLS stream ┴► wire ─► ingress ──┼─► REGISTER of an extension ─► bindings
//!                                     └─► stack: transactions, dialogs ─► one task a call ◄─► the call
//! ```
//! - `edge` is what stands between the wire and the stack: `wire` cuts, repairs and checks bytes; `listen` takes the
//!   addresses, `sockets` owns them and `tls` the certificates; `admission` knows who may do what; `ingress` decides what
//!   the stack sees; `enrol` serves the extensions' REGISTER; `next_hop` leads from a URI to the addresses to try, by
//!   `resolve` where a name has to be looked up; `trunks` asks the trunks whether they live, and registers with those that
//!   want it.
//! - `stack` is the fence around `rsipstack`: only there is it named, and mended.
//! - `dialog` is one party's dialog, and the one table of all of them.
//! - `b2bua` drives the two dialogs of one call; its `invite` tries the addresses of whom is called.
//! - The stack writes every message to the log. It runs on threads of its own whose log is switched off; what this
//!   edge has to say goes to the log of the program explicitly, and never holds a number or a name.

mod b2bua;
mod dialog;
mod edge;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod lock;
mod shared;
mod stack;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Dispatch;

use self::b2bua::new_call::NEW_CALLS;
pub use self::b2bua::new_call::{NewCall, PlacedCall};
use self::dialog::table::DialogTable;
use self::edge::admission::Admission;
pub use self::edge::config::{BindError, Extension, Listener, SipConfig, THE_CALLED, Trunk};
pub use self::edge::listen::local_address_for;
use self::edge::listen::{Addresses, Taken};
pub use self::edge::next_hop::{RouteSecurity, RouteSecurityLookup, local_address_towards};
use self::edge::registrar::Registrations;
use self::edge::resolve::NameResolver;
use self::edge::tls::Tls;
pub use self::edge::tls::{TlsError, TlsFiles};
use self::edge::trunk_link::TrunkLink;
pub use self::edge::trunk_link::TrunkState;
use self::edge::{ingress, listen, sockets, trunks};
use self::lock::locked;
use self::shared::{Shared, Transports};
use self::stack::datagrams::Datagrams;
use self::stack::endpoint::Stack;
use self::stack::locator::Locator;
use crate::listener::ConnectionGuard;
pub use crate::sip::Transport;
use crate::sip::registrar::Binding;
use crate::telemetry::Sparse;

/// How long running dialogs have for their BYE when the edge closes.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

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
        self.shared.transport.addresses.first()
    }

    /// The trunks, in the order of the configuration.
    #[must_use]
    pub fn trunks(&self) -> Vec<TrunkState> {
        self.shared.trunks.iter().map(TrunkLink::state).collect()
    }

    /// Whether new calls are taken; if not, an INVITE gets 503 with Retry-After and running calls go on.
    pub fn set_accepting(&self, accepting: bool) {
        self.shared.accepting.store(accepting, Ordering::Relaxed);
    }

    /// Brings back where extensions were registered before a restart; those that are not set up any more are left out.
    pub fn restore(&self, places: Vec<(String, Binding)>) {
        let mut registrar = locked(&self.shared.registrar.bindings);
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
        let (events, commands) = b2bua::place(&self.shared, self.handle());
        PlacedCall { events, commands }
    }

    /// What is alive, and what was refused.
    #[must_use]
    pub fn counts(&self) -> SipCounts {
        let shared = &self.shared;
        let stats = shared.stack.endpoint.get_stats();
        SipCounts {
            calls: shared.calls.load(Ordering::Relaxed),
            dialogs: shared.stack.layer.len(),
            transactions: stats.running_transactions + stats.finished_transactions,
            connections: shared.transport.connections.open(),
            registered: locked(&shared.registrar.bindings).len(Instant::now()),
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
                || !self.shared.stack.layer.is_empty()
                || self.shared.trunks.iter().any(TrunkLink::is_registered)
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
        self.shared.transport.datagrams.close();
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
        let datagrams = Datagrams::new(addresses.clone(), udp.clone());
        let name = addresses.first();
        let (locator, dialogs) = (Locator::default(), Arc::<DialogTable>::default());
        let (stack, incoming) = Stack::new(&config, &cut, (&datagrams, name), &locator, &dialogs)
            .await
            .map_err(io::Error::other)?;
        let connections = tracing::dispatcher::with_default(&log, || {
            ConnectionGuard::new("sip", config.connections())
        });
        let shared = Arc::new(Self {
            admission: Admission::new(&config, Instant::now(), log.clone()),
            registrar: Registrations::new(config.terms),
            trunks: config.trunks.iter().map(TrunkLink::new).collect(),
            transport: Transports {
                addresses,
                tls,
                datagrams,
                resolver: NameResolver::new(&config.nameservers, config.uris()),
                streams: Arc::default(),
                connections,
            },
            config,
            stack,
            dialogs,
            accepting: AtomicBool::new(true),
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
        let edge = Arc::downgrade(&shared);
        locator.serve(move |uri| {
            let edge = edge.upgrade();
            Box::pin(async move {
                let edge = edge.ok_or_else(|| "the edge is closed".to_owned())?;
                let flow = edge.reach(&uri).await;
                flow.map_err(|unreachable| unreachable.reason)
            })
        });
        let stack = shared.stack.endpoint.clone();
        shared.until_cut(async move {
            let _ = stack.serve().await;
        });
        for (listener, socket) in udp {
            let answers = shared
                .transport
                .datagrams
                .of(listener)
                .for_stack(name)
                .await;
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
        shared.until_cut(sockets::keep_fresh(shared.clone()));
        trunks::start(&shared);
        Ok(shared)
    }
}
