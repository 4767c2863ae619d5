//! SIP messages as bytes: cut from datagrams and streams, repaired and checked before the stack sees them.
//!
//! The stack's own parser drops every header after one that is not UTF-8, loses the body of a datagram without
//! Content-Length, and trusts a stream's lengths. So messages are framed, decoded and checked here (RFC 3261 §7, §8.2,
//! §18.3), and what reaches the stack is always UTF-8 with one correct Content-Length.

mod fields;

use std::net::{IpAddr, SocketAddr};

pub(crate) use self::fields::{
    branch, display_name, is_private, names_the_same, tag, user, with_sent_by,
};
use crate::gateway::sip::edge::wire::fields::{first_via, with_received};
use crate::sip::Body;
use crate::sip::address::{Address, Scheme, Uri, items};

/// The longest datagram.
pub(crate) const MAX_MESSAGE: usize = 65_535;
/// The longest start line with headers; more is 513.
const MAX_HEAD: usize = 32 * 1_024;
/// The longest session description; more is 413.
const MAX_DESCRIPTION: usize = 32 * 1_024;
/// The longest body of another kind, such as a multipart one with metadata; more is 413.
const MAX_BODY: usize = 256 * 1_024;
/// The most header lines taken.
const MAX_HEADERS: usize = 256;
/// The methods that a call needs; the others get 405.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER";
/// The extensions that a call knows: RFC 3262, RFC 4028, RFC 3891.
pub(crate) const SUPPORTED: &str = "100rel, timer, replaces";
/// The same where our INVITE offers nothing: what rings cannot offer either.
pub(crate) const SUPPORTED_LATE: &str = "timer, replaces";

/// What is wrong with received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Why they were refused; no content of the message, which may be personal.
    pub what: &'static str,
    /// The answer, where RFC 3261 wants one and the message names enough of itself.
    pub reply: Option<Vec<u8>>,
}

/// The first line of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Request { method: String, uri: String },
    Response { status: u16 },
}

/// A message whose framing is sound.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    line: String,
    pub start: Start,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// How long it was when it came.
    length: usize,
}

impl Message {
    /// Reads a whole datagram; `None` for the keep-alives of RFC 5626.
    pub(crate) fn from_datagram(bytes: &[u8], source: SocketAddr) -> Result<Option<Self>, Defect> {
        let bytes = bytes.trim_ascii_start();
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(end) = end_of_head(bytes, 0) else {
            return Err(Self::from_head(bytes)?.refused("ends within its headers", source));
        };
        let (head, body) = bytes.split_at(end);
        let mut message = Self::from_head(head)?;
        message.check_head(head.len(), source)?;
        let length = message
            .content_length()
            .map_err(|what| message.refused(what, source))?;
        let body = match length {
            // RFC 3261 §18.3: without a length the body ends with the datagram.
            None => body,
            Some(length) => body
                .get(..length)
                .ok_or_else(|| message.refused("is shorter than its Content-Length", source))?,
        };
        message.check_body(body.len(), source)?;
        message.body = body.to_vec();
        message.length = bytes.len();
        message.check(source)?;
        Ok(Some(message))
    }

    /// Reads the start line and the headers, up to and with the empty line.
    fn from_head(head: &[u8]) -> Result<Self, Defect> {
        let garbage = |what| Defect { what, reply: None };
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.next().map(text).unwrap_or_default().trim().to_owned();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let start = match words.as_slice() {
            [version, status, ..] if version.starts_with("SIP/") => Start::Response {
                status: status
                    .parse()
                    .ok()
                    .filter(|status| *version == "SIP/2.0" && (100..700).contains(status))
                    .ok_or_else(|| garbage("has a broken status line"))?,
            },
            [method, uri, version] if version.to_ascii_uppercase().starts_with("SIP/") => {
                Start::Request {
                    method: method.to_ascii_uppercase(),
                    uri: (*uri).to_owned(),
                }
            }
            _ => return Err(garbage("is not SIP")),
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let line = text(line);
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers
                    .last_mut()
                    .ok_or_else(|| garbage("begins with a folded header"))?;
                let more = line.trim();
                if !value.is_empty() && !more.is_empty() {
                    value.push(' ');
                }
                value.push_str(more);
                continue;
            }
            // A line without a colon is no header; the field's parsers pass over it.
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if headers.len() == MAX_HEADERS {
                return Err(garbage("has more than 256 headers"));
            }
            headers.push((full_name(name.trim()), value.trim().to_owned()));
        }
        Ok(Self {
            line,
            start,
            headers,
            body: Vec::new(),
            length: head.len(),
        })
    }

    /// What every element must check of a message before it acts on it (RFC 3261 §8.1.1, §8.2, §16.3).
    fn check(&self, source: SocketAddr) -> Result<(), Defect> {
        for name in ["From", "To", "Call-ID", "CSeq"] {
            if self.all(name).count() != 1 {
                return Err(
                    self.refused("lacks From, To, Call-ID or CSeq, or has one twice", source)
                );
            }
        }
        if self.header("Via").is_none() {
            return Err(self.refused("lacks Via", source));
        }
        let Start::Request { method, .. } = &self.start else {
            return Ok(());
        };
        if !self.line.to_ascii_uppercase().ends_with(" SIP/2.0") {
            return Err(Defect {
                what: "is of another SIP version",
                reply: self.reply(505, &[], source),
            });
        }
        let (number, name) = self
            .cseq()
            .ok_or_else(|| self.refused("has a broken CSeq", source))?;
        if number > i32::MAX as u32 || !name.eq_ignore_ascii_case(method) {
            return Err(self.refused("has a CSeq of another method or too large a number", source));
        }
        if tag(self.header("From").unwrap_or_default()).is_none() {
            return Err(self.refused("has a From without a tag", source));
        }
        if self
            .header("Max-Forwards")
            .is_some_and(|hops| hops.parse::<u8>().is_err())
        {
            return Err(self.refused("has a broken Max-Forwards", source));
        }
        Ok(())
    }

    fn refused(&self, what: &'static str, source: SocketAddr) -> Defect {
        self.refused_with(400, what, source)
    }

    fn refused_with(&self, status: u16, what: &'static str, source: SocketAddr) -> Defect {
        Defect {
            what,
            reply: self.reply(status, &[], source),
        }
    }

    fn check_head(&self, length: usize, source: SocketAddr) -> Result<(), Defect> {
        if length > MAX_HEAD {
            return Err(self.refused_with(513, "has more than 32 KiB of headers", source));
        }
        Ok(())
    }

    fn check_body(&self, length: usize, source: SocketAddr) -> Result<(), Defect> {
        let is_description = self
            .header("Content-Type")
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/sdp"));
        let most = if is_description {
            MAX_DESCRIPTION
        } else {
            MAX_BODY
        };
        if length > most {
            return Err(self.refused_with(413, "has too long a body", source));
        }
        Ok(())
    }

    fn content_length(&self) -> Result<Option<usize>, &'static str> {
        let mut length = None;
        for value in self.all("Content-Length") {
            let number = value
                .parse::<u32>()
                .map_err(|_| "has a Content-Length that is no number")?
                as usize;
            if length.is_some_and(|other| other != number) {
                return Err("has two Content-Lengths");
            }
            length = Some(number);
        }
        Ok(length)
    }

    /// The values of a header, in order; `name` in its long form.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a header; `name` in its long form.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Number and method.
    pub(crate) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.header("CSeq")?.split_once(char::is_whitespace)?;
        Some((number.parse().ok()?, method.trim()))
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<&str> {
        match &self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI.
    pub(crate) fn uri(&self) -> Option<&str> {
        match &self.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// Whom a request is for: of a REGISTER To, of others the Request-URI.
    pub(crate) fn target(&self) -> Option<&str> {
        match &self.start {
            Start::Request { method, .. } if method == "REGISTER" => self.header("To"),
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The items of a header that is a list: those of all its lines, cut at the commas outside of quotes and brackets.
    pub(crate) fn items<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(items)
    }

    /// Puts values in the place of all that a header has.
    pub(crate) fn replace(&mut self, name: &str, values: Vec<String>) {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        let values = values.into_iter().map(|value| (name.to_owned(), value));
        self.headers.extend(values);
    }

    /// Lets the Contact of a peer behind a translating router lead to where it sends from: its own address is a private
    /// one that leads nowhere from here. A proxy that records its route is the way itself.
    pub(crate) fn mend_contact(&mut self, source: SocketAddr) {
        if self.header("Record-Route").is_some() || self.all("Contact").count() != 1 {
            return;
        }
        let Some((_, value)) = self
            .headers
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case("Contact"))
        else {
            return;
        };
        let Some(uri) = Address::parse(value).and_then(|contact| Uri::parse(contact.uri)) else {
            return;
        };
        let host = uri.host;
        let named: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if named.is_some_and(|named| {
            is_private(named) && named != source.ip() && !is_private(source.ip())
        }) {
            let host_at = host.as_ptr() as usize - value.as_ptr() as usize;
            let after_host = &value[host_at + host.len()..];
            let port_ends = after_host.strip_prefix(':').map_or(0, |port| {
                1 + port.len()
                    - port
                        .trim_start_matches(|digit: char| digit.is_ascii_digit())
                        .len()
            });
            let rest = after_host[port_ends..].to_owned();
            value.truncate(host_at);
            value.push_str(&source.to_string());
            value.push_str(&rest);
        }
    }

    /// Writes addresses in the forms that the stack reads rightly: it takes the first bracket of a value for that of its
    /// address, and the first semicolon for the URI's end.
    pub(crate) fn simplify_addresses(&mut self) {
        // Where a dialog's requests go is the first place of a kind that they can go to; a registrar lists bindings.
        let target = self.items("Contact").find_map(|contact| {
            let uri = Address::parse(contact)?.uri;
            let is_sip = Uri::parse(uri).is_some_and(|uri| uri.scheme != Scheme::Tel);
            is_sip.then(|| format!("<{uri}>"))
        });
        let registers = self.cseq().is_some_and(|(_, method)| method == "REGISTER");
        if let Some(target) = target.filter(|_| !registers) {
            self.replace("Contact", vec![target]);
        }
        for (name, value) in &mut self.headers {
            let is_party = ["From", "To"]
                .iter()
                .any(|party| name.eq_ignore_ascii_case(party));
            if is_party && let Some(plain) = Address::parse(value).and_then(|it| it.simplified()) {
                *value = plain;
            }
        }
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> Option<&str> {
        branch(first_via(self.header("Via")?).0)
    }

    /// The items of a header that is a list of tokens, in small letters.
    pub(crate) fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(|token| token.trim().to_ascii_lowercase())
            .filter(|token| !token.is_empty())
    }

    /// The body with its kind, if there is one.
    pub(crate) fn to_body(&self) -> Option<Body> {
        (!self.body.is_empty()).then(|| Body {
            content_type: self.header("Content-Type").unwrap_or_default().to_owned(),
            bytes: self.body.clone(),
        })
    }

    /// The message for the stack: UTF-8, no folded lines, one correct Content-Length.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        for (name, value) in &self.headers {
            if !name.eq_ignore_ascii_case("Content-Length") {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// A stateless answer (RFC 3261 §8.2.7); `None` where none may be given: to ACK, to a response, and to what lacks
    /// the headers that route an answer.
    pub(crate) fn reply(
        &self,
        status: u16,
        extra: &[(&str, &str)],
        source: SocketAddr,
    ) -> Option<Vec<u8>> {
        if !matches!(&self.start, Start::Request { method, .. } if method != "ACK") {
            return None;
        }
        let mut vias = self.all("Via");
        let (top, rest) = first_via(vias.next()?);
        let mut lines = vec![
            format!("SIP/2.0 {status} {}", phrase(status)),
            format!("Via: {}{rest}", with_received(top, source)),
        ];
        lines.extend(vias.map(|via| format!("Via: {via}")));
        let to = self.header("To")?;
        lines.push(if tag(to).is_some() {
            format!("To: {to}")
        } else {
            format!("To: {to};tag={}", self.stateless_tag())
        });
        for name in ["From", "Call-ID", "CSeq"] {
            lines.push(format!("{name}: {}", self.header(name)?));
        }
        lines.extend(extra.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push("Content-Length: 0\r\n\r\n".to_owned());
        Some(lines.join("\r\n").into_bytes())
    }

    /// The answer to somebody who has not shown that he is where he says: at most twice as long as what he sent, so that
    /// it is no weapon against another. Headers that do not fit are left out, the last first.
    pub(crate) fn reply_to_stranger(
        &self,
        status: u16,
        extra: &[(&str, &str)],
        source: SocketAddr,
    ) -> Option<Vec<u8>> {
        let most = 2 * self.length;
        (0..=extra.len())
            .rev()
            .map(|kept| self.reply(status, &extra[..kept], source))
            .find(|reply| reply.as_ref().is_none_or(|reply| reply.len() <= most))
            .flatten()
    }

    /// The same for each retransmission, as RFC 3261 §8.2.7 demands.
    fn stateless_tag(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (
            self.header("Call-ID"),
            self.header("From"),
            self.header("CSeq"),
        )
            .hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// What a stream brings.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A double CRLF, to be answered with one (RFC 5626 §3.5.1).
    Ping,
    /// A whole message.
    Message(Box<Message>),
}

/// Cuts a stream into messages; after a [`Defect`] the stream cannot be followed any more and must be closed.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// How far the end of the headers was looked for in vain.
    searched: usize,
    /// How much must be there before it is worth looking again.
    needed: usize,
}

impl Framer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a message has begun.
    pub(crate) fn is_within_message(&self) -> bool {
        !self.buffer.trim_ascii_start().is_empty()
    }

    /// The next frame, `None` until more is pushed.
    pub(crate) fn next(&mut self, source: SocketAddr) -> Result<Option<Frame>, Defect> {
        if self.buffer.len() < self.needed {
            return Ok(None);
        }
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.buffer.drain(..4);
            return Ok(Some(Frame::Ping));
        }
        if b"\r\n\r\n".starts_with(&self.buffer) {
            return Ok(None);
        }
        let blank = self.buffer.len() - self.buffer.trim_ascii_start().len();
        self.buffer.drain(..blank);
        let Some(end) = end_of_head(&self.buffer, self.searched) else {
            if self.buffer.len() > MAX_HEAD {
                // What has come so far may name enough of itself for an answer.
                let begun = Message::from_head(&self.buffer[..MAX_HEAD])?;
                begun.check_head(self.buffer.len(), source)?;
            }
            self.searched = self.buffer.len().saturating_sub(2);
            return Ok(None);
        };
        let mut message = Message::from_head(&self.buffer[..end])?;
        message.check_head(end, source)?;
        let length = message
            .content_length()
            .and_then(|length| length.ok_or("lacks Content-Length on a stream"))
            .map_err(|what| message.refused(what, source))?;
        message.check_body(length, source)?;
        if self.buffer.len() < end + length {
            self.needed = end + length;
            return Ok(None);
        }
        message.body = self.buffer[end..end + length].to_vec();
        message.length = end + length;
        self.buffer.drain(..end + length);
        (self.searched, self.needed) = (0, 0);
        message.check(source)?;
        Ok(Some(Frame::Message(Box::new(message))))
    }
}

/// Where the body begins: after the first empty line, looked for behind `from`.
fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find_map(|at| match &bytes[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// One line as text: UTF-8, or else what Chinese exchanges send, GBK (in its superset GB18030); no control characters.
fn text(line: &[u8]) -> String {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text.into(),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(line).0,
    };
    text.replace(|letter: char| letter.is_control() && letter != '\t', " ")
}

/// The long form of a compact header name (RFC 3261 §7.3.3).
fn full_name(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "l" => "Content-Length",
        "c" => "Content-Type",
        "e" => "Content-Encoding",
        "k" => "Supported",
        "s" => "Subject",
        "x" => "Session-Expires",
        "r" => "Refer-To",
        "b" => "Referred-By",
        "o" => "Event",
        _ => name,
    }
    .to_owned()
}

/// The reason phrase of the statuses that are answered here.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        401 => "Unauthorized",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        423 => "Interval Too Brief",
        440 => "Max-Breadth Exceeded",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests;
