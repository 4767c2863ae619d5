//! What is asked of single values of SIP headers.

use std::net::{IpAddr, SocketAddr};

use crate::sip::Transport;
use crate::sip::address::{Address, Uri, parameters};

/// The tag of a From or To value.
pub(crate) fn tag(value: &str) -> Option<&str> {
    let tag = Address::parse(value)?.raw_parameter("tag");
    tag.filter(|tag| !tag.is_empty())
}

/// The branch of a hop in Via.
pub(crate) fn branch(hop: &str) -> Option<&str> {
    let mut given = parameters(hop.split_once(';')?.1);
    given
        .find(|(name, _)| name.eq_ignore_ascii_case("branch"))?
        .1
}

/// A request of ours with the Via of the socket that it leaves by; `None` where it has that already, or is none.
pub(crate) fn with_sent_by(bytes: &[u8], transport: Transport, name: &str) -> Option<Vec<u8>> {
    const VIA: &[u8] = b"\r\nVia: SIP/2.0/";
    if bytes.starts_with(b"SIP/2.0 ") {
        return None;
    }
    let begin = bytes.windows(VIA.len()).position(|window| window == VIA)? + VIA.len();
    let length = bytes[begin..]
        .iter()
        .position(|byte| matches!(byte, b';' | b'\r'))?;
    let right = format!("{} {name}", transport.token());
    let (before, rest) = bytes.split_at(begin);
    let (old, after) = rest.split_at(length);
    (old != right.as_bytes()).then(|| [before, right.as_bytes(), after].concat())
}

/// Whether credentials that were made for the URI `claimed` are for the Request-URI `asked`: the same user at the same
/// host (RFC 7616 §3.4.6). A proxy may have put another of our own names in the host's place, and some claim the host
/// alone.
pub(crate) fn names_the_same(
    claimed: &str,
    asked: &str,
    is_ours: impl Fn(&str, Option<u16>) -> bool,
) -> bool {
    let (Some(claims), Some(asks)) = (Uri::parse(claimed), Uri::parse(asked)) else {
        return claimed == asked;
    };
    let same_user = claims.user().is_none_or(|user| asks.user() == Some(user));
    let or_usual = |port: Option<u16>| port.unwrap_or(Transport::Udp.default_port());
    let same_host =
        claims.host.eq_ignore_ascii_case(asks.host) && or_usual(claims.port) == or_usual(asks.port);
    same_user && (same_host || is_ours(claims.host, claims.port))
}

/// An address that only has a meaning within somebody's own network.
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // Carriers' own translating routers use 100.64.0.0/10 (RFC 6598).
            ip.is_private() || ip.is_link_local() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The first of the hops in a Via value, and the rest with its comma.
pub(crate) fn first_via(value: &str) -> (&str, &str) {
    value.split_at(value.find(',').unwrap_or(value.len()))
}

/// Writes down where the request came from (RFC 3261 §18.2.1, RFC 3581).
pub(crate) fn with_received(via: &str, source: SocketAddr) -> String {
    let mut parts: Vec<String> = via
        .split(';')
        .filter(|part| {
            !part
                .trim_start()
                .to_ascii_lowercase()
                .starts_with("received=")
        })
        .map(|part| match part.trim().to_ascii_lowercase().as_str() {
            "rport" => format!("rport={}", source.port()),
            _ => part.to_owned(),
        })
        .collect();
    parts.push(format!("received={}", source.ip()));
    parts.join(";")
}

/// The number in a From, To or P-Asserted-Identity value, or in a bare URI; `None` for an anonymous caller.
pub(crate) fn user(value: &str) -> Option<String> {
    let user = Uri::parse(Address::parse(value)?.uri)?.user()?;
    (!user.eq_ignore_ascii_case("anonymous")).then_some(user)
}

/// The display name of a From value, unquoted.
pub(crate) fn display_name(value: &str) -> Option<String> {
    Address::parse(value)?.display_name()
}
