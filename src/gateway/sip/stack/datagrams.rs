//! The UDP sockets as the stack has them: it sends through them, and knows so that the transport loses packets.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use rsipstack::platform::net::UdpSocket as StackUdpSocket;
use rsipstack::sip::Transport as SipTransport;
use rsipstack::transport::SipAddr;
use rsipstack::transport::udp::{UdpConnection, UdpInner};
use tokio::net::UdpSocket;

use crate::gateway::sip::edge::listen::Addresses;
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::lock::locked;
use crate::sip::Transport;

/// The UDP sockets as the stack has them: it sends; what is received is read by `edge::sockets`.
///
/// The stack's tasks outlive the edge for a while; the sockets do not.
#[derive(Clone)]
pub(crate) struct Datagrams {
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
