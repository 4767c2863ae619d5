//! One gRPC server for all services of a process, with health and reflection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::grpc::access::{Access, Role, Shown};
use crate::grpc::people::PeopleServices;
use crate::grpc::proto::DESCRIPTORS;
use crate::grpc::proto::control::v1::call_control_server::CallControlServer;
use crate::grpc::proto::people::v1::account_server::AccountServer;
use crate::grpc::proto::people::v1::audit_server::AuditServer;
use crate::grpc::proto::people::v1::users_server::UsersServer;
use crate::grpc::proto::recognition::v1::recognition_service_server::RecognitionServiceServer;
use crate::grpc::proto::ticket::v1::ticket_book_server::TicketBookServer;
use crate::grpc::proto::ticket::v1::ticket_intake_server::TicketIntakeServer;
use crate::grpc::proto::transcript::v1::transcript_service_server::TranscriptServiceServer;
use crate::grpc::tls::Acceptor;
use crate::grpc::{Controls, Transcripts};
use crate::listener::{ConnectionGuard, Guarded, Limits};
use crate::recognition::RecognizerService;
use crate::telemetry::Sparse;
use crate::ticketing::Backend;

/// A silent client is probed this often; a stream whose client is gone is given up.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a probe may stay unanswered.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// How long clients have after `shutdown` to finish; then connections are cut.
const GRACE: Duration = Duration::from_secs(3);

/// What the listener allows.
pub const CONNECTIONS: Limits = Limits {
    total: 512,
    per_address: 256,
    first: Duration::from_secs(10),
    // The preface of HTTP/2, or as much of a handshake.
    opening: 24,
    // Clients that are there answer the probes.
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};
/// Calls of one connection at a time.
const STREAMS: u32 = 256;
/// The longest head of a call.
const LONGEST_HEAD: u32 = 32 * 1_024;
/// How often the log tells of clients that are refused.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// How long a client may take to prove who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that have authenticated themselves and wait to be served.
const SECURED: usize = 64;

/// Why the server does not run.
#[derive(Debug)]
pub enum ServeError {
    /// The address cannot be listened on.
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The server stopped.
    Transport(tonic::transport::Error),
    /// The compiled-in descriptors are damaged.
    Reflection(tonic_reflection::server::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "grpc address {address} is in use by another program; stop that one or set another with --set grpc.listen=ADDRESS:PORT"
            ),
            Self::Bind { address, source } => write!(
                f,
                "cannot listen on grpc address {address}: {source}; set another with --set grpc.listen=ADDRESS:PORT"
            ),
            Self::Transport(source) => write!(f, "the grpc server stopped: {source}"),
            Self::Reflection(source) => write!(f, "the grpc descriptors cannot be read: {source}"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Transport(source) => Some(source),
            Self::Reflection(source) => Some(source),
        }
    }
}

/// What a server offers; health and reflection are always there.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// The gateway's transcripts.
    pub transcripts: Option<Transcripts>,
    /// Commands to the running calls.
    pub control: Option<Controls>,
    /// The reference ticketing backend: intake and book.
    pub ticketing: Option<Backend>,
    /// Sign-in, accounts, the audit; each looks for itself who asks.
    pub people: Option<PeopleServices>,
    /// Recognition for gateways.
    pub recognizer: Option<RecognizerService>,
    /// Who may use them.
    pub access: Access,
    /// Connections at a time, where that is less than [`CONNECTIONS`].
    pub connections: Option<usize>,
}

/// Takes the address; port 0 picks a free one.
///
/// # Errors
/// [`ServeError::Bind`] with the remedy.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Bind { address, source })
}

/// Serves until `shutdown`: then health says `NOT_SERVING`, streams end with `UNAVAILABLE`, requests under way get
/// three seconds.
///
/// # Errors
/// [`ServeError`] when the server stops by itself.
pub async fn serve(
    listener: TcpListener,
    services: Services,
    tls: Option<Acceptor>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let most = services.connections.unwrap_or(CONNECTIONS.total);
    let guard = ConnectionGuard::new("grpc", CONNECTIONS.within(most));
    match tls {
        None => {
            let incoming = stream::unfold((listener, guard), |(listener, guard)| async {
                let (stream, _) = guard.accept(&listener).await;
                Some((Ok(stream), (listener, guard)))
            });
            serve_on(incoming, services, shutdown).await
        }
        Some(tls) => {
            let (sender, secured) = mpsc::channel(SECURED);
            let accepting = tokio::spawn(secure(listener, guard, tls, sender));
            let served = serve_on(ReceiverStream::new(secured).map(Ok), services, shutdown).await;
            accepting.abort();
            served
        }
    }
}

/// A connection whose handshake is done, for tonic, which is told what certificate it showed.
struct Secured(TlsStream<Guarded>);

impl Connected for Secured {
    type ConnectInfo = Shown;

    fn connect_info(&self) -> Shown {
        let (stream, session) = self.0.get_ref();
        let chain = session.peer_certificates();
        Shown {
            certificate: chain.and_then(|chain| chain.first().cloned()),
            address: stream.connect_info().remote_addr(),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Accepts connections and has each prove who it is, beside the others.
async fn secure(
    listener: TcpListener,
    guard: Arc<ConnectionGuard>,
    tls: Acceptor,
    secured: mpsc::Sender<Secured>,
) {
    let handshakes = TaskTracker::new();
    let refusals = Arc::new(Sparse::new(LOG_EVERY));
    loop {
        // The guard bounds them: one that is slow to prove who it is holds up nobody else.
        let (stream, peer) = guard.accept(&listener).await;
        let handshake = tls.current().accept(stream);
        let (secured, refusals) = (secured.clone(), refusals.clone());
        handshakes.spawn(async move {
            let why = match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => return drop(secured.send(Secured(stream)).await),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it did not finish the handshake".to_owned(),
            };
            if let Some(unsaid) = refusals.take(Instant::now()) {
                tracing::info!(%peer, unsaid, "a grpc client is refused: {why}");
            }
        });
    }
}

async fn serve_on<S, I>(
    incoming: S,
    services: Services,
    shutdown: CancellationToken,
) -> Result<(), ServeError>
where
    S: futures_util::Stream<Item = io::Result<I>>,
    I: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    if services.transcripts.is_some() {
        health
            .set_serving::<TranscriptServiceServer<Transcripts>>()
            .await;
    }
    if services.control.is_some() {
        health.set_serving::<CallControlServer<Controls>>().await;
    }
    if services.ticketing.is_some() {
        health.set_serving::<TicketIntakeServer<Backend>>().await;
        health.set_serving::<TicketBookServer<Backend>>().await;
    }
    if services.recognizer.is_some() {
        health
            .set_serving::<RecognitionServiceServer<RecognizerService>>()
            .await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (going_down, access) = (shutdown.clone(), services.access);
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(LONGEST_HEAD)
        .max_concurrent_streams(Some(STREAMS))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
        // Older grpcurl and Postman speak only the alpha version.
        .add_service(
            reflection()
                .build_v1alpha()
                .map_err(ServeError::Reflection)?,
        )
        .add_optional_service(services.transcripts.map(|service| {
            let asked = access.demands(Role::Transcripts);
            TranscriptServiceServer::with_interceptor(service.until(shutdown.clone()), asked)
        }))
        .add_optional_service(services.control.map(|service| {
            CallControlServer::with_interceptor(service, access.demands(Role::ControlCalls))
        }))
        .add_optional_service(services.people.clone().map(AccountServer::new))
        .add_optional_service(services.people.clone().map(UsersServer::new))
        .add_optional_service(services.people.map(AuditServer::new))
        .add_optional_service(services.recognizer.map(RecognitionServiceServer::new))
        .add_optional_service(services.ticketing.clone().map(|service| {
            TicketIntakeServer::with_interceptor(service, access.demands(Role::WriteTickets))
        }))
        .add_optional_service(services.ticketing.map(|service| {
            let asked = access.demands(Role::ReadTickets);
            TicketBookServer::with_interceptor(service.until(shutdown.clone()), asked)
        }));
    let stop = async move {
        going_down.cancelled().await;
        health
            .set_not_serving::<TranscriptServiceServer<Transcripts>>()
            .await;
        health
            .set_not_serving::<CallControlServer<Controls>>()
            .await;
        health
            .set_not_serving::<TicketIntakeServer<Backend>>()
            .await;
        health.set_not_serving::<TicketBookServer<Backend>>().await;
        health
            .set_not_serving::<RecognitionServiceServer<RecognizerService>>()
            .await;
    };
    let cut = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = router.serve_with_incoming_shutdown(incoming, stop) => served.map_err(ServeError::Transport),
        () = cut => Ok(()),
    }
}
