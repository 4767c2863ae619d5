//! One gRPC server for all services of a process, with health and reflection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};

use crate::grpc::Transcripts;
use crate::grpc::proto::DESCRIPTORS;
use crate::grpc::proto::recognition::v1::recognition_service_server::RecognitionServiceServer;
use crate::grpc::proto::ticket::v1::ticket_book_server::TicketBookServer;
use crate::grpc::proto::ticket::v1::ticket_intake_server::TicketIntakeServer;
use crate::grpc::proto::transcript::v1::transcript_service_server::TranscriptServiceServer;
use crate::grpc::tls::Acceptor;
use crate::recognition::RecognizerService;
use crate::ticketing::Backend;

/// A silent client is probed this often; a stream whose client is gone is given up.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a probe may stay unanswered.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// How long clients have after `shutdown` to finish; then connections are cut.
const GRACE: Duration = Duration::from_secs(3);

/// How long a client may take to prove who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at a time; past it, further connections wait in the kernel's queue.
const HANDSHAKES: usize = 64;

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
    /// The reference ticketing backend: intake and book.
    pub ticketing: Option<Backend>,
    /// Recognition for gateways.
    pub recognizer: Option<RecognizerService>,
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
    match tls {
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            serve_on(incoming, services, shutdown).await
        }
        Some(tls) => {
            let (sender, secured) = mpsc::channel(HANDSHAKES);
            let accepting = tokio::spawn(secure(listener, tls, sender));
            let served = serve_on(ReceiverStream::new(secured).map(Ok), services, shutdown).await;
            accepting.abort();
            served
        }
    }
}

/// Accepts connections and has each prove who it is, beside the others.
async fn secure(listener: TcpListener, tls: Acceptor, secured: mpsc::Sender<TlsStream<TcpStream>>) {
    let handshakes = TaskTracker::new();
    loop {
        // Its place in the queue is taken first, so there are never more of them than places.
        let Ok(place) = secured.clone().reserve_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a grpc connection cannot be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let handshake = tls.current().accept(stream);
        handshakes.spawn(async move {
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(stream)) => drop(place.send(stream)),
                Ok(Err(error)) => tracing::info!("a grpc client is refused: {error}"),
                Err(_) => {
                    tracing::info!("a grpc client is refused: it did not finish the handshake");
                }
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
    let going_down = shutdown.clone();
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(ServeError::Reflection)?)
        // Older grpcurl and Postman speak only the alpha version.
        .add_service(
            reflection()
                .build_v1alpha()
                .map_err(ServeError::Reflection)?,
        )
        .add_optional_service(
            services
                .transcripts
                .map(|service| TranscriptServiceServer::new(service.until(shutdown.clone()))),
        )
        .add_optional_service(services.recognizer.map(RecognitionServiceServer::new))
        .add_optional_service(services.ticketing.clone().map(TicketIntakeServer::new))
        .add_optional_service(
            services
                .ticketing
                .map(|service| TicketBookServer::new(service.until(shutdown.clone()))),
        );
    let stop = async move {
        going_down.cancelled().await;
        health
            .set_not_serving::<TranscriptServiceServer<Transcripts>>()
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
