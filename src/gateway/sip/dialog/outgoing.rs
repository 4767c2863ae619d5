//! What we ask within a dialog: keys, refreshes, offers of our own; and what is due.

use std::time::Instant;

use crate::gateway::sip::dialog::Dialog;
use crate::gateway::sip::dialog::bodies::{description, said, timer_headers, with_sdp};
use crate::gateway::sip::dialog::table::DialogEvent;
use crate::gateway::sip::stack::message::{Header, HeadersExt, Method, Response};
use crate::sip::session::{Act, Ask, Outcome};
use crate::sip::{DialogEnd, SipEvent};

impl Dialog {
    /// Says by INFO that a key was pressed.
    pub(crate) fn press(&self, key: char, millis: u16) {
        let headers = vec![Header::ContentType("application/dtmf-relay".into())];
        let text = format!("Signal={key}\r\nDuration={millis}\r\n");
        let requests = self.requests.clone();
        self.shared.until_cut(async move {
            requests
                .ask(Method::Info, headers, Some(text.into_bytes()))
                .await;
        });
    }

    /// Does what is due; what comes of it.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<SipEvent> {
        let unacknowledged = self.tick_unanswered(now);
        if unacknowledged.is_some() {
            return unacknowledged;
        }
        while self.confirmed {
            match self.session.poll(now) {
                Act::Send { ask, offer } => self.ask(ask, offer),
                Act::Expire => return Some(self.hung_up(DialogEnd::SessionExpired)),
                Act::At(_) | Act::Nothing => break,
            }
        }
        None
    }

    /// When [`Dialog::tick`] has something to do.
    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let unanswered = self.unanswered_deadline(now);
        if unanswered.is_some() {
            return unanswered;
        }
        match self.confirmed.then(|| self.session.poll(now)) {
            Some(Act::At(at)) => Some(at),
            _ => None,
        }
    }

    fn ask(&self, ask: Ask, offer: Option<String>) {
        let (mut headers, body) = offer.map_or((Vec::new(), None), with_sdp);
        headers.extend(timer_headers(self.session.says()));
        let method = match ask {
            Ask::Invite => Method::Invite,
            Ask::Update => Method::Update,
        };
        let (requests, tell, party) = (self.requests.clone(), self.tell.clone(), self.party);
        self.shared.until_cut(async move {
            let response = requests.ask(method, headers, body).await;
            let _ = tell.send(DialogEvent::Responded(party, response)).await;
        });
    }

    /// What became of what [`Dialog::tick`] asked; `None` is a request that nobody answered.
    pub(crate) fn responded(&mut self, response: Option<&Response>) -> Option<SipEvent> {
        let status = response.map_or(408, |response| response.status_code.code());
        let retry_after = response
            .and_then(|response| response.header_value("Retry-After"))
            .and_then(|value| value.split([' ', ';', '(']).next()?.parse().ok());
        let said = response.map(said).unwrap_or_default();
        if let Some(response) = response.filter(|_| (200..300).contains(&status)) {
            self.requests.refresh(response);
        }
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
            Outcome::Dead => Some(self.hung_up(DialogEnd::Refused(status))),
            _ => None,
        }
    }
}
