//! Bodies of several parts (RFC 2046 §5.1, RFC 5621), as SIPREC clients and exchanges with ISUP attachments send them.
//!
//! A body is cut by its boundary and each part's few headers are read; what a part contains is for others to parse.
//! Whatever kind of multipart it is, it is read as a mixed one (RFC 2046 §5.1.7), down to the parts of its parts.

use std::borrow::Cow;
use std::fmt;

use super::address::{parameters, unquoted};
use super::siprec;

/// The most parts taken: SIPREC sends two, exchanges with attachments three.
const MAX_PARTS: usize = 16;
/// The deepest nesting of parts; what is deeper is left whole.
const MAX_DEPTH: usize = 4;
/// The most bytes of headers in one part.
const MAX_PART_HEAD: usize = 4_096;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

/// What an INVITE carries, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The value of Content-Type, with its parameters.
    pub content_type: String,
    /// The octets.
    pub bytes: Vec<u8>,
}

/// Bodies hold numbers and names: only kind and size are shown.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "‹{} bytes of {}›", self.bytes.len(), self.media_type())
    }
}

impl Body {
    /// The kind without its parameters, in small letters.
    #[must_use]
    pub fn media_type(&self) -> String {
        media_type(&self.content_type)
    }

    /// Its recording metadata (RFC 7865): the body itself, or the first such part.
    ///
    /// # Errors
    /// When the body says that it has parts and cannot be cut into them.
    pub fn metadata(&self) -> Result<Option<Vec<u8>>, MultipartError> {
        let kind = self.media_type();
        if siprec::is_metadata(&kind) {
            return Ok(Some(self.bytes.clone()));
        }
        let parts = self.parts()?;
        let found = parts
            .iter()
            .find(|part| siprec::is_metadata(&part.media_type()));
        Ok(found.map(|part| part.content.to_vec()))
    }

    /// Whether it has recording metadata that can be found.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        matches!(self.metadata(), Ok(Some(_)))
    }

    /// Its session description: the body itself, or the first such part that is the session's (RFC 3959 has others).
    ///
    /// # Errors
    /// When the body says that it has parts and cannot be cut into them.
    pub fn description(&self) -> Result<Option<String>, MultipartError> {
        let text =
            |bytes: &[u8]| (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
        if self.media_type() == "application/sdp" {
            return Ok(text(&self.bytes));
        }
        let parts = self.parts()?;
        let description = parts
            .iter()
            .find(|part| part.media_type() == "application/sdp" && part.is_the_sessions());
        Ok(description.and_then(|part| text(part.content)))
    }

    /// Its parts, and those of its parts in their place; none, if it is whole.
    fn parts(&self) -> Result<Vec<Part<'_>>, MultipartError> {
        let mut leaves = Vec::new();
        if is_multipart(&self.media_type()) {
            gather(&self.content_type, &self.bytes, 1, &mut leaves)?;
        }
        Ok(leaves)
    }
}

/// Whether a body of this media type has parts.
#[must_use]
pub fn is_multipart(media_type: &str) -> bool {
    media_type.starts_with("multipart/")
}

/// Whether a Content-Disposition says that a body need not be understood (RFC 3261 §20.11).
#[must_use]
pub fn is_optional(disposition: &str) -> bool {
    parameters(disposition).skip(1).any(|(name, value)| {
        name.eq_ignore_ascii_case("handling")
            && value.is_some_and(|value| unquoted(value).eq_ignore_ascii_case("optional"))
    })
}

fn gather<'a>(
    content_type: &str,
    body: &'a [u8],
    depth: usize,
    leaves: &mut Vec<Part<'a>>,
) -> Result<(), MultipartError> {
    for part in parts(content_type, body)? {
        if depth < MAX_DEPTH && is_multipart(&part.media_type()) {
            let content_type = part.header("Content-Type").unwrap_or_default();
            match gather(content_type, part.content, depth + 1, leaves) {
                Ok(()) => continue,
                Err(MultipartError::TooMany) => return Err(MultipartError::TooMany),
                // What cannot be cut is a part like any other.
                Err(_) => {}
            }
        }
        if leaves.len() == MAX_PARTS {
            return Err(MultipartError::TooMany);
        }
        leaves.push(part);
    }
    Ok(())
}

/// One part of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its octets, without the line break that belongs to the boundary.
    pub content: &'a [u8],
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "‹{} bytes of {}›", self.content.len(), self.media_type())
    }
}

impl Part<'_> {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Its kind in small letters; text, where it does not say (RFC 2045 §5.2).
    #[must_use]
    pub fn media_type(&self) -> String {
        media_type(self.header("Content-Type").unwrap_or("text/plain"))
    }

    /// Whether it describes the session itself, and no other one beside it.
    fn is_the_sessions(&self) -> bool {
        let disposition = self.header("Content-Disposition").unwrap_or("session");
        media_type(disposition) == "session"
    }
}

/// Why a body cannot be cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipartError {
    /// Content-Type names no boundary, or one that cannot be.
    Boundary,
    /// No part begins, or the last one does not end.
    Torn,
    /// More parts than taken.
    TooMany,
    /// A part's headers cannot be read.
    Headers,
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boundary => f.write_str("the multipart body names no usable boundary"),
            Self::Torn => f.write_str("the multipart body lacks its first or its last boundary"),
            Self::TooMany => write!(
                f,
                "the multipart body has more than {MAX_PARTS} parts; send fewer"
            ),
            Self::Headers => f.write_str("a part of the multipart body has unreadable headers"),
        }
    }
}

impl std::error::Error for MultipartError {}

impl MultipartError {
    /// The status that tells the peer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooMany => 413,
            Self::Boundary | Self::Torn | Self::Headers => 400,
        }
    }
}

/// Cuts a body into its parts.
///
/// # Errors
/// [`MultipartError`] when it cannot be; a part inside a part is left whole.
pub fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, MultipartError> {
    let boundary = boundary(content_type).ok_or(MultipartError::Boundary)?;
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut parts = Vec::new();
    let mut at = next_delimiter(body, 0, &delimiter).ok_or(MultipartError::Torn)?;
    loop {
        let after = at.end;
        if body[after..].starts_with(b"--") {
            return if parts.is_empty() {
                Err(MultipartError::Torn)
            } else {
                Ok(parts)
            };
        }
        let line = line_end(body, after).ok_or(MultipartError::Torn)?;
        let next = next_delimiter(body, line, &delimiter).ok_or(MultipartError::Torn)?;
        if parts.len() == MAX_PARTS {
            return Err(MultipartError::TooMany);
        }
        parts.push(part(&body[line..next.start.max(line)])?);
        at = next;
    }
}

fn part(bytes: &[u8]) -> Result<Part<'_>, MultipartError> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = line_end(bytes, at).unwrap_or(bytes.len());
        let line = bytes[at..end].trim_ascii_end();
        if line.is_empty() {
            at = end;
            break;
        }
        if end > MAX_PART_HEAD {
            return Err(MultipartError::Headers);
        }
        let text = std::str::from_utf8(line).map_err(|_| MultipartError::Headers)?;
        if text.starts_with([' ', '\t']) {
            let (_, value) = headers.last_mut().ok_or(MultipartError::Headers)?;
            value.push(' ');
            value.push_str(text.trim());
        } else {
            let (name, value) = text.split_once(':').ok_or(MultipartError::Headers)?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        at = end;
    }
    Ok(Part {
        headers,
        content: &bytes[at..],
    })
}

/// Where a boundary stands: from the line break before it to behind its name.
struct Delimiter {
    start: usize,
    end: usize,
}

/// The next boundary at the beginning of a line, from `from`, which is a line's beginning.
fn next_delimiter(body: &[u8], from: usize, delimiter: &[u8]) -> Option<Delimiter> {
    let mut line = from;
    loop {
        let rest = &body[line..];
        if let Some(after) = rest.strip_prefix(delimiter)
            && (after.is_empty()
                || after.starts_with(b"--")
                || matches!(unpadded(after).first(), Some(b'\r' | b'\n')))
        {
            let before = &body[..line];
            let start = before
                .strip_suffix(b"\r\n")
                .or_else(|| before.strip_suffix(b"\n"))
                .map_or(line, <[u8]>::len);
            return Some(Delimiter {
                start,
                end: line + delimiter.len(),
            });
        }
        line = line_end(body, line)?;
    }
}

/// Without the spaces and tabs that may pad a boundary; line breaks stay.
fn unpadded(bytes: &[u8]) -> &[u8] {
    let padding = bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    &bytes[padding..]
}

/// Where the next line begins.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map(|at| from + at + 1)
}

/// The kind in a Content-Type, without its parameters and in small letters.
#[must_use]
pub fn media_type(content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// The boundary parameter, unquoted.
fn boundary(content_type: &str) -> Option<Cow<'_, str>> {
    let (_, value) = parameters(content_type)
        .skip(1)
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = unquoted(value?);
    (!value.is_empty() && value.len() <= MAX_BOUNDARY).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/mixed;boundary=\"xy z\"";

    fn body(content_type: &str, text: &str) -> Body {
        Body {
            content_type: content_type.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn parts_are_cut_with_their_headers_and_without_the_boundarys_line_break() {
        let text = "preamble\r\n--xy z\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=-\r\n\r\n--xy z  \r\n\
                    content-type: application/rs-metadata+xml;\r\n charset=utf-8\r\nContent-Disposition: recording-session\r\n\
                    \r\n<a>--xy z</a>\r\n--xy z--\r\nepilogue";
        let parts = parts(KIND, text.as_bytes()).expect("sound");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].content, b"v=0\r\no=-\r\n");
        assert_eq!(parts[1].media_type(), "application/rs-metadata+xml");
        assert_eq!(
            parts[1].header("Content-Disposition"),
            Some("recording-session")
        );
        assert_eq!(parts[1].content, b"<a>--xy z</a>");
        assert_eq!(
            body(KIND, text).description(),
            Ok(Some("v=0\r\no=-\r\n".to_owned()))
        );
    }

    #[test]
    fn a_part_without_headers_is_text_and_bare_line_feeds_are_taken() {
        let text = "--b\n\nhello\n--b\nContent-Type: application/SDP\n\nv=0\n--b--";
        let parts =
            parts("Multipart/Mixed; charset=x ; Boundary=b", text.as_bytes()).expect("sound");
        assert_eq!(parts[0].media_type(), "text/plain");
        assert_eq!(
            (parts[0].content, parts[1].content),
            (&b"hello"[..], &b"v=0"[..])
        );
        assert_eq!(parts[1].media_type(), "application/sdp");
    }

    #[test]
    fn every_kind_of_multipart_is_read_as_mixed_down_to_the_parts_of_its_parts() {
        let inner = |boundary: &str| {
            format!(
                "--{boundary}\r\nContent-Type: application/isup;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\u{1}\r\n\
                 --{boundary}\r\nContent-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nv=1\r\n\r\n\
                 --{boundary}\r\nContent-Type: application/SDP;charset=utf-8\r\nContent-Disposition: session;handling=required\r\n\r\nv=0\r\n\r\n\
                 --{boundary}\r\nContent-Type: application/rs-metadata+xml\r\n\r\n<r/>\r\n--{boundary}--\r\n"
            )
        };
        for kind in [
            "multipart/mixed;boundary=x1",
            "Multipart/Related; type=\"application/sdp;a\"; start=\"<a@b>\"; boundary=x1",
            "multipart/alternative;boundary=\"x1\"",
            "multipart/x-vendor ; Boundary = x1",
        ] {
            let read = body(kind, &inner("x1"));
            assert_eq!(read.description(), Ok(Some("v=0\r\n".to_owned())), "{kind}");
            assert_eq!(read.metadata(), Ok(Some(b"<r/>".to_vec())), "{kind}");
            let nested = format!(
                "--o\r\nContent-Type: text/plain\r\n\r\n-\r\n--o\r\nContent-Type: {kind}\r\n\r\n{}\r\n--o--",
                inner("x1")
            );
            let nested = body("multipart/mixed;boundary=o", &nested);
            assert_eq!(
                nested.description(),
                Ok(Some("v=0\r\n".to_owned())),
                "{kind}"
            );
            assert_eq!(nested.metadata(), Ok(Some(b"<r/>".to_vec())), "{kind}");
        }
        // A body that nests for ever is no way into the stack.
        let mut deep = String::new();
        for level in 0..2_000 {
            deep = format!(
                "--b{level}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n{deep}",
                level + 1
            );
        }
        let _ = body("multipart/mixed;boundary=b1999", &deep).description();
    }

    #[test]
    fn a_body_is_optional_if_it_says_so() {
        for (disposition, optional) in [
            ("signal;handling=optional", true),
            ("signal ; Handling = \"Optional\"", true),
            ("render;x=\"a;handling=required\";handling=optional", true),
            ("signal;handling=required", false),
            ("signal;x=\"a;handling=optional\"", false),
            ("handling=optional", false),
            ("session", false),
            ("", false),
        ] {
            assert_eq!(is_optional(disposition), optional, "{disposition}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_named() {
        for (kind, text, error) in [
            (
                "multipart/mixed",
                "--b\r\n\r\n--b--",
                MultipartError::Boundary,
            ),
            (
                "multipart/mixed;boundary=\"\"",
                "----\r\n",
                MultipartError::Boundary,
            ),
            ("multipart/mixed;boundary=b", "", MultipartError::Torn),
            ("multipart/mixed;boundary=b", "--b--", MultipartError::Torn),
            (
                "multipart/mixed;boundary=b",
                "--b\r\n\r\nopen",
                MultipartError::Torn,
            ),
            (
                "multipart/mixed;boundary=b",
                "--bb\r\n\r\nx\r\n--bb--",
                MultipartError::Torn,
            ),
            (
                "multipart/mixed;boundary=b",
                "--b\r\nno header\r\n\r\n--b--",
                MultipartError::Headers,
            ),
            (
                "multipart/mixed;boundary=b",
                "--b\r\n folded\r\n\r\n--b--",
                MultipartError::Headers,
            ),
        ] {
            assert_eq!(parts(kind, text.as_bytes()), Err(error), "{kind} {text:?}");
        }
        let many = "--b\r\n\r\nx\r\n".repeat(MAX_PARTS + 1) + "--b--";
        let said = parts("multipart/mixed;boundary=b", many.as_bytes());
        assert_eq!(said, Err(MultipartError::TooMany));
        assert_eq!(MultipartError::TooMany.status(), 413);
    }

    #[test]
    fn no_prefix_of_a_body_panics_and_its_debug_shows_nothing_of_it() {
        let text = "--b\r\nA: 1\r\n\r\n13800138000\r\n--b\r\n\r\n\r\n--b--\r\n";
        for end in 0..=text.len() {
            let _ = parts("multipart/mixed;boundary=b", &text.as_bytes()[..end]);
        }
        let shown = format!("{:?}", body("multipart/mixed;boundary=b", text));
        assert_eq!(shown, format!("‹{} bytes of multipart/mixed›", text.len()));
    }
}
