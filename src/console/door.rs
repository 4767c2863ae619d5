//! Who may speak with the console: as which host, from which site, how long, and how many from one address.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
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
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Console, GRACE, Refusal};
use crate::listener::{ConnectionGuard, Guarded, Limits};

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
    if changes && !(headers.contains_key(header::ORIGIN) && is_same_origin(headers)) {
        return Refusal::ForeignOrigin.into_response();
    }
    let answer = timeout(REQUEST, next.run(request)).await;
    answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
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

/// A browser names the site whose script opens the connection; other sites must not read calls through an
/// operator's browser. A client that is no browser names none, and changes nothing.
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
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
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = guard.accept(&listener) => accepted,
        };
        connections.spawn(converse(stream, peer, router.clone(), shutdown.clone()));
    }
    drop(listener);
    connections.close();
    let _ = timeout(GRACE, connections.wait()).await;
}

async fn converse(stream: Guarded, peer: SocketAddr, router: Router, shutdown: CancellationToken) {
    let ends = Ends {
        peer: peer.ip(),
        local: stream.local_addr().map_or(peer.ip(), |local| local.ip()),
    };
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
