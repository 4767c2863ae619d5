//! One party's dialog, once it exists: what it asks, what it is asked, and its end.
//!
//! The stack keeps the dialog: its route, its numbers, the INVITE that began it, ACK, CANCEL and BYE. Every other
//! request within it comes here, so that the dialog never leaves its confirmed state while a request waits, and a
//! BYE can always be sent and taken.

use std::sync::Arc;
use std::time::Instant;

use rsipstack::dialog::DialogId;
use rsipstack::dialog::dialog::{DialogState, DialogStateReceiver};
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::{
    Header, HeadersExt, Method, Request, Response, SipMessage, StatusCode, StatusCodeKind, Uri,
};
use rsipstack::transaction::transaction::{Transaction, TransactionEvent, TransactionEventSender};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::sockets::Carried;
use super::{Alive, Shared, locked, wire};
use crate::sip::reliable::{Due, Reliable};
use crate::sip::session::{Act, Ask, Grant, Outcome, Said, Session};
use crate::sip::siprec;
use crate::sip::{Body, Party, SipEvent, Target};

/// Progress of a transfer that waits to be told: trying, ringing and the end, with some to spare.
const REPORTS: usize = 8;

/// What happens to a dialog besides what the stack tells of it.
pub(super) enum Happening {
    /// A request within it.
    Request(Party, Box<Transaction>),
    /// The ACK of a re-INVITE, and its body.
    Acked(Party, Option<String>),
    /// None came.
    NotAcked(Party),
    /// A PRACK has been answered: what waited for it may follow.
    Pracked(Party),
    /// What became of a request of ours; `None` when it could not be sent.
    Responded(Party, Option<Response>),
    /// An INVITE takes this party's place.
    TakenOver(Party, Box<Newcomer>),
}

/// Who came with an INVITE that names another's dialog.
pub(super) struct Newcomer {
    pub dialog: InviteDialog,
    pub states: DialogStateReceiver,
    pub respond: TransactionEventSender,
    pub session: Session,
    pub grant: Option<Grant>,
    pub stream: Option<Carried>,
    pub alive: Option<Alive>,
    pub contact: Uri,
    /// Its INVITE has an offer.
    pub offer: Option<String>,
}

/// Who sits at a dialog, for requests that name it.
pub(super) struct Seat {
    pub party: Party,
    pub remote_tag: String,
    pub answered: bool,
    pub tell: mpsc::Sender<Happening>,
}

/// Keeps a seat taken.
pub(super) struct Seated {
    shared: Arc<Shared>,
    key: (String, String),
}

impl Seated {
    pub fn new(shared: &Arc<Shared>, id: &DialogId, seat: Seat) -> Self {
        let key = (id.call_id.clone(), id.local_tag.clone());
        locked(&shared.seats).insert(key.clone(), seat);
        Self {
            shared: shared.clone(),
            key,
        }
    }

    fn is_answered(&self) {
        if let Some(seat) = locked(&self.shared.seats).get_mut(&self.key) {
            seat.answered = true;
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        locked(&self.shared.seats).remove(&self.key);
    }
}

/// A peer's request that the call has not answered yet.
enum Open {
    Invite(Box<Request>, TransactionEventSender, Option<Grant>),
    Other(Box<Transaction>, Option<Grant>),
}

/// What waits for a PRACK, with its description.
enum Next {
    Ring(Option<String>),
    Accept(Option<String>),
}

/// The INVITE that began the dialog, while it is not answered.
struct Unanswered {
    respond: TransactionEventSender,
    /// The caller demands that provisional responses be acknowledged, or takes them so.
    demands: bool,
    takes: bool,
    reliable: Reliable,
    /// The response that waits for its PRACK, and what is to follow it.
    last: Option<(Vec<Header>, Option<Vec<u8>>)>,
    next: Option<Next>,
    /// The INVITE had no offer, and a provisional response of ours made one.
    offered: bool,
    grant: Option<Grant>,
    /// The INVITE has none, so that ours is answered in PRACK or ACK.
    without_offer: bool,
}

/// A dialog and what it still owes.
pub(super) struct Side {
    pub party: Party,
    pub dialog: InviteDialog,
    pub states: DialogStateReceiver,
    pub confirmed: bool,
    pub session: Session,
    shared: Arc<Shared>,
    tell: mpsc::Sender<Happening>,
    contact: Uri,
    unanswered: Option<Unanswered>,
    open: Option<Open>,
    refer: Option<Box<Transaction>>,
    /// What the party that referred is told of the transfer, one after the other.
    reports: Option<mpsc::Sender<u16>>,
    /// A recording client called: we are its recording server (RFC 7866 §6.2).
    records: bool,
    /// The number of the peer's last request.
    number: u32,
    seat: Seated,
    alive: Option<Alive>,
    _stream: Option<Carried>,
}

impl Side {
    /// The dialog of an INVITE that came.
    pub fn called(
        shared: &Arc<Shared>,
        party: Party,
        new: Newcomer,
        tell: &mpsc::Sender<Happening>,
    ) -> Self {
        let request = new.dialog.initial_request();
        let mut side = Self::new(
            shared,
            party,
            (new.dialog, new.states),
            new.contact,
            new.session,
            tell,
            new.stream,
        );
        let demands = request.header_contains_token("Require", "100rel");
        side.number = request
            .cseq_header()
            .ok()
            .and_then(|cseq| cseq.seq().ok())
            .unwrap_or(0);
        side.session.peer_takes_updates(allows(&request, "UPDATE"));
        side.records = request.header_contains_token("Require", siprec::OPTION_TAG);
        side.alive = new.alive;
        side.unanswered = Some(Unanswered {
            respond: new.respond,
            demands,
            takes: demands || request.header_contains_token("Supported", "100rel"),
            reliable: Reliable::new(shared.config.t1, rand::random()),
            last: None,
            next: None,
            offered: false,
            grant: new.grant,
            without_offer: new.offer.is_none(),
        });
        side
    }

    /// The dialog of an INVITE of ours that has been accepted.
    pub fn calling(
        shared: &Arc<Shared>,
        party: Party,
        dialog: (InviteDialog, DialogStateReceiver),
        contact: Uri,
        session: Session,
        tell: &mpsc::Sender<Happening>,
        stream: Option<Carried>,
    ) -> Self {
        let mut side = Self::new(shared, party, dialog, contact, session, tell, stream);
        side.confirmed = true;
        side.seat.is_answered();
        side
    }

    fn new(
        shared: &Arc<Shared>,
        party: Party,
        (dialog, states): (InviteDialog, DialogStateReceiver),
        contact: Uri,
        session: Session,
        tell: &mpsc::Sender<Happening>,
        stream: Option<Carried>,
    ) -> Self {
        let id = dialog.id();
        let seat = Seat {
            party,
            remote_tag: id.remote_tag.clone(),
            answered: false,
            tell: tell.clone(),
        };
        Self {
            party,
            seat: Seated::new(shared, &id, seat),
            dialog,
            states,
            confirmed: false,
            session,
            shared: shared.clone(),
            tell: tell.clone(),
            contact,
            unanswered: None,
            open: None,
            refer: None,
            reports: None,
            records: false,
            number: 0,
            alive: None,
            _stream: stream,
        }
    }

    /// Whether its INVITE still waits for our final response.
    pub const fn waits(&self) -> bool {
        self.unanswered.is_some()
    }

    fn hung_up(&self, cause: &str) -> SipEvent {
        SipEvent::HungUp {
            party: self.party,
            cause: cause.to_owned(),
        }
    }

    // The INVITE that began the dialog.

    /// Answers provisionally: 183 with a description, 180 without.
    pub fn ring(&mut self, description: Option<String>) {
        let Some(unanswered) = &mut self.unanswered else {
            return;
        };
        if unanswered.reliable.is_waiting() {
            // RFC 3262 §3: one after the other; only the newest matters.
            if !matches!(unanswered.next, Some(Next::Accept(_))) {
                unanswered.next = Some(Next::Ring(description));
            }
            return;
        }
        let describes = description.is_some();
        let (headers, body) = description.map_or((Vec::new(), None), with_sdp);
        let mut headers = headers;
        if unanswered.demands || (unanswered.takes && describes) {
            let number = unanswered.reliable.send(Instant::now(), describes);
            headers.push(Header::Require("100rel".into()));
            headers.push(Header::RSeq(number.to_string().into()));
            unanswered.last = Some((headers.clone(), body.clone()));
            unanswered.offered |= describes && unanswered.without_offer;
        }
        let _ = self.dialog.ringing(Some(headers), body);
    }

    /// Accepts; a provisional response that carried a description has to be acknowledged first (RFC 3262 §3).
    pub fn accept(&mut self, description: Option<String>) {
        let Some(unanswered) = &mut self.unanswered else {
            return;
        };
        if unanswered.reliable.holds_the_answer() {
            unanswered.next = Some(Next::Accept(description));
            return;
        }
        let grant = unanswered.grant;
        let answer_follows = unanswered.without_offer && description.is_some();
        if let Some(description) = &description {
            self.session.described(description);
        }
        let (mut headers, body) = description.map_or((Vec::new(), None), with_sdp);
        if headers.is_empty() {
            headers.push(Header::Allow(wire::ALLOW.into()));
        }
        headers.extend(granted(grant));
        if self.records {
            headers.push(self.own_contact());
        }
        let _ = self.dialog.accept(Some(headers), body);
        self.session.answered(answer_follows);
        self.session.granted(Instant::now(), grant);
        self.seat.is_answered();
        self.unanswered = None;
    }

    /// Refuses; the stack ends the dialog.
    pub fn reject(&mut self, status: u16, reason: &str) {
        if self.unanswered.take().is_some() {
            // RFC 3326; the phrase of the status line is the stack's.
            let plain: String = reason
                .chars()
                .filter(|letter| !letter.is_control() && !matches!(letter, '"' | '\\'))
                .collect();
            let reason =
                (!plain.is_empty()).then(|| format!("SIP;cause={status};text=\"{plain}\""));
            let _ = self.dialog.reject(Some(status.into()), reason);
        }
    }

    /// A caller that ends its early dialog by BYE still gets a final response to its INVITE (RFC 3261 §15.1.2).
    pub fn ended_early(&mut self) {
        if let Some(unanswered) = self.unanswered.take() {
            let response = self.response(
                &self.dialog.initial_request(),
                StatusCode::RequestTerminated,
                vec![],
                None,
            );
            let _ = unanswered.respond.send(TransactionEvent::Respond(response));
        }
    }

    // What the stack tells.

    /// What a dialog that is not over has to say.
    pub fn hear(&mut self, state: &DialogState) -> Option<SipEvent> {
        if !matches!(state, DialogState::Confirmed(..)) || self.confirmed {
            return None;
        }
        self.confirmed = true;
        if !self.session.acknowledged() {
            return None;
        }
        let answer = description(&self.dialog.last_remote_ack()?)?;
        Some(SipEvent::OfferAnswered {
            party: self.party,
            answer,
        })
    }

    // What the peer asks within the dialog.

    /// Takes a request within the dialog.
    pub fn take(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let number = original
            .cseq_header()
            .ok()
            .and_then(|cseq| cseq.seq().ok())
            .unwrap_or(0);
        if number < self.number {
            // RFC 3261 §12.2.2
            self.reply(request, StatusCode::ServerInternalError, vec![]);
            return None;
        }
        self.number = number;
        match original.method {
            Method::Invite | Method::Update => self.take_offer(request),
            Method::PRack => self.take_prack(request),
            Method::Info => self.take_info(request),
            Method::Refer => self.take_refer(request),
            _ => {
                let allow = vec![Header::Allow(wire::ALLOW.into())];
                self.reply(request, StatusCode::MethodNotAllowed, allow);
                None
            }
        }
    }

    fn take_offer(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let is_invite = original.method == Method::Invite;
        if is_invite && self.unanswered.is_some() {
            // A second INVITE before the answer to the first (RFC 3261 §14.2).
            let later = vec![Header::RetryAfter("5".into())];
            self.reply(request, StatusCode::ServerInternalError, later);
            return None;
        }
        let offer = description(original);
        let offers = is_invite || offer.is_some();
        match self.session.asked(offers, said(original)) {
            Err(refusal) => {
                let mut headers = Vec::new();
                headers.extend(
                    refusal
                        .retry_after
                        .map(|seconds| Header::RetryAfter(seconds.to_string().into())),
                );
                headers.extend(
                    refusal
                        .min_se
                        .map(|seconds| Header::MinSE(seconds.to_string().into())),
                );
                self.reply(request, refusal.status.into(), headers);
                None
            }
            Ok(grant) if offers => {
                self.open = Some(if is_invite {
                    let (original, respond) = (
                        Box::new(request.original.clone()),
                        request.tu_sender.clone(),
                    );
                    self.drive(*request);
                    Open::Invite(original, respond, grant)
                } else {
                    Open::Other(request, grant)
                });
                Some(SipEvent::Offered {
                    party: self.party,
                    offer,
                })
            }
            Ok(grant) => {
                // Only a sign of life (RFC 3311).
                self.session.granted(Instant::now(), grant);
                self.reply(request, StatusCode::OK, granted(grant));
                None
            }
        }
    }

    /// Answers the open offer.
    pub fn answer(&mut self, answer: Result<String, u16>) {
        let Some(open) = self.open.take() else {
            return;
        };
        let now = Instant::now();
        let (status, headers, body, described) = match answer {
            Ok(description) => {
                let (headers, body) = with_sdp(description.clone());
                (StatusCode::OK, headers, body, Some(description))
            }
            Err(status) => (status.into(), vec![], None, None),
        };
        let accepted = described.is_some();
        if let Some(description) = &described {
            self.session.described(description);
        }
        match open {
            Open::Invite(original, respond, grant) => {
                let mut headers = headers;
                if accepted {
                    headers.extend(granted(grant));
                    self.session.granted(now, grant);
                }
                self.session
                    .answered(accepted && description(&*original).is_none());
                let response = self.response(&original, status, headers, body);
                let _ = respond.send(TransactionEvent::Respond(response));
            }
            Open::Other(request, grant) => {
                let mut headers = headers;
                if accepted && request.original.method == Method::Update {
                    headers.extend(granted(grant));
                    self.session.granted(now, grant);
                }
                self.session.answered(false);
                let response = self.response(&request.original, status, headers, body);
                self.respond(request, response);
            }
        }
    }

    /// Runs a re-INVITE until its ACK.
    fn drive(&self, mut request: Transaction) {
        let (tell, party) = (self.tell.clone(), self.party);
        self.shared.until_cut(async move {
            let _ = request.send_trying().await;
            while let Some(message) = request.receive().await {
                let SipMessage::Request(message) = message else {
                    continue;
                };
                match message.method {
                    Method::Ack => {
                        let _ = tell
                            .send(Happening::Acked(party, description(&message)))
                            .await;
                        return;
                    }
                    Method::Cancel => {
                        let _ = request.reply(StatusCode::RequestTerminated).await;
                    }
                    _ => {}
                }
            }
            let accepted = request
                .last_response
                .as_ref()
                .is_some_and(|last| last.status_code.kind() == StatusCodeKind::Successful);
            if accepted {
                let _ = tell.send(Happening::NotAcked(party)).await;
            }
        });
    }

    /// The ACK of a re-INVITE.
    pub fn acked(&mut self, answer: Option<String>) -> Option<SipEvent> {
        let party = self.party;
        self.session
            .acknowledged()
            .then_some(SipEvent::OfferAnswered {
                party,
                answer: answer?,
            })
    }

    fn take_prack(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let (invite, rack) = (self.dialog.initial_request(), request.original.rack_value());
        let invite = invite.cseq_header().ok().and_then(|cseq| cseq.seq().ok());
        let acknowledges = rack.is_some_and(|(number, cseq, method)| {
            method == Method::Invite
                && Some(cseq) == invite
                && self
                    .unanswered
                    .as_mut()
                    .is_some_and(|unanswered| unanswered.reliable.acknowledge(number))
        });
        let Some(unanswered) = self.unanswered.as_mut().filter(|_| acknowledges) else {
            self.reply(request, StatusCode::CallTransactionDoesNotExist, vec![]);
            return None;
        };
        let described = description(&request.original);
        let answers = std::mem::take(&mut unanswered.offered);
        // The first offer is settled, by our description or by the one that comes here: there may be another one now.
        if unanswered
            .last
            .take()
            .is_some_and(|(_, body)| body.is_some())
        {
            self.session.answered(false);
        }
        match described {
            Some(offer) if !answers && self.session.asked(true, Said::default()).is_ok() => {
                self.open = Some(Open::Other(request, None));
                Some(SipEvent::Offered {
                    party: self.party,
                    offer: Some(offer),
                })
            }
            described => {
                self.reply(request, StatusCode::OK, vec![]);
                described
                    .filter(|_| answers)
                    .map(|answer| SipEvent::OfferAnswered {
                        party: self.party,
                        answer,
                    })
            }
        }
    }

    /// What waited for a PRACK follows its answer.
    pub fn pracked(&mut self) {
        let next = self
            .unanswered
            .as_mut()
            .filter(|unanswered| !unanswered.reliable.is_waiting())
            .and_then(|unanswered| unanswered.next.take());
        match next {
            Some(Next::Accept(description)) => self.accept(description),
            Some(Next::Ring(description)) => self.ring(description),
            None => {}
        }
    }

    fn take_info(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let kind = request
            .original
            .header_value("Content-Type")
            .unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let text = (!request.original.body.is_empty())
            .then(|| String::from_utf8_lossy(&request.original.body).into_owned());
        let key = match (kind.as_str(), &text) {
            ("application/dtmf-relay" | "application/dtmf", Some(text)) => pressed(text),
            // An empty one is a sign of life.
            (_, None) => None,
            _ => {
                let accept = vec![Header::Accept(
                    "application/dtmf-relay, application/dtmf".into(),
                )];
                self.reply(request, StatusCode::UnsupportedMediaType, accept);
                return None;
            }
        };
        let status = if text.is_some() && key.is_none() {
            StatusCode::BadRequest
        } else {
            StatusCode::OK
        };
        self.reply(request, status, vec![]);
        let (key, millis) = key?;
        Some(SipEvent::Keyed {
            party: self.party,
            key,
            millis,
        })
    }

    fn take_refer(&mut self, request: Box<Transaction>) -> Option<SipEvent> {
        let original = &request.original;
        let targets: Vec<String> = original
            .headers
            .iter()
            .filter_map(|header| match header {
                Header::ReferTo(target) => Some(target.to_string()),
                _ => None,
            })
            .collect();
        let referred_by = original.header_value("Referred-By");
        let target = match targets.as_slice() {
            [line] => {
                let value = line.split_once(':').map_or("", |(_, value)| value).trim();
                Target::from_refer_to(value, referred_by.as_deref())
            }
            _ => None,
        };
        let Some(target) = target else {
            self.reply(request, StatusCode::BadRequest, vec![]);
            return None;
        };
        if self.refer.is_some() {
            self.reply(request, StatusCode::RequestPending, vec![]);
            return None;
        }
        self.refer = Some(request);
        Some(SipEvent::Referred {
            party: self.party,
            target,
        })
    }

    /// Answers the REFER; one that is accepted is told of the transfer's progress, unless it wants none (RFC 4488).
    pub fn answer_refer(&mut self, status: u16) {
        let Some(request) = self.refer.take() else {
            return;
        };
        let silent = request
            .original
            .header_value("Refer-Sub")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let mut headers = Vec::new();
        if silent {
            headers.push(Header::Other("Refer-Sub".to_owned(), "false".to_owned()));
        }
        if status != 202 || silent {
            self.reply(request, status.into(), headers);
            return;
        }
        let response = self.response(&request.original, status.into(), headers, None);
        let (reports, mut queue) = mpsc::channel(REPORTS);
        self.reports = Some(reports);
        let dialog = self.dialog.clone();
        let mut request = request;
        self.shared.until_cut(async move {
            let _ = request.respond(response).await;
            // Each waits for the answer to the one before, so that none overtakes another.
            while let Some(status) = queue.recv().await {
                let (headers, body) = progress(status);
                let _ = dialog.notify(Some(headers), Some(body)).await;
            }
        });
        self.report(100);
    }

    /// Tells the party that referred how far its successor is; one that does not listen misses what is between.
    pub fn report(&mut self, status: u16) {
        if let Some(reports) = &self.reports {
            let _ = reports.try_send(status);
        }
        if status >= 200 {
            self.reports = None;
        }
    }

    // What we ask within the dialog.

    /// Says by INFO that a key was pressed.
    pub fn press(&self, key: char, millis: u16) {
        let headers = vec![Header::ContentType("application/dtmf-relay".into())];
        let text = format!("Signal={key}\r\nDuration={millis}\r\n");
        let dialog = self.dialog.clone();
        self.shared.until_cut(async move {
            let _ = dialog.info(Some(headers), Some(text.into_bytes())).await;
        });
    }

    /// Does what is due; what comes of it.
    pub fn tick(&mut self, now: Instant) -> Option<SipEvent> {
        if let Some(unanswered) = &mut self.unanswered {
            loop {
                match unanswered.reliable.poll(now) {
                    Due::Resend => {
                        if let Some((headers, body)) = unanswered.last.clone() {
                            let _ = self.dialog.ringing(Some(headers), body);
                        }
                    }
                    Due::GiveUp => {
                        self.reject(504, "no PRACK");
                        return Some(self.hung_up("no PRACK"));
                    }
                    Due::At(_) | Due::Nothing => break,
                }
            }
        }
        while self.confirmed {
            match self.session.poll(now) {
                Act::Send { ask, offer } => self.ask(ask, offer),
                Act::Expire => return Some(self.hung_up("session expired")),
                Act::At(_) | Act::Nothing => break,
            }
        }
        None
    }

    /// When [`Side::tick`] has something to do.
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let prack = self
            .unanswered
            .as_mut()
            .map(|unanswered| unanswered.reliable.poll(now));
        if let Some(Due::At(at)) = prack {
            return Some(at);
        }
        match self.confirmed.then(|| self.session.poll(now)) {
            Some(Act::At(at)) => Some(at),
            _ => None,
        }
    }

    fn ask(&self, ask: Ask, offer: Option<String>) {
        let (mut headers, body) = offer.map_or((Vec::new(), None), with_sdp);
        headers.extend(timer_headers(self.session.says()));
        let (dialog, tell, party) = (self.dialog.clone(), self.tell.clone(), self.party);
        self.shared.until_cut(async move {
            let response = match ask {
                Ask::Invite => dialog.reinvite(Some(headers), body).await,
                Ask::Update => dialog.update(Some(headers), body).await,
            };
            let _ = tell
                .send(Happening::Responded(party, response.ok().flatten()))
                .await;
        });
    }

    /// What became of what [`Side::tick`] asked; `None` is a request that nobody answered.
    pub fn responded(&mut self, response: Option<&Response>) -> Option<SipEvent> {
        let status = response.map_or(408, |response| response.status_code.code());
        let retry_after = response
            .and_then(|response| response.header_value("Retry-After"))
            .and_then(|value| value.split([' ', ';', '(']).next()?.parse().ok());
        let said = response.map(said).unwrap_or_default();
        match self
            .session
            .responded(Instant::now(), status, retry_after, said)
        {
            Outcome::Accepted { offered: true } => Some(SipEvent::OfferAnswered {
                party: self.party,
                answer: response.and_then(description)?,
            }),
            Outcome::Refused { offered: true } => Some(SipEvent::OfferRefused {
                party: self.party,
                status,
            }),
            Outcome::Dead => Some(self.hung_up(&format!("{status} within the dialog"))),
            _ => None,
        }
    }

    // Its end.

    /// Ends a dialog that was answered; one that waits for its ACK first gets it (RFC 3261 §15).
    pub async fn say_bye(mut self) {
        let patience = self.shared.config.t1 * 70;
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
        self.shared.layer.remove_dialog(&self.dialog.id());
    }

    // Responses.

    fn response(
        &self,
        request: &Request,
        status: StatusCode,
        headers: Vec<Header>,
        body: Option<Vec<u8>>,
    ) -> Response {
        let mut response = self.shared.endpoint.make_response(request, status, body);
        let id = self.dialog.id();
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
        Header::Contact(format!("<{}>{feature}", self.contact).into())
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
                let _ = tell.send(Happening::Pracked(party)).await;
            }
            // A refused INVITE waits for its ACK.
            while request.receive().await.is_some() {}
        });
    }
}

/// A message with a body; the stack's own trait knows only headers.
pub(super) trait Bodied: HeadersExt {
    fn octets(&self) -> &[u8];
}

impl Bodied for Request {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

impl Bodied for Response {
    fn octets(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Side {
    /// What the peer asked last gets an answer, for its transaction lives until then (RFC 3261 §15.1.2).
    fn drop(&mut self) {
        // Not where the edge itself is being cut.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.answer(Err(487));
            self.answer_refer(487);
        }
    }
}

/// A NOTIFY's headers and body: how far a transfer is (RFC 3515 §2.4).
fn progress(status: u16) -> (Vec<Header>, Vec<u8>) {
    let state = if status >= 200 {
        "terminated;reason=noresource"
    } else {
        "active;expires=180"
    };
    let headers = vec![
        Header::Event("refer".into()),
        Header::SubscriptionState(state.into()),
        Header::ContentType("message/sipfrag;version=2.0".into()),
    ];
    let line = format!("SIP/2.0 {status} {}\r\n", StatusCode::from(status).text());
    (headers, line.into_bytes())
}

/// What a message says of the session timer.
pub(super) fn said(message: &impl HeadersExt) -> Said {
    let supported = message.header_contains_token("Supported", "timer")
        || message.header_contains_token("Require", "timer");
    Said::new(
        message.header_value("Session-Expires").as_deref(),
        message.header_value("Min-SE").as_deref(),
        supported,
    )
}

/// What a request of ours says of the session timer.
pub(super) fn timer_headers(said: Said) -> Vec<Header> {
    let expires = said
        .expires_header()
        .map(|value| Header::SessionExpires(value.into()));
    let min_se = said
        .min_se
        .map(|seconds| Header::MinSE(seconds.to_string().into()));
    expires
        .into_iter()
        .chain(min_se)
        .chain([Header::Supported(wire::SUPPORTED.into())])
        .collect()
}

/// What a 2xx of ours says of it (RFC 4028 §9).
fn granted(grant: Option<Grant>) -> Vec<Header> {
    let Some(grant) = grant else {
        return vec![Header::Supported(wire::SUPPORTED.into())];
    };
    let mut headers = vec![
        Header::Supported(wire::SUPPORTED.into()),
        Header::SessionExpires(grant.expires_header().into()),
    ];
    if grant.refresher == crate::sip::session::Refresher::Uac {
        headers.push(Header::Require("timer".into()));
    }
    headers
}

/// Whether a message's Allow names a method.
pub(super) fn allows(message: &impl HeadersExt, method: &str) -> bool {
    message.header_value("Allow").is_some_and(|value| {
        value
            .split(',')
            .any(|name| name.trim().eq_ignore_ascii_case(method))
    })
}

/// The key that an INFO names, and how long it was pressed.
fn pressed(text: &str) -> Option<(char, u16)> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            let (found, value) = line.split_once('=')?;
            found
                .trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.trim())
        })
    };
    let key = value("Signal").unwrap_or(text.trim());
    let key = match key {
        "10" => '*',
        "11" => '#',
        key => {
            let mut letters = key.chars();
            let letter = letters.next()?.to_ascii_uppercase();
            letters.next().is_none().then_some(letter)?
        }
    };
    let known = matches!(key, '0'..='9' | '*' | '#' | 'A'..='D');
    let millis = value("Duration").and_then(|millis| millis.parse().ok());
    known.then(|| (key, millis.unwrap_or(160).clamp(40, 5_000)))
}

/// The session description that a message carries, be it in a part of its body.
pub(super) fn description(message: &impl Bodied) -> Option<String> {
    let body = Body {
        content_type: message
            .header_value("Content-Type")
            .unwrap_or_else(|| "application/sdp".to_owned()),
        bytes: message.octets().to_vec(),
    };
    body.description().ok().flatten()
}

/// Headers and body that carry a description.
pub(super) fn with_sdp(description: String) -> (Vec<Header>, Option<Vec<u8>>) {
    let headers = vec![
        Header::ContentType("application/sdp".into()),
        Header::Allow(wire::ALLOW.into()),
    ];
    (headers, Some(description.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::pressed;

    #[test]
    fn keys_are_read_in_every_form_that_phones_send() {
        for (text, pressed_key) in [
            ("Signal=5\r\nDuration=160\r\n", Some(('5', 160))),
            ("Signal= *\nDuration= 250", Some(('*', 250))),
            ("signal=11\r\n", Some(('#', 160))),
            ("d", Some(('D', 160))),
            ("7\r\n", Some(('7', 160))),
            ("Signal=5\r\nDuration=1\r\n", Some(('5', 40))),
            ("Signal=99", None),
            ("Signal=", None),
            ("", None),
            ("E", None),
            ("Signal=五", None),
        ] {
            assert_eq!(pressed(text), pressed_key, "{text:?}");
        }
    }
}
