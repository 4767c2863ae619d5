//! HTTP to other machines of the hotline: no proxy, no redirects, and on request to private addresses only.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error, config::Config};

use crate::config::delivery::is_private;

/// A certificate file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaError(String);

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CaError {}

/// Whom to trust and whom to reach.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The authorities that may sign the server's certificate; without them, the public ones.
    pub roots: Option<Vec<Certificate<'static>>>,
    /// Whether only addresses on this machine and on private networks are reached, whatever a name resolves to.
    pub only_private: bool,
}

/// Reads a PEM file of authorities.
///
/// # Errors
/// [`CaError`] with the file and the remedy.
pub fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>, CaError> {
    let fault = |why: String| {
        CaError(format!(
            "the authority {} cannot be used ({why}); name a PEM file that this user may read",
            file.display()
        ))
    };
    let pem = std::fs::read(file).map_err(|error| fault(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| fault(error.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(fault("no certificate is in it".to_owned()));
    }
    Ok(found)
}

/// An agent whose every request, from name to last byte, takes `timeout` at most. It blocks: not for async tasks.
#[must_use]
pub fn agent(timeout: Duration, reach: Reach) -> Agent {
    let mut tls = TlsConfig::builder();
    if let Some(roots) = reach.roots {
        tls = tls.root_certs(RootCerts::from(roots));
    }
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // Whoever redirects us elsewhere is not whom the administrator named; a proxy is one more who reads along.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls.build())
        .user_agent(concat!("xinqiao/", env!("CARGO_PKG_VERSION")))
        .build();
    let resolver = Watched {
        inner: DefaultResolver::default(),
        only_private: reach.only_private,
    };
    Agent::with_parts(config, DefaultConnector::default(), resolver)
}

/// Looks names up, and refuses addresses that must not be reached.
struct Watched {
    inner: DefaultResolver,
    only_private: bool,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl Resolver for Watched {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        if self.only_private && !found.iter().all(|address| is_private(address.ip())) {
            return Err(Error::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the address lies outside private networks",
            )));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_not_reached_when_only_private_ones_may_be() {
        let reach = Reach {
            only_private: true,
            ..Reach::default()
        };
        let agent = agent(Duration::from_secs(2), reach);
        // Refused before a packet is sent.
        let error = agent.get("http://192.0.2.1:9/").call().expect_err("public");
        assert!(error.to_string().contains("private networks"), "{error}");
        let error = agent.get("http://127.0.0.1:9/").call().expect_err("closed");
        assert!(!error.to_string().contains("private networks"), "{error}");
    }
}
