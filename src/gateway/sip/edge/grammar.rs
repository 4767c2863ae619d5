//! What a request's grammar forbids and the stack would let pass (RFC 3261 §25, RFC 4475 §3.1.2).
//!
//! Only what would be misread is refused; odd spaces and names without quotes do no harm.

use crate::gateway::sip::edge::wire::{Message, Start};
use crate::sip::address::{Address, items};
use crate::sip::multipart::media_type;

/// Whether the request must be answered with 400.
pub(crate) fn is_broken(message: &Message) -> bool {
    let Start::Request { uri, .. } = &message.start else {
        return false;
    };
    is_broken_uri(uri)
        || ["From", "To", "Contact", "Via", "Route", "Record-Route"]
            .iter()
            .any(|name| message.all(name).any(is_broken_value))
        || ["From", "To"].iter().any(|name| {
            message
                .all(name)
                .any(|value| Address::parse(value).is_none())
        })
        || ["Contact", "Route", "Record-Route"].iter().any(|name| {
            message
                .items(name)
                .any(|item| Address::parse(item).is_none())
        })
}

/// Whether the request is for an address of a kind that nobody reaches here (§8.2.2.1).
pub(crate) fn is_foreign(message: &Message) -> bool {
    let Start::Request { uri, .. } = &message.start else {
        return false;
    };
    let scheme = uri.split(':').next().unwrap_or_default();
    !["sip", "sips", "tel"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Whether the INVITE's sender takes no session description (RFC 3261 §20.1), so that no answer could please it.
pub(crate) fn refuses_descriptions(message: &Message) -> bool {
    let mut ranges = message
        .all("Accept")
        .flat_map(items)
        .map(media_type)
        .peekable();
    ranges.peek().is_some()
        && !ranges.any(|range| {
            [
                "application/sdp",
                "application/*",
                "*/*",
                "multipart/mixed",
                "multipart/*",
            ]
            .iter()
            .any(|taken| range == *taken)
        })
}

/// A Request-URI in brackets, with spaces, or with headers, which only other headers may have (§19.1.1).
fn is_broken_uri(uri: &str) -> bool {
    let is_sip = ["sip:", "sips:"].iter().any(|scheme| {
        uri.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let after_user = uri.rsplit('@').next().unwrap_or_default();
    uri.contains(['<', '>', '"', ' ', '\t']) || (is_sip && after_user.contains('?'))
}

/// A value with an open quote or bracket, or with a parameter that is nothing (`;;`, `,,`).
fn is_broken_value(value: &str) -> bool {
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    // Whether something stands since the last separator.
    let mut something = false;
    for letter in value.chars() {
        if quoted {
            quoted = escaped || letter != '"';
            escaped = letter == '\\' && !escaped;
            continue;
        }
        match letter {
            '"' => quoted = true,
            '<' if bracketed => return true,
            '<' => bracketed = true,
            '>' if !bracketed => return true,
            '>' => bracketed = false,
            ';' | ',' if !bracketed => {
                if !std::mem::take(&mut something) {
                    return true;
                }
                continue;
            }
            _ => {}
        }
        something |= !letter.is_whitespace();
    }
    quoted || bracketed || !something
}
