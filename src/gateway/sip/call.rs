//! One call: the task that owns the dialogs of its parties.
//!
//! The stack reports each dialog's states, and the ingress hands over the requests within them; the task turns both
//! into [`SipEvent`]s and obeys [`SipCommand`]s. It ends when every dialog has ended. When the call drops a channel, or
//! the edge closes, it ends the dialogs itself.

use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver, TerminatedReason};
use rsipstack::sip::{Header, HeadersExt, Request, Response, StatusCode, Uri};
use rsipstack::transaction::key::TransactionRole;
use rsipstack::transaction::transaction::Transaction;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::ingress;
use super::invite::{self, Invitation, Invited, Unreachable};
use super::side::{Happening, Newcomer, Side, allows, description, said, timer_headers};
use super::sockets::Carried;
use super::ways;
use super::{
    Alive, CALL_QUEUE, Extension, InviteKey, NewCall, Outlook, Shared, THE_CALLED, Who, locked,
    wire,
};
use crate::private::Private;
use crate::sip::session::Session;
use crate::sip::{Body, IncomingCall, Party, Replaces, SipCommand, SipEvent, Target};

/// The hops that a request of ours may take (RFC 3261 §8.1.1.6).
const MAX_FORWARDS: u8 = 70;

/// How often an invitation is repeated because the session timer that it asks for is too short.
const MOST_TIMERS: u8 = 3;

/// A phone that is being invited.
struct Inviting {
    invitation: JoinHandle<Result<Invited, Unreachable>>,
    states: DialogStateReceiver,
    deadline: Instant,
    heard: Arc<AtomicBool>,
    session: Session,
    asked: Asked,
    tries: u8,
}

/// What a phone is invited with.
#[derive(Clone)]
struct Asked {
    /// In the order to try them.
    callees: Vec<Uri>,
    target: Target,
    number: Option<Private<String>>,
    offer: String,
}

/// One party's end of the call.
enum End {
    Inviting(Box<Inviting>),
    Talking(Box<Side>),
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
    Happened(Happening),
    Deadline,
}

struct Call {
    shared: Arc<Shared>,
    ends: BTreeMap<Party, End>,
    /// How many parties have taken another's place.
    newcomers: u8,
    /// Whom the rules name for this call, in the order to try them.
    route: Vec<String>,
    hops: u8,
    tell: mpsc::Sender<Happening>,
    happenings: mpsc::Receiver<Happening>,
    /// Events on their way to the call.
    outbox: VecDeque<SipEvent>,
    events: mpsc::Sender<SipEvent>,
    commands: mpsc::Receiver<SipCommand>,
    /// Whether the call still listens; a placed call begins with no party.
    deserted: bool,
    begun: bool,
}

/// Takes an INVITE: its dialog, its task and its announcement; or its place in a call that runs.
pub(super) fn begin(shared: &Arc<Shared>, mut request: Transaction, calls: &mpsc::Sender<NewCall>) {
    let key = key_of(&request.original);
    let arrival = key
        .as_ref()
        .and_then(|key| locked(&shared.invites).get(key).cloned());
    let (Some(key), Some(arrival)) = (key, arrival) else {
        ingress::refuse(shared, request, StatusCode::BadRequest, vec![]);
        return;
    };
    let alive = Alive::new(shared, key.clone());
    let mut session = Session::new(false, shared.config.session, rand::random());
    let grant = match session.asked(true, said(&request.original)) {
        Ok(grant) => grant,
        Err(refusal) => {
            let min_se = refusal.min_se.unwrap_or_default().to_string();
            let headers = vec![Header::MinSE(min_se.into())];
            ingress::refuse(shared, request, refusal.status.into(), headers);
            return;
        }
    };
    let replaced = match replaced(shared, &request.original) {
        Ok(replaced) => replaced,
        Err(status) => {
            ingress::refuse(shared, request, status.into(), vec![]);
            return;
        }
    };
    let (state_sender, states) = shared.layer.new_dialog_state_channel();
    let contact = shared.contact("gateway", arrival.flow);
    let dialog = shared.layer.get_or_create_server_invite(
        &request,
        state_sender,
        None,
        Some(contact.clone()),
    );
    let Ok(dialog) = dialog else {
        // No Contact to send requests to.
        shared.complain("has no usable Contact", arrival.flow.source);
        ingress::refuse(shared, request, StatusCode::BadRequest, vec![]);
        return;
    };
    let stream = Carried::new(shared, arrival.flow);
    let incoming = describe(shared, &request.original, &key, &arrival.who);
    let route = route(shared, &incoming, &arrival.who);
    let hops = request
        .original
        .max_forwards_header()
        .ok()
        .and_then(|hops| hops.to_string().rsplit(' ').next()?.parse().ok())
        .unwrap_or(MAX_FORWARDS)
        .saturating_sub(1);
    let new = Newcomer {
        dialog: dialog.clone(),
        states,
        respond: request.tu_sender.clone(),
        session,
        grant,
        stream,
        alive: Some(alive),
        contact,
        offer: incoming.offer.clone(),
    };
    let mut driver = dialog.clone();
    shared.until_cut(async move {
        let _ = driver.handle(&mut request).await;
    });
    if let Some((party, tell)) = replaced {
        let handed = tell.try_send(Happening::TakenOver(party, Box::new(new)));
        if handed.is_err() {
            let _ = dialog.reject(Some(StatusCode::CallTransactionDoesNotExist), None);
            shared.layer.remove_dialog(&dialog.id());
        }
        return;
    }
    let (events, event_receiver) = mpsc::channel(CALL_QUEUE);
    let (command_sender, commands) = mpsc::channel(CALL_QUEUE);
    let announced = calls.try_send(NewCall {
        incoming,
        source: arrival.flow.source,
        transport: arrival.flow.transport,
        route: route.clone(),
        outlook: Outlook::new(shared),
        events: event_receiver,
        commands: command_sender,
    });
    let mut call = Call::new(shared, events, commands, hops);
    call.route = route;
    let mut side = Side::called(shared, Party::CALLER, new, &call.tell);
    if announced.is_err() {
        side.reject(503, "");
    }
    call.ends
        .insert(Party::CALLER, End::Talking(Box::new(side)));
    call.begun = true;
    shared.calls.fetch_add(1, Ordering::Relaxed);
    shared.until_cut(call.run());
}

/// Whose place an INVITE takes, if it names a dialog (RFC 3891 §3); the status with which it is refused otherwise.
fn replaced(
    shared: &Shared,
    request: &Request,
) -> Result<Option<(Party, mpsc::Sender<Happening>)>, u16> {
    let Some(value) = request.header_value("Replaces") else {
        return Ok(None);
    };
    let replaces = Replaces::parse(&value).ok_or(400_u16)?;
    let seats = locked(&shared.seats);
    let seat = seats
        .get(&(replaces.call_id, replaces.to_tag))
        .filter(|seat| seat.remote_tag == replaces.from_tag)
        .ok_or(481_u16)?;
    match (replaces.early_only, seat.answered) {
        (true, true) => Err(486),
        // Nobody takes a call from a caller who still waits.
        (_, false) => Err(481),
        _ => Ok(Some((seat.party, seat.tell.clone()))),
    }
}

/// Starts a call without a caller.
pub(super) fn place(
    shared: &Arc<Shared>,
    runtime: &tokio::runtime::Handle,
) -> (mpsc::Receiver<SipEvent>, mpsc::Sender<SipCommand>) {
    let (events, event_receiver) = mpsc::channel(CALL_QUEUE);
    let (command_sender, commands) = mpsc::channel(CALL_QUEUE);
    let call = Call::new(shared, events, commands, MAX_FORWARDS);
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

/// The body, if there is one.
fn body_of(request: &Request) -> Option<Body> {
    (!request.body.is_empty()).then(|| Body {
        content_type: request.header_value("Content-Type").unwrap_or_default(),
        bytes: request.body.clone(),
    })
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
    let content = body_of(request);
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
                End::Talking(side) => {
                    if let Poll::Ready(state) = side.states.poll_recv(context) {
                        return Poll::Ready(Turn::State(*party, state));
                    }
                }
            }
        }
        Poll::Pending
    })
    .await
}

impl Call {
    fn new(
        shared: &Arc<Shared>,
        events: mpsc::Sender<SipEvent>,
        commands: mpsc::Receiver<SipCommand>,
        hops: u8,
    ) -> Self {
        let (tell, happenings) = mpsc::channel(CALL_QUEUE);
        Self {
            shared: shared.clone(),
            ends: BTreeMap::new(),
            newcomers: 0,
            route: Vec::new(),
            hops,
            tell,
            happenings,
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
                Some(happening) = self.happenings.recv() => Turn::Happened(happening),
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
                Turn::Happened(happening) => self.on_happening(happening),
                Turn::Deadline => {}
            }
        }
        while let Some(event) = self.outbox.pop_front() {
            let _ = self.events.try_send(event);
        }
        // Who came too late is sent away.
        self.happenings.close();
        while let Ok(happening) = self.happenings.try_recv() {
            if matches!(happening, Happening::Request(..) | Happening::TakenOver(..)) {
                self.deserted = true;
                self.on_happening(happening);
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

    fn side(&mut self, party: Party) -> Option<&mut Side> {
        match self.ends.get_mut(&party) {
            Some(End::Talking(side)) => Some(side),
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
                Some(End::Talking(side)) => {
                    if let Some(event) = side.tick(now.into_std()) {
                        self.tell_of(party, event);
                    }
                }
                _ => {}
            }
            let at = match self.ends.get_mut(&party) {
                Some(End::Inviting(inviting)) => Some(inviting.deadline),
                Some(End::Talking(side)) => side.deadline(now.into_std()).map(Instant::from_std),
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
                if let Some(side) = self.side(party) {
                    side.ring(answer);
                }
            }
            SipCommand::Answer { party, answer } => {
                if let Some(side) = self.side(party) {
                    side.accept(answer);
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
                if let Some(side) = self.side(party) {
                    side.session.offer(offer);
                }
            }
            SipCommand::AnswerOffer { party, answer } => {
                if let Some(side) = self.side(party) {
                    side.answer(answer);
                }
            }
            SipCommand::AnswerRefer { party, status } => {
                if let Some(side) = self.side(party) {
                    side.answer_refer(status);
                }
            }
            SipCommand::ReportTransfer { party, status } => {
                if let Some(side) = self.side(party) {
                    side.report(status);
                }
            }
            SipCommand::Key { party, key, millis } => {
                if let Some(side) = self.side(party) {
                    side.press(key, millis);
                }
            }
        }
    }

    /// Refuses who waits, hangs up on who talks.
    fn reject(&mut self, party: Party, status: u16, reason: &str) {
        match self.ends.remove(&party) {
            Some(End::Talking(mut side)) if side.waits() => {
                side.reject(status, reason);
                self.shared.layer.remove_dialog(&side.dialog.id());
            }
            Some(end) => self.end(end),
            None => {}
        }
    }

    /// Ends a dialog, whatever its state.
    fn end(&self, end: End) {
        match end {
            End::Talking(mut side) if side.waits() => {
                side.reject(503, "");
                self.shared.layer.remove_dialog(&side.dialog.id());
            }
            End::Talking(side) => self.shared.until_cut(async move { side.say_bye().await }),
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
                        let Invited {
                            dialog,
                            stream,
                            contact,
                            ..
                        } = invited;
                        let party = Party::OPERATOR;
                        Side::calling(
                            &shared,
                            party,
                            (dialog, states),
                            contact,
                            session,
                            &tell,
                            stream,
                        )
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
                    self.tell(ringing(party, &response));
                }
            }
            Some(End::Talking(side)) => match state {
                Some(DialogState::Terminated(_, reason)) => {
                    let event = match reason {
                        TerminatedReason::UacCancel => Some(SipEvent::Cancelled { party }),
                        TerminatedReason::UasDecline => None,
                        TerminatedReason::UacBye if side.waits() => {
                            side.ended_early();
                            Some(SipEvent::Cancelled { party })
                        }
                        TerminatedReason::UacBye | TerminatedReason::UasBye => {
                            Some(hung_up(party, "BYE"))
                        }
                        TerminatedReason::Timeout => Some(hung_up(party, "no ACK")),
                        other => Some(hung_up(party, &format!("{other:?}"))),
                    };
                    self.shared.layer.remove_dialog(&side.dialog.id());
                    self.ends.remove(&party);
                    if let Some(event) = event {
                        self.tell(event);
                    }
                }
                Some(state) => {
                    if let Some(event) = side.hear(&state) {
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

    fn on_happening(&mut self, happening: Happening) {
        let (party, event) = match happening {
            Happening::Request(party, request) => {
                let metadata = body_of(&request.original).filter(Body::has_metadata);
                let Some(side) = self.side(party) else {
                    let status = StatusCode::CallTransactionDoesNotExist;
                    ingress::refuse(&self.shared, *request, status, vec![]);
                    return;
                };
                let told = side.take(request);
                if let Some(body) = metadata {
                    self.tell(SipEvent::Described { party, body });
                }
                (party, told)
            }
            Happening::Acked(party, answer) => {
                (party, self.side(party).and_then(|side| side.acked(answer)))
            }
            Happening::NotAcked(party) => {
                (party, self.side(party).map(|_| hung_up(party, "no ACK")))
            }
            Happening::Responded(party, response) => (
                party,
                self.side(party)
                    .and_then(|side| side.responded(response.as_ref())),
            ),
            Happening::Pracked(party) => {
                if let Some(side) = self.side(party) {
                    side.pracked();
                }
                return;
            }
            Happening::TakenOver(replaced, newcomer) => {
                self.seat(replaced, *newcomer);
                return;
            }
        };
        if let Some(event) = event {
            self.tell_of(party, event);
        }
    }

    /// Somebody comes to take a party's place.
    fn seat(&mut self, replaced: Party, newcomer: Newcomer) {
        let offer = newcomer.offer.clone();
        let party = Party::taking_over(self.newcomers).filter(|_| !self.deserted);
        self.newcomers = self.newcomers.saturating_add(1);
        let mut side = Side::called(
            &self.shared,
            party.unwrap_or(replaced),
            newcomer,
            &self.tell,
        );
        let Some(party) = party else {
            side.reject(481, "");
            self.shared.layer.remove_dialog(&side.dialog.id());
            return;
        };
        self.ends.insert(party, End::Talking(Box::new(side)));
        self.tell(SipEvent::TakenOver {
            party,
            replaced,
            offer,
        });
    }

    fn invite(
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
        if ways::sip_uri(&target.uri).is_none() {
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
            .filter_map(|uri| ways::sip_uri(uri))
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
        let (state_sender, states) = self.shared.layer.new_dialog_state_channel();
        let heard = Arc::new(AtomicBool::new(false));
        let invitation = self.shared.tasks.spawn(invite::invite(
            self.shared.clone(),
            Invitation {
                callees: asked.callees.clone(),
                number: asked.number.clone(),
                offer: asked.offer.clone(),
                hops: self.hops,
                headers,
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
            asked,
            tries,
        };
        self.ends.insert(party, End::Inviting(Box::new(inviting)));
    }

    fn on_invitation(&mut self, party: Party, result: Option<Result<Invited, Unreachable>>) {
        let Some(End::Inviting(inviting)) = self.ends.remove(&party) else {
            return;
        };
        let Inviting {
            mut states,
            mut session,
            asked,
            tries,
            ..
        } = *inviting;
        // Ringing that had no turn yet; what follows the answer stays for later.
        while let Ok(state) = states.try_recv() {
            match state {
                DialogState::Early(_, response) => self.tell(ringing(party, &response)),
                DialogState::Confirmed(..) => break,
                _ => {}
            }
        }
        let (status, reason) = match result {
            Some(Ok(invited)) => match &invited.response {
                Some(response) if invited.is_accepted() => {
                    session.accepted(std::time::Instant::now(), said(response));
                    session.described(&asked.offer);
                    session.peer_takes_updates(allows(response, "UPDATE"));
                    self.tell(SipEvent::Answered {
                        party,
                        answer: description(response).unwrap_or_default(),
                    });
                    let Invited {
                        dialog,
                        stream,
                        contact,
                        ..
                    } = invited;
                    let side = Side::calling(
                        &self.shared,
                        party,
                        (dialog, states),
                        contact,
                        session,
                        &self.tell,
                        stream,
                    );
                    self.ends.insert(party, End::Talking(Box::new(side)));
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

    fn give_up(&mut self, party: Party) {
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

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

fn ringing(party: Party, response: &Response) -> SipEvent {
    SipEvent::Ringing {
        party,
        status: response.status_code.code(),
        answer: description(response),
    }
}

fn hung_up(party: Party, cause: &str) -> SipEvent {
    SipEvent::HungUp {
        party,
        cause: cause.to_owned(),
    }
}
