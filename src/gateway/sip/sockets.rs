//! The sockets: one for UDP, one listener for TCP, and the streams; the stack only ever sees whole, sound messages.
//!
//! The stack sends over UDP itself, through [`stack_udp`], for it then knows that the transport loses packets and
//! retransmits. A stream reaches it as a channel connection whose messages are written here.

use std::future::{Future, pending};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rsipstack::platform::mpsc as stack_queues;
use rsipstack::platform::net::UdpSocket as StackUdpSocket;
use rsipstack::sip::Transport as SipTransport;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::udp::{UdpConnection, UdpInner};
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::wire::{Frame, Framer, MAX_MESSAGE, Message};
use super::{BindError, Shared, Transport, locked};

/// Messages that wait for a slow stream; past it the transaction that sends waits.
const STREAM_QUEUE: usize = 64;
/// How long a message, once begun, may take to arrive over a stream, and to be written to one.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// How long connecting to a peer may take.
const CONNECT_TIME: Duration = Duration::from_secs(4);
/// How often another free port is tried when the one that UDP got is taken over TCP.
const PORT_TRIES: usize = 16;

/// Takes the same port over UDP and TCP.
pub(super) fn bind(
    listen: SocketAddr,
) -> Result<(StdUdpSocket, StdTcpListener, SocketAddr), BindError> {
    let failed = |transport: &str, address: SocketAddr, source| BindError::Address {
        address: format!("{address} ({transport})"),
        source,
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let udp = StdUdpSocket::bind(listen).map_err(|source| failed("UDP", listen, source))?;
        let local = udp
            .local_addr()
            .map_err(|source| failed("UDP", listen, source))?;
        match StdTcpListener::bind(local) {
            Ok(tcp) => {
                udp.set_nonblocking(true)
                    .and_then(|()| tcp.set_nonblocking(true))
                    .map_err(|source| failed("UDP", listen, source))?;
                return Ok((udp, tcp, local));
            }
            Err(_) if listen.port() == 0 && tries < PORT_TRIES => {}
            Err(source) => return Err(failed("TCP", local, source)),
        }
    }
}

/// The UDP socket as the stack has it: it sends; what is received goes through [`serve_udp`].
///
/// The stack's tasks outlive the edge for a while; the socket does not.
#[derive(Clone)]
pub(super) struct SendOnly(Arc<std::sync::Mutex<Option<Arc<UdpSocket>>>>);

impl SendOnly {
    pub fn new(socket: Arc<UdpSocket>) -> Self {
        Self(Arc::new(std::sync::Mutex::new(Some(socket))))
    }

    /// Gives the address back.
    pub fn close(&self) {
        locked(&self.0).take();
    }

    fn socket(&self) -> io::Result<Arc<UdpSocket>> {
        locked(&self.0)
            .clone()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = rsipstack::Result<T>> + Send + 'a>>;

impl StackUdpSocket for SendOnly {
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
        Box::pin(async move { Ok(self.socket()?.send_to(bytes, to).await?) })
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.socket()?.local_addr()?)
    }
}

/// Wraps the socket for the stack; `advertised` is what Via says.
pub(super) async fn stack_udp(socket: SendOnly, advertised: SocketAddr) -> UdpConnection {
    let inner = UdpInner {
        conn: Arc::new(socket),
        addr: SipAddr::new(SipTransport::Udp, advertised.into()),
    };
    UdpConnection::attach(inner, None, None).await
}

/// That a call's SIP goes over the stream to a peer, which is therefore not idle however long they talk.
pub(super) struct Carried {
    shared: Arc<Shared>,
    peer: SocketAddr,
}

impl Carried {
    pub fn new(shared: &Arc<Shared>, peer: SocketAddr) -> Self {
        *locked(&shared.carried).entry(peer).or_insert(0) += 1;
        Self {
            shared: shared.clone(),
            peer,
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut carried = locked(&self.shared.carried);
        if let Some(calls) = carried.get_mut(&self.peer) {
            *calls -= 1;
            if *calls == 0 {
                carried.remove(&self.peer);
            }
        }
    }
}

/// Reads datagrams for ever.
pub(super) async fn serve_udp(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
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
                let connection = SipConnection::Udp(shared.udp.clone());
                shared
                    .receive(message, connection, source, Transport::Udp)
                    .await
            }
            Err(defect) => {
                shared.complain(defect.what, source);
                defect.reply
            }
        };
        if let Some(reply) = reply {
            let _ = socket.send_to(&reply, source).await;
        }
    }
}

/// Accepts streams for ever.
pub(super) async fn serve_tcp(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if shared.connections.load(Ordering::Relaxed) < shared.config.max_connections {
                    open(&shared, stream, peer).await;
                } else {
                    shared.log(|| {
                        tracing::warn!(%peer, "the limit of sip connections is reached, one was closed");
                    });
                }
            }
            Err(error) => {
                shared.log(|| tracing::warn!(%error, "the sip socket cannot accept"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Makes sure that the stack has a stream to `peer`.
pub(super) async fn connect(shared: &Arc<Shared>, peer: SocketAddr) -> io::Result<()> {
    let open_already = locked(&shared.streams)
        .get(&peer)
        .is_some_and(|stream| !stream.is_cancelled());
    if open_already {
        return Ok(());
    }
    let stream = timeout(CONNECT_TIME, TcpStream::connect(peer)).await??;
    let (connection, closed) = open(shared, stream, peer).await;
    locked(&shared.streams).insert(peer, closed);
    shared.endpoint.transport_layer.add_connection(connection);
    Ok(())
}

/// Serves a stream in tasks of its own; the token is cancelled when it is closed.
async fn open(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
) -> (SipConnection, CancellationToken) {
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(Mutex::new(writer));
    let (outgoing, mut to_write) = mpsc::channel(STREAM_QUEUE);
    // The stack's own kind of queue; it stays empty and only tells the stack, by its end, that the stream is gone.
    let (alive, nothing) = stack_queues::unbounded_channel();
    let closed = shared.cut.child_token();
    let address = SipAddr::new(SipTransport::Tcp, peer.into());
    let connection = ChannelConnection::create_connection_bounded(
        nothing,
        outgoing,
        address,
        Some(closed.clone()),
    )
    .await
    .map(SipConnection::Channel)
    .expect("the stack only wraps the queues");

    let (write_half, closing) = (writer.clone(), closed.clone());
    shared.tasks.spawn(async move {
        let write_all = async {
            while let Some(event) = to_write.recv().await {
                if let TransportEvent::Incoming(message, ..) = event
                    && write(&write_half, &message.to_bytes()).await.is_err()
                {
                    break;
                }
            }
        };
        tokio::select! {
            () = write_all => {}
            () = closing.cancelled() => {}
        }
        closing.cancel();
    });

    shared.connections.fetch_add(1, Ordering::Relaxed);
    let (shared_too, to_stack, closing) = (shared.clone(), connection.clone(), closed.clone());
    shared.tasks.spawn(async move {
        tokio::select! {
            () = read(&shared_too, &mut reader, &writer, to_stack, peer) => {}
            () = closing.cancelled() => {}
        }
        closing.cancel();
        drop(alive);
        locked(&shared_too.streams).retain(|_, stream| !stream.is_cancelled());
        shared_too.connections.fetch_sub(1, Ordering::Relaxed);
    });
    (connection, closed)
}

/// Reads messages until the peer closes, is silent for too long, or breaks the framing.
async fn read(
    shared: &Arc<Shared>,
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &Mutex<OwnedWriteHalf>,
    connection: SipConnection,
    peer: SocketAddr,
) {
    let mut framer = Framer::default();
    let mut buffer = vec![0; 16 * 1024];
    let mut deadline = Instant::now() + shared.config.tcp_idle;
    loop {
        let within = framer.is_within_message();
        let length = match timeout_at(deadline, reader.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => length,
            Err(_) if !within && locked(&shared.carried).contains_key(&peer) => {
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
                        .receive(*message, connection.clone(), peer, Transport::Tcp)
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

async fn write(writer: &Mutex<OwnedWriteHalf>, bytes: &[u8]) -> io::Result<()> {
    timeout(MESSAGE_TIME, async {
        writer.lock().await.write_all(bytes).await
    })
    .await?
}
