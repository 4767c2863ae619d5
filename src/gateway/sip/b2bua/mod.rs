//! One call: the task that owns the dialogs of its parties.
//!
//! The stack reports each dialog's states, and the ingress hands over the requests within them; the task turns both
//! into [`SipEvent`]s and obeys [`SipCommand`]s. It ends when every dialog has ended. When the call drops a channel, or
//! the edge closes, it ends the dialogs itself.
//!
//! `arrival` is how it begins, `inviting` how its phones are called, by `invite` over one address after the other, and
//! `early` what they ask while they ring. `new_call` is what the gateway gets of it.

mod arrival;
mod early;
pub(crate) mod invite;
mod inviting;
pub(crate) mod new_call;

use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::arrival::{begin, place};
use crate::gateway::sip::b2bua::invite::Invited;
use crate::gateway::sip::b2bua::inviting::Inviting;
use crate::gateway::sip::b2bua::new_call::CALL_QUEUE;
use crate::gateway::sip::dialog::Dialog;
use crate::gateway::sip::dialog::table::{DialogEvent, PendingInvite};
use crate::gateway::sip::edge::resolve::Unreachable;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::dialogs::{DialogState, TerminatedReason};
use crate::gateway::sip::stack::message::{HeadersExt, Request, StatusCode};
use crate::sip::{Body, DialogEnd, Party, SipCommand, SipEvent};

/// The hops that a request of ours may take (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;
/// The branches that a request of ours may take at the same time (RFC 5393 §5.3.3).
const MAX_BREADTH: u32 = 60;
/// One party's end of the call.
enum End {
    Inviting(Box<Inviting>),
    Talking(Box<Dialog>),
}

/// What the task wakes up for.
enum Turn {
    Close,
    Deserted,
    /// The queue of events has a free place.
    Room,
    Command(SipCommand),
    State(Party, Option<DialogState>),
    /// An invitation has its final answer; `None` if it was aborted.
    Invited(Party, Option<Result<Invited, Unreachable>>),
    Dialog(DialogEvent),
    Deadline,
}

struct SipCall {
    shared: Arc<Shared>,
    ends: BTreeMap<Party, End>,
    /// How many parties have taken another's place.
    takeovers: u8,
    /// Whom the rules name for this call, in the order to try them.
    route: Vec<String>,
    /// The trunk that it came over.
    trunk: Option<String>,
    hops: u8,
    breadth: u32,
    /// The URIs that it was sent to before it came back to us.
    visited: Vec<String>,
    tell: mpsc::Sender<DialogEvent>,
    dialog_events: mpsc::Receiver<DialogEvent>,
    /// Events on their way to the call.
    outbox: VecDeque<SipEvent>,
    events: mpsc::Sender<SipEvent>,
    commands: mpsc::Receiver<SipCommand>,
    /// Whether the call still listens; a placed call begins with no party.
    deserted: bool,
    begun: bool,
}

/// The next thing that the stack tells of one of the dialogs.
async fn next_of(ends: &mut BTreeMap<Party, End>) -> Turn {
    poll_fn(|context| {
        for (party, end) in &mut *ends {
            match end {
                End::Inviting(inviting) => {
                    // What rang before the answer is told before it.
                    if let Poll::Ready(Some(state)) = inviting.states.poll_recv(context) {
                        return Poll::Ready(Turn::State(*party, Some(state)));
                    }
                    if let Poll::Ready(result) = Pin::new(&mut inviting.invitation).poll(context) {
                        return Poll::Ready(Turn::Invited(*party, result.ok()));
                    }
                }
                End::Talking(dialog) => {
                    if let Poll::Ready(state) = dialog.states.poll_recv(context) {
                        return Poll::Ready(Turn::State(*party, state));
                    }
                }
            }
        }
        Poll::Pending
    })
    .await
}

impl SipCall {
    fn new(
        shared: &Arc<Shared>,
        events: mpsc::Sender<SipEvent>,
        commands: mpsc::Receiver<SipCommand>,
    ) -> Self {
        let (tell, dialog_events) = mpsc::channel(CALL_QUEUE);
        Self {
            shared: shared.clone(),
            ends: BTreeMap::new(),
            takeovers: 0,
            route: Vec::new(),
            trunk: None,
            hops: MAX_FORWARDS,
            breadth: MAX_BREADTH,
            visited: Vec::new(),
            tell,
            dialog_events,
            outbox: VecDeque::new(),
            events,
            commands,
            deserted: false,
            begun: false,
        }
    }

    async fn run(mut self) {
        let mut closing = false;
        while !self.is_over() {
            let deadline = self.tick();
            if self.is_over() {
                break;
            }
            let turn = tokio::select! {
                () = self.shared.closing.cancelled(), if !closing => Turn::Close,
                () = self.events.closed(), if !self.deserted => Turn::Deserted,
                _ = self.events.reserve(), if !self.outbox.is_empty() && !self.deserted => Turn::Room,
                command = self.commands.recv(), if !self.deserted => {
                    command.map_or(Turn::Deserted, Turn::Command)
                }
                turn = next_of(&mut self.ends) => turn,
                Some(dialog_event) = self.dialog_events.recv() => Turn::Dialog(dialog_event),
                () = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline).await,
                        None => pending().await,
                    }
                } => Turn::Deadline,
            };
            match turn {
                Turn::Close => {
                    closing = true;
                    self.desert();
                }
                Turn::Deserted => {
                    // What the call said last counts: a refusal's status, a hang-up.
                    while let Ok(command) = self.commands.try_recv() {
                        self.obey(command);
                    }
                    self.desert();
                }
                Turn::Room => {
                    if let Some(event) = self.outbox.pop_front() {
                        let _ = self.events.try_send(event);
                    }
                }
                Turn::Command(command) => self.obey(command),
                Turn::State(party, state) => self.on_state(party, state),
                Turn::Invited(party, result) => self.on_invitation(party, result),
                Turn::Dialog(dialog_event) => self.on_dialog_event(dialog_event),
                Turn::Deadline => {}
            }
        }
        while let Some(event) = self.outbox.pop_front() {
            let _ = self.events.try_send(event);
        }
        // Who came too late is sent away.
        self.dialog_events.close();
        while let Ok(dialog_event) = self.dialog_events.try_recv() {
            if matches!(
                dialog_event,
                DialogEvent::Request(..) | DialogEvent::TakenOver(..)
            ) {
                self.deserted = true;
                self.on_dialog_event(dialog_event);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.ends.is_empty() && (self.begun || self.deserted)
    }

    /// Tells the call; one that does not listen any more is ended.
    fn tell(&mut self, event: SipEvent) {
        if self.outbox.len() < CALL_QUEUE {
            self.outbox.push_back(event);
        } else {
            self.desert();
        }
    }

    /// Ends every dialog.
    fn desert(&mut self) {
        self.deserted = true;
        while let Some((_, end)) = self.ends.pop_first() {
            self.end(end);
        }
    }

    fn dialog(&mut self, party: Party) -> Option<&mut Dialog> {
        match self.ends.get_mut(&party) {
            Some(End::Talking(dialog)) => Some(dialog),
            _ => None,
        }
    }

    /// Does what is due at each end; when something is due next.
    fn tick(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let parties: Vec<Party> = self.ends.keys().copied().collect();
        for party in parties {
            match self.ends.get_mut(&party) {
                Some(End::Inviting(inviting)) if inviting.deadline <= now => {
                    self.give_up(party);
                    continue;
                }
                Some(End::Talking(dialog)) => {
                    if let Some(event) = dialog.tick(now.into_std()) {
                        self.tell_of(party, event);
                    }
                }
                _ => {}
            }
            let at = match self.ends.get_mut(&party) {
                Some(End::Inviting(inviting)) => Some(inviting.deadline),
                Some(End::Talking(dialog)) => {
                    dialog.deadline(now.into_std()).map(Instant::from_std)
                }
                None => None,
            };
            next = [next, at].into_iter().flatten().min();
        }
        next
    }

    /// Tells an event of a dialog; one that says that the dialog is over ends it here too.
    fn tell_of(&mut self, party: Party, event: SipEvent) {
        if matches!(event, SipEvent::HungUp { .. })
            && let Some(end) = self.ends.remove(&party)
        {
            self.end(end);
        }
        self.tell(event);
    }

    fn obey(&mut self, command: SipCommand) {
        match command {
            SipCommand::Ring { party, answer, .. } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.ring(answer);
                }
            }
            SipCommand::Answer { party, answer } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.accept(answer);
                }
            }
            SipCommand::Reject {
                party,
                status,
                reason,
            } => self.reject(party, status, &reason),
            SipCommand::Invite {
                party,
                target,
                caller_number,
                offer,
            } => {
                self.invite(party, target, caller_number, offer);
            }
            SipCommand::HangUp { party } => {
                if let Some(end) = self.ends.remove(&party) {
                    self.end(end);
                }
            }
            SipCommand::Offer { party, offer } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.session.offer(offer);
                }
            }
            SipCommand::AnswerOffer { party, answer } => match self.ends.get_mut(&party) {
                Some(End::Talking(dialog)) => dialog.answer(answer),
                Some(End::Inviting(inviting)) => inviting.early_dialogs.answer(answer),
                None => {}
            },
            SipCommand::AnswerRefer { party, status } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.answer_refer(status);
                }
            }
            SipCommand::ReportTransfer { party, status } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.report(status);
                }
            }
            SipCommand::Key { party, key, millis } => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.press(key, millis);
                }
            }
        }
    }

    /// Refuses who waits, hangs up on who talks.
    fn reject(&mut self, party: Party, status: u16, reason: &str) {
        match self.ends.remove(&party) {
            Some(End::Talking(mut dialog)) if dialog.waits() => {
                dialog.reject(status, reason);
                self.shared.stack.layer.remove_dialog(&dialog.stack.id());
            }
            Some(end) => self.end(end),
            None => {}
        }
    }

    /// Ends a dialog, whatever its state.
    fn end(&self, end: End) {
        match end {
            End::Talking(mut dialog) if dialog.waits() => {
                dialog.reject(503, "");
                self.shared.stack.layer.remove_dialog(&dialog.stack.id());
            }
            End::Talking(dialog) => self.shared.until_cut(async move { dialog.say_bye().await }),
            End::Inviting(inviting) => {
                // The stack cancels an invitation that is dropped, and ends a session whose 200 crossed the CANCEL.
                let Inviting {
                    invitation,
                    states,
                    session,
                    ..
                } = *inviting;
                invitation.abort();
                let (shared, tell) = (self.shared.clone(), self.tell.clone());
                self.shared.until_cut(async move {
                    if let Ok(Ok(invited)) = invitation.await
                        && invited.is_accepted()
                    {
                        let Invited { dialog, begun, .. } = invited;
                        let dialog = (dialog, states);
                        Dialog::calling(&shared, Party::OPERATOR, dialog, begun, session, &tell)
                            .say_bye()
                            .await;
                    }
                });
            }
        }
    }

    fn on_state(&mut self, party: Party, state: Option<DialogState>) {
        match self.ends.get_mut(&party) {
            Some(End::Inviting(inviting)) => {
                let provisional =
                    matches!(state, Some(DialogState::Trying(_) | DialogState::Early(..)));
                if provisional && !inviting.heard.swap(true, Ordering::Relaxed) {
                    inviting.deadline = Instant::now() + self.shared.config.ring;
                }
                if let Some(DialogState::Early(_, response)) = state {
                    let events = inviting.early_dialogs.note(party, &response);
                    for event in events {
                        self.tell(event);
                    }
                }
            }
            Some(End::Talking(dialog)) => match state {
                Some(DialogState::Terminated(_, reason)) => {
                    let event = match reason {
                        TerminatedReason::UacCancel => Some(SipEvent::Cancelled { party }),
                        TerminatedReason::UasDecline => None,
                        TerminatedReason::UacBye if dialog.waits() => {
                            dialog.ended_early();
                            Some(SipEvent::Cancelled { party })
                        }
                        TerminatedReason::UacBye | TerminatedReason::UasBye => {
                            Some(hung_up(party, DialogEnd::Bye))
                        }
                        TerminatedReason::Timeout => Some(hung_up(party, DialogEnd::NoAck)),
                        other => Some(hung_up(party, DialogEnd::Broken(format!("{other:?}")))),
                    };
                    self.shared.stack.layer.remove_dialog(&dialog.stack.id());
                    self.ends.remove(&party);
                    if let Some(event) = event {
                        self.tell(event);
                    }
                }
                Some(state) => {
                    if let Some(event) = dialog.hear(&state) {
                        self.tell(event);
                    }
                }
                None => {
                    self.ends.remove(&party);
                }
            },
            None => {}
        }
    }

    fn on_dialog_event(&mut self, dialog_event: DialogEvent) {
        let (party, event) = match dialog_event {
            DialogEvent::Request(party, request) => {
                if let Some(End::Inviting(inviting)) = self.ends.get_mut(&party) {
                    if let Some(event) = inviting.early_dialogs.take(party, request) {
                        self.tell(event);
                    }
                    return;
                }
                let metadata = body_of(&request.original).filter(Body::has_metadata);
                let Some(dialog) = self.dialog(party) else {
                    let status = StatusCode::CallTransactionDoesNotExist;
                    self.shared.turn_down(*request, status, vec![]);
                    return;
                };
                let told = dialog.take(request);
                if let Some(body) = metadata {
                    self.tell(SipEvent::Described { party, body });
                }
                (party, told)
            }
            DialogEvent::OfferedLate(party, call_id, tag, offer) => {
                let told = if let Some(End::Inviting(inviting)) = self.ends.get_mut(&party) {
                    inviting
                        .early_dialogs
                        .offered_late(party, call_id, &tag, offer)
                } else {
                    early::answer_late(&self.shared, &call_id, None);
                    None
                };
                (party, told)
            }
            DialogEvent::Acked(party, answer) => (
                party,
                self.dialog(party).and_then(|dialog| dialog.acked(answer)),
            ),
            DialogEvent::NotAcked(party) => (
                party,
                self.dialog(party).map(|_| hung_up(party, DialogEnd::NoAck)),
            ),
            DialogEvent::Responded(party, response) => (
                party,
                self.dialog(party)
                    .and_then(|dialog| dialog.responded(response.as_ref())),
            ),
            DialogEvent::Pracked(party) => {
                if let Some(dialog) = self.dialog(party) {
                    dialog.pracked();
                }
                return;
            }
            DialogEvent::TakenOver(replaced, pending) => {
                self.take_over(replaced, *pending);
                return;
            }
        };
        if let Some(event) = event {
            self.tell_of(party, event);
        }
    }

    /// Somebody comes to take a party's place.
    fn take_over(&mut self, replaced: Party, pending: PendingInvite) {
        let offer = pending.offer.clone();
        let party = Party::taking_over(self.takeovers).filter(|_| !self.deserted);
        self.takeovers = self.takeovers.saturating_add(1);
        let mut dialog =
            Dialog::called(&self.shared, party.unwrap_or(replaced), pending, &self.tell);
        let Some(party) = party else {
            dialog.reject(481, "");
            self.shared.stack.layer.remove_dialog(&dialog.stack.id());
            return;
        };
        self.ends.insert(party, End::Talking(Box::new(dialog)));
        self.tell(SipEvent::TakenOver {
            party,
            replaced,
            offer,
        });
    }
}

impl Drop for SipCall {
    fn drop(&mut self) {
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body, if there is one.
fn body_of(request: &Request) -> Option<Body> {
    (!request.body.is_empty()).then(|| Body {
        content_type: request.header_value("Content-Type").unwrap_or_default(),
        bytes: request.body.clone(),
    })
}

const fn hung_up(party: Party, cause: DialogEnd) -> SipEvent {
    SipEvent::HungUp { party, cause }
}
