//! The addresses that we listen on, and which of them a peer is told.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::gateway::sip::edge::config::{BindError, Listener};
use crate::gateway::sip::lock::locked;
use crate::sip::Transport;

/// How often another free port is tried when the one that UDP got is taken over TCP.
const PORT_TRIES: usize = 16;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Room for the datagrams of a burst: some thousands of requests.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Peers whose listener is not the one that would be chosen for them, and whose own address towards them is known.
const MAX_REMEMBERED: usize = 4_096;

/// How long the system's choice of our address is believed.
const ROUTE_LASTS: Duration = Duration::from_mins(1);

/// A socket that was taken.
pub(crate) enum Taken {
    Datagrams(UdpSocket),
    Streams(TcpListener, Transport),
}

/// Takes the addresses of all listeners.
pub(crate) fn bind(listeners: &[Listener]) -> Result<(Vec<Taken>, Addresses), BindError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_once(listeners) {
            // UDP had got a free port that TCP has not.
            Err(BindError::Address { .. }) if tries < PORT_TRIES && any_port(listeners) => {}
            done => return done,
        }
    }
}

fn any_port(listeners: &[Listener]) -> bool {
    listeners
        .iter()
        .any(|listener| listener.address.port() == 0)
}

fn bind_once(listeners: &[Listener]) -> Result<(Vec<Taken>, Addresses), BindError> {
    let mut taken = Vec::new();
    let mut known = Vec::<Known>::new();
    for listener in listeners {
        let mut address = listener.address;
        if address.port() == 0
            && let Some(before) = known.last()
            && before.asked == address
            && before.transport == Transport::Udp
        {
            address.set_port(before.local.port());
        }
        let failed = |source| BindError::Address {
            address: format!("{address} ({})", listener.transport.token()),
            source,
        };
        let (socket, local) = take(address, listener.transport).map_err(failed)?;
        taken.push(socket);
        known.push(Known {
            asked: listener.address,
            local,
            transport: listener.transport,
            advertised: listener.advertised.clone(),
        });
    }
    Ok((taken, Addresses::new(known)))
}

fn take(address: SocketAddr, transport: Transport) -> std::io::Result<(Taken, SocketAddr)> {
    let kind = if transport == Transport::Udp {
        (Type::DGRAM, Protocol::UDP)
    } else {
        (Type::STREAM, Protocol::TCP)
    };
    let socket = Socket::new(Domain::for_address(address), kind.0, Some(kind.1))?;
    if address.is_ipv6() {
        // So that 0.0.0.0 can be listened on beside ::, and a peer has one address only.
        socket.set_only_v6(true)?;
    }
    if transport != Transport::Udp {
        // A restart must not wait for the streams of the last run.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if transport == Transport::Udp {
        // The kernel may grant less (net.core.rmem_max); what it then drops is counted.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        return Ok((Taken::Datagrams(socket), local));
    }
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((Taken::Streams(listener, transport), local))
}

struct Known {
    asked: SocketAddr,
    local: SocketAddr,
    transport: Transport,
    advertised: Option<String>,
}

/// What we listen on.
pub(crate) struct Addresses {
    known: Vec<Known>,
    /// The listener that a peer uses, where it is not the first that would do.
    homes: Mutex<HashMap<SocketAddr, usize>>,
    /// Our address towards a peer, where we listen on any.
    routes: Mutex<HashMap<IpAddr, (IpAddr, Instant)>>,
}

impl Addresses {
    fn new(known: Vec<Known>) -> Self {
        Self {
            known,
            homes: Mutex::default(),
            routes: Mutex::default(),
        }
    }

    /// The first listener's.
    pub(crate) fn first(&self) -> SocketAddr {
        self.known.first().map_or_else(
            || SocketAddr::from(([127, 0, 0, 1], 5_060)),
            |known| known.local,
        )
    }

    /// The listener whose address a peer is told.
    pub(crate) fn towards(&self, peer: SocketAddr, transport: Transport) -> Option<usize> {
        if transport == Transport::Udp
            && let Some(home) = locked(&self.homes).get(&peer)
        {
            return Some(*home);
        }
        self.choose(peer.ip(), transport)
    }

    fn choose(&self, peer: IpAddr, transport: Transport) -> Option<usize> {
        let fitting = || {
            self.known.iter().enumerate().filter(|(_, known)| {
                known.transport == transport && known.local.is_ipv4() == peer.is_ipv4()
            })
        };
        let mut candidates = fitting();
        let first = candidates.next()?.0;
        if candidates.next().is_none() {
            return Some(first);
        }
        let ours = self.route(peer);
        fitting()
            .find(|(_, known)| known.local.ip() == ours)
            .or_else(|| fitting().find(|(_, known)| known.local.ip().is_unspecified()))
            .map_or(Some(first), |(index, _)| Some(index))
    }

    /// Remembers over which listener a peer speaks with us that may do so.
    pub(crate) fn remember(&self, peer: SocketAddr, transport: Transport, listener: usize) {
        if transport != Transport::Udp {
            return;
        }
        let usual = self.choose(peer.ip(), transport) == Some(listener);
        let mut homes = locked(&self.homes);
        if usual {
            homes.remove(&peer);
        } else {
            if homes.len() >= MAX_REMEMBERED {
                homes.clear();
            }
            homes.insert(peer, listener);
        }
    }

    /// What a peer is told as a listener's host and port.
    pub(crate) fn name(&self, listener: usize, peer: IpAddr) -> String {
        let Some(known) = self.known.get(listener) else {
            return self.first().to_string();
        };
        let port = known.local.port();
        match &known.advertised {
            Some(name) if has_port(name) => name.clone(),
            Some(name) => format!("{name}:{port}"),
            None if known.local.ip().is_unspecified() => {
                SocketAddr::new(self.route(peer), port).to_string()
            }
            None => known.local.to_string(),
        }
    }

    /// Whether a URI's host and port are ours.
    pub(crate) fn are_ours(&self, host: &str, port: Option<u16>) -> bool {
        let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        self.known.iter().any(|known| {
            let same_port = port.unwrap_or(known.transport.default_port()) == known.local.port();
            let same_host = ip == Some(known.local.ip())
                || (known.local.ip().is_unspecified() && ip.is_some_and(|ip| self.route(ip) == ip))
                || known
                    .advertised
                    .as_deref()
                    .is_some_and(|name| name.split(':').next() == Some(host));
            same_port && same_host
        })
    }

    fn route(&self, peer: IpAddr) -> IpAddr {
        let now = Instant::now();
        if let Some((ours, asked)) = locked(&self.routes).get(&peer)
            && now.saturating_duration_since(*asked) < ROUTE_LASTS
        {
            return *ours;
        }
        let ours = local_address_for(peer);
        let mut routes = locked(&self.routes);
        if routes.len() >= MAX_REMEMBERED {
            routes.clear();
        }
        routes.insert(peer, (ours, now));
        ours
    }
}

fn has_port(name: &str) -> bool {
    name.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    })
}

/// The address of this machine that packets to `peer` leave from, so the one that `peer` can reach.
///
/// Asks the system's routes; nothing is sent. Without a route it is the loopback address.
#[must_use]
pub fn local_address_for(peer: IpAddr) -> IpAddr {
    let any: SocketAddr = if peer.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    UdpSocket::bind(any)
        .and_then(|socket| {
            socket.connect((peer, 9))?;
            socket.local_addr()
        })
        .map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(local: &str, transport: Transport, advertised: Option<&str>) -> Known {
        let local = local.parse().expect(local);
        Known {
            asked: local,
            local,
            transport,
            advertised: advertised.map(str::to_owned),
        }
    }

    fn peer(text: &str) -> SocketAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_peer_is_told_the_listener_of_its_transport_and_family() {
        let addresses = Addresses::new(vec![
            known("0.0.0.0:5060", Transport::Udp, None),
            known("[::1]:5060", Transport::Udp, None),
            known("127.0.0.1:5080", Transport::Udp, None),
            known("127.0.0.1:5061", Transport::Tls, Some("sip.example.com")),
            known("127.0.0.1:5062", Transport::Tcp, Some("203.0.113.9:15062")),
        ]);
        let told = |to: &str, transport| {
            let to = peer(to);
            let listener = addresses.towards(to, transport)?;
            Some(addresses.name(listener, to.ip()))
        };
        // Our own address towards this machine is 127.0.0.1, and there is a listener on it.
        assert_eq!(
            told("127.0.0.1:9", Transport::Udp).as_deref(),
            Some("127.0.0.1:5080")
        );
        assert_eq!(
            told("[::1]:9", Transport::Udp).as_deref(),
            Some("[::1]:5060")
        );
        assert_eq!(
            told("127.0.0.1:9", Transport::Tls).as_deref(),
            Some("sip.example.com:5061")
        );
        assert_eq!(
            told("127.0.0.1:9", Transport::Tcp).as_deref(),
            Some("203.0.113.9:15062")
        );
        assert_eq!(told("[::1]:9", Transport::Tcp), None);
        addresses.remember(peer("127.0.0.1:9"), Transport::Udp, 0);
        assert_eq!(
            told("127.0.0.1:9", Transport::Udp).as_deref(),
            Some("127.0.0.1:5060")
        );
        assert_eq!(
            told("127.0.0.1:10", Transport::Udp).as_deref(),
            Some("127.0.0.1:5080")
        );
        addresses.remember(peer("127.0.0.1:9"), Transport::Udp, 2);
        assert!(locked(&addresses.homes).is_empty());
    }

    #[test]
    fn our_own_addresses_are_known_by_any_of_their_names() {
        let addresses = Addresses::new(vec![
            known("127.0.0.1:5060", Transport::Udp, None),
            known("[::1]:5061", Transport::Tls, Some("sip.example.com")),
        ]);
        for (host, port, ours) in [
            ("127.0.0.1", None, true),
            ("127.0.0.1", Some(5_060), true),
            ("127.0.0.1", Some(5_070), false),
            ("[::1]", None, true),
            ("sip.example.com", Some(5_061), true),
            ("example.com", None, false),
        ] {
            assert_eq!(addresses.are_ours(host, port), ours, "{host} {port:?}");
        }
    }
}
