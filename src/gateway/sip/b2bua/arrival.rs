//! How a call begins: an INVITE that comes, one that takes another's place, or a call that we place.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use crate::gateway::sip::b2bua::new_call::{CALL_QUEUE, NewCall};
use crate::gateway::sip::b2bua::{End, MAX_BREADTH, MAX_FORWARDS, SipCall, body_of};
use crate::gateway::sip::dialog::Dialog;
use crate::gateway::sip::dialog::bodies::said;
use crate::gateway::sip::dialog::table::{
    Alive, Arrival, Beginning, DialogEvent, InviteKey, PendingInvite,
};
use crate::gateway::sip::edge::admission::Who;
use crate::gateway::sip::edge::config::Extension;
use crate::gateway::sip::edge::next_hop::RouteSecurityLookup;
use crate::gateway::sip::edge::streams::Carried;
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::dialogs::DialogId;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Request, StatusCode};
use crate::gateway::sip::stack::transactions::{Transaction, TransactionRole};
use crate::gateway::sip::stack::uris;
use crate::private::Private;
use crate::sip::address::{self, escaped_user};
use crate::sip::session::Session;
use crate::sip::{IncomingCall, Party, Replaces, SipCommand, SipEvent};

/// Takes an INVITE: its dialog, its task and its announcement; or its place in a call that runs.
pub(crate) fn begin(shared: &Arc<Shared>, mut request: Transaction, calls: &mpsc::Sender<NewCall>) {
    let key = key_of(&request.original);
    let arrival = key.as_ref().and_then(|key| shared.dialogs.arrival(key));
    let (Some(key), Some(arrival)) = (key, arrival) else {
        shared.turn_down(request, StatusCode::BadRequest, vec![]);
        return;
    };
    let alive = Alive::new(&shared.dialogs, key.clone());
    let mut session = Session::new(false, shared.config.session, rand::random());
    let grant = match session.asked(true, said(&request.original)) {
        Ok(grant) => grant,
        Err(refusal) => {
            let min_se = refusal.min_se.unwrap_or_default().to_string();
            let headers = vec![Header::MinSE(min_se.into())];
            shared.turn_down(request, refusal.status.into(), headers);
            return;
        }
    };
    let replaced = match replaced(shared, &request.original) {
        Ok(replaced) => replaced,
        Err(status) => {
            shared.turn_down(request, status.into(), vec![]);
            return;
        }
    };
    let incoming = describe(shared, &request.original, &key, &arrival);
    let route = route(shared, &incoming, &arrival.who);
    let trunk = incoming.trunk.clone();
    let Some(route) = shared.unvisited(route, trunk.as_deref(), &arrival.visited) else {
        shared.turn_down(request, StatusCode::LoopDetected, vec![]);
        return;
    };
    let (state_sender, states) = shared.stack.layer.new_dialog_state_channel();
    let contact = shared.contact("gateway", arrival.flow);
    let dialog = shared.stack.layer.get_or_create_server_invite(
        &request,
        state_sender,
        None,
        Some(contact.clone()),
    );
    let Ok(dialog) = dialog else {
        // No Contact to send requests to.
        shared.complain("has no usable Contact", arrival.flow.source);
        shared.turn_down(request, StatusCode::BadRequest, vec![]);
        return;
    };
    let begun = Beginning {
        flow: arrival.flow,
        stream: Carried::new(&shared.transport.streams, arrival.flow),
        contact,
        login: shared.login(&arrival.who),
        stays: !matches!(arrival.who, Who::Trunk(_)),
    };
    let limit = |name| request.original.header_value(name)?.trim().parse().ok();
    let hops = limit("Max-Forwards").map_or(MAX_FORWARDS, |hops: u32| hops.min(255) as u8);
    let breadth = limit("Max-Breadth").unwrap_or(MAX_BREADTH);
    let new = PendingInvite {
        dialog: dialog.clone(),
        states,
        respond: request.tu_sender.clone(),
        session,
        grant,
        alive: Some(alive),
        begun,
        offer: incoming.offer.clone(),
    };
    let mut driver = dialog.clone();
    shared.until_cut(async move {
        let _ = driver.handle(&mut request).await;
    });
    if let Some((party, tell)) = replaced {
        let handed = tell.try_send(DialogEvent::TakenOver(party, Box::new(new)));
        if handed.is_err() {
            let _ = dialog.reject(Some(StatusCode::CallTransactionDoesNotExist), None);
            shared.stack.layer.remove_dialog(&dialog.id());
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
        route_security: RouteSecurityLookup::new(shared),
        events: event_receiver,
        commands: command_sender,
    });
    let mut call = SipCall::new(shared, events, commands);
    call.hops = hops.saturating_sub(1);
    call.breadth = breadth;
    call.visited = arrival.visited;
    call.route = route;
    call.trunk = trunk;
    let mut callers = Dialog::called(shared, Party::CALLER, new, &call.tell);
    if announced.is_err() {
        callers.reject(503, "");
    }
    call.ends
        .insert(Party::CALLER, End::Talking(Box::new(callers)));
    call.begun = true;
    shared.calls.fetch_add(1, Ordering::Relaxed);
    shared.until_cut(call.run());
}

/// Whose place an INVITE takes, if it names a dialog (RFC 3891 §3); the status with which it is refused otherwise.
fn replaced(
    shared: &Shared,
    request: &Request,
) -> Result<Option<(Party, mpsc::Sender<DialogEvent>)>, u16> {
    let Some(value) = request.header_value("Replaces") else {
        return Ok(None);
    };
    let replaces = Replaces::parse(&value).ok_or(400_u16)?;
    let entry = shared
        .dialogs
        .entry(&replaces.call_id, &replaces.to_tag)
        .filter(|entry| entry.remote_tag == replaces.from_tag)
        .ok_or(481_u16)?;
    match (replaces.early_only, entry.answered) {
        (true, true) => Err(486),
        // Nobody takes a call from a caller who still waits.
        (_, false) => Err(481),
        _ => Ok(Some((entry.party, entry.tell))),
    }
}

/// Starts a call without a caller.
pub(crate) fn place(
    shared: &Arc<Shared>,
    runtime: &tokio::runtime::Handle,
) -> (mpsc::Receiver<SipEvent>, mpsc::Sender<SipCommand>) {
    let (events, event_receiver) = mpsc::channel(CALL_QUEUE);
    let (command_sender, commands) = mpsc::channel(CALL_QUEUE);
    let call = SipCall::new(shared, events, commands);
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
        let name = escaped_user(&incoming.called);
        return vec![format!("sip:{name}@{}", config.realm)];
    }
    shared.chosen(&incoming.called, incoming.trunk.as_deref())
}

fn describe(
    shared: &Shared,
    request: &Request,
    key: &InviteKey,
    arrival: &Arrival,
) -> IncomingCall {
    let (who, from) = (&arrival.who, arrival.from.as_str());
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
            .flat_map(address::items)
            .filter(|_| trusted)
            .filter_map(wire::user)
    };
    // The first diversion is the last that Diversion lists, and the first that History-Info does (if anything follows).
    let history: Vec<String> = asserted("History-Info").collect();
    let diverted_from = asserted("Diversion")
        .last()
        .or_else(|| (history.len() > 1).then(|| history[0].clone()));
    // A PBX calls the place where we registered: as nobody, or as the account that we have there.
    let account = trunk
        .filter(|trunk| trunk.register.is_some())
        .and_then(|trunk| trunk.login.as_ref())
        .map(|(account, _)| account.as_str());
    let called = uris::user(&request.uri)
        .filter(|asked| Some(asked.as_str()) != account)
        .or_else(|| header("To").and_then(wire::user))
        .unwrap_or_default();
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
        by_stranger: *who == Who::Anybody,
    }
}
