//! Who may speak with the console: as which host, from which site, how long, and how many from one address.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Console, GRACE, Refusal, Signed};
use crate::access::Sight;
use crate::grpc::tls::Acceptor;
use crate::listener::{ConnectionGuard, Limits};

/// What the console's listener allows.
pub const CONNECTIONS: Limits = Limits {
    total: 1_024,
    per_address: 512,
    first: Duration::from_secs(10),
    // The shortest request line there is.
    opening: "GET / HTTP/1.1\r\n".len(),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};
/// How long the handshake of an encrypted connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a request may take until its answer begins.
const REQUEST: Duration = Duration::from_secs(30);
/// The longest head of a request.
const LONGEST_HEAD: usize = 32 * 1_024;

/// The two ends of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// The client's address.
    pub peer: IpAddr,
    /// The address of ours that it was reached by.
    pub local: IpAddr,
}

impl<S: Sync> FromRequestParts<S> for Ends {
    type Rejection = Infallible;

    /// Without a connection, as where a test asks the routes themselves, it is this machine.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or(Self {
            peer: Ipv4Addr::LOCALHOST.into(),
            local: Ipv4Addr::LOCALHOST.into(),
        }))
    }
}

/// The names by which the page may be asked for, beside this machine's own.
///
/// A site whose name is made to lead here (DNS rebinding) is told from ours by nothing but the name it asks for.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashSet<String>);

impl Hosts {
    pub fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        Self(names.into_iter().map(|name| plain(name)).collect())
    }

    /// Whether `host`, perhaps with a port, is one of ours, or the address that was connected to.
    fn has(&self, host: &str, local: IpAddr) -> bool {
        let host = plain(without_port(host));
        match host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == local.to_canonical() || self.0.contains(&host),
            Err(_) => host == "localhost" || self.0.contains(&host),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
            // The last group of a bare IPv6 address is none.
            let is_whole = !name.contains(':') || name.ends_with(']');
            if is_whole { name } else { host }
        }
        _ => host,
    }
}

fn plain(host: &str) -> String {
    host.trim_matches(['[', ']'])
        .trim_end_matches('.')
        .to_ascii_lowercase()
}

/// Lets a request through that asks for us by a name of ours, and changes something only for a page of ours.
pub(super) async fn check(
    State(console): State<Console>,
    ends: Ends,
    request: Request,
    next: Next,
) -> Response {
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let headers = request.headers();
    let named = named_hosts(&request);
    let mut hosts = named.iter();
    if !is_open && (named.is_empty() || !hosts.all(|host| console.hosts.has(host, ends.local))) {
        return Refusal::ForeignHost.into_response();
    }
    let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let is_ours = if headers.contains_key(header::ORIGIN) {
        is_same_origin(headers)
    } else {
        // A program that asks the services holds its token by itself: no browser sends it for another site.
        is_of_services(request.uri().path()) && !headers.contains_key(FETCH_SITE)
    };
    if changes && !is_ours {
        return Refusal::ForeignOrigin.into_response();
    }
    let mut request = request;
    if needs_sign_in(request.uri().path()) {
        match console.signed(request.headers(), ends).await {
            Ok(signed) => drop(request.extensions_mut().insert(signed)),
            Err(refusal) => return refusal.into_response(),
        }
    }
    let answer = timeout(REQUEST, next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

/// Whether a path is one of the services', `/package.Service/Method`; they look for themselves who asks.
fn is_of_services(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    service.is_some_and(|(service, _)| service.contains('.'))
}

/// Whether a path has calls behind it.
fn needs_sign_in(path: &str) -> bool {
    path.starts_with("/api/") || path == "/ws"
}

impl Console {
    /// Who asks, where people sign in here.
    async fn signed(&self, headers: &HeaderMap, ends: Ends) -> Result<Signed, Refusal> {
        let Some(people) = &self.people else {
            return Ok(Signed(None));
        };
        let token = shown_session(self, headers).ok_or(Refusal::SignIn)?;
        let sight = async {
            let caller = people.caller(&token, ends.peer).await?;
            Sight::open(people, caller, token.as_str().into()).await
        };
        let sight = sight
            .await
            .map_err(|refusal| Refusal::of_people(&refusal))?;
        Ok(Signed(Some(Arc::new(sight))))
    }
}

/// The cookie that holds a session, and what stands behind its value. One that is bound to a host and to encryption
/// (`__Host-`, RFC 6265bis §4.1.3) is taken by browsers only where there is encryption.
pub(super) fn session_cookie(console: &Console) -> (&'static str, &'static str) {
    if console.tls.is_some() {
        (
            "__Host-xinqiao",
            "; Path=/; Secure; HttpOnly; SameSite=Strict",
        )
    } else {
        ("xinqiao", "; Path=/; HttpOnly; SameSite=Strict")
    }
}

/// The token that a browser shows, or a program.
pub(super) fn shown_session(console: &Console, headers: &HeaderMap) -> Option<String> {
    let (name, _) = session_cookie(console);
    let shown = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        value.strip_prefix("Bearer ").map(str::trim)
    };
    shown.or_else(bearer).map(str::to_owned)
}

/// The hosts that a request is for: of its line and of its headers.
fn named_hosts(request: &Request) -> Vec<String> {
    let line = request.uri().authority();
    let headers = request.headers().get_all(header::HOST).iter();
    line.map(ToString::to_string)
        .into_iter()
        .chain(headers.map(|value| value.to_str().unwrap_or_default().to_owned()))
        .collect()
}

/// What browsers say of the site that asks (<https://www.w3.org/TR/fetch-metadata/>).
const FETCH_SITE: &str = "sec-fetch-site";

/// A browser names the site whose script opens the connection; other sites must not read calls through an
/// operator's browser. A client that is no browser names none, and changes nothing.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let site = headers.get(FETCH_SITE);
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, site)| site.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

/// Takes connections until `shutdown`, and gives those that are open then three seconds.
pub(super) async fn keep(
    listener: TcpListener,
    guard: std::sync::Arc<ConnectionGuard>,
    router: Router,
    tls: Option<Acceptor>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = guard.accept(&listener) => accepted,
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        let ends = Ends {
            peer: peer.ip(),
            local: stream.local_addr().map_or(peer.ip(), |local| local.ip()),
        };
        match &tls {
            None => drop(connections.spawn(converse(stream, ends, router, shutdown))),
            Some(tls) => {
                let handshake = tls.current().accept(stream);
                connections.spawn(async move {
                    // Who does not finish is a browser that does not trust us, or none.
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, handshake).await {
                        converse(stream, ends, router, shutdown).await;
                    }
                });
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = timeout(GRACE, connections.wait()).await;
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ends: Ends,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(router.layer(Extension(ends)));
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends is its client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(GRACE, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_answered() {
        let hosts = Hosts::new(&["Hotline.Example.cn".to_owned(), "[2001:db8::5]".to_owned()]);
        let local = IpAddr::from([192, 0, 2, 10]);
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "127.3.2.1",
            "[::1]:8080",
            "192.0.2.10:8080",
            "HOTLINE.example.cn.",
            "hotline.example.cn:443",
            "[2001:db8::5]:8080",
            "2001:db8::5",
        ] {
            assert!(hosts.has(host, local), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8080:127.0.0.1",
            "203.0.113.5:8080",
            "0.0.0.0:8080",
            "hotline.example.cn@evil.example",
            "[2001:db8::6]",
        ] {
            assert!(!hosts.has(host, local), "{host}");
        }
    }
}
