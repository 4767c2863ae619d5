//! One dialog of a call, once it exists: its offers, its ACKs and its end.

use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TransactionHandle};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{Header, Method, StatusCode};
use tokio::time::timeout;

use super::sockets::Carried;
use super::{Shared, wire};
use crate::sip::SipEvent;
use crate::speech::Leg;

/// A dialog and what it still owes.
pub(super) struct Side {
    pub dialog: InviteDialog,
    pub states: DialogStateReceiver,
    pub confirmed: bool,
    /// An offer that the call has not answered yet.
    pub offer: Option<TransactionHandle>,
    /// Our 2xx carried the offer, so the ACK carries the answer (RFC 3264 §4).
    answer_in_ack: bool,
    /// Keeps the stream that carries the dialog.
    _stream: Option<Carried>,
}

impl Side {
    pub fn new(
        dialog: InviteDialog,
        states: DialogStateReceiver,
        answer_in_ack: bool,
        stream: Option<Carried>,
    ) -> Self {
        Self {
            dialog,
            states,
            confirmed: false,
            offer: None,
            answer_in_ack,
            _stream: stream,
        }
    }

    /// The answer that came in an ACK, if one was due.
    fn answer_of_ack(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.answer_in_ack) {
            return None;
        }
        body(&self.dialog.last_remote_ack()?.body)
    }

    /// What a dialog that is not over has to say.
    pub async fn hear(&mut self, leg: Leg, state: DialogState) -> Option<SipEvent> {
        match state {
            // The stack says this again at the ACK of each re-INVITE, with our own answer as its body.
            DialogState::Confirmed(..) => {
                self.confirmed = true;
                self.answer_of_ack()
                    .map(|answer| SipEvent::OfferAnswered { leg, answer })
            }
            DialogState::Updated(_, request, transaction) => {
                let offer = body(&request.body);
                if self.offer.is_some() {
                    let _ = transaction
                        .respond(StatusCode::RequestPending, None, None)
                        .await;
                    return None;
                }
                if offer.is_none() && request.method == Method::Update {
                    // Only a sign of life (RFC 3311).
                    let _ = transaction.respond(StatusCode::OK, None, None).await;
                    return None;
                }
                self.answer_in_ack = offer.is_none();
                self.offer = Some(transaction);
                Some(SipEvent::Offered { leg, offer })
            }
            _ => None,
        }
    }

    /// Ends a confirmed dialog; one that waits for its ACK first gets it (RFC 3261 §15).
    pub async fn say_bye(mut self, shared: &Shared) {
        let patience = shared.config.t1 * 70;
        let waits_for_ack =
            |dialog: &InviteDialog| matches!(dialog.state(), DialogState::WaitAck(..));
        let farewell = async {
            // The 200 may still be on its way out.
            while !self.confirmed && waits_for_ack(&self.dialog) {
                if self.states.recv().await.is_none() {
                    break;
                }
            }
            let _ = self.dialog.bye().await;
        };
        let _ = timeout(patience, farewell).await;
        shared.layer.remove_dialog(&self.dialog.id());
    }
}

/// A message's body as text, if it has one.
pub(super) fn body(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// Headers and body that carry a description.
pub(super) fn with_sdp(description: String) -> (Option<Vec<Header>>, Option<Vec<u8>>) {
    let headers = vec![
        Header::ContentType("application/sdp".into()),
        Header::Allow(wire::ALLOW.into()),
    ];
    (Some(headers), Some(description.into_bytes()))
}
