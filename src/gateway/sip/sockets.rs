//! The sockets: listeners for UDP, TCP and TLS, and the streams; the stack only ever sees whole, sound messages.
//!
//! The stack sends over UDP itself, through [`Datagrams`], for it then knows that the transport loses packets and
//! retransmits. A stream reaches it as a channel connection whose messages are written here. Whatever leaves is given
//! the Via of the socket that it leaves by: the stack knows one address, and we may have many.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rsipstack::platform::mpsc as stack_queues;
use rsipstack::platform::net::UdpSocket as StackUdpSocket;
use rsipstack::sip::Transport as SipTransport;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::udp::{UdpConnection, UdpInner};
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;

use super::config::FIRST;
use super::listen::Addresses;
use super::wire::{self, Frame, Framer, MAX_MESSAGE, Message};
use super::{Shared, kind_of, locked};
use crate::listener::{Guarded, Place};
use crate::sip::Transport;
use crate::sip::registrar::Flow;

/// Messages that wait for a slow stream; past it the transaction that sends waits.
const STREAM_QUEUE: usize = 64;
/// How long a message, once begun, may take to arrive over a stream, and to be written to one.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// How long connecting to a peer may take, and agreeing on keys with one.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// The UDP sockets as the stack has them: it sends; what is received goes through [`serve_udp`].
///
/// The stack's tasks outlive the edge for a while; the sockets do not.
#[derive(Clone)]
pub(super) struct Datagrams {
    sockets: Arc<std::sync::Mutex<Option<Arc<Sockets>>>>,
    /// The listener whose answers these are; without one, that which fits the peer.
    listener: Option<usize>,
}

struct Sockets {
    addresses: Arc<Addresses>,
    /// By listener.
    sockets: HashMap<usize, Arc<UdpSocket>>,
}

impl Datagrams {
    pub(crate) fn new(addresses: Arc<Addresses>, sockets: HashMap<usize, Arc<UdpSocket>>) -> Self {
        Self {
            sockets: Arc::new(std::sync::Mutex::new(Some(Arc::new(Sockets {
                addresses,
                sockets,
            })))),
            listener: None,
        }
    }

    /// Those of one listener.
    pub(crate) fn of(&self, listener: usize) -> Self {
        Self {
            listener: Some(listener),
            ..self.clone()
        }
    }

    /// Gives the addresses back.
    pub(crate) fn close(&self) {
        locked(&self.sockets).take();
    }

    fn sockets(&self) -> io::Result<Arc<Sockets>> {
        locked(&self.sockets)
            .clone()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        let sockets = self.sockets()?;
        let Sockets { addresses, sockets } = &*sockets;
        let listener = self
            .listener
            .or_else(|| addresses.towards(to, Transport::Udp))
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = sockets
            .get(&listener)
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        let name = addresses.name(listener, to.ip());
        match wire::with_sent_by(bytes, Transport::Udp, &name) {
            Some(named) => socket.send_to(&named, to).await?,
            None => socket.send_to(bytes, to).await?,
        };
        Ok(bytes.len())
    }

    /// Wraps the sockets for the stack.
    pub(crate) async fn for_stack(self, name: SocketAddr) -> UdpConnection {
        let inner = UdpInner {
            conn: Arc::new(self),
            addr: SipAddr::new(SipTransport::Udp, name.into()),
        };
        UdpConnection::attach(inner, None, None).await
    }
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = rsipstack::Result<T>> + Send + 'a>>;

impl StackUdpSocket for Datagrams {
    fn recv_from<'me, 'buf, 'both>(
        &'me self,
        _: &'buf mut [u8],
    ) -> Pinned<'both, (usize, SocketAddr)>
    where
        'me: 'both,
        'buf: 'both,
    {
        Box::pin(pending())
    }

    fn send_to<'me, 'buf, 'both>(
        &'me self,
        bytes: &'buf [u8],
        to: SocketAddr,
    ) -> Pinned<'both, usize>
    where
        'me: 'both,
        'buf: 'both,
    {
        Box::pin(async move { Ok(self.send(bytes, to).await?) })
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.sockets()?.addresses.first())
    }
}

/// That a call's SIP goes over the stream to a peer, which is therefore not idle however long they talk.
pub(super) struct Carried {
    shared: Arc<Shared>,
    flow: Flow,
}

impl Carried {
    /// `None` where nothing is to be kept open.
    pub(crate) fn new(shared: &Arc<Shared>, flow: Flow) -> Option<Self> {
        (flow.transport != Transport::Udp).then(|| {
            *locked(&shared.carried).entry(flow).or_insert(0) += 1;
            Self {
                shared: shared.clone(),
                flow,
            }
        })
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut carried = locked(&self.shared.carried);
        if let Some(calls) = carried.get_mut(&self.flow) {
            *calls -= 1;
            if *calls == 0 {
                carried.remove(&self.flow);
            }
        }
    }
}

/// Reads one listener's datagrams for ever.
pub(super) async fn serve_udp(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    listener: usize,
    answers: UdpConnection,
) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let (length, source) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                shared.log(|| tracing::warn!(%error, "the sip socket cannot receive"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let datagram = &buffer[..length];
        let reply = match Message::from_datagram(datagram, source) {
            Ok(None) => (datagram == b"\r\n\r\n").then(|| b"\r\n".to_vec()),
            Ok(Some(message)) => {
                let flow = Flow {
                    source,
                    transport: Transport::Udp,
                };
                let connection = SipConnection::Udp(answers.clone());
                shared.receive(message, connection, flow, listener).await
            }
            Err(defect) => {
                shared.complain(defect.what, source);
                defect.reply.filter(|reply| reply.len() <= 2 * length)
            }
        };
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply, source).await;
        }
    }
}

/// Accepts one listener's streams for ever.
pub(super) async fn serve_streams(
    shared: Arc<Shared>,
    listener: TcpListener,
    transport: Transport,
) {
    loop {
        let (stream, peer) = shared.connections.accept(&listener).await;
        accept(&shared, stream, peer, transport).await;
    }
}

async fn accept(shared: &Arc<Shared>, stream: Guarded, peer: SocketAddr, transport: Transport) {
    let flow = Flow {
        source: peer,
        transport,
    };
    if transport == Transport::Tcp {
        open(shared, stream, flow, None).await;
        return;
    }
    let Some(acceptor) = shared.tls.acceptor() else {
        return;
    };
    let shared_too = shared.clone();
    // Strangers may take their time over it: in a task of its own.
    shared.until_cut(async move {
        match timeout(CONNECT_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => open(&shared_too, stream, flow, None).await,
            Ok(Err(error)) => {
                if let Some(unsaid) = shared_too.handshakes.take(std::time::Instant::now()) {
                    shared_too.log(|| {
                        tracing::info!(%peer, %error, unsaid, "a tls connection did not come about");
                    });
                }
            }
            Err(_) => {}
        }
    });
}

/// Makes sure that the stack has a stream to the peer; `host` is whose certificate it must show.
pub(super) async fn connect(shared: &Arc<Shared>, flow: Flow, host: &str) -> io::Result<()> {
    if shared.is_open(flow) || flow.transport == Transport::Udp {
        return Ok(());
    }
    let connecting = async {
        let stream = TcpStream::connect(flow.source).await?;
        let _ = stream.set_nodelay(true);
        let place = shared
            .connections
            .admit(flow.source.ip())
            .ok_or_else(|| io::Error::other("the limit of sip connections is reached"))?;
        if flow.transport == Transport::Tcp {
            open(shared, stream, flow, Some(place)).await;
        } else {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(io::Error::other)?;
            let stream = shared.tls.connector().connect(name, stream).await?;
            open(shared, stream, flow, Some(place)).await;
        }
        Ok(())
    };
    timeout(CONNECT_TIME, connecting).await?
}

type Writer = Mutex<Box<dyn AsyncWrite + Send + Unpin>>;

/// Serves a stream in tasks of its own, and gives it to the stack for what is sent to that peer; one that came holds its
/// place itself.
async fn open(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    flow: Flow,
    place: Option<Place>,
) {
    let (mut reader, writer) = tokio::io::split(stream);
    let writer: Arc<Writer> = Arc::new(Mutex::new(Box::new(writer)));
    let (outgoing, mut to_write) = mpsc::channel(STREAM_QUEUE);
    // The stack's own kind of queue; it stays empty and only tells the stack, by its end, that the stream is gone.
    let (alive, nothing) = stack_queues::unbounded_channel();
    let closed = shared.cut.child_token();
    let address = SipAddr::new(kind_of(flow.transport), flow.source.into());
    let connection = ChannelConnection::create_connection_bounded(
        nothing,
        outgoing,
        address,
        Some(closed.clone()),
    )
    .await
    .map(SipConnection::Channel)
    .expect("the stack only wraps the queues");

    let (write_half, closing, addresses) =
        (writer.clone(), closed.clone(), shared.addresses.clone());
    shared.tasks.spawn(async move {
        let write_all = async {
            while let Some(event) = to_write.recv().await {
                if let TransportEvent::Incoming(message, ..) = event {
                    let bytes = message.to_bytes();
                    let named = addresses
                        .towards(flow.source, flow.transport)
                        .map(|listener| addresses.name(listener, flow.source.ip()))
                        .and_then(|name| wire::with_sent_by(&bytes, flow.transport, &name));
                    if write(&write_half, &named.unwrap_or(bytes)).await.is_err() {
                        break;
                    }
                }
            }
        };
        tokio::select! {
            () = write_all => {}
            () = closing.cancelled() => {}
        }
        closing.cancel();
    });

    locked(&shared.streams).insert(flow, closed.clone());
    shared
        .endpoint
        .transport_layer
        .add_connection(connection.clone());
    let (shared_too, closing) = (shared.clone(), closed);
    let is_ours = place.is_some();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = read(&shared_too, &mut reader, &writer, connection, flow, is_ours) => {}
            () = closing.cancelled() => {}
        }
        let _ = timeout(CONNECT_TIME, async { writer.lock().await.shutdown().await }).await;
        closing.cancel();
        drop(alive);
        locked(&shared_too.streams).retain(|_, stream| !stream.is_cancelled());
        drop(place);
    });
}

/// Reads messages until the peer closes, is silent for too long, or breaks the framing.
async fn read(
    shared: &Arc<Shared>,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &Writer,
    connection: SipConnection,
    flow: Flow,
    is_ours: bool,
) {
    let peer = flow.source;
    let listener = shared
        .addresses
        .towards(peer, flow.transport)
        .unwrap_or_default();
    let mut framer = Framer::default();
    let mut buffer = vec![0; 16 * 1024];
    let patience = if is_ours {
        shared.config.tcp_idle
    } else {
        shared.config.tcp_idle.min(FIRST)
    };
    let mut deadline = Instant::now() + patience;
    loop {
        let within = framer.is_within_message();
        let length = match timeout_at(deadline, reader.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => length,
            Err(_) if !within && shared.is_needed(flow) => {
                deadline = Instant::now() + shared.config.tcp_idle;
                continue;
            }
            _ => return,
        };
        framer.push(&buffer[..length]);
        let mut cut_one = false;
        loop {
            let reply = match framer.next(peer) {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => Some(b"\r\n".to_vec()),
                Ok(Some(Frame::Message(message))) => {
                    cut_one = true;
                    shared
                        .receive(*message, connection.clone(), flow, listener)
                        .await
                }
                Err(defect) => {
                    shared.complain(defect.what, peer);
                    if let Some(reply) = defect.reply {
                        let _ = write(writer, &reply).await;
                    }
                    return;
                }
            };
            if let Some(reply) = reply
                && write(writer, &reply).await.is_err()
            {
                return;
            }
        }
        if !framer.is_within_message() {
            deadline = Instant::now() + shared.config.tcp_idle;
        } else if cut_one || !within {
            deadline = Instant::now() + MESSAGE_TIME;
        }
    }
}

async fn write(writer: &Writer, bytes: &[u8]) -> io::Result<()> {
    timeout(MESSAGE_TIME, async {
        let mut writer = writer.lock().await;
        writer.write_all(bytes).await?;
        writer.flush().await
    })
    .await?
}
