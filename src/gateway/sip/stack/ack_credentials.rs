//! What our INVITEs were sent with, for their ACKs say the same again: that of a 2xx what they were authenticated with
//! (RFC 3261 §13.2.2.4), for a proxy that lets nothing pass without credentials cannot challenge an ACK; that of a
//! refusal their Via (§17.1.1.3), which the stack takes from the answer, with all that the peer has written into it.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::gateway::sip::lock::locked;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Method, Request, ToTypedHeader};

/// INVITEs that are remembered: more are not answered at a time; the oldest gives way.
const MOST: usize = 1_024;

/// An INVITE of ours.
struct Sent {
    call_id: String,
    number: u32,
    branch: String,
    via: String,
    credentials: Vec<Header>,
}

/// The INVITEs that were sent.
#[derive(Default)]
pub(crate) struct AckCredentials(Mutex<VecDeque<Sent>>);

impl AckCredentials {
    /// Remembers what an INVITE is sent with, and gives it to its ACK.
    pub(crate) fn follow(&self, request: &mut Request) {
        if !matches!(request.method, Method::Invite | Method::Ack) {
            return;
        }
        let Some(sent) = Sent::of(request) else {
            return;
        };
        let mut known = locked(&self.0);
        let same = |other: &Sent| other.call_id == sent.call_id && other.number == sent.number;
        if request.method == Method::Invite {
            known.retain(|other| !same(other));
            if known.len() == MOST {
                known.pop_front();
            }
            known.push_back(sent);
            return;
        }
        let Some(invite) = known.iter().find(|other| same(other)) else {
            return;
        };
        if invite.branch == sent.branch {
            request
                .headers
                .retain(|header| !matches!(header, Header::Via(_)));
            request
                .headers
                .push_front(Header::Via(invite.via.clone().into()));
        }
        if sent.credentials.is_empty() {
            request.headers.extend(invite.credentials.clone());
        }
    }
}

impl Sent {
    fn of(request: &Request) -> Option<Self> {
        let via = request.top_via_header().ok()?;
        Some(Self {
            call_id: request.call_id_header().ok()?.value().to_owned(),
            number: request.cseq_header().ok()?.seq().ok()?,
            branch: via.typed().ok()?.branch()?.to_string(),
            via: via.value().to_owned(),
            credentials: request
                .headers
                .iter()
                .filter(|header| is_credentials(header))
                .cloned()
                .collect(),
        })
    }
}

fn is_credentials(header: &Header) -> bool {
    match header {
        Header::Authorization(_) | Header::ProxyAuthorization(_) => true,
        Header::Other(name, _) => ["Authorization", "Proxy-Authorization"].contains(&name.as_str()),
        _ => false,
    }
}
