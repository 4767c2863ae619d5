//! Where a PRACK of ours leads. The stack writes it as if it began a dialog, to the address that the INVITE went to; it
//! belongs to the early dialog, with the phone's Contact and the proxies' route (RFC 3262 §4, RFC 3261 §12.2.1.1).
//!
//! The stack also takes all phones that an INVITE has forked to for one, and passes over a response whose `RSeq` is not
//! above the last, be it another phone's. So it is shown numbers that grow over all of them.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::gateway::sip::edge::wire;
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Method, Request, Response, Uri};
use crate::sip::address::items;

/// Early dialogs that are remembered: more than phones ring at a time; the oldest gives way.
const MOST: usize = 1_024;

/// The early dialogs that want their provisional responses acknowledged.
#[derive(Default)]
pub(crate) struct ReliableProvisionals(Mutex<VecDeque<Early>>);

struct Early {
    call_id: String,
    tag: String,
    target: Uri,
    routes: Vec<String>,
    /// It has answered the offer of our INVITE.
    answers: bool,
    /// The `RSeq` of its last responses, with what the stack was shown for each.
    numbers: Vec<(u32, u32)>,
}

/// The last responses of a phone whose numbers are kept: each waits for its PRACK before the next.
const MOST_NUMBERS: usize = 8;

impl ReliableProvisionals {
    /// Remembers where a reliable provisional response wants its PRACK, and shows the stack a number that has grown.
    pub(crate) fn note(&self, response: &mut Response) {
        if !(101..200).contains(&response.status_code.code())
            || !response.header_contains_token("Require", "100rel")
        {
            return;
        }
        let (Some(mut early), Some(number)) = (Early::new(response), response.rseq_value()) else {
            return;
        };
        let mut known = locked(&self.0);
        let of_call = known
            .iter()
            .filter(|other| other.call_id == early.call_id)
            .flat_map(|other| &other.numbers);
        let next = of_call.map(|(_, shown)| shown + 1).max().unwrap_or(1);
        known.retain_mut(|other| {
            let same = other.call_id == early.call_id && other.tag == early.tag;
            if same {
                early.answers |= other.answers;
                early.numbers = std::mem::take(&mut other.numbers);
            }
            !same
        });
        let before = early.numbers.iter().find(|(its, _)| *its == number);
        let shown = before.map_or(next, |(_, shown)| *shown);
        if before.is_none() {
            if early.numbers.len() == MOST_NUMBERS {
                early.numbers.remove(0);
            }
            early.numbers.push((number, shown));
        }
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back(early);
        drop(known);
        response
            .headers
            .unique_push(Header::RSeq(shown.to_string().into()));
    }

    /// Whether a phone that rings has answered the offer of our INVITE for certain, though not everybody knows yet.
    pub(crate) fn answers(&self, call_id: &str, tag: &str) -> bool {
        locked(&self.0)
            .iter()
            .any(|early| early.answers && early.call_id == call_id && early.tag == tag)
    }

    /// Puts a PRACK on its way.
    pub(crate) fn lead(&self, request: &mut Request) {
        if request.method != Method::PRack {
            return;
        }
        let (Some(call_id), Some((shown, invite, _))) =
            (request.header_value("Call-ID"), request.rack_value())
        else {
            return;
        };
        let known = locked(&self.0);
        let early = known
            .iter()
            .filter(|early| early.call_id == call_id)
            .find_map(|early| {
                let number = early.numbers.iter().find(|(_, other)| *other == shown);
                number.map(|(number, _)| (early, *number))
            });
        if let Some((early, number)) = early {
            request
                .headers
                .unique_push(Header::RAck(format!("{number} {invite} INVITE").into()));
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
            .flat_map(|value| items(&value).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        routes.reverse();
        Some(Self {
            call_id: response.header_value("Call-ID")?,
            tag: tag_of(response)?,
            target: contacts.first()?.uri.clone(),
            routes,
            answers: !response.body.is_empty(),
            numbers: Vec::new(),
        })
    }
}

fn tag_of(message: &impl HeadersExt) -> Option<String> {
    let to = message.header_value("To")?;
    wire::tag(&to).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early(tag: &str, number: u32) -> Response {
        let text = format!(
            "SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:op@x>;tag={tag}\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:{tag}@192.0.2.9:5062>\r\n\
             Record-Route: <sip:p2;lr>, <sip:p1;lr;x=1,2>\r\nRequire: 100rel\r\nRSeq: {number}\r\n\r\n"
        );
        Response::try_from(text.as_str()).expect("sound")
    }

    fn prack(number: u32) -> Request {
        let text = format!(
            "PRACK sip:127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK2\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:op@x>;tag=9\r\nCall-ID: c\r\nCSeq: 2 PRACK\r\nRAck: {number} 1 INVITE\r\n\r\n"
        );
        Request::try_from(text.as_str()).expect("sound")
    }

    #[test]
    fn a_prack_takes_the_contact_and_the_reversed_route_of_its_early_dialog() {
        let dialogs = ReliableProvisionals::default();
        dialogs.note(&mut early("op", 70));
        let mut ours = prack(1);
        dialogs.lead(&mut ours);
        assert_eq!(ours.uri.to_string(), "sip:op@192.0.2.9:5062");
        assert_eq!(ours.rack_value(), Some((70, 1, Method::Invite)));
        let routes: Vec<String> = ours
            .headers
            .iter()
            .filter(|header| matches!(header, Header::Route(_)))
            .map(ToString::to_string)
            .collect();
        assert_eq!(routes, ["Route: <sip:p1;lr;x=1,2>", "Route: <sip:p2;lr>"]);
        let mut another = prack(2);
        dialogs.lead(&mut another);
        assert_eq!(another.uri.to_string(), "sip:127.0.0.1:5080");
    }

    #[test]
    fn every_phone_of_a_fork_is_acknowledged_whatever_its_numbers_are() {
        let dialogs = ReliableProvisionals::default();
        let shown = |tag, number| {
            let mut response = early(tag, number);
            dialogs.note(&mut response);
            response.rseq_value().expect("a number")
        };
        // The second phone has lower numbers than the first, and says the same again.
        let numbers = [
            ("one", 70),
            ("two", 7),
            ("one", 71),
            ("two", 7),
            ("three", 70),
        ];
        assert_eq!(
            numbers.map(|(tag, number)| shown(tag, number)),
            [1, 2, 3, 2, 4]
        );
        for (shown, to, number) in [
            (1, "one", 70),
            (2, "two", 7),
            (3, "one", 71),
            (4, "three", 70),
        ] {
            let mut ours = prack(shown);
            dialogs.lead(&mut ours);
            assert_eq!(ours.uri.to_string(), format!("sip:{to}@192.0.2.9:5062"));
            assert_eq!(ours.rack_value(), Some((number, 1, Method::Invite)));
        }
    }
}
