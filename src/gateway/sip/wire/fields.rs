//! The values of SIP headers as text: lists, addresses, URIs and their parameters.

use std::net::{IpAddr, SocketAddr};

use crate::sip::Transport;

/// The parameter of a header value, after its address.
pub(in super::super) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let after = value.rfind('>').map_or(value, |end| &value[end..]);
    after.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The tag of a From or To value.
pub(in super::super) fn tag(value: &str) -> Option<&str> {
    parameter(value, "tag").filter(|tag| !tag.is_empty())
}

/// The items of a list, cut at the commas outside of quotes and brackets.
pub(in super::super) fn items(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
        let end = rest.char_indices().find_map(|(at, letter)| {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '<' if !quoted => bracketed = true,
                '>' if !quoted => bracketed = false,
                ',' if !quoted && !bracketed => return Some(at),
                _ => {}
            }
            None
        });
        let item = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or("", |end| &rest[end + 1..]);
        Some(item.trim())
    })
    .filter(|item| !item.is_empty())
}

/// A request of ours with the Via of the socket that it leaves by; `None` where it has that already, or is none.
pub(in super::super) fn with_sent_by(
    bytes: &[u8],
    transport: Transport,
    name: &str,
) -> Option<Vec<u8>> {
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

/// Host (a bracketed IPv6 address as one) and port of a SIP URI.
pub(in super::super) fn host_and_port(uri: &str) -> Option<(&str, Option<u16>)> {
    let (scheme, rest) = uri.trim().split_once(':')?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "sip" | "sips") {
        return None;
    }
    let rest = rest.split(['?', '>']).next()?;
    // The user part may hold semicolons; the host begins behind the last @ before the parameters of the URI.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let authority = rest.split(';').next()?;
    let end = match authority.strip_prefix('[') {
        Some(v6) => v6.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    (!host.is_empty()).then_some((host, port))
}

/// Whether credentials that were made for the URI `claimed` are for the Request-URI `asked`: the same user at the same
/// host (RFC 7616 §3.4.6). A proxy may have put another of our own names in the host's place, and some claim the host
/// alone.
pub(in super::super) fn names_the_same(
    claimed: &str,
    asked: &str,
    is_ours: impl Fn(&str, Option<u16>) -> bool,
) -> bool {
    let (Some((host, port)), Some((asked_host, asked_port))) =
        (host_and_port(claimed), host_and_port(asked))
    else {
        return claimed == asked;
    };
    let same_user = user(claimed).is_none_or(|claimed| user(asked) == Some(claimed));
    let or_usual = |port: Option<u16>| port.unwrap_or(Transport::Udp.default_port());
    let same_host = host.eq_ignore_ascii_case(asked_host) && or_usual(port) == or_usual(asked_port);
    same_user && (same_host || is_ours(host, port))
}

/// An address that only has a meaning within somebody's own network.
pub(in super::super) fn is_private(ip: IpAddr) -> bool {
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
pub(super) fn first_via(value: &str) -> (&str, &str) {
    value.split_at(value.find(',').unwrap_or(value.len()))
}

/// Writes down where the request came from (RFC 3261 §18.2.1, RFC 3581).
pub(super) fn with_received(via: &str, source: SocketAddr) -> String {
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

/// The address of a From, To or P-Asserted-Identity value.
pub(in super::super) fn address(value: &str) -> &str {
    match (value.rfind('<'), value.rfind('>')) {
        (Some(start), Some(end)) if start < end => &value[start + 1..end],
        _ => value.split(';').next().unwrap_or_default(),
    }
}

/// The user part of an address: the number; `None` for an anonymous caller.
pub(in super::super) fn user(value: &str) -> Option<String> {
    let (scheme, rest) = address(value).trim().split_once(':')?;
    let user = match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => rest.rsplit_once('@')?.0,
        "tel" => rest,
        _ => return None,
    };
    let user = user.split([';', ':']).next().unwrap_or_default();
    let user = percent_decoded(user);
    (!user.is_empty() && !user.eq_ignore_ascii_case("anonymous")).then_some(user)
}

/// The display name of a From value, unquoted.
pub(in super::super) fn display_name(value: &str) -> Option<String> {
    let name = value[..value.rfind('<')?].trim();
    let name = match name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => {
            let mut plain = String::with_capacity(quoted.len());
            let mut letters = quoted.chars();
            while let Some(letter) = letters.next() {
                plain.extend(if letter == '\\' {
                    letters.next()
                } else {
                    Some(letter)
                });
            }
            plain
        }
        None => name.to_owned(),
    };
    (!name.is_empty()).then_some(name)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
