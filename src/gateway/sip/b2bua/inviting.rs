//! The invitation of a phone, until it has answered or been given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::gateway::sip::b2bua::early::EarlyDialogs;
use crate::gateway::sip::b2bua::invite::{Invitation, Invited};
use crate::gateway::sip::b2bua::{End, SipCall, invite};
use crate::gateway::sip::dialog::Dialog;
use crate::gateway::sip::dialog::bodies::{allows, description, said, timer_headers};
use crate::gateway::sip::dialog::table::Ringer;
use crate::gateway::sip::edge::resolve::Unreachable;
use crate::gateway::sip::stack::dialogs::{DialogState, DialogStateReceiver};
use crate::gateway::sip::stack::message::{Header, Response, Uri};
use crate::gateway::sip::stack::uris::sip_uri;
use crate::private::Private;
use crate::sip::session::Session;
use crate::sip::{Party, SipEvent, Target};

/// How often an invitation is repeated because the session timer that it asks for is too short.
const MOST_TIMERS: u8 = 3;

/// A phone that is being invited.
pub(crate) struct Inviting {
    pub invitation: JoinHandle<Result<Invited, Unreachable>>,
    pub states: DialogStateReceiver,
    pub deadline: Instant,
    pub heard: Arc<AtomicBool>,
    pub session: Session,
    pub early_dialogs: EarlyDialogs,
    pub asked: Asked,
    pub tries: u8,
}

/// What a phone is invited with.
#[derive(Clone)]
pub(crate) struct Asked {
    /// In the order to try them.
    pub callees: Vec<Uri>,
    pub target: Target,
    pub number: Option<Private<String>>,
    pub offer: String,
}

impl SipCall {
    pub(crate) fn invite(
        &mut self,
        party: Party,
        target: Target,
        number: Option<Private<String>>,
        offer: String,
    ) {
        if self.ends.contains_key(&party) {
            return;
        }
        self.begun = true;
        if sip_uri(&target.uri).is_none() {
            return self.tell(SipEvent::Rejected {
                party,
                status: 416,
                reason: "the address is no sip: URI".to_owned(),
            });
        }
        // Whom the rules name next is tried next; of whom they do not know, as in a transfer, there is only the one.
        let known = self.route.first() == Some(&target.uri);
        let others = self
            .route
            .iter()
            .filter(|other| known && **other != target.uri);
        let callees = std::iter::once(&target.uri)
            .chain(others)
            .filter_map(|uri| sip_uri(uri))
            .flat_map(|uri| self.shared.meant(uri, self.trunk.as_deref()))
            .collect();
        let session = Session::new(true, self.shared.config.session, rand::random());
        let asked = Asked {
            callees,
            target,
            number,
            offer,
        };
        self.ask(party, asked, session, 0);
    }

    fn ask(&mut self, party: Party, asked: Asked, session: Session, tries: u8) {
        let mut headers = timer_headers(session.says());
        if let Some(replaces) = &asked.target.replaces {
            headers.push(Header::Replaces(replaces.to_string().into()));
            headers.push(Header::Require("replaces".into()));
        }
        if let Some(referred_by) = &asked.target.referred_by {
            headers.push(Header::ReferredBy(referred_by.clone().into()));
        }
        let config = &self.shared.config;
        let more = asked.callees.len().saturating_sub(1) as u32;
        let patience = config.operator_reply + config.hop_reply * more;
        let (state_sender, states) = self.shared.stack.layer.new_dialog_state_channel();
        let heard = Arc::new(AtomicBool::new(false));
        let invitation = self.shared.tasks.spawn(invite::invite(
            self.shared.clone(),
            Invitation {
                callees: asked.callees.clone(),
                trunk: self.trunk.clone(),
                number: asked.number.clone(),
                offer: asked.offer.clone(),
                hops: self.hops,
                breadth: self.breadth,
                visited: self.visited.clone(),
                headers,
                ringer: Ringer {
                    party,
                    tell: self.tell.clone(),
                },
            },
            heard.clone(),
            state_sender,
        ));
        let inviting = Inviting {
            invitation,
            states,
            deadline: Instant::now() + patience,
            heard,
            session,
            early_dialogs: EarlyDialogs::new(&self.shared),
            asked,
            tries,
        };
        self.ends.insert(party, End::Inviting(Box::new(inviting)));
    }

    pub(crate) fn on_invitation(
        &mut self,
        party: Party,
        result: Option<Result<Invited, Unreachable>>,
    ) {
        let Some(End::Inviting(inviting)) = self.ends.remove(&party) else {
            return;
        };
        let Inviting {
            mut states,
            mut session,
            mut early_dialogs,
            asked,
            tries,
            ..
        } = *inviting;
        // Ringing that had no turn yet; what follows the answer stays for later.
        while let Ok(state) = states.try_recv() {
            match state {
                DialogState::Early(_, response) => {
                    let events = early_dialogs.note(party, &response);
                    for event in events {
                        self.tell(event);
                    }
                }
                DialogState::Confirmed(..) => break,
                _ => {}
            }
        }
        let (status, reason) = match result {
            Some(Ok(invited)) => match &invited.response {
                Some(response) if invited.is_accepted() => {
                    session.accepted(std::time::Instant::now(), said(response));
                    let early = early_dialogs.answered(&invited.dialog.id().remote_tag);
                    session.described(early.ours.as_ref().unwrap_or(&asked.offer));
                    session.peer_takes_updates(allows(response, "UPDATE") || early.takes_updates);
                    // A 2xx that says nothing means what was said while it rang.
                    let answer = description(response).or(early.previewed);
                    self.tell(match early.described {
                        // What the phone and we agreed on while it rang stands, whatever the 200 repeats (RFC 3261 §13.2.1).
                        Some((description, true)) => SipEvent::Accepted { party, description },
                        Some((answer, false)) => SipEvent::Answered { party, answer },
                        None => SipEvent::Answered {
                            party,
                            answer: answer.unwrap_or_default(),
                        },
                    });
                    let Invited { dialog, begun, .. } = invited;
                    let dialog = (dialog, states);
                    let mut connected =
                        Dialog::calling(&self.shared, party, dialog, begun, session, &self.tell);
                    connected.was_early(early.number, early.open);
                    self.ends.insert(party, End::Talking(Box::new(connected)));
                    return;
                }
                Some(response)
                    if response.status_code.code() == 422
                        && tries < MOST_TIMERS
                        && session.is_too_short(said(response).min_se) =>
                {
                    return self.ask(party, asked, session, tries + 1);
                }
                Some(Response {
                    status_code,
                    wire_reason,
                    ..
                }) => (
                    status_code.code(),
                    wire_reason
                        .clone()
                        .unwrap_or_else(|| status_code.text().to_owned()),
                ),
                None => (408, "no final answer".to_owned()),
            },
            Some(Err(unreachable)) => (unreachable.status, unreachable.reason),
            None => (408, "given up".to_owned()),
        };
        self.tell(SipEvent::Rejected {
            party,
            status,
            reason,
        });
    }

    pub(crate) fn give_up(&mut self, party: Party) {
        let Some(End::Inviting(inviting)) = self.ends.remove(&party) else {
            return;
        };
        let reason = if inviting.heard.load(Ordering::Relaxed) {
            "the phone rang too long"
        } else {
            "the phone did not answer the INVITE"
        };
        self.end(End::Inviting(inviting));
        self.tell(SipEvent::Rejected {
            party,
            status: 408,
            reason: reason.to_owned(),
        });
    }
}
