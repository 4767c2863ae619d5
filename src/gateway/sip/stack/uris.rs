//! URIs between their text and the stack's type.
//!
//! The stack keeps a user as it was written and escapes it when it writes it, so that `%23` would leave as `%2523`; it
//! ends a user at its first semicolon. So its URIs are made and written here.

use crate::gateway::sip::stack::message::uri::{Domain, Port};
use crate::gateway::sip::stack::message::{Auth, Host, HostWithPort, Param, Scheme, Uri};
use crate::sip::address::{self, escaped_user};

/// A `sip:` or `sips:` URI, without headers, which no request may have in its target.
pub(crate) fn sip_uri(text: &str) -> Option<Uri> {
    let read = address::Uri::parse(text)?;
    let scheme = match read.scheme {
        address::Scheme::Sip => Scheme::Sip,
        address::Scheme::Sips => Scheme::Sips,
        address::Scheme::Tel => return None,
    };
    let auth = read.userinfo().map(|(user, password)| Auth {
        user: user.to_owned(),
        password: password.map(str::to_owned),
    });
    let host: Host = read.host.trim_matches(['[', ']']).parse().ok()?;
    let params: Result<Vec<Param>, _> = read.parameters().map(Param::try_from).collect();
    Some(Uri {
        scheme: Some(scheme),
        auth,
        host_with_port: HostWithPort {
            host,
            port: read.port.map(Port),
        },
        params: params.ok()?,
        headers: Vec::new(),
    })
}

/// The text of a URI as it was written.
pub(crate) fn written(uri: &Uri) -> String {
    let text = uri.to_string();
    match text.split_once('@') {
        Some((user, rest)) if uri.auth.is_some() => format!("{}@{rest}", escaped_once(user)),
        _ => text,
    }
}

/// A URI that the stack writes as it was written.
pub(crate) fn verbatim(mut uri: Uri) -> Uri {
    if let Some(auth) = uri.auth.take_if(|auth| auth.to_string().contains("%25")) {
        let HostWithPort { host, port } = uri.host_with_port;
        let user = escaped_once(&auth.to_string());
        uri.host_with_port = HostWithPort {
            host: Host::Domain(Domain::from(format!("{user}@{host}"))),
            port,
        };
    }
    uri
}

/// The URI that a stack's one stands for, cut as the grammar says.
pub(crate) fn mended(uri: &Uri) -> Uri {
    sip_uri(&written(uri)).unwrap_or_else(|| uri.clone())
}

/// The user of a URI, without escapes: what calls are routed by.
pub(crate) fn user(uri: &Uri) -> Option<String> {
    address::Uri::parse(&written(uri))?.user()
}

/// A number or a name as the user of a URI of ours.
pub(crate) fn auth(user: &str) -> Auth {
    Auth {
        user: escaped_user(user),
        password: None,
    }
}

/// Takes back that the stack has escaped what was escaped.
fn escaped_once(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("%25") {
        let (before, after) = rest.split_at(at);
        plain.push_str(before);
        rest = &after[3..];
        let is_escape = rest
            .as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        plain.push_str(if is_escape { "%" } else { "%25" });
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_leaves_as_it_was_written_whoever_read_it() {
        for text in [
            "sip:1003%23@127.0.0.1:5060",
            "sip:1003%2523@h",
            "sip:+8613800000002;postd=pp22@127.0.0.1:15110;user=phone",
            "sips:alice:se%20cret@[2001:db8::1]:5061;transport=TCP;lr",
            "sip:127.0.0.1:15110;Hpt=8f32_16;TRC=ffffffff-ffffffff",
            "sip:h",
        ] {
            let ours = sip_uri(text).expect(text);
            let stacks = Uri::try_from(text).expect(text);
            for uri in [ours.clone(), stacks.clone()] {
                assert_eq!(written(&uri), text);
                assert_eq!(verbatim(uri).to_string(), text);
            }
            assert_eq!(mended(&stacks), ours, "{text}");
        }
        let odd = sip_uri("sip:PBX#1000%@h");
        assert_eq!(
            odd.as_ref().map(written).as_deref(),
            Some("sip:PBX%231000%25@h")
        );
        assert_eq!(
            sip_uri("sip:1@h?Subject=x")
                .map(|uri| uri.to_string())
                .as_deref(),
            Some("sip:1@h")
        );
        assert_eq!(sip_uri("tel:110"), None);
    }

    #[test]
    fn calls_are_routed_by_what_the_escapes_mean() {
        let stacks = Uri::try_from("sip:10%303%23;x=1@h").expect("a uri");
        assert_eq!(user(&stacks).as_deref(), Some("1003#"));
        let uri = Uri {
            auth: Some(auth("+86 1003#")),
            ..sip_uri("sip:h").expect("a uri")
        };
        assert_eq!(written(&uri), "sip:+86%201003%23@h");
        assert_eq!(user(&uri).as_deref(), Some("+86 1003#"));
    }
}
