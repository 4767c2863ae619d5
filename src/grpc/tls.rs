//! TLS for gRPC, on both sides: the files are read again when they have changed, so that a renewed certificate is used
//! from the next connection on, without a restart. While the new files are not whole yet, the old ones go on.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use tokio::io::AsyncBufReadExt;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::recording::make_private_folder;

/// What gRPC is called in the handshake.
const ALPN: &[u8] = b"h2";
/// How long the peer's verdict on our certificate is waited for.
const VERDICT: Duration = Duration::from_millis(500);

/// A certificate or key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    what: &'static str,
    file: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} {} cannot be used ({}); name a PEM file that this user may read",
            self.what,
            self.file.display(),
            self.why
        )
    }
}

impl std::error::Error for TlsError {}

fn fault<E: fmt::Display>(what: &'static str, file: &Path) -> impl FnOnce(E) -> TlsError {
    move |why| TlsError {
        what,
        file: file.to_owned(),
        why: why.to_string(),
    }
}

/// A certificate chain and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, PEM.
    pub cert: PathBuf,
    /// The key, PEM.
    pub key: PathBuf,
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates("certificate", &self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(fault("key", &self.key))?;
        Ok((chain, key))
    }
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(fault(what, file))?;
    if read.is_empty() {
        return Err(fault(what, file)("no certificate is in it"));
    }
    Ok(read)
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    const WHAT: &str = "authority";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(WHAT, file)? {
        roots.add(certificate).map_err(fault(WHAT, file))?;
    }
    Ok(roots)
}

fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// What was read from files, until they change.
struct Kept<T> {
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    held: Mutex<(Stamps, T)>,
}

/// When each file was last changed, and how long it is.
type Stamps = Vec<Option<(SystemTime, u64)>>;

fn stamps(files: &[PathBuf]) -> Stamps {
    let stamp = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    files.iter().map(stamp).collect()
}

impl<T: Clone> Kept<T> {
    fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let held = (stamps(&files), read()?);
        Ok(Self {
            files,
            read: Box::new(read),
            held: Mutex::new(held),
        })
    }

    fn current(&self) -> T {
        let now = stamps(&self.files);
        // Nothing panics under the lock.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != now {
            match (self.read)() {
                Ok(fresh) => *held = (now, fresh),
                Err(error) => tracing::warn!("{error}; the certificates read before stay in use"),
            }
        }
        held.1.clone()
    }
}

/// The server's side.
#[derive(Clone)]
pub struct Acceptor(Arc<Kept<TlsAcceptor>>);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Shows `identity`, and takes only clients that an authority in `client_ca` has signed, where there is one.
    ///
    /// # Errors
    /// [`TlsError`] with the file and the remedy.
    pub fn new(identity: Identity, client_ca: Option<PathBuf>) -> Result<Self, TlsError> {
        Self::speaking(ALPN, identity, client_ca)
    }

    /// The same for browsers, which speak HTTP/1.1 here.
    ///
    /// # Errors
    /// [`TlsError`] with the file and the remedy.
    pub fn for_browsers(identity: Identity) -> Result<Self, TlsError> {
        Self::speaking(b"http/1.1", identity, None)
    }

    fn speaking(
        protocol: &'static [u8],
        identity: Identity,
        client_ca: Option<PathBuf>,
    ) -> Result<Self, TlsError> {
        let mut files = vec![identity.cert.clone(), identity.key.clone()];
        files.extend(client_ca.clone());
        let read = move || {
            let (chain, key) = identity.read()?;
            let builder = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(fault("certificate", &identity.cert))?;
            let builder = match &client_ca {
                None => builder.with_no_client_auth(),
                Some(file) => {
                    let roots = Arc::new(authorities(file)?);
                    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                        .build()
                        .map_err(fault("authority", file))?;
                    builder.with_client_cert_verifier(verifier)
                }
            };
            let mut config = builder
                .with_single_cert(chain, key)
                .map_err(fault("key", &identity.key))?;
            config.alpn_protocols = vec![protocol.to_vec()];
            Ok(TlsAcceptor::from(Arc::new(config)))
        };
        Kept::new(files, read).map(|kept| Self(Arc::new(kept)))
    }

    /// For the next connection.
    #[must_use]
    pub fn current(&self) -> TlsAcceptor {
        self.0.current()
    }
}

/// A certificate that this program has made for itself.
#[derive(Debug)]
pub struct SelfSigned {
    /// Its files.
    pub identity: Identity,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

impl SelfSigned {
    /// The one in `folder`, which is made for `names` (hosts and addresses) where it is missing.
    ///
    /// # Errors
    /// [`TlsError`] when it cannot be read or written.
    pub fn at(folder: &Path, names: Vec<String>) -> Result<Self, TlsError> {
        const WHAT: &str = "page's own certificate";
        let identity = Identity {
            cert: folder.join("page.crt"),
            key: folder.join("page.key"),
        };
        if !identity.cert.exists() || !identity.key.exists() {
            let made = rcgen::generate_simple_self_signed(names).map_err(fault(WHAT, folder))?;
            make_private_folder(folder).map_err(fault(WHAT, folder))?;
            // The key first: with a certificate alone, both are made again.
            write_private(&identity.key, &made.signing_key.serialize_pem())?;
            write_private(&identity.cert, &made.cert.pem())?;
        }
        let (chain, _) = identity.read()?;
        let certificate = chain
            .first()
            .map(|first| first.to_vec())
            .unwrap_or_default();
        Ok(Self {
            identity,
            certificate,
        })
    }
}

fn write_private(file: &Path, text: &str) -> Result<(), TlsError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()));
    written.map_err(fault("page's own certificate", file))
}

/// The client's side.
#[derive(Clone)]
pub struct Connector {
    kept: Arc<Kept<TlsConnector>>,
    domain: Option<String>,
}

impl Connector {
    /// Takes only a server that an authority in `ca` has signed for `domain` (without one, for the address's host),
    /// and shows it `identity`, where there is one.
    ///
    /// # Errors
    /// [`TlsError`] with the file and the remedy.
    pub fn new(
        ca: PathBuf,
        identity: Option<Identity>,
        domain: Option<String>,
    ) -> Result<Self, TlsError> {
        let mut files = vec![ca.clone()];
        if let Some(Identity { cert, key }) = &identity {
            files.extend([cert.clone(), key.clone()]);
        }
        let read = move || {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(fault("authority", &ca))?
                .with_root_certificates(authorities(&ca)?);
            let mut config = match &identity {
                None => builder.with_no_client_auth(),
                Some(identity) => {
                    let (chain, key) = identity.read()?;
                    builder
                        .with_client_auth_cert(chain, key)
                        .map_err(fault("key", &identity.key))?
                }
            };
            config.alpn_protocols = vec![ALPN.to_vec()];
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            kept: Arc::new(Kept::new(files, read)?),
            domain,
        })
    }

    /// Connects to `host`, which must prove who it is.
    ///
    /// # Errors
    /// When nobody listens there, or the proof fails.
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.domain.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let stream = tokio::net::TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let mut secured = self.kept.current().connect(name, stream).await?;
        // In TLS 1.3 the peer judges our certificate after our handshake is done. Its first bytes, HTTP/2 settings that
        // come unasked, or its alert, are waited for: what we send into a refusal resets the connection, and the alert
        // with the reason is lost. A peer that says nothing yet is believed.
        match tokio::time::timeout(VERDICT, secured.fill_buf()).await {
            Ok(Err(refusal)) => Err(refusal),
            Ok(Ok(_)) | Err(_) => Ok(secured),
        }
    }
}

/// A channel to `endpoint` that connects when it is first used, through `tls` where it is to be secured.
pub fn channel(endpoint: &Endpoint, tls: Option<Connector>) -> Channel {
    let Some(tls) = tls else {
        return endpoint.connect_lazy();
    };
    endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(443);
            tls.connect(host, port).await.map(TokioIo::new)
        }
    }))
}
