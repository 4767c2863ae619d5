//! Addresses as headers and bodies write them: URIs (RFC 3261 §19.1, RFC 3966) and what stands around them in From, To,
//! Contact, Route, Refer-To and their like (§20.10, §25.1).
//!
//! Whoever needs one reads it here: brackets and separators inside of quotes are text, parameters come in any form and
//! order, and a URI keeps its escapes until somebody asks for a part of it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

/// What kind of URI it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`, over TLS only.
    Sips,
    /// `tel:`, a number without a host.
    Tel,
}

/// A URI in its parts, each as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// Its kind.
    pub scheme: Scheme,
    /// User with parameters of its own; of `tel:` the number.
    user: Option<&'a str>,
    password: Option<&'a str>,
    /// The host, an IPv6 address in brackets; empty in `tel:`.
    pub host: &'a str,
    /// The port, if one is named.
    pub port: Option<u16>,
    parameters: &'a str,
    headers: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads a `sip:`, `sips:` or `tel:` URI; `None` for all else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text.contains(|letter: char| {
            letter.is_control() || letter.is_whitespace() || matches!(letter, '<' | '>' | '"')
        }) {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "sip" => Scheme::Sip,
            "sips" => Scheme::Sips,
            "tel" => {
                let (number, parameters) = rest.split_once(';').unwrap_or((rest, ""));
                return (!number.is_empty()).then_some(Self {
                    scheme: Scheme::Tel,
                    user: Some(number),
                    password: None,
                    host: "",
                    port: None,
                    parameters,
                    headers: "",
                });
            }
            _ => return None,
        };
        let (userinfo, rest) = match end_of_userinfo(rest) {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let (rest, headers) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(authority)?;
        let (user, password) = match userinfo.map(|text| text.split_once(':').ok_or(text)) {
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
            None => (None, None),
        };
        Some(Self {
            scheme,
            user: user.filter(|user| !user.is_empty()),
            password,
            host,
            port,
            parameters,
            headers,
        })
    }

    /// The user without its escapes, its password and the parameters that a telephone number has there: the number or
    /// the name that calls are routed by.
    #[must_use]
    pub fn user(&self) -> Option<String> {
        let user = self.user?.split(';').next()?;
        (!user.is_empty()).then(|| unescaped(user))
    }

    /// User and password as they are written.
    #[must_use]
    pub const fn userinfo(&self) -> Option<(&'a str, Option<&'a str>)> {
        match self.user {
            Some(user) => Some((user, self.password)),
            None => None,
        }
    }

    /// Its parameters as they are written; without a value, the name alone.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        parameters(self.parameters)
    }

    /// A parameter's value without its escapes; empty, if it has none.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .parameters()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(unescaped(value.unwrap_or_default()))
    }

    /// The headers that a request there is to have, without their escapes.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> + use<'a> {
        self.headers
            .split('&')
            .filter(|header| !header.is_empty())
            .map(|header| {
                let (name, value) = header.split_once('=').unwrap_or((header, ""));
                (unescaped(name), unescaped(value))
            })
    }

    /// Whether two URIs are the same by RFC 3261 §19.1.4.
    #[must_use]
    pub fn is_equivalent(&self, other: &Uri<'_>) -> bool {
        /// These must stand in both URIs or in neither.
        const DECISIVE: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        let has = |uri: &Uri<'_>, name: &str| uri.parameter(name);
        let same_parameters = self
            .parameters()
            .chain(other.parameters())
            .all(|(name, _)| match (has(self, name), has(other, name)) {
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(&other),
                _ => !DECISIVE
                    .iter()
                    .any(|decisive| decisive.eq_ignore_ascii_case(name)),
            });
        let sorted = |uri: &Uri<'_>| {
            let mut headers: Vec<(String, String)> = uri
                .headers()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .collect();
            headers.sort();
            headers
        };
        self.scheme == other.scheme
            && self.user.map(normalized) == other.user.map(normalized)
            && self.password.map(normalized) == other.password.map(normalized)
            && self.port == other.port
            && same_host(self.host, other.host)
            && same_parameters
            && sorted(self) == sorted(other)
    }

    /// Whether a request to either goes to the same user at the same socket, whatever is left unsaid because it is the
    /// default.
    #[must_use]
    pub fn is_same_place(&self, other: &Uri<'_>) -> bool {
        let secure = |uri: &Uri<'_>| {
            uri.scheme == Scheme::Sips
                || uri
                    .parameter("transport")
                    .is_some_and(|transport| transport.eq_ignore_ascii_case("tls"))
        };
        let port = |uri: &Uri<'_>| uri.port.unwrap_or(if secure(uri) { 5_061 } else { 5_060 });
        self.user.map(normalized) == other.user.map(normalized)
            && same_host(self.host, other.host)
            && port(self) == port(other)
    }

    /// Without the parameters of these names, and without headers: what a Request-URI may be (§19.1.1).
    #[must_use]
    pub fn without(&self, names: &[&str]) -> String {
        let mut text = match self.scheme {
            Scheme::Sip => "sip:",
            Scheme::Sips => "sips:",
            Scheme::Tel => "tel:",
        }
        .to_owned();
        text.push_str(self.user.unwrap_or_default());
        if let Some(password) = self.password {
            let _ = write!(text, ":{password}");
        }
        if self.user.is_some() && self.scheme != Scheme::Tel {
            text.push('@');
        }
        text.push_str(self.host);
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        for (name, value) in self.parameters() {
            if !names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                let _ = write!(text, ";{name}");
                if let Some(value) = value {
                    let _ = write!(text, "={value}");
                }
            }
        }
        text
    }
}

/// A header's value with an address: `"name" <uri>;parameters`, or without brackets `uri;parameters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    name: &'a str,
    /// The URI as it is written.
    pub uri: &'a str,
    parameters: &'a str,
}

impl<'a> Address<'a> {
    /// Reads one value (of a list, one item of it); `None` where its brackets or quotes do not fit together.
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let value = value.trim();
        let (name, uri, rest) = if let Some(open) = first_unquoted(value, |letter| letter == '<')? {
            let (uri, rest) = value[open + 1..].split_once('>')?;
            if uri.contains('<') {
                return None;
            }
            (value[..open].trim(), uri, rest)
        } else {
            let end = end_of_bare_uri(value);
            ("", &value[..end], &value[end..])
        };
        let rest = rest.trim_start();
        let parameters = match rest.strip_prefix(';') {
            Some(parameters) => parameters,
            None if rest.is_empty() => "",
            None => return None,
        };
        // An open quote swallows what follows.
        first_unquoted(parameters, |_| false)?;
        let uri = uri.trim();
        (!uri.is_empty() && !uri.contains(['"', '<', '>'])).then_some(Self {
            name,
            uri,
            parameters,
        })
    }

    /// The display name, without quotes and escapes.
    #[must_use]
    pub fn display_name(&self) -> Option<String> {
        let name = unquoted(self.name);
        (!name.is_empty()).then(|| name.into_owned())
    }

    /// A parameter's value as it is written; `None` where it has none.
    #[must_use]
    pub fn raw_parameter(&self, name: &str) -> Option<&'a str> {
        parameters(self.parameters)
            .find(|(other, _)| other.eq_ignore_ascii_case(name))?
            .1
    }

    /// A parameter's value, without quotes and escapes.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw_parameter(name).map(unquoted)
    }

    /// The same with its tag alone and without a name in brackets, for who does not know what quotes are; `None` where
    /// nothing can be mistaken.
    #[must_use]
    pub fn simplified(&self) -> Option<String> {
        let bracketed = self.name.contains('<');
        (bracketed || self.parameters.contains('"')).then(|| {
            let name = if bracketed { "" } else { self.name };
            let tag = self.raw_parameter("tag").map(|tag| format!(";tag={tag}"));
            format!("{name}<{}>{}", self.uri, tag.unwrap_or_default())
        })
    }
}

/// The parameters of a text behind its first semicolon, cut outside of quotes.
pub fn parameters(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    cut(text, ';').map(|parameter| match parameter.split_once('=') {
        Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
        None => (parameter, None),
    })
}

/// The items of a list, cut at the commas outside of quotes and brackets.
pub fn items(value: &str) -> impl Iterator<Item = &str> {
    cut(value, ',')
}

/// The pieces of a text between the separators that stand outside of quotes and brackets, without the empty ones.
fn cut(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bracketed = false;
        let end = first_unquoted(rest, |letter| {
            match letter {
                '<' => bracketed = true,
                '>' => bracketed = false,
                _ => {}
            }
            letter == separator && !bracketed
        })
        .flatten();
        let piece = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or("", |end| &rest[end + separator.len_utf8()..]);
        Some(piece.trim())
    })
    .filter(|piece| !piece.is_empty())
}

/// Where the first letter stands that is wanted and outside of quotes; `None` where a quote stays open.
#[allow(clippy::option_option)]
fn first_unquoted(text: &str, mut wanted: impl FnMut(char) -> bool) -> Option<Option<usize>> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if !quoted && wanted(letter) => return Some(Some(at)),
            _ => {}
        }
    }
    (!quoted).then_some(None)
}

/// The text of a quoted string (RFC 3261 §25.1); a token stays as it is.
#[must_use]
pub fn unquoted(text: &str) -> Cow<'_, str> {
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' {
            letters.next()
        } else {
            Some(letter)
        });
    }
    Cow::Owned(plain)
}

/// Undoes a URI's escapes; control characters, which would end a header, fall out.
#[must_use]
pub fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = if *first == b'%' { octet(tail) } else { None };
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    let text = String::from_utf8_lossy(&bytes);
    text.chars().filter(|letter| !letter.is_control()).collect()
}

/// A number or a name as the user part of a URI: what would be read as something else there is escaped.
#[must_use]
pub fn escaped_user(text: &str) -> String {
    let mut user = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || b"&=+$,/".contains(&byte) {
            user.push(char::from(byte));
        } else {
            let _ = write!(user, "%{byte:02X}");
        }
    }
    user
}

/// Letters of the same meaning in the same spelling: what need not be escaped is not, and the rest in capitals.
fn normalized(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = if *first == b'%' { octet(tail) } else { None };
        match escape {
            Some(byte) if !is_unreserved(byte) => {
                let _ = write!(plain, "%{byte:02X}");
            }
            Some(byte) => plain.push(char::from(byte)),
            None if first.is_ascii() => plain.push(char::from(*first)),
            None => {
                let _ = write!(plain, "%{first:02X}");
            }
        }
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    plain
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')'
        )
}

/// The octet that two hexadecimal digits name.
fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// Where the `@` stands behind the user, which itself may hold semicolons and question marks; what peers leave unescaped
/// of a user with a domain belongs to the user.
fn end_of_userinfo(text: &str) -> Option<usize> {
    let first = text.find('@')?;
    let stop = text[first..]
        .find([';', '?'])
        .map_or(text.len(), |at| first + at);
    text[..stop].rfind('@')
}

/// Where a URI without brackets ends: at the first semicolon that does not belong to its user, for what follows it are
/// the header's parameters (§20).
fn end_of_bare_uri(text: &str) -> usize {
    let semicolon = |from: usize| text[from..].find(';').map_or(text.len(), |at| from + at);
    let first = semicolon(0);
    if text[..first].contains('@') {
        return first;
    }
    match text.find(['@', '"']) {
        Some(at) if text[at..].starts_with('@') => semicolon(at),
        _ => first,
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.find(']')?;
            rest[..inner].parse::<Ipv6Addr>().ok()?;
            inner + 2
        }
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_name =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
    if host.is_empty() || !(host.starts_with('[') || host.chars().all(is_name)) {
        return None;
    }
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        None if port.is_empty() => None,
        Some(_) | None => return None,
    };
    Some((host, port))
}

/// Names without regard to the case of letters or a dot at their end, addresses by what they mean.
fn same_host(one: &str, other: &str) -> bool {
    fn address(host: &str) -> Option<IpAddr> {
        host.trim_matches(['[', ']']).parse().ok()
    }
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one
            .trim_end_matches('.')
            .eq_ignore_ascii_case(other.trim_end_matches('.')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).expect(text)
    }

    fn address(value: &str) -> Address<'_> {
        Address::parse(value).expect(value)
    }

    #[test]
    fn a_uri_is_cut_where_its_grammar_says() {
        for (text, user, host, port) in [
            (
                "sip:1001@10.0.0.5:5062;transport=tcp",
                Some("1001"),
                "10.0.0.5",
                Some(5_062),
            ),
            ("sips:a;b=c@[2001:db8::1]", Some("a"), "[2001:db8::1]", None),
            ("SIP:pbx.example.com?x=y", None, "pbx.example.com", None),
            ("sip:[::1]:5060;lr", None, "[::1]", Some(5_060)),
            (
                "sip:+86535;postd=pp22@h:1;user=phone",
                Some("+86535"),
                "h",
                Some(1),
            ),
            ("sip:alice:secret@h", Some("alice"), "h", None),
            ("sip:1003%23@h", Some("1003#"), "h", None),
            ("sip:a?b@h?Subject=x", Some("a?b"), "h", None),
            ("sip:me@home@proxy;x=1", Some("me@home"), "proxy", None),
            (
                "sip:1003@h?Replaces=abc@x;to-tag=1",
                Some("1003"),
                "h",
                None,
            ),
            ("sip:@h", None, "h", None),
            (
                "tel:+8613800000002;phone-context=x",
                Some("+8613800000002"),
                "",
                None,
            ),
            ("sip:%E7%8E%8B@h", Some("王"), "h", None),
        ] {
            let read = uri(text);
            assert_eq!(read.user().as_deref(), user, "{text}");
            assert_eq!((read.host, read.port), (host, port), "{text}");
        }
        for text in [
            "sip:",
            "sip:@",
            "sip:h:port",
            "sip:h:",
            "sip:h:70000",
            "sip:[::1",
            "sip:[x]",
            "sip:[::1]x",
            "tel:",
            "urn:service:sos",
            "http://h/",
            "h",
            "",
            "sip:a b@h",
            "sip:a@h\r\nX:1",
            "<sip:a@h>",
            "sip:a@b#c",
        ] {
            assert_eq!(Uri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn uris_are_compared_as_the_rfc_lists_them() {
        for (one, other) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtlanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:carol@chicago.com;newparam=5",
                "sip:carol@chicago.com;security=on",
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("sip:a%2fb@[::1]", "SIP:a%2Fb@[0:0:0:0:0:0:0:1]"),
            ("sip:王@h", "sip:%E7%8E%8B@h"),
        ] {
            assert!(uri(one).is_equivalent(&uri(other)), "{one} {other}");
            assert!(uri(other).is_equivalent(&uri(one)), "{other} {one}");
        }
        for (one, other) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com:6000;transport=tcp",
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a%3Bb@h", "sip:a;b@h"),
            ("sip:a@h", "sips:a@h"),
            ("sip:a@h", "sip:h"),
            ("sip:a:x@h", "sip:a@h"),
        ] {
            assert!(!uri(one).is_equivalent(&uri(other)), "{one} {other}");
            assert!(!uri(other).is_equivalent(&uri(one)), "{other} {one}");
        }
        assert!(uri("sip:a@h").is_same_place(&uri("sip:a@H:5060;transport=udp")));
        assert!(!uri("sip:a@h").is_same_place(&uri("sip:a@h:5061")));
        assert!(uri("sips:a@h").is_same_place(&uri("sip:a@h:5061;transport=tls")));
    }

    #[test]
    fn an_address_is_found_whatever_stands_around_it() {
        let instance = "+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-0000000000a1>\"";
        for (value, name, found) in [
            ("<sip:1@h>".to_owned(), None, "sip:1@h"),
            (format!("<sip:1@h>;expires=120;{instance}"), None, "sip:1@h"),
            (format!("<sip:1@h>;{instance};expires=120"), None, "sip:1@h"),
            (format!("sip:1@h;expires=120;{instance}"), None, "sip:1@h"),
            (
                format!("sip:1@h ; {instance} ; expires = 120"),
                None,
                "sip:1@h",
            ),
            (
                "\"a <b>, \\\"c\\\"\" <sip:1@h>;expires=120".to_owned(),
                Some("a <b>, \"c\""),
                "sip:1@h",
            ),
            (
                "\"x > y\"<sip:1@h;a=b>;expires=\"120\"".to_owned(),
                Some("x > y"),
                "sip:1@h;a=b",
            ),
            (
                "Bob <sip:1@h>;x=\"a;expires=9\";expires=120".to_owned(),
                Some("Bob"),
                "sip:1@h",
            ),
            (
                "王 小明 < sip:1@h >;Expires=120".to_owned(),
                Some("王 小明"),
                "sip:1@h",
            ),
            (
                "sip:+86;postd=1@h;expires=120".to_owned(),
                None,
                "sip:+86;postd=1@h",
            ),
            (
                "<sip:+86;postd=1@h?x=y>;expires=120".to_owned(),
                None,
                "sip:+86;postd=1@h?x=y",
            ),
            (
                "<sip:1@h>;gruu;pub-gruu=\"sip:1@x;gr=urn:uuid:1\";expires=120".to_owned(),
                None,
                "sip:1@h",
            ),
            ("sip:h;x=\"a@b;c\";expires=120".to_owned(), None, "sip:h"),
            ("tel:110;expires=120".to_owned(), None, "tel:110"),
        ] {
            let read = address(&value);
            assert_eq!(read.uri, found, "{value}");
            assert_eq!(read.display_name().as_deref(), name, "{value}");
            if value.to_ascii_lowercase().contains("expires") {
                assert_eq!(read.parameter("expires").as_deref(), Some("120"), "{value}");
            }
        }
        assert_eq!(
            address(&format!("<sip:1@h>;{instance}"))
                .parameter("+SIP.instance")
                .as_deref(),
            Some("<urn:uuid:00000000-0000-4000-8000-0000000000a1>")
        );
        for value in [
            "",
            "<",
            "<>",
            "><",
            "\"a <sip:1@h>",
            "\"a\"",
            "<sip:1@h> x",
            "<sip:1@h>tag=1",
            "<<sip:1@h>>",
            "<sip:1@h>;x=\"open",
            "<sip:1@h",
            "sip:1@h>",
        ] {
            assert_eq!(Address::parse(value), None, "{value}");
        }
    }

    #[test]
    fn lists_and_parameters_are_cut_outside_of_quotes_and_brackets() {
        let value = "\"a, \\\" <b\" <sip:1@h;x=\"y\">;q=1, , <sip:2@h,3>;i=\"<a,b>\",*";
        let cut: Vec<&str> = items(value).collect();
        assert_eq!(
            cut,
            [
                "\"a, \\\" <b\" <sip:1@h;x=\"y\">;q=1",
                "<sip:2@h,3>;i=\"<a,b>\"",
                "*"
            ]
        );
        let read: Vec<_> = parameters("a; b = c ;;d=\"e;f=\\\"g\\\"\"").collect();
        assert_eq!(
            read,
            [
                ("a", None),
                ("b", Some("c")),
                ("d", Some("\"e;f=\\\"g\\\"\""))
            ]
        );
        assert_eq!(unquoted("\"e;f=\\\"g\\\"\""), "e;f=\"g\"");
    }

    #[test]
    fn what_is_escaped_comes_back_and_is_escaped_once() {
        for user in [
            "1003#",
            "+86 138",
            "a;b?c:d@e",
            "王",
            "100%",
            "%23",
            "a&b=c",
        ] {
            let text = format!("sip:{}@h", escaped_user(user));
            assert_eq!(uri(&text).user().as_deref(), Some(user), "{text}");
        }
        assert_eq!(escaped_user("+8613800000002*#"), "+8613800000002*%23");
        assert_eq!(unescaped("a%0d%0ab%zz%4"), "ab%zz%4");
        assert_eq!(
            uri("sip:1003%23:p@h:1;Method=INVITE;user=phone;lr?Replaces=x").without(&["method"]),
            "sip:1003%23:p@h:1;user=phone;lr"
        );
        let headers: Vec<_> = uri("sip:h?Replaces=a%40b%3Bto-tag%3D1+2&X")
            .headers()
            .collect();
        assert_eq!(
            headers,
            [
                ("Replaces".to_owned(), "a@b;to-tag=1+2".to_owned()),
                ("X".to_owned(), String::new())
            ]
        );
    }
}
