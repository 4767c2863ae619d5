//! The INVITEs of ours that have no final answer yet: who takes what comes for them, which of them come back to us, and
//! the late offer of those that were sent without one (RFC 3261 §13.2.1).
//!
//! The stack acknowledges a 2xx as soon as it sees it. One whose offer is still to be answered is held back here until
//! the answer is there, and the ACK takes it along.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, SipMessage, StatusCodeKind};
use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::mpsc;

use super::dialog::{DialogEvent, description};
use super::wire::Message;
use super::{Shared, locked, wire};
use crate::sip::Party;

/// To whom an INVITE of ours belongs.
#[derive(Clone)]
pub(super) struct Ringer {
    pub party: Party,
    pub tell: mpsc::Sender<DialogEvent>,
}

/// A response on its way to the stack.
pub(super) struct HeldResponse {
    pub response: Response,
    pub connection: SipConnection,
    pub from: SipAddr,
}

/// What an INVITE without an offer waits for.
enum Late {
    Offer,
    Answer(Box<HeldResponse>),
    /// The answer, and the tag of the phone that gets it.
    Settled(String, Option<String>),
}

struct Ring {
    ringer: Ringer,
    late: Option<Late>,
    /// The branches of its Via, one for each time that it was sent with other credentials.
    branches: Vec<String>,
    visited: Vec<String>,
}

/// All of them, by Call-ID.
#[derive(Clone, Default)]
pub(super) struct Ringing(Arc<Mutex<HashMap<String, Ring>>>);

/// Keeps one of them known, until it has its final answer.
pub(super) struct Rings {
    ringing: Ringing,
    call_id: String,
}

impl Drop for Rings {
    fn drop(&mut self) {
        locked(&self.ringing.0).remove(&self.call_id);
    }
}

impl Ringing {
    /// An INVITE is sent; `is_late` if without an offer. `visited` are the URIs that its call has been sent to, this one
    /// included.
    pub(crate) fn begin(
        &self,
        call_id: &str,
        ringer: Ringer,
        is_late: bool,
        visited: Vec<String>,
    ) -> Rings {
        let ring = Ring {
            ringer,
            late: is_late.then_some(Late::Offer),
            branches: Vec::new(),
            visited,
        };
        locked(&self.0).insert(call_id.to_owned(), ring);
        Rings {
            ringing: self.clone(),
            call_id: call_id.to_owned(),
        }
    }

    /// Whether nobody waits for anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        locked(&self.0).is_empty()
    }

    /// Whether an INVITE waits for its final answer.
    pub(crate) fn has(&self, call_id: &str) -> bool {
        locked(&self.0).contains_key(call_id)
    }

    /// Where a call has been sent to already whose new INVITE is one of ours that has come back: it bears a Via or the
    /// Call-ID of ours. A B2BUA on the way that replaces both hides that.
    pub(crate) fn visited_by(&self, invite: &Message) -> Vec<String> {
        let vias: HashSet<&str> = invite.items("Via").filter_map(wire::branch).collect();
        let is_it = |call_id: &str, ring: &Ring| {
            let mut branches = ring.branches.iter();
            invite.header("Call-ID") == Some(call_id)
                || branches.any(|branch| vias.contains(branch.as_str()))
        };
        let ringing = locked(&self.0);
        let ours = ringing
            .iter()
            .filter(|(call_id, ring)| is_it(call_id, ring));
        ours.flat_map(|(_, ring)| ring.visited.clone()).collect()
    }

    /// Whose it is.
    pub(crate) fn taker(&self, call_id: &str) -> Option<(Party, mpsc::Sender<DialogEvent>)> {
        let ringing = locked(&self.0);
        let ringer = &ringing.get(call_id)?.ringer;
        Some((ringer.party, ringer.tell.clone()))
    }

    /// Whether an INVITE went out without an offer, so that no description answers one.
    pub(crate) fn is_late(&self, call_id: &str) -> bool {
        locked(&self.0)
            .get(call_id)
            .is_some_and(|ring| ring.late.is_some())
    }

    /// Holds a 2xx whose offer is to be answered; given back if it is to be served at once.
    pub(crate) fn hold(&self, held: HeldResponse) -> Option<HeldResponse> {
        let response = &held.response;
        let answers_invite = response.status_code.kind() == StatusCodeKind::Successful
            && response
                .cseq_header()
                .and_then(rsipstack::sip::CSeq::method)
                .is_ok_and(|method| method == Method::Invite);
        let (true, Some(call_id), Some(tag)) =
            (answers_invite, call_id_of(response), tag_of(response))
        else {
            return Some(held);
        };
        let mut ringing = locked(&self.0);
        let Some(ring) = ringing.get_mut(&call_id) else {
            return Some(held);
        };
        match ring.late {
            // Sent again by one that waits for its ACK; of several phones the first one counts.
            Some(Late::Answer(_)) => None,
            Some(Late::Offer) => {
                let Some(offer) = description(response) else {
                    return Some(held);
                };
                let told = DialogEvent::OfferedLate(ring.ringer.party, call_id, tag, offer);
                if ring.ringer.tell.try_send(told).is_err() {
                    return Some(held);
                }
                ring.late = Some(Late::Answer(Box::new(held)));
                None
            }
            Some(Late::Settled(..)) | None => Some(held),
        }
    }

    /// The answer is there; the response that waited for it.
    fn settle(&self, call_id: &str, answer: Option<String>) -> Option<HeldResponse> {
        let mut ringing = locked(&self.0);
        let ring = ringing.get_mut(call_id)?;
        match ring.late.take() {
            Some(Late::Answer(held)) => {
                let tag = tag_of(&held.response).unwrap_or_default();
                ring.late = Some(Late::Settled(tag, answer));
                Some(*held)
            }
            other => {
                ring.late = other;
                None
            }
        }
    }

    /// Gives an ACK the answer that it takes along, and an INVITE without an offer no kind of body; notes the branch that
    /// an INVITE is known by when it comes back.
    pub(crate) fn complete(&self, request: &mut Request) {
        if request.method == Method::Invite {
            self.note_branch(request);
        }
        if request.method == Method::Invite && request.body.is_empty() {
            let is_kind = |header: &Header| matches!(header, Header::ContentType(_));
            request.headers.retain(|header| !is_kind(header));
        }
        if request.method != Method::Ack || !request.body.is_empty() {
            return;
        }
        let (Some(call_id), Some(tag)) = (call_id_of(request), tag_of(request)) else {
            return;
        };
        let ringing = locked(&self.0);
        let late = ringing.get(&call_id).and_then(|ring| ring.late.as_ref());
        if let Some(Late::Settled(to, Some(answer))) = late
            && *to == tag
        {
            request.body = answer.clone().into_bytes();
            let length = request.body.len() as u32;
            request
                .headers
                .unique_push(Header::ContentType("application/sdp".into()));
            request
                .headers
                .unique_push(Header::ContentLength(length.into()));
        }
    }

    fn note_branch(&self, invite: &Request) {
        let via = invite.header_value("Via").unwrap_or_default();
        let (Some(call_id), Some(branch)) = (call_id_of(invite), wire::branch(&via)) else {
            return;
        };
        if let Some(ring) = locked(&self.0).get_mut(&call_id)
            && !ring.branches.iter().any(|known| known == branch)
        {
            ring.branches.push(branch.to_owned());
        }
    }
}

impl Shared {
    /// Lets the stack see the 2xx that was held back, and acknowledge it with our answer.
    pub(super) fn answer_late(self: &Arc<Self>, call_id: &str, answer: Option<String>) {
        let Some(held) = self.ringing.settle(call_id, answer) else {
            return;
        };
        let shared = self.clone();
        self.until_cut(async move {
            let message = SipMessage::Response(held.response);
            let _ = shared
                .endpoint
                .on_received_message(message, held.connection, &held.from)
                .await;
        });
    }
}

fn call_id_of(message: &impl HeadersExt) -> Option<String> {
    Some(message.call_id_header().ok()?.value().to_owned())
}

fn tag_of(message: &impl HeadersExt) -> Option<String> {
    let to = message.header_value("To")?;
    wire::tag(&to).map(str::to_owned)
}
