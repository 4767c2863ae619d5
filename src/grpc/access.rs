//! Which client may do what: known by the name in its certificate or by its token, allowed by its roles.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::telemetry::Sparse;

/// Calls that were refused, by why: nobody knows the client, or it has not the role.
const REFUSED: &str = "xinqiao_grpc_refused_total";
/// How often the log tells of them.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Read calls and transcripts, pause recordings, and correct drafts and lines.
    Transcripts,
    /// Give commands to running calls.
    ControlCalls,
    /// Read the reference backend's tickets.
    ReadTickets,
    /// Hand drafts to the reference backend.
    WriteTickets,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transcripts => "transcripts",
            Self::ControlCalls => "control_calls",
            Self::ReadTickets => "read_tickets",
            Self::WriteTickets => "write_tickets",
        })
    }
}

/// What is known of the other end of a call's secured connection.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The certificate that it has shown, if it has.
    pub certificate: Option<CertificateDer<'static>>,
    /// Where it is.
    pub address: Option<SocketAddr>,
}

/// Who sends a request, by the name that the configuration gives it.
#[derive(Clone, Debug)]
pub struct KnownClient(pub String);

/// A client that may do something.
#[derive(Debug)]
pub struct Client {
    name: String,
    /// The digest of its token; without one it is known by its certificate.
    token: Option<[u8; 32]>,
    roles: HashSet<Role>,
}

impl Client {
    /// Known by the DNS name in its certificate, or by its token where it has one.
    #[must_use]
    pub fn new(name: &str, token: Option<&str>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            name: name.to_owned(),
            token: token.map(|token| Sha256::digest(token.as_bytes()).into()),
            roles: roles.into_iter().collect(),
        }
    }

    fn is(&self, token: Option<[u8; 32]>, certificate: Option<&ParsedCertificate<'_>>) -> bool {
        match (self.token, certificate) {
            // Digests may be compared in any time: nobody can choose them.
            (Some(own), _) => token == Some(own),
            (None, Some(certificate)) => ServerName::try_from(self.name.as_str())
                .is_ok_and(|name| verify_server_name(certificate, &name).is_ok()),
            (None, None) => false,
        }
    }
}

/// Who may do what; by default everybody everything.
#[derive(Clone, Debug, Default)]
pub struct Access(Option<Arc<Known>>);

#[derive(Debug)]
struct Known {
    clients: Vec<Client>,
    refusals: Sparse,
}

impl Access {
    /// Only these may do anything; without any, everybody may.
    #[must_use]
    pub fn of(clients: Vec<Client>) -> Self {
        Self((!clients.is_empty()).then(|| {
            Arc::new(Known {
                clients,
                refusals: Sparse::new(LOG_EVERY),
            })
        }))
    }

    /// Lets through who has the role.
    pub fn demands(&self, role: Role) -> impl Interceptor + Clone + Send + Sync + 'static + use<> {
        let known = self.0.clone();
        move |mut request: Request<()>| {
            if let Some(known) = &known {
                let client = known.check(&request, role)?;
                request.extensions_mut().insert(client);
            }
            Ok(request)
        }
    }
}

impl Known {
    fn check(&self, request: &Request<()>, role: Role) -> Result<KnownClient, Status> {
        let token = request.metadata().get("authorization");
        let token = token
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .map(|token| Sha256::digest(token.trim().as_bytes()).into());
        let shown = request.extensions().get::<Shown>();
        let certificate = shown
            .and_then(|shown| shown.certificate.as_ref())
            .and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
        let mut known = self
            .clients
            .iter()
            .filter(|client| client.is(token, certificate.as_ref()))
            .peekable();
        let Some(first) = known.peek().map(|client| client.name.clone()) else {
            return Err(self.refuse(
                "unknown",
                Status::unauthenticated(
                    "nobody knows this client; show the certificate or the token of a [[grpc.client]]",
                ),
            ));
        };
        if let Some(client) = known.find(|client| client.roles.contains(&role)) {
            return Ok(KnownClient(client.name.clone()));
        }
        let sentence = format!("{first} has not the role {role}; add it to its [[grpc.client]]");
        Err(self.refuse("role", Status::permission_denied(sentence)))
    }

    fn refuse(&self, why: &'static str, status: Status) -> Status {
        counter!(REFUSED, "why" => why).increment(1);
        if let Some(unsaid) = self.refusals.take(Instant::now()) {
            tracing::warn!(unsaid, "a grpc call is refused: {}", status.message());
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn asked(
        access: &Access,
        role: Role,
        authorization: Option<&str>,
    ) -> Result<Option<String>, Code> {
        let mut request = Request::new(());
        if let Some(value) = authorization {
            let value = value.parse().expect("a header");
            request.metadata_mut().insert("authorization", value);
        }
        let answer = access.demands(role).call(request);
        answer
            .map(|request| {
                let known = request.extensions().get::<KnownClient>();
                known.map(|KnownClient(name)| name.clone())
            })
            .map_err(|status| status.code())
    }

    #[test]
    fn a_token_opens_what_its_roles_say_and_nothing_else_and_names_the_client() {
        let access = Access::of(vec![
            Client::new("crm", Some("right"), [Role::ReadTickets]),
            Client::new("screen", Some("other"), [Role::Transcripts]),
            Client::new("gateway.example", None, [Role::WriteTickets]),
            Client::new("dialler", Some("third"), [Role::ControlCalls]),
        ]);
        let roles = [
            Role::Transcripts,
            Role::ReadTickets,
            Role::WriteTickets,
            Role::ControlCalls,
        ];
        for (authorization, client) in [
            (Some("Bearer right"), Some(("crm", Role::ReadTickets))),
            (Some("Bearer other"), Some(("screen", Role::Transcripts))),
            (Some("Bearer third"), Some(("dialler", Role::ControlCalls))),
            (Some("Bearer wrong"), None),
            (Some("Basic right"), None),
            (Some("right"), None),
            (Some("Bearer "), None),
            (None, None),
        ] {
            for role in roles {
                let expected = match client {
                    Some((name, own)) if own == role => Ok(Some(name.to_owned())),
                    Some(_) => Err(Code::PermissionDenied),
                    None => Err(Code::Unauthenticated),
                };
                let answer = asked(&access, role, authorization);
                assert_eq!(answer, expected, "{authorization:?}, {role}");
            }
        }
        let anybody = asked(&Access::default(), Role::WriteTickets, None);
        assert_eq!(anybody, Ok(None));
    }
}
