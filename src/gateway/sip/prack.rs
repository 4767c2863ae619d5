//! Where a PRACK of ours leads. The stack writes it as if it began a dialog, to the address that the INVITE went to; it
//! belongs to the early dialog, with the phone's Contact and the proxies' route (RFC 3262 §4, RFC 3261 §12.2.1.1).

use std::collections::VecDeque;
use std::sync::Mutex;

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, Uri};

use super::locked;

/// Early dialogs that are remembered: more than phones ring at a time; the oldest gives way.
const MOST: usize = 1_024;

/// The early dialogs that want their provisional responses acknowledged.
#[derive(Default)]
pub(super) struct EarlyDialogs(Mutex<VecDeque<Early>>);

struct Early {
    call_id: String,
    tag: String,
    target: Uri,
    routes: Vec<String>,
    /// It has answered the offer of our INVITE.
    answers: bool,
}

impl EarlyDialogs {
    /// Remembers where a reliable provisional response wants its PRACK.
    pub fn note(&self, response: &Response) {
        if !(101..200).contains(&response.status_code.code())
            || !response.header_contains_token("Require", "100rel")
        {
            return;
        }
        let Some(mut early) = Early::new(response) else {
            return;
        };
        let mut known = locked(&self.0);
        known.retain(|other| {
            let same = other.call_id == early.call_id && other.tag == early.tag;
            early.answers |= same && other.answers;
            !same
        });
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back(early);
    }

    /// Whether a phone that rings has answered the offer of our INVITE for certain, though not everybody knows yet.
    pub fn answers(&self, call_id: &str, tag: &str) -> bool {
        locked(&self.0)
            .iter()
            .any(|early| early.answers && early.call_id == call_id && early.tag == tag)
    }

    /// Puts a PRACK on its way.
    pub fn lead(&self, request: &mut Request) {
        if request.method != Method::PRack {
            return;
        }
        let (Some(call_id), Some(tag)) = (request.header_value("Call-ID"), tag_of(request)) else {
            return;
        };
        let known = locked(&self.0);
        let early = known
            .iter()
            .find(|early| early.call_id == call_id && early.tag == tag);
        if let Some(early) = early {
            request.uri = early.target.clone();
            request
                .headers
                .retain(|header| !matches!(header, Header::Route(_)));
            for route in &early.routes {
                request.headers.push(Header::Route(route.clone().into()));
            }
        }
    }
}

impl Early {
    fn new(response: &Response) -> Option<Self> {
        let contacts = response.typed_contact_headers().ok()?;
        let mut routes: Vec<String> = response
            .headers
            .iter()
            .filter(|header| matches!(header, Header::RecordRoute(_)))
            .filter_map(|header| Some(header.to_string().split_once(':')?.1.trim().to_owned()))
            .flat_map(|value| hops(&value))
            .collect();
        routes.reverse();
        Some(Self {
            call_id: response.header_value("Call-ID")?,
            tag: tag_of(response)?,
            target: contacts.first()?.uri.clone(),
            routes,
            answers: !response.body.is_empty(),
        })
    }
}

fn tag_of(message: &impl HeadersExt) -> Option<String> {
    let to = message.header_value("To")?;
    super::wire::tag(&to).map(str::to_owned)
}

/// The hops of a Record-Route value: cut at the commas outside of `<>`.
fn hops(value: &str) -> Vec<String> {
    let mut within = false;
    value
        .split(|letter| {
            match letter {
                '<' => within = true,
                '>' => within = false,
                _ => {}
            }
            letter == ',' && !within
        })
        .map(|hop| hop.trim().to_owned())
        .filter(|hop| !hop.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: TryFrom<&'static str>>(text: &'static str) -> T {
        T::try_from(text).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_prack_takes_the_contact_and_the_reversed_route_of_its_early_dialog() {
        let early = EarlyDialogs::default();
        early.note(&message(
            "SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:op@x>;tag=9\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:op@192.0.2.9:5062>\r\n\
             Record-Route: <sip:p2;lr>, <sip:p1;lr;x=1,2>\r\nRequire: 100rel\r\nRSeq: 1\r\n\r\n",
        ));
        let prack = |tag: &'static str| -> Request { message(tag) };
        let mut ours = prack(
            "PRACK sip:127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK2\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:op@x>;tag=9\r\nCall-ID: c\r\nCSeq: 2 PRACK\r\nRAck: 1 1 INVITE\r\n\r\n",
        );
        early.lead(&mut ours);
        assert_eq!(ours.uri.to_string(), "sip:op@192.0.2.9:5062");
        let routes: Vec<String> = ours
            .headers
            .iter()
            .filter(|header| matches!(header, Header::Route(_)))
            .map(ToString::to_string)
            .collect();
        assert_eq!(routes, ["Route: <sip:p1;lr;x=1,2>", "Route: <sip:p2;lr>"]);
        let mut another = prack(
            "PRACK sip:127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK2\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:op@x>;tag=8\r\nCall-ID: c\r\nCSeq: 2 PRACK\r\nRAck: 1 1 INVITE\r\n\r\n",
        );
        early.lead(&mut another);
        assert_eq!(another.uri.to_string(), "sip:127.0.0.1:5080");
    }
}
