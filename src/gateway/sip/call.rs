//! One call: the task that owns its caller's and its operator's dialog.
//!
//! The stack reports each dialog's states; the task turns them into [`SipEvent`]s and obeys [`SipCommand`]s. It ends
//! when both legs have ended. When the call drops a channel, or the edge closes, it ends the legs itself.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TerminatedReason};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{HeadersExt, Request, Response, StatusCode};
use rsipstack::transaction::key::TransactionRole;
use rsipstack::transaction::transaction::Transaction;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::ingress;
use super::invite::{self, Invitation, Invited, Unreachable};
use super::side::{Side, body, with_sdp};
use super::sockets::Carried;
use super::ways;
use super::{CALL_QUEUE, Extension, InviteKey, NewCall, Shared, THE_CALLED, Who, locked, wire};
use crate::private::Private;
use crate::sip::{Body, IncomingCall, SipCommand, SipEvent};
use crate::speech::Leg;

/// The hops that a request of ours may take (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;

/// The operator's leg.
enum Operator {
    None,
    Inviting {
        invitation: JoinHandle<Result<Invited, Unreachable>>,
        states: DialogStateReceiver,
        deadline: Instant,
        heard: Arc<AtomicBool>,
    },
    Talking(Side),
}

/// What the task wakes up for.
enum Turn {
    Close,
    Deserted,
    /// The queue of events has a free place.
    Room,
    Command(SipCommand),
    Caller(Option<DialogState>),
    Operator(Option<DialogState>),
    /// The invitation has its final answer; `None` if it was aborted.
    Invited(Option<Result<Invited, Unreachable>>),
    Deadline,
}

struct Call {
    shared: Arc<Shared>,
    runs_from: Option<InviteKey>,
    caller: Option<Side>,
    caller_answered: bool,
    operator: Operator,
    /// Whom the rules name for this call, in the order to try them.
    route: Vec<String>,
    hops: u8,
    /// Events on their way to the call.
    outbox: VecDeque<SipEvent>,
    events: mpsc::Sender<SipEvent>,
    commands: mpsc::Receiver<SipCommand>,
    /// Whether the call still listens; a placed call begins with no leg.
    deserted: bool,
    begun: bool,
}

/// Takes an INVITE: its dialog, its task and its announcement.
pub(super) fn begin(shared: &Arc<Shared>, mut request: Transaction, calls: &mpsc::Sender<NewCall>) {
    let key = key_of(&request.original);
    let arrival = key
        .as_ref()
        .and_then(|key| locked(&shared.invites).get(key).cloned());
    let (Some(key), Some(arrival)) = (key, arrival) else {
        ingress::refuse(shared, request, StatusCode::BadRequest);
        return;
    };
    let (state_sender, states) = shared.layer.new_dialog_state_channel();
    let contact = shared.contact("gateway", arrival.flow);
    let dialog =
        shared
            .layer
            .get_or_create_server_invite(&request, state_sender, None, Some(contact));
    let Ok(dialog) = dialog else {
        // No Contact to send requests to.
        locked(&shared.invites).remove(&key);
        shared.complain("has no usable Contact", arrival.flow.source);
        ingress::refuse(shared, request, StatusCode::BadRequest);
        return;
    };
    let stream = Carried::new(shared, arrival.flow);
    let incoming = describe(shared, &request.original, &key, &arrival.who);
    let route = route(shared, &incoming, &arrival.who);
    let without_offer = incoming.offer.is_none();
    let hops = request
        .original
        .max_forwards_header()
        .ok()
        .and_then(|hops| hops.to_string().rsplit(' ').next()?.parse().ok())
        .unwrap_or(MAX_FORWARDS)
        .saturating_sub(1);
    let (events, event_receiver) = mpsc::channel(CALL_QUEUE);
    let (command_sender, commands) = mpsc::channel(CALL_QUEUE);
    let announced = calls.try_send(NewCall {
        incoming,
        source: arrival.flow.source,
        transport: arrival.flow.transport,
        route: route.clone(),
        events: event_receiver,
        commands: command_sender,
    });
    let mut driver = dialog.clone();
    shared.until_cut(async move {
        let _ = driver.handle(&mut request).await;
    });
    if announced.is_err() {
        let _ = dialog.reject(Some(StatusCode::ServiceUnavailable), None);
    }
    let call = Call {
        shared: shared.clone(),
        runs_from: Some(key),
        caller: Some(Side::new(dialog, states, without_offer, stream)),
        caller_answered: false,
        operator: Operator::None,
        route,
        hops,
        outbox: VecDeque::new(),
        events,
        commands,
        deserted: false,
        begun: true,
    };
    shared.calls.fetch_add(1, Ordering::Relaxed);
    shared.until_cut(call.run());
}

/// Starts a call without a caller.
pub(super) fn place(
    shared: &Arc<Shared>,
    runtime: &tokio::runtime::Handle,
) -> (mpsc::Receiver<SipEvent>, mpsc::Sender<SipCommand>) {
    let (events, event_receiver) = mpsc::channel(CALL_QUEUE);
    let (command_sender, commands) = mpsc::channel(CALL_QUEUE);
    let call = Call {
        shared: shared.clone(),
        runs_from: None,
        caller: None,
        caller_answered: false,
        operator: Operator::None,
        route: Vec::new(),
        hops: MAX_FORWARDS,
        outbox: VecDeque::new(),
        events,
        commands,
        deserted: false,
        begun: false,
    };
    shared.calls.fetch_add(1, Ordering::Relaxed);
    let _inside = runtime.enter();
    shared.until_cut(call.run());
    (event_receiver, command_sender)
}

fn key_of(request: &Request) -> Option<InviteKey> {
    let id = DialogId::try_from((request, TransactionRole::Server)).ok()?;
    let number = request.cseq_header().ok()?.seq().ok()?;
    Some((id.call_id, id.remote_tag, number))
}

/// Whom the rules name: an extension that was called by one, or what is configured.
fn route(shared: &Shared, incoming: &IncomingCall, who: &Who) -> Vec<String> {
    let config = &shared.config;
    let extensions = &config.extensions;
    let is_extension = |extension: &Extension| extension.name == incoming.called;
    if matches!(who, Who::Extension(_)) && extensions.iter().any(is_extension) {
        return vec![format!("sip:{}@{}", incoming.called, config.realm)];
    }
    let chosen = config
        .routes
        .choose(&incoming.called, incoming.trunk.as_deref());
    // Only what is plainly a number or a name is put into a URI of ours.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+*#.-_".contains(letter);
    let is_plain = !incoming.called.is_empty() && incoming.called.chars().all(plain);
    let chosen = chosen.unwrap_or_default().iter();
    chosen
        .filter(|uri| is_plain || !uri.contains(THE_CALLED))
        .map(|uri| uri.replace(THE_CALLED, &incoming.called))
        .collect()
}

fn describe(shared: &Shared, request: &Request, key: &InviteKey, who: &Who) -> IncomingCall {
    let lines: Vec<String> = request.headers.iter().map(ToString::to_string).collect();
    let all = |name: &'static str| {
        lines.iter().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let header = |name| all(name).next();
    let tokens = |name| {
        all(name)
            .flat_map(|value| value.split(','))
            .map(|token| token.trim().to_ascii_lowercase())
            .collect()
    };
    let from = header("From").unwrap_or_default();
    let content = (!request.body.is_empty()).then(|| Body {
        content_type: header("Content-Type").unwrap_or_default().to_owned(),
        bytes: request.body.clone(),
    });
    let trunk = match who {
        Who::Trunk(index) => Some(&shared.config.trunks[*index]),
        Who::Anybody | Who::Extension(_) => None,
    };
    // What others assert about a caller counts if they may assert it.
    let trusted = match who {
        Who::Anybody => true,
        Who::Trunk(_) => trunk.is_some_and(|trunk| trunk.trusted),
        Who::Extension(_) => false,
    };
    let asserted = |name| {
        all(name)
            .flat_map(wire::items)
            .filter(|_| trusted)
            .filter_map(wire::user)
    };
    // The first diversion is the last that Diversion lists, and the first that History-Info does (if anything follows).
    let history: Vec<String> = asserted("History-Info").collect();
    let diverted_from = asserted("Diversion")
        .last()
        .or_else(|| (history.len() > 1).then(|| history[0].clone()));
    let called = match request.uri.user() {
        Some(user) if !user.is_empty() => user.to_owned(),
        // A PBX may call the place where we registered.
        _ => header("To").and_then(wire::user).unwrap_or_default(),
    };
    IncomingCall {
        sip_call_id: key.0.clone(),
        caller_number: match who {
            Who::Extension(name) => Some(name.clone()),
            _ => asserted("P-Asserted-Identity")
                .next()
                .or_else(|| wire::user(from)),
        }
        .map(Private::new),
        caller_display: wire::display_name(from).map(Private::new),
        called,
        // The ingress has refused what cannot be cut.
        offer: content
            .as_ref()
            .and_then(|content| content.description().ok().flatten()),
        body: content,
        requires: tokens("Require"),
        supports: tokens("Supported"),
        trunk: trunk.map(|trunk| trunk.name.clone()),
        diverted_from: diverted_from.map(Private::new),
        user_to_user: header("User-to-User").map(Private::from),
    }
}

/// The next state of a dialog; never, when there is none.
async fn next_state(states: Option<&mut DialogStateReceiver>) -> Option<DialogState> {
    match states {
        Some(states) => states.recv().await,
        None => pending().await,
    }
}

impl Call {
    async fn run(mut self) {
        let mut closing = false;
        while !self.is_over() {
            let (invitation, operator_states, deadline) = match &mut self.operator {
                Operator::None => (None, None, None),
                Operator::Inviting {
                    invitation,
                    states,
                    deadline,
                    ..
                } => (Some(invitation), Some(states), Some(*deadline)),
                Operator::Talking(side) => (None, Some(&mut side.states), None),
            };
            let turn = tokio::select! {
                () = self.shared.closing.cancelled(), if !closing => Turn::Close,
                () = self.events.closed(), if !self.deserted => Turn::Deserted,
                _ = self.events.reserve(), if !self.outbox.is_empty() && !self.deserted => Turn::Room,
                command = self.commands.recv(), if !self.deserted => {
                    command.map_or(Turn::Deserted, Turn::Command)
                }
                state = next_state(self.caller.as_mut().map(|side| &mut side.states)) => {
                    Turn::Caller(state)
                }
                state = next_state(operator_states) => Turn::Operator(state),
                result = async {
                    match invitation {
                        Some(invitation) => invitation.await,
                        None => pending().await,
                    }
                } => Turn::Invited(result.ok()),
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
                        self.obey(command).await;
                    }
                    self.desert();
                }
                Turn::Room => {
                    if let Some(event) = self.outbox.pop_front() {
                        let _ = self.events.try_send(event);
                    }
                }
                Turn::Command(command) => self.obey(command).await,
                Turn::Caller(state) => self.on_caller(state).await,
                Turn::Operator(state) => self.on_operator(state).await,
                Turn::Invited(result) => self.on_invitation(result),
                Turn::Deadline => self.on_deadline(),
            }
        }
        while let Some(event) = self.outbox.pop_front() {
            let _ = self.events.try_send(event);
        }
    }

    fn is_over(&self) -> bool {
        self.caller.is_none()
            && matches!(self.operator, Operator::None)
            && (self.begun || self.deserted)
    }

    /// Tells the call; one that does not listen any more is ended.
    fn tell(&mut self, event: SipEvent) {
        if self.outbox.len() < CALL_QUEUE {
            self.outbox.push_back(event);
        } else {
            self.desert();
        }
    }

    /// Ends both legs.
    fn desert(&mut self) {
        self.deserted = true;
        self.end_caller();
        self.end_operator();
    }

    async fn obey(&mut self, command: SipCommand) {
        match command {
            SipCommand::Ring { answer, .. } => {
                if let Some(caller) = &self.caller {
                    let (headers, description) = match answer {
                        Some(answer) => with_sdp(answer),
                        None => (None, None),
                    };
                    let _ = caller.dialog.ringing(headers, description);
                }
            }
            SipCommand::AnswerCaller { answer } => {
                if let Some(caller) = &self.caller
                    && !self.caller_answered
                {
                    let (headers, description) = with_sdp(answer);
                    let _ = caller.dialog.accept(headers, description);
                    self.caller_answered = true;
                }
            }
            SipCommand::RejectCaller { status, reason } => self.reject_caller(status, &reason),
            SipCommand::InviteOperator {
                to,
                caller_number,
                offer,
            } => self.invite_operator(&to, caller_number, offer),
            SipCommand::CancelOperator => {
                if matches!(self.operator, Operator::Inviting { .. }) {
                    self.end_operator();
                }
            }
            SipCommand::HangUp { leg: Leg::Caller } => self.end_caller(),
            SipCommand::HangUp { .. } => self.end_operator(),
            SipCommand::AnswerOffer { leg, answer } => {
                let side = match (leg, &mut self.operator) {
                    (Leg::Caller, _) => self.caller.as_mut(),
                    (_, Operator::Talking(side)) => Some(side),
                    _ => None,
                };
                if let Some(transaction) = side.and_then(|side| side.offer.take()) {
                    let _ = match answer {
                        Ok(description) => {
                            let (headers, description) = with_sdp(description);
                            transaction
                                .respond(StatusCode::OK, headers, description)
                                .await
                        }
                        Err(status) => transaction.respond(status.into(), None, None).await,
                    };
                }
            }
        }
    }

    fn reject_caller(&mut self, status: u16, reason: &str) {
        if self.caller_answered {
            self.end_caller();
        } else if let Some(caller) = self.caller.take() {
            // RFC 3326; the phrase of the status line is the stack's.
            let plain: String = reason
                .chars()
                .filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\'))
                .collect();
            let reason =
                (!plain.is_empty()).then(|| format!("SIP;cause={status};text=\"{plain}\""));
            let _ = caller.dialog.reject(Some(status.into()), reason);
            self.forget(&caller.dialog);
        }
    }

    fn end_caller(&mut self) {
        if !self.caller_answered {
            self.reject_caller(503, "");
        } else if let Some(caller) = self.caller.take() {
            self.bye(caller);
        }
    }

    fn end_operator(&mut self) {
        match std::mem::replace(&mut self.operator, Operator::None) {
            Operator::None => {}
            Operator::Talking(side) => self.bye(side),
            Operator::Inviting {
                invitation, states, ..
            } => {
                // The stack cancels an invitation that is dropped, and ends a session whose 200 crossed the CANCEL.
                invitation.abort();
                let shared = self.shared.clone();
                self.shared.until_cut(async move {
                    if let Ok(Ok(invited)) = invitation.await
                        && invited
                            .response
                            .is_some_and(|response| response.status_code == StatusCode::OK)
                    {
                        Side::new(invited.dialog, states, false, invited.stream)
                            .say_bye(&shared)
                            .await;
                    }
                });
            }
        }
    }

    fn bye(&self, side: Side) {
        let shared = self.shared.clone();
        self.shared
            .until_cut(async move { side.say_bye(&shared).await });
    }

    fn forget(&self, dialog: &InviteDialog) {
        self.shared.layer.remove_dialog(&dialog.id());
    }

    async fn on_caller(&mut self, state: Option<DialogState>) {
        let Some(side) = self.caller.as_mut() else {
            return;
        };
        match state {
            Some(DialogState::Terminated(_, reason)) => {
                let event = match reason {
                    TerminatedReason::UacCancel => Some(SipEvent::CallerCancelled),
                    TerminatedReason::UasBye | TerminatedReason::UasDecline => None,
                    TerminatedReason::UacBye => Some(hung_up(Leg::Caller, "BYE")),
                    TerminatedReason::Timeout => Some(hung_up(Leg::Caller, "no ACK")),
                    other => Some(hung_up(Leg::Caller, &format!("{other:?}"))),
                };
                if let Some(caller) = self.caller.take() {
                    self.forget(&caller.dialog);
                }
                if let Some(event) = event {
                    self.tell(event);
                }
            }
            Some(state) => {
                let event = side.hear(Leg::Caller, state).await;
                if let Some(event) = event {
                    self.tell(event);
                }
            }
            None => self.caller = None,
        }
    }

    async fn on_operator(&mut self, state: Option<DialogState>) {
        match &mut self.operator {
            Operator::None => {}
            Operator::Inviting {
                deadline, heard, ..
            } => {
                let provisional =
                    matches!(state, Some(DialogState::Trying(_) | DialogState::Early(..)));
                if provisional && !heard.swap(true, Ordering::Relaxed) {
                    *deadline = Instant::now() + self.shared.config.ring;
                }
                if let Some(DialogState::Early(_, response)) = state {
                    self.tell(ringing(&response));
                }
            }
            Operator::Talking(side) => match state {
                Some(DialogState::Terminated(_, reason)) => {
                    let cause = match reason {
                        TerminatedReason::UasBye => "BYE".to_owned(),
                        other => format!("{other:?}"),
                    };
                    self.shared.layer.remove_dialog(&side.dialog.id());
                    self.operator = Operator::None;
                    self.tell(hung_up(Leg::Operator, &cause));
                }
                Some(state) => {
                    let event = side.hear(Leg::Operator, state).await;
                    if let Some(event) = event {
                        self.tell(event);
                    }
                }
                None => self.operator = Operator::None,
            },
        }
    }

    fn invite_operator(&mut self, to: &str, number: Option<Private<String>>, offer: String) {
        if !matches!(self.operator, Operator::None) {
            return;
        }
        self.begun = true;
        let mut callees: Vec<_> = std::iter::once(to)
            .chain(
                self.route
                    .iter()
                    .map(String::as_str)
                    .filter(|other| *other != to),
            )
            .filter_map(ways::sip_uri)
            .collect();
        // Of a call that the rules do not know, only the one that is asked for.
        if self.route.first().is_none_or(|first| first != to) {
            callees.truncate(1);
        }
        if ways::sip_uri(to).is_none() {
            return self.tell(SipEvent::OperatorRejected {
                status: 416,
                reason: "the operator's address is no sip: URI".to_owned(),
            });
        }
        let patience = self.shared.config.operator_reply
            + self.shared.config.hop_reply * (callees.len() as u32 - 1);
        let (state_sender, states) = self.shared.layer.new_dialog_state_channel();
        let heard = Arc::new(AtomicBool::new(false));
        let invitation = self.shared.tasks.spawn(invite::invite(
            self.shared.clone(),
            Invitation {
                callees,
                number,
                offer,
                hops: self.hops,
            },
            heard.clone(),
            state_sender,
        ));
        self.operator = Operator::Inviting {
            invitation,
            states,
            deadline: Instant::now() + patience,
            heard,
        };
    }

    fn on_invitation(&mut self, result: Option<Result<Invited, Unreachable>>) {
        let Operator::Inviting { mut states, .. } =
            std::mem::replace(&mut self.operator, Operator::None)
        else {
            return;
        };
        // Ringing that had no turn yet; what follows the answer stays for later.
        while let Ok(state) = states.try_recv() {
            match state {
                DialogState::Early(_, response) => self.tell(ringing(&response)),
                DialogState::Confirmed(..) => break,
                _ => {}
            }
        }
        let (status, reason) = match result {
            Some(Ok(invited)) => match invited.response {
                Some(response) if response.status_code == StatusCode::OK => {
                    self.tell(SipEvent::OperatorAnswered {
                        answer: body(&response.body).unwrap_or_default(),
                    });
                    let mut side = Side::new(invited.dialog, states, false, invited.stream);
                    side.confirmed = true;
                    self.operator = Operator::Talking(side);
                    return;
                }
                Some(Response {
                    status_code,
                    wire_reason,
                    ..
                }) => (
                    status_code.code(),
                    wire_reason.unwrap_or_else(|| status_code.text().to_owned()),
                ),
                None => (408, "no final answer".to_owned()),
            },
            Some(Err(unreachable)) => (unreachable.status, unreachable.reason),
            None => (408, "given up".to_owned()),
        };
        self.tell(SipEvent::OperatorRejected { status, reason });
    }

    fn on_deadline(&mut self) {
        let Operator::Inviting { heard, .. } = &self.operator else {
            return;
        };
        let reason = if heard.load(Ordering::Relaxed) {
            "the phone rang too long"
        } else {
            "the phone did not answer the INVITE"
        };
        self.end_operator();
        self.tell(SipEvent::OperatorRejected {
            status: 408,
            reason: reason.to_owned(),
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(key) = &self.runs_from {
            locked(&self.shared.invites).remove(key);
        }
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

fn ringing(response: &Response) -> SipEvent {
    SipEvent::OperatorRinging {
        status: response.status_code.code(),
        answer: body(&response.body),
    }
}

fn hung_up(leg: Leg, cause: &str) -> SipEvent {
    SipEvent::HungUp {
        leg,
        cause: cause.to_owned(),
    }
}
