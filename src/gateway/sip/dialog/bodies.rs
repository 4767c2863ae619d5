//! What messages within a dialog say: descriptions, timers, keys, and how far a transfer is.

use crate::gateway::sip::edge::wire;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Request, Response, StatusCode};
use crate::sip::Body;
use crate::sip::session::{Grant, Refresher, TimerHeaders};

/// A message with a body; the stack's own trait knows only headers.
pub(crate) trait Bodied: HeadersExt {
    fn octets(&self) -> &[u8];
}

impl Bodied for Request {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

impl Bodied for Response {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

/// A NOTIFY's headers and body: how far a transfer is (RFC 3515 §2.4).
pub(crate) fn progress(status: u16) -> (Vec<Header>, Vec<u8>) {
    let state = if status >= 200 {
        "terminated;reason=noresource"
    } else {
        "active;expires=180"
    };
    let headers = vec![
        Header::Event("refer".into()),
        Header::SubscriptionState(state.into()),
        Header::ContentType("message/sipfrag;version=2.0".into()),
    ];
    let line = format!("SIP/2.0 {status} {}\r\n", StatusCode::from(status).text());
    (headers, line.into_bytes())
}

/// What a message says of the session timer.
pub(crate) fn said(message: &impl HeadersExt) -> TimerHeaders {
    let supported = message.header_contains_token("Supported", "timer")
        || message.header_contains_token("Require", "timer");
    TimerHeaders::new(
        message.header_value("Session-Expires").as_deref(),
        message.header_value("Min-SE").as_deref(),
        supported,
    )
}

/// What a request of ours says of the session timer.
pub(crate) fn timer_headers(said: TimerHeaders) -> Vec<Header> {
    let expires = said
        .expires_header()
        .map(|value| Header::SessionExpires(value.into()));
    let min_se = said
        .min_se
        .map(|seconds| Header::MinSE(seconds.to_string().into()));
    expires
        .into_iter()
        .chain(min_se)
        .chain([Header::Supported(wire::SUPPORTED.into())])
        .collect()
}

/// What a 2xx of ours says of it (RFC 4028 §9).
pub(crate) fn granted(grant: Option<Grant>) -> Vec<Header> {
    let Some(grant) = grant else {
        return vec![Header::Supported(wire::SUPPORTED.into())];
    };
    let mut headers = vec![
        Header::Supported(wire::SUPPORTED.into()),
        Header::SessionExpires(grant.expires_header().into()),
    ];
    if grant.refresher == Refresher::Uac {
        headers.push(Header::Require("timer".into()));
    }
    headers
}

/// Whether a message's Allow names a method.
pub(crate) fn allows(message: &impl HeadersExt, method: &str) -> bool {
    message.header_value("Allow").is_some_and(|value| {
        value
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case(method))
    })
}

/// The key that an INFO names, and how long it was pressed.
pub(crate) fn pressed(text: &str) -> Option<(char, u16)> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once('=')?;
            found
                .trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim())
        })
    };
    let key = value("Signal").unwrap_or(text.trim());
    let key = match key {
        "10" => '*',
        "11" => '#',
        key => {
            let mut letters = key.chars();
            let letter = letters.next()?.to_ascii_uppercase();
            letters.next().is_none().then_some(letter)?
        }
    };
    let known = matches!(key, '0'..='9' | '*' | '#' | 'A'..='D');
    let millis = value("Duration").and_then(|millis| millis.parse().ok());
    known.then(|| (key, millis.unwrap_or(160).clamp(40, 5_000)))
}

/// The session description that a message carries, be it in a part of its body.
pub(crate) fn description(message: &impl Bodied) -> Option<String> {
    let body = Body {
        content_type: message
            .header_value("Content-Type")
            .unwrap_or_else(|| "application/sdp".to_owned()),
        bytes: message.octets().to_vec(),
    };
    body.description().ok().flatten()
}

/// Headers and body that carry a description.
pub(crate) fn with_sdp(description: String) -> (Vec<Header>, Option<Vec<u8>>) {
    let headers = vec![
        Header::ContentType("application/sdp".into()),
        Header::Allow(wire::ALLOW.into()),
    ];
    (headers, Some(description.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::pressed;

    #[test]
    fn keys_are_read_in_every_form_that_phones_send() {
        for (text, pressed_key) in [
            ("Signal=5\r\nDuration=160\r\n", Some(('5', 160))),
            ("Signal= *\nDuration= 250", Some(('*', 250))),
            ("signal=11\r\n", Some(('#', 160))),
            ("d", Some(('D', 160))),
            ("7\r\n", Some(('7', 160))),
            ("Signal=5\r\nDuration=1\r\n", Some(('5', 40))),
            ("Signal=99", None),
            ("Signal=", None),
            ("", None),
            ("E", None),
            ("Signal=五", None),
        ] {
            assert_eq!(pressed(text), pressed_key, "{text:?}");
        }
    }
}
