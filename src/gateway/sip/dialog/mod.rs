//! One party's dialog, once it exists: what it asks, what it is asked, and its end.
//!
//! The stack keeps the dialog: its route, the INVITE that began it, ACK, CANCEL and the peer's BYE. Every other request
//! within it comes here, so that the dialog never leaves its confirmed state while a request waits, and a BYE can
//! always be sent and taken.
//!
//! `initial_invite` is the INVITE that began it, until it is answered; `incoming` what the peer asks, `outgoing` what we
//! ask, `requests` how that is sent, and `bodies` what all these messages say. The `table` knows all dialogs of the edge.

pub(crate) mod bodies;
mod incoming;
mod initial_invite;
mod outgoing;
pub(crate) mod requests;
pub(crate) mod table;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::gateway::sip::dialog::bodies::{allows, description};
use crate::gateway::sip::dialog::incoming::Open;
use crate::gateway::sip::dialog::initial_invite::Unanswered;
use crate::gateway::sip::dialog::requests::Requests;
use crate::gateway::sip::dialog::table::{
    Alive, Beginning, DialogEntry, DialogEvent, DialogRegistration, PendingInvite,
};
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::dialogs::{DialogState, DialogStateReceiver, InviteDialog};
use crate::gateway::sip::stack::message::{
    Header, HeadersExt, Method, Request, Response, StatusCode,
};
use crate::gateway::sip::stack::transactions::Transaction;
use crate::sip::session::Session;
use crate::sip::siprec;
use crate::sip::{DialogEnd, Party, SipEvent};

/// A dialog and what it still owes.
pub(crate) struct Dialog {
    pub party: Party,
    pub stack: InviteDialog,
    pub states: DialogStateReceiver,
    pub confirmed: bool,
    pub session: Session,
    shared: Arc<Shared>,
    tell: mpsc::Sender<DialogEvent>,
    requests: Arc<Requests>,
    unanswered: Option<Unanswered>,
    open: Option<Open>,
    refer: Option<Box<Transaction>>,
    /// What the party that referred is told of the transfer, one after the other.
    reports: Option<mpsc::Sender<u16>>,
    /// A recording client called: we are its recording server (RFC 7866 §6.2).
    records: bool,
    /// The number of the peer's last request.
    number: u32,
    registration: DialogRegistration,
    alive: Option<Alive>,
}

impl Dialog {
    /// The dialog of an INVITE that came.
    pub(crate) fn called(
        shared: &Arc<Shared>,
        party: Party,
        new: PendingInvite,
        tell: &mpsc::Sender<DialogEvent>,
    ) -> Self {
        let request = new.dialog.initial_request();
        let mut dialog = Self::new(
            shared,
            party,
            (new.dialog, new.states),
            new.begun,
            new.session,
            tell,
        );
        dialog.number = request
            .cseq_header()
            .ok()
            .and_then(|cseq| cseq.seq().ok())
            .unwrap_or(0);
        dialog
            .session
            .peer_takes_updates(allows(&request, "UPDATE"));
        dialog.records = request.header_contains_token("Require", siprec::OPTION_TAG);
        dialog.alive = new.alive;
        dialog.unanswered = Some(Unanswered::new(
            &request,
            shared.config.t1,
            new.respond,
            new.grant,
            new.offer.is_none(),
        ));
        dialog
    }

    /// The dialog of an INVITE of ours that has been accepted.
    pub(crate) fn calling(
        shared: &Arc<Shared>,
        party: Party,
        dialog: (InviteDialog, DialogStateReceiver),
        begun: Beginning,
        session: Session,
        tell: &mpsc::Sender<DialogEvent>,
    ) -> Self {
        let mut dialog = Self::new(shared, party, dialog, begun, session, tell);
        dialog.confirmed = true;
        dialog.registration.is_answered();
        dialog
    }

    fn new(
        shared: &Arc<Shared>,
        party: Party,
        (dialog, states): (InviteDialog, DialogStateReceiver),
        begun: Beginning,
        session: Session,
        tell: &mpsc::Sender<DialogEvent>,
    ) -> Self {
        let id = dialog.id();
        let entry = DialogEntry {
            party,
            remote_tag: id.remote_tag.clone(),
            answered: false,
            tell: tell.clone(),
        };
        Self {
            party,
            registration: DialogRegistration::new(&shared.dialogs, &id, entry),
            requests: Arc::new(Requests::new(shared, &dialog, begun)),
            stack: dialog,
            states,
            confirmed: false,
            session,
            shared: shared.clone(),
            tell: tell.clone(),
            unanswered: None,
            open: None,
            refer: None,
            reports: None,
            records: false,
            number: 0,
            alive: None,
        }
    }

    /// Whether its INVITE still waits for our final response.
    pub(crate) const fn waits(&self) -> bool {
        self.unanswered.is_some()
    }

    const fn hung_up(&self, cause: DialogEnd) -> SipEvent {
        SipEvent::HungUp {
            party: self.party,
            cause,
        }
    }

    // What the stack tells.

    /// What a dialog that is not over has to say.
    pub(crate) fn hear(&mut self, state: &DialogState) -> Option<SipEvent> {
        if !matches!(state, DialogState::Confirmed(..)) || self.confirmed {
            return None;
        }
        self.confirmed = true;
        if let Some(alive) = &self.alive {
            alive.acknowledged();
        }
        if !self.session.acknowledged() {
            return Some(SipEvent::Acknowledged { party: self.party });
        }
        let answer = description(&self.stack.last_remote_ack()?)?;
        Some(SipEvent::OfferAnswered {
            party: self.party,
            answer,
        })
    }

    // Its end.

    /// Ends a dialog that was answered; one that waits for its ACK first gets it (RFC 3261 §15).
    pub(crate) async fn say_bye(mut self) {
        let patience = self.shared.config.t1 * 70;
        let waits_for_ack =
            |dialog: &InviteDialog| matches!(dialog.state(), DialogState::WaitAck(..));
        let farewell = async {
            // The 200 may still be on its way out.
            while !self.confirmed && waits_for_ack(&self.stack) {
                if self.states.recv().await.is_none() {
                    break;
                }
            }
            // Where no ACK came, the stack has said it already.
            if matches!(
                self.stack.state(),
                DialogState::Confirmed(..) | DialogState::WaitAck(..)
            ) {
                self.requests.ask(Method::Bye, vec![], None).await;
            }
        };
        let _ = timeout(patience, farewell).await;
        self.shared.stack.layer.remove_dialog(&self.stack.id());
    }

    // Responses.

    fn response(
        &self,
        request: &Request,
        status: StatusCode,
        headers: Vec<Header>,
        body: Option<Vec<u8>>,
    ) -> Response {
        let mut response = self
            .shared
            .stack
            .endpoint
            .make_response(request, status, body);
        let id = self.stack.id();
        let tagged = request.to_header().ok().map(ToString::to_string);
        let line = tagged.unwrap_or_default();
        let to = line.split_once(':').map_or("", |(_, value)| value).trim();
        if wire::tag(to).is_none() {
            response
                .headers
                .unique_push(Header::To(format!("{to};tag={}", id.local_tag).into()));
        }
        response.headers.push(self.own_contact());
        response.headers.extend(headers);
        response
    }

    fn own_contact(&self) -> Header {
        let feature = if self.records { ";+sip.srs" } else { "" };
        Header::Contact(format!("<{}>{feature}", self.requests.contact()).into())
    }

    fn reply(&self, request: Box<Transaction>, status: StatusCode, headers: Vec<Header>) {
        let response = self.response(&request.original, status, headers, None);
        self.respond(request, response);
    }

    /// Answers in a task of its own: a stream whose peer does not read must not hold up the call.
    fn respond(&self, mut request: Box<Transaction>, response: Response) {
        let is_prack = request.original.method == Method::PRack;
        let (tell, party) = (self.tell.clone(), self.party);
        self.shared.until_cut(async move {
            let _ = request.respond(response).await;
            if is_prack {
                let _ = tell.send(DialogEvent::Pracked(party)).await;
            }
            // A refused INVITE waits for its ACK.
            while request.receive().await.is_some() {}
        });
    }
}

impl Drop for Dialog {
    /// What the peer asked last gets an answer, for its transaction lives until then (RFC 3261 §15.1.2).
    fn drop(&mut self) {
        // Not where the edge itself is being cut.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.answer(Err(487));
            self.answer_refer(487);
        }
    }
}
