//! The one table of what the edge knows by Call-ID: the INVITEs that came and whose calls run, the dialogs and whose they
//! are, and the INVITEs of ours that have no final answer yet.
//!
//! Of the last it knows who takes what comes for them, which of them come back to us, and the late offer of those that
//! were sent without one (RFC 3261 §13.2.1). The stack acknowledges a 2xx as soon as it sees it. One whose offer is still
//! to be answered is held back here until the answer is there, and the ACK takes it along.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use crate::gateway::sip::dialog::bodies::description;
use crate::gateway::sip::edge::admission::Who;
use crate::gateway::sip::edge::streams::Carried;
use crate::gateway::sip::edge::wire::{self, Message};
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::stack::dialogs::{DialogId, DialogStateReceiver, InviteDialog};
use crate::gateway::sip::stack::message::{
    CSeq, Header, HeadersExt, Method, Request, Response, StatusCodeKind, Uri,
};
use crate::gateway::sip::stack::transactions::{Transaction, TransactionEventSender};
use crate::gateway::sip::stack::transports::{SipAddr, SipConnection};
use crate::sip::Party;
use crate::sip::registrar::Flow;
use crate::sip::session::{Grant, Session};

/// All of it.
#[derive(Default)]
pub(crate) struct DialogTable(Mutex<HashMap<String, Known>>);

/// What is known by one Call-ID.
#[derive(Default)]
struct Known {
    /// The INVITEs that came and whose calls run, by the tag of From and their number.
    invites: HashMap<(String, u32), Arrival>,
    /// By our tag.
    dialogs: HashMap<String, DialogEntry>,
    /// Our INVITE, until it has its final answer.
    ring: Option<Ring>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.invites.is_empty() && self.dialogs.is_empty() && self.ring.is_none()
    }
}

/// Who takes what comes for a dialog.
pub(crate) type Taker = (Party, mpsc::Sender<DialogEvent>);

/// What happens to a dialog besides what the stack tells of it.
pub(crate) enum DialogEvent {
    /// A request within it.
    Request(Party, Box<Transaction>),
    /// The 2xx to our INVITE makes the offer: Call-ID, the phone's tag, and the offer.
    OfferedLate(Party, String, String, String),
    /// The ACK of a re-INVITE, and its body.
    Acked(Party, Option<String>),
    /// None came.
    NotAcked(Party),
    /// A PRACK has been answered: what waited for it may follow.
    Pracked(Party),
    /// What became of a request of ours; `None` when it could not be sent.
    Responded(Party, Option<Response>),
    /// An INVITE takes this party's place.
    TakenOver(Party, Box<PendingInvite>),
}

/// An INVITE that waits for our answer, and its dialog.
pub(crate) struct PendingInvite {
    pub dialog: InviteDialog,
    pub states: DialogStateReceiver,
    pub respond: TransactionEventSender,
    pub session: Session,
    pub grant: Option<Grant>,
    pub alive: Option<Alive>,
    pub begun: Beginning,
    /// Its INVITE has an offer.
    pub offer: Option<String>,
}

/// Whose a dialog is, for requests that name it.
#[derive(Clone)]
pub(crate) struct DialogEntry {
    pub party: Party,
    pub remote_tag: String,
    pub answered: bool,
    pub tell: mpsc::Sender<DialogEvent>,
}

/// How a dialog began, for what is sent within it.
pub(crate) struct Beginning {
    /// The way its INVITE took.
    pub flow: Flow,
    /// That its stream is in use.
    pub stream: Option<Carried>,
    /// Our Contact in it.
    pub contact: Uri,
    /// Name and password for a challenge.
    pub login: Option<(String, String)>,
    /// Whether the peer is only sent requests where it sends from itself: nobody vouches for what it names besides.
    pub stays: bool,
}

/// What identifies an INVITE however it reached us (RFC 3261 §8.2.2.2): Call-ID, tag of From, number.
pub(crate) type InviteKey = (String, String, u32);

/// How an INVITE reached us.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) branch: String,
    /// Its From as it came, for the stack may be shown another one.
    pub(crate) from: String,
    pub(crate) flow: Flow,
    pub(crate) who: Who,
    /// The caller has taken our answer, and so is where its INVITE came from.
    pub(crate) acknowledged: bool,
    /// The URIs that we had sent its call to before it came back to us.
    pub(crate) visited: Vec<String>,
}

/// To whom an INVITE of ours belongs.
#[derive(Clone)]
pub(crate) struct Ringer {
    pub party: Party,
    pub tell: mpsc::Sender<DialogEvent>,
}

/// A response on its way to the stack.
pub(crate) struct HeldResponse {
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

impl DialogTable {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        locked(&self.0)
    }

    /// Takes something out of what is known by a Call-ID; what is empty then is forgotten.
    fn forget(&self, call_id: &str, take: impl FnOnce(&mut Known)) {
        let mut all = self.all();
        if let Some(known) = all.get_mut(call_id) {
            take(known);
            if known.is_empty() {
                all.remove(call_id);
            }
        }
    }

    /// Whether nothing is known.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    // INVITEs that came.

    /// How an INVITE reached us, while its call runs.
    pub(crate) fn arrival(&self, (call_id, tag, number): &InviteKey) -> Option<Arrival> {
        let all = self.all();
        let invites = &all.get(call_id)?.invites;
        invites.get(&(tag.clone(), *number)).cloned()
    }

    /// Takes an INVITE in, unless `refusal` has something against it that is known of the others.
    pub(crate) fn take_in<R>(
        &self,
        (call_id, tag, number): InviteKey,
        arrival: Arrival,
        refusal: impl FnOnce(&[&Arrival]) -> Option<R>,
    ) -> Option<R> {
        let mut all = self.all();
        let others: Vec<&Arrival> = all
            .values()
            .flat_map(|known| known.invites.values())
            .collect();
        let refused = refusal(&others);
        if refused.is_none() {
            let known = all.entry(call_id).or_default();
            known.invites.insert((tag, number), arrival);
        }
        refused
    }

    /// Forgets an INVITE.
    pub(crate) fn let_go(&self, (call_id, tag, number): &InviteKey) {
        self.forget(call_id, |known| {
            known.invites.remove(&(tag.clone(), *number));
        });
    }

    // Dialogs.

    /// Whose a dialog is.
    pub(crate) fn entry(&self, call_id: &str, local_tag: &str) -> Option<DialogEntry> {
        self.all().get(call_id)?.dialogs.get(local_tag).cloned()
    }

    // INVITEs of ours.

    /// An INVITE is sent; `is_late` if without an offer. `visited` are the URIs that its call has been sent to, this one
    /// included.
    pub(crate) fn begin(
        self: &Arc<Self>,
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
        self.all().entry(call_id.to_owned()).or_default().ring = Some(ring);
        Rings {
            table: self.clone(),
            call_id: call_id.to_owned(),
        }
    }

    /// Whether an INVITE of ours waits for its final answer.
    pub(crate) fn is_ringing(&self, call_id: &str) -> bool {
        self.all()
            .get(call_id)
            .is_some_and(|known| known.ring.is_some())
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
        let all = self.all();
        let ringing = all
            .iter()
            .filter_map(|(call_id, known)| Some((call_id, known.ring.as_ref()?)));
        let ours = ringing.filter(|(call_id, ring)| is_it(call_id, ring));
        ours.flat_map(|(_, ring)| ring.visited.clone()).collect()
    }

    /// Who takes what a phone asks that an INVITE of ours lets ring.
    pub(crate) fn ringer(&self, call_id: &str) -> Option<Taker> {
        let all = self.all();
        let ringer = &all.get(call_id)?.ring.as_ref()?.ringer;
        Some((ringer.party, ringer.tell.clone()))
    }

    /// Whether an INVITE went out without an offer, so that no description answers one.
    pub(crate) fn is_late(&self, call_id: &str) -> bool {
        let all = self.all();
        let ring = all.get(call_id).and_then(|known| known.ring.as_ref());
        ring.is_some_and(|ring| ring.late.is_some())
    }

    /// Holds a 2xx whose offer is to be answered; given back if it is to be served at once.
    pub(crate) fn hold(&self, held: HeldResponse) -> Option<HeldResponse> {
        let response = &held.response;
        let answers_invite = response.status_code.kind() == StatusCodeKind::Successful
            && response
                .cseq_header()
                .and_then(CSeq::method)
                .is_ok_and(|method| method == Method::Invite);
        let (true, Some(call_id), Some(tag)) =
            (answers_invite, call_id_of(response), tag_of(response))
        else {
            return Some(held);
        };
        let mut all = self.all();
        let Some(ring) = all.get_mut(&call_id).and_then(|known| known.ring.as_mut()) else {
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
    pub(crate) fn settle(&self, call_id: &str, answer: Option<String>) -> Option<HeldResponse> {
        let mut all = self.all();
        let ring = all.get_mut(call_id)?.ring.as_mut()?;
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
        let all = self.all();
        let late = all
            .get(&call_id)
            .and_then(|known| known.ring.as_ref()?.late.as_ref());
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
        if let Some(ring) = self
            .all()
            .get_mut(&call_id)
            .and_then(|known| known.ring.as_mut())
            && !ring.branches.iter().any(|known| known == branch)
        {
            ring.branches.push(branch.to_owned());
        }
    }
}

/// Keeps a dialog in the table while it lives.
pub(crate) struct DialogRegistration {
    table: Arc<DialogTable>,
    call_id: String,
    local_tag: String,
}

impl DialogRegistration {
    pub(crate) fn new(table: &Arc<DialogTable>, id: &DialogId, entry: DialogEntry) -> Self {
        let mut all = table.all();
        let known = all.entry(id.call_id.clone()).or_default();
        known.dialogs.insert(id.local_tag.clone(), entry);
        drop(all);
        Self {
            table: table.clone(),
            call_id: id.call_id.clone(),
            local_tag: id.local_tag.clone(),
        }
    }

    pub(crate) fn is_answered(&self) {
        let mut all = self.table.all();
        let known = all.get_mut(&self.call_id);
        if let Some(entry) = known.and_then(|known| known.dialogs.get_mut(&self.local_tag)) {
            entry.answered = true;
        }
    }
}

impl Drop for DialogRegistration {
    fn drop(&mut self) {
        self.table.forget(&self.call_id, |known| {
            known.dialogs.remove(&self.local_tag);
        });
    }
}

/// That an INVITE's dialog lives, so that its retransmissions are known and it counts.
pub(crate) struct Alive {
    table: Arc<DialogTable>,
    key: InviteKey,
}

impl Alive {
    pub(crate) fn new(table: &Arc<DialogTable>, key: InviteKey) -> Self {
        Self {
            table: table.clone(),
            key,
        }
    }

    pub(crate) fn acknowledged(&self) {
        let (call_id, tag, number) = &self.key;
        let mut all = self.table.all();
        let known = all.get_mut(call_id);
        if let Some(arrival) =
            known.and_then(|known| known.invites.get_mut(&(tag.clone(), *number)))
        {
            arrival.acknowledged = true;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.table.let_go(&self.key);
    }
}

/// Keeps an INVITE of ours known, until it has its final answer.
pub(crate) struct Rings {
    table: Arc<DialogTable>,
    call_id: String,
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.table.forget(&self.call_id, |known| known.ring = None);
    }
}

fn call_id_of(message: &impl HeadersExt) -> Option<String> {
    Some(message.call_id_header().ok()?.value().to_owned())
}

fn tag_of(message: &impl HeadersExt) -> Option<String> {
    let to = message.header_value("To")?;
    wire::tag(&to).map(str::to_owned)
}
