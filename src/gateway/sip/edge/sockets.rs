//! The sockets: listeners for UDP, TCP and TLS, and the streams; the stack only ever sees whole, sound messages.
//!
//! The stack sends over UDP itself, through `stack::datagrams`, for it then knows that the transport loses packets and
//! retransmits. A stream reaches it as a channel connection whose messages are written here. Whatever leaves is given
//! the Via of the socket that it leaves by: the stack knows one address, and we may have many.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::gateway::sip::edge::config::FIRST;
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::edge::wire::{Frame, Framer, MAX_MESSAGE, Message};
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::kind_of;
use crate::gateway::sip::stack::transports::{
    ChannelConnection, SipAddr, SipConnection, TransportEvent, UdpConnection, queues,
};
use crate::listener::{Guarded, Place};
use crate::sip::Transport;
use crate::sip::registrar::Flow;

/// Messages that wait for a slow stream; past it the transaction that sends waits.
const STREAM_QUEUE: usize = 64;
/// How long a message, once begun, may take to arrive over a stream, and to be written to one.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// How long connecting to a peer may take, and agreeing on keys with one.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// Reads one listener's datagrams for ever.
pub(crate) async fn serve_udp(
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
pub(crate) async fn serve_streams(
    shared: Arc<Shared>,
    listener: TcpListener,
    transport: Transport,
) {
    loop {
        let (stream, peer) = shared.transport.connections.accept(&listener).await;
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
    let Some(acceptor) = shared.transport.tls.acceptor() else {
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
pub(crate) async fn connect(shared: &Arc<Shared>, flow: Flow, host: &str) -> io::Result<()> {
    if shared.transport.streams.is_open(flow) || flow.transport == Transport::Udp {
        return Ok(());
    }
    let connecting = async {
        let stream = TcpStream::connect(flow.source).await?;
        let _ = stream.set_nodelay(true);
        let place = shared
            .transport
            .connections
            .admit(flow.source.ip())
            .ok_or_else(|| io::Error::other("the limit of sip connections is reached"))?;
        if flow.transport == Transport::Tcp {
            open(shared, stream, flow, Some(place)).await;
        } else {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(io::Error::other)?;
            let stream = shared
                .transport
                .tls
                .connector()
                .connect(name, stream)
                .await?;
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
    let (alive, nothing) = queues::unbounded_channel();
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

    let (write_half, closing, addresses) = (
        writer.clone(),
        closed.clone(),
        shared.transport.addresses.clone(),
    );
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

    shared.transport.streams.add(flow, closed.clone());
    shared
        .stack
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
        shared_too.transport.streams.tidy();
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
        .transport
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

/// Looks at the files of the certificates now and then, for ever.
pub(crate) async fn keep_fresh(shared: Arc<Shared>) {
    if !shared.transport.tls.has_files() {
        return;
    }
    loop {
        tokio::time::sleep(shared.config.tls_check).await;
        match shared.transport.tls.renew() {
            None => {}
            Some(Ok(())) => shared.log(|| tracing::info!("the sip certificates were taken again")),
            Some(Err(error)) => shared.log(|| {
                tracing::error!("the changed sip certificates are not used: {error}");
            }),
        }
    }
}
