//! How the edge listens, whom it knows, and its times.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::registrations::RegistrationStore;
use crate::gateway::sip::edge::tls::{TlsError, TlsFiles};
use crate::listener::Limits;
use crate::sip::Transport;
use crate::sip::digest::{Algorithm, Secret};
use crate::sip::limits::{GuessLimits, ScanLimits};
use crate::sip::registrar::Terms;
use crate::sip::route::{Cidr, Routes};
use crate::sip::session;

/// Stands in a route's URI for the number that was called; no number has it.
pub const THE_CALLED: &str = "*called*";

/// How soon a new stream must bring something.
pub(crate) const FIRST: Duration = Duration::from_secs(30);
/// How long a peer may take nothing that is written.
const WRITE: Duration = Duration::from_secs(10);
/// Longer than any stream lasts.
const FOREVER: Duration = Duration::from_hours(24 * 365);

/// How the edge listens, and its times.
#[derive(Clone, Debug)]
pub struct SipConfig {
    /// Where it listens; the first is its address to the program.
    pub listeners: Vec<Listener>,
    /// Certificates, for listeners and calls over TLS.
    pub tls: TlsFiles,
    /// How often the certificates are looked at for a change.
    pub tls_check: Duration,
    /// The User-Agent header.
    pub user_agent: String,
    /// The realm of challenges, and the domain of the extensions.
    pub realm: String,
    /// How others may prove themselves, the first offered first: many know no other than the first that they are offered.
    pub digest: Vec<Algorithm>,
    /// A proxy that all requests outside of a dialog go through, as a SIP URI.
    pub outbound_proxy: Option<String>,
    /// Who is asked for names; the system's name servers if there are none.
    pub nameservers: Vec<SocketAddr>,
    /// SIP URIs that the configuration names beside those of trunks, proxies and routes.
    pub operators: Vec<String>,
    /// RFC 3261's T1, the estimate of a round trip; a transaction is given up after 64 of them.
    pub t1: Duration,
    /// How long the operator's phone may leave our INVITE without any answer; then 408.
    pub operator_reply: Duration,
    /// How long one of several ways to the operator may stay silent before the next is tried.
    pub hop_reply: Duration,
    /// How long the operator's phone may ring; then 408.
    pub ring: Duration,
    /// Calls at a time; past it a new INVITE gets 503.
    pub max_calls: usize,
    /// How many of them strangers may hold, wherever they call from. Without it only this machine itself may call, and
    /// only while there are no trunks.
    pub strangers: Option<usize>,
    /// TCP and TLS connections at a time; past it they are closed at once.
    pub max_connections: usize,
    /// Connections at a time from one address.
    pub connections_per_source: usize,
    /// A connection that brings nothing for so long, and carries no call and no registration, is closed.
    pub tcp_idle: Duration,
    /// The Retry-After of every 503, in seconds.
    pub retry_after: u32,
    /// How much a source that is no trunk may ask for.
    pub scans: ScanLimits,
    /// How often passwords may be wrong.
    pub guesses: GuessLimits,
    /// Requests whose User-Agent contains one of these, in small letters, are dropped without an answer.
    pub scanners: Vec<String>,
    /// How long a nonce is good.
    pub nonce_life: Duration,
    /// The trunks.
    pub trunks: Vec<Trunk>,
    /// The hotline's own phones.
    pub extensions: Vec<Extension>,
    /// For how long they are registered.
    pub terms: Terms,
    /// Who is told when it changes where an extension is registered.
    pub registrations: Option<Arc<RegistrationStore>>,
    /// Who gets which calls.
    pub routes: Routes,
    /// Who gets those that no rule is for, as a SIP URI.
    pub operator: Option<String>,
    /// How long sessions last without a refresh (RFC 4028).
    pub session: session::Terms,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 takes a free one, the same for UDP and the TCP listener that follows it.
    pub address: SocketAddr,
    /// What is spoken there.
    pub transport: Transport,
    /// Host, perhaps with a port, by which peers reach it, where that is another.
    pub advertised: Option<String>,
}

/// A peer that brings and takes calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// For the log and the call record.
    pub name: String,
    /// Where its requests come from.
    pub addresses: Vec<Cidr>,
    /// How it authenticates to us, if it must: its name and secret.
    pub peer: Option<(String, Secret)>,
    /// Where calls are sent, e.g. `sip:pbx.example.com;transport=tls`; without, it only brings calls.
    pub uri: Option<String>,
    /// How we authenticate to it: name and password.
    pub login: Option<(String, String)>,
    /// To be registered with it, for so many seconds at a time.
    pub register: Option<u32>,
    /// How often it is asked whether it lives.
    pub options: Option<Duration>,
    /// A proxy before it, as a SIP URI.
    pub outbound_proxy: Option<String>,
    /// Whether its P-Asserted-Identity, Diversion and History-Info are believed.
    pub trusted: bool,
    /// Whether it wants to make the offer: it is invited without one, makes it in its 200, and gets our answer in the ACK.
    pub offers_late: bool,
}

/// One of the hotline's own phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its number or name.
    pub name: String,
    /// What it proves itself with.
    pub secret: Secret,
}

impl SipConfig {
    /// The usual values for UDP and TCP at `listen`; whoever is on this machine may call.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let listener = |transport| Listener {
            address: listen,
            transport,
            advertised: None,
        };
        Self {
            listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
            tls: TlsFiles::default(),
            tls_check: Duration::from_secs(5),
            user_agent: concat!("xinqiao/", env!("CARGO_PKG_VERSION")).to_owned(),
            realm: "xinqiao".to_owned(),
            digest: vec![Algorithm::Md5, Algorithm::Sha256],
            outbound_proxy: None,
            nameservers: Vec::new(),
            operators: Vec::new(),
            t1: Duration::from_millis(500),
            operator_reply: Duration::from_secs(5),
            hop_reply: Duration::from_secs(3),
            ring: Duration::from_mins(1),
            max_calls: 1_000,
            strangers: None,
            max_connections: 1_000,
            connections_per_source: 100,
            tcp_idle: Duration::from_mins(5),
            retry_after: 10,
            scans: ScanLimits {
                targets: 30,
                window: Duration::from_mins(1),
                ban: Duration::from_mins(10),
            },
            guesses: GuessLimits {
                of_socket: 10,
                of_network: 30,
                ban: Duration::from_mins(10),
            },
            scanners: Vec::new(),
            nonce_life: Duration::from_mins(5),
            trunks: Vec::new(),
            extensions: Vec::new(),
            terms: Terms {
                least: 60,
                most: 3_600,
            },
            registrations: None,
            routes: Routes::default(),
            operator: None,
            session: session::Terms {
                expires: 1_800,
                min: 90,
            },
        }
    }
}

impl SipConfig {
    /// What the listeners of streams allow; how long one may be silent, the reader of its messages knows best.
    pub(crate) const fn connections(&self) -> Limits {
        Limits {
            total: self.max_connections,
            per_address: self.connections_per_source,
            first: FIRST,
            opening: 0,
            idle: FOREVER,
            write: WRITE,
        }
    }

    /// All SIP URIs that are configured; their hosts are no peer's to exhaust.
    pub(crate) fn uris(&self) -> impl Iterator<Item = &String> {
        let of_trunks = self.trunks.iter();
        let of_trunks = of_trunks.flat_map(|trunk| [&trunk.uri, &trunk.outbound_proxy]);
        let of_routes = self.routes.0.iter().flat_map(|rule| &rule.to);
        of_trunks
            .chain([&self.outbound_proxy])
            .flatten()
            .chain(of_routes)
            .chain(&self.operators)
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
    /// The certificates cannot be used.
    Tls(TlsError),
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
            Self::Tls(source) => source.fmt(f),
            Self::Threads(source) => write!(f, "cannot start the sip threads: {source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address { source, .. } | Self::Threads(source) => Some(source),
            Self::Tls(source) => Some(source),
        }
    }
}
