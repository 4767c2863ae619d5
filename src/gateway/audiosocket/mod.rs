//! Asterisk's `AudioSocket`: an existing exchange taps its calls to us over TCP, one connection for each side.
//!
//! ```text
//! port of the callers  ─► Frames ─┐ pair by UUID      ┌─► Voice ─► the caller's channel of decoded frames
//!                                 ├─► tap: TappedCall ┤
//! port of the operators ─► Frames ┘                   └─► Voice ─► the operator's
//! ```
//! The call is one that takes place elsewhere, like those of SIPREC; only who speaks where needs no metadata, and the
//! sound no codec. Nothing is ever sent to the exchange but that a connection ends, and a frame of silence each second in
//! which nothing comes, while a party is quiet or held: Asterisk gives up a connection that carries nothing for 2 s.
//!
//! | what | bound | past it |
//! |---|---|---|
//! | connections | two for every call and some | as in [`crate::listener`] |
//! | the first frame, with the UUID | [`HELLO`] | the connection is closed |
//! | a lone connection | `audiosocket.pair_s` | it is closed |
//! | a frame | half a second of sound | the connection is closed, and the call ends |
//! | sound ahead of time | 0.3 s | it waits in the connection |
//! | sound for the media thread | [`BOUND`](super::media::frames::BOUND) | the newest is lost, and silence in its place |

mod frame;
mod id;
mod tap;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::frame::{Frame, FrameError, Frames, GOODBYE, SILENCE};
use self::id::Id;
use super::calls::{CallTable, TappedCall};
use crate::config::AudioSocket;
use crate::listener::{ConnectionGuard, Guarded, Limits};
use crate::sip::route::Cidr;
use crate::speech::Leg;
use crate::telemetry::Sparse;

/// How long a new connection may take to say which call it is of.
const HELLO: Duration = Duration::from_secs(5);

/// Longer than any call lasts: while one runs, its silence means nothing.
const FOREVER: Duration = Duration::from_hours(24 * 365);
/// How long nothing may come before we show that the connection stands.
const QUIET: Duration = Duration::from_secs(1);
/// How long the exchange may take nothing that is written.
const WRITE: Duration = Duration::from_secs(10);
/// A UUID's frame: kind, length, and 16 bytes.
const OPENING: usize = 19;

/// Calls that wait for the gateway to take them.
const NEW_CALLS: usize = 64;

/// Connections beside two for each call: those that wait, and those that end.
const SPARE: usize = 16;

/// Takes the connections of callers and operators until `accepting` is cancelled, and brings their calls, `most`
/// at once, to `table`.
pub fn start(
    config: &AudioSocket,
    most: usize,
    listeners: [TcpListener; 2],
    table: &Arc<CallTable>,
    accepting: &CancellationToken,
) {
    let (calls, new_calls) = mpsc::channel(NEW_CALLS);
    tokio::spawn(table.clone().run(new_calls));
    let settings = Settings {
        networks: config.allowed(),
        patience: config.patience(),
        calls: most,
    };
    let shared = Shared::new(settings, calls, accepting.clone());
    for (listener, leg) in listeners.into_iter().zip([Leg::Caller, Leg::Operator]) {
        tokio::spawn(shared.clone().serve(listener, leg));
    }
}

/// What the inlet needs to know.
struct Settings {
    /// Who may connect.
    networks: Vec<Cidr>,
    /// How long a call's first connection waits for the second.
    patience: Duration,
    /// Calls at once.
    calls: usize,
}

/// What all connections share.
struct Shared {
    settings: Settings,
    /// Connections that wait for their call's other one.
    waiting: Mutex<HashMap<String, Waiting>>,
    connections: Arc<ConnectionGuard>,
    refusals: Sparse,
    calls: mpsc::Sender<TappedCall>,
    accepting: CancellationToken,
}

struct Waiting {
    leg: Leg,
    partner: oneshot::Sender<Connection>,
}

/// One side of a call.
struct Connection {
    leg: Leg,
    id: Id,
    source: SocketAddr,
    frames: Frames<ReadHalf<Guarded>>,
    writer: WriteHalf<Guarded>,
}

impl Connection {
    /// The next frame; a frame of silence goes out each second until it comes.
    async fn next(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Ok(next) = timeout(QUIET, self.frames.next()).await {
                return next;
            }
            let written = self.writer.write_all(&SILENCE).await;
            written.map_err(FrameError::Broken)?;
        }
    }

    /// Says that it is over.
    async fn end(mut self) {
        // Who is gone needs no goodbye.
        let _ = self.writer.write_all(&GOODBYE).await;
        let _ = self.writer.shutdown().await;
    }
}

impl Shared {
    fn new(
        settings: Settings,
        calls: mpsc::Sender<TappedCall>,
        accepting: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            // One exchange brings them all, so one address may have them all.
            connections: ConnectionGuard::new(
                "audiosocket",
                Limits {
                    total: 2 * settings.calls + SPARE,
                    per_address: 2 * settings.calls + SPARE,
                    first: HELLO,
                    opening: OPENING,
                    idle: FOREVER,
                    write: WRITE,
                },
            ),
            refusals: Sparse::new(Duration::from_secs(1)),
            settings,
            waiting: Mutex::default(),
            calls,
            accepting,
        })
    }

    /// Takes the connections of one leg; calls that run go on when no more are taken.
    async fn serve(self: Arc<Self>, listener: TcpListener, leg: Leg) {
        loop {
            let (stream, source) = tokio::select! {
                () = self.accepting.cancelled() => return,
                accepted = self.connections.accept(&listener) => accepted,
            };
            tokio::spawn(self.clone().connected(stream, source, leg));
        }
    }

    /// Says why a connection is closed, as often as one cares to read it.
    fn refuse(&self, source: IpAddr, why: &str) {
        if let Some(unsaid) = self.refusals.take(Instant::now()) {
            warn!(
                unsaid,
                "an AudioSocket connection from {source} is closed: {why}"
            );
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        // Nothing panics under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(self: Arc<Self>, stream: Guarded, source: SocketAddr, leg: Leg) {
        let ip = source.ip().to_canonical();
        let mut networks = self.settings.networks.iter();
        if !networks.any(|network| network.contains(ip)) {
            return self.refuse(ip, "it is in none of audiosocket.networks");
        }
        let (reader, writer) = tokio::io::split(stream);
        let mut frames = Frames::new(reader);
        let id = match timeout(HELLO, frames.next()).await {
            Ok(Ok(Frame::Id(uuid))) => Id::read(uuid),
            Ok(Ok(Frame::HangUp)) => return,
            Ok(Ok(_)) => return self.refuse(ip, "it does not begin with a UUID"),
            Ok(Err(error)) => return self.refuse(ip, &error.to_string()),
            Err(_) => {
                let why = format!("it says no UUID for {} s", HELLO.as_secs());
                return self.refuse(ip, &why);
            }
        };
        self.pair(Connection {
            leg,
            id,
            source,
            frames,
            writer,
        })
        .await;
    }

    /// Brings a connection to the one that waits for it, or waits for the other one and then carries the call.
    async fn pair(self: Arc<Self>, mut connection: Connection) {
        let (partner, arrives) = oneshot::channel();
        let call = connection.id.call.clone();
        let found = match self.waiting().entry(call.clone()) {
            Entry::Occupied(first) if first.get().leg == connection.leg => Err(()),
            Entry::Occupied(first) => Ok(Some(first.remove())),
            Entry::Vacant(place) => {
                place.insert(Waiting {
                    leg: connection.leg,
                    partner,
                });
                Ok(None)
            }
        };
        match found {
            Err(()) => {
                warn!(%call, "a second AudioSocket connection of the {} is closed: each call needs a UUID of its own", connection.leg);
                connection.end().await;
            }
            Ok(Some(first)) => {
                // Should the first have given up this very moment, this one has nobody to talk to.
                if let Err(connection) = first.partner.send(connection) {
                    connection.end().await;
                }
            }
            Ok(None) => match self.partner_of(&mut connection, arrives).await {
                Some(partner) => {
                    let connections = if connection.leg == Leg::Caller {
                        [connection, partner]
                    } else {
                        [partner, connection]
                    };
                    tap::carry(&self, connections).await;
                }
                None => connection.end().await,
            },
        }
    }

    /// Waits for a call's second connection.
    async fn partner_of(
        &self,
        connection: &mut Connection,
        mut arrives: oneshot::Receiver<Connection>,
    ) -> Option<Connection> {
        let (call, leg, other) = (
            connection.id.call.clone(),
            connection.leg,
            connection.leg.other(),
        );
        // What is said meanwhile is nobody's yet, but must be read: Asterisk drops a call whose socket is full.
        let reads_on = async {
            loop {
                match connection.next().await {
                    Ok(Frame::HangUp) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        tokio::select! {
            biased;
            partner = &mut arrives => return partner.ok(),
            () = reads_on => info!(%call, "the {leg}'s AudioSocket connection ended before the {other}'s came"),
            () = tokio::time::sleep(self.settings.patience) => warn!(
                %call,
                "the {leg}'s AudioSocket connection is closed: the {other}'s did not come within {} s; give both the same UUID",
                self.settings.patience.as_secs()
            ),
        }
        self.waiting().remove(&call);
        // It may have come at the last moment.
        arrives.try_recv().ok()
    }
}
