//! Certificates: ours for those who connect, theirs for whom we connect to; taken again when the files change.

use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::gateway::sip::lock::locked;

/// Where certificates and keys stand, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate with its chain.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// Whose certificates are believed when we connect; without it, those of the public authorities.
    pub trust: Option<PathBuf>,
    /// Whose certificates clients may show; without it they are not asked.
    pub client_ca: Option<PathBuf>,
    /// Whether they must.
    pub clients_must: bool,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let Self {
            certificate,
            key,
            trust,
            client_ca,
            ..
        } = self;
        [certificate, key, trust, client_ca].into_iter().flatten()
    }

    /// What the files contain now, as a number that changes when they do.
    fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for path in self.all() {
            fs::read(path).ok().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Why certificates cannot be used.
#[derive(Debug)]
pub enum TlsError {
    /// A listener is to speak TLS and no certificate is named.
    NoCertificate,
    /// A file cannot be read.
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    Content {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate, key or authority do not fit.
    Unusable {
        /// Which file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str(
                "a sip listener speaks tls without a certificate; set sip.tls_certificate and sip.tls_key",
            ),
            Self::File { file, source } => write!(
                f,
                "tls file {} cannot be read ({source}); name one that this user may read",
                file.display()
            ),
            Self::Content { file, what } => write!(
                f,
                "tls file {} holds no {what}; it must be in PEM form",
                file.display()
            ),
            Self::Unusable { file, why } => write!(
                f,
                "tls file {} cannot be used: {why}; certificate and key must belong together",
                file.display()
            ),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The certificates in use.
pub(crate) struct Tls {
    files: TlsFiles,
    held: Mutex<Loaded>,
}

struct Loaded {
    print: u64,
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let held = Mutex::new(Loaded::load(&files)?);
        Ok(Self { files, held })
    }

    /// Whether any file is named.
    pub(crate) fn has_files(&self) -> bool {
        self.files.all().next().is_some()
    }

    /// `None` where no certificate is named.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        locked(&self.held).server.clone().map(TlsAcceptor::from)
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(locked(&self.held).client.clone())
    }

    /// Takes the files again if they have changed; those that cannot be used leave everything as it was.
    pub(crate) fn renew(&self) -> Option<Result<(), TlsError>> {
        let print = self.files.print();
        if locked(&self.held).print == print {
            return None;
        }
        let renewed = Loaded::load(&self.files);
        let mut held = locked(&self.held);
        Some(match renewed {
            Ok(renewed) => {
                *held = renewed;
                Ok(())
            }
            Err(error) => {
                // Said once for each change.
                held.print = print;
                Err(error)
            }
        })
    }
}

impl Loaded {
    fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        Ok(Self {
            print: files.print(),
            server: server(files, &provider)?,
            client: client(files, &provider)?,
        })
    }
}

fn server(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<ServerConfig>>, TlsError> {
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(None);
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual ciphers");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(authorities(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
            let verifier = if files.clients_must {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let verifier = verifier.build().map_err(|error| TlsError::Unusable {
                file: file.clone(),
                why: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain(certificate)?, private_key(key)?)
        .map_err(|error| TlsError::Unusable {
            file: certificate.clone(),
            why: error.to_string(),
        })?;
    Ok(Some(Arc::new(config)))
}

fn client(files: &TlsFiles, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.trust {
        Some(file) => authorities(file)?,
        None => RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        },
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual ciphers")
        .with_root_certificates(roots);
    let config = match (&files.certificate, &files.key) {
        // A peer that asks who we are is shown the same certificate.
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(chain(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Unusable {
                file: certificate.clone(),
                why: error.to_string(),
            })?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::File {
        file: file.to_owned(),
        source,
    })
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = read(file)?;
    CertificateDer::pem_slice_iter(&read)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::Content {
            file: file.to_owned(),
            what: "certificate",
        })
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|_| TlsError::Content {
        file: file.to_owned(),
        what: "private key",
    })
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            file: file.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}
