//! `TranscriptService`: the bus's live events behind what memory and store hold of the past.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::control::{self, refused};
use super::convert;
use super::peer::Peer;
use super::proto::transcript::v1::transcript_service_server::TranscriptService;
use super::proto::transcript::v1::{
    EditFieldRequest, EditFieldResponse, GetRequest, GetResponse, ListCallsRequest,
    ListCallsResponse, PauseRecordingRequest, PauseRecordingResponse, UndoChangeRequest,
    UndoChangeResponse, WatchRequest, WatchResponse, event::Body,
};
use crate::access::{Deed, People, Refusal};
use crate::control::{self as running, CallControl, Command};

use crate::events::{Bus, Filter, Payload};
use crate::people::Action;
use crate::speech::CallId;
use crate::store::{CallRecord, PageKey, Replay, Store, StoreError, recent_calls_shown};
use crate::transcript::{Transcript, TranscriptEvent};

/// How often it is looked whether who watches may still see.
const LOOK: Duration = Duration::from_secs(1);
/// Calls in an answer when the client names no number.
const DEFAULT_CALLS: u32 = 50;
/// Calls in an answer at most.
const MOST_CALLS: u32 = 500;

/// The transcript service of a gateway; clones share it.
#[derive(Clone)]
pub struct Transcripts {
    bus: Bus,
    store: Store,
    control: CallControl,
    people: Option<People>,
    shutdown: CancellationToken,
}

impl fmt::Debug for Transcripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcripts").finish_non_exhaustive()
    }
}

impl Transcripts {
    /// Over what `bus` holds in memory and `store` on disk; `control` reaches the running calls.
    #[must_use]
    pub fn new(bus: Bus, store: Store, control: CallControl) -> Self {
        Self {
            bus,
            store,
            control,
            people: None,
            shutdown: CancellationToken::new(),
        }
    }

    /// Ends its streams when `shutdown` is cancelled.
    #[must_use]
    pub fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }

    /// Asked by people, each of whom sees and does what the roles allow, instead of by programs.
    #[must_use]
    pub fn for_people(self, people: People) -> Self {
        Self {
            people: Some(people),
            ..self
        }
    }

    /// Who asks, where `action` is allowed on `call`.
    async fn peer<T>(
        &self,
        request: &Request<T>,
        action: Action,
        call: &str,
    ) -> Result<Peer, Status> {
        let peer = Peer::of(self.people.as_ref(), request).await?;
        let call = CallId::new(call);
        peer.demand((&self.bus, &self.store), action, &call).await?;
        Ok(peer)
    }

    /// Keeps that somebody has opened a call.
    fn note_seen(&self, peer: &Peer, call: &CallId) {
        if let (Some(people), Peer::Person(_)) = (&self.people, peer) {
            let detail = serde_json::json!({});
            people.note(peer.actor(), Some(call.clone()), Deed::SeeCall, &detail);
        }
    }

    fn is_alive(&self, call: &CallId) -> bool {
        self.bus.calls().iter().any(|info| info.call == *call)
    }

    /// Whether memory or disk knows the call. Memory first: a call goes from there to the disk, not back.
    async fn knows(&self, call: &CallId) -> Result<bool, StoreError> {
        Ok(self.is_alive(call) || self.store.call(call).await?.is_some())
    }
}

/// A client's stream: what it wants until it is told why there is no more.
struct Watch {
    events: Replay,
    peer: Peer,
    look: Interval,
    shutdown: CancellationToken,
    done: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        while !self.done {
            let next = tokio::select! {
                next = self.events.next() => next.map_err(|error| unreadable(&error)),
                () = self.shutdown.cancelled() => Err(going_down()),
                () = closed(&mut self.peer) => Err(Refusal::SignIn.into()),
                _ = self.look.tick() => match &mut self.peer {
                    Peer::Person(sight) => match sight.renew().await {
                        Ok(()) => continue,
                        Err(refusal) => Err(refusal.into()),
                    },
                    Peer::Program(_) => continue,
                },
            };
            self.done = !matches!(next, Ok(Some(_)));
            match next {
                Ok(Some(event)) if !self.peer.may(Action::SeeCall, &event.operator) => {}
                Ok(event) => {
                    return event.map(|event| {
                        Ok(WatchResponse {
                            event: Some(convert::event(&event)),
                        })
                    });
                }
                Err(status) => return Some(Err(status)),
            }
        }
        None
    }
}

/// Ends when the session does.
async fn closed(peer: &mut Peer) {
    match peer {
        Peer::Person(sight) => sight.closed().await,
        Peer::Program(_) => std::future::pending().await,
    }
}

fn going_down() -> Status {
    Status::unavailable("the gateway is shutting down; watch again from the last position")
}

fn unreadable(error: &StoreError) -> Status {
    tracing::error!(%error, "a transcript cannot be served");
    Status::unavailable("the gateway cannot read its store now; try again")
}

fn unknown(call: &str) -> Status {
    Status::not_found(format!("no call '{}' is known here", call.escape_default()))
}

#[tonic::async_trait]
impl TranscriptService for Transcripts {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let call = request.get_ref().call_id.clone();
        let peer = self.peer(&request, Action::SeeCall, &call).await?;
        let request = request.into_inner();
        if !request.call_id.is_empty() && !request.operator.is_empty() {
            return Err(Status::invalid_argument(
                "give call_id or operator, not both",
            ));
        }
        let filter = Filter {
            call: (!request.call_id.is_empty()).then(|| CallId::new(&request.call_id)),
            operator: (!request.operator.is_empty()).then_some(request.operator),
        };
        if let Some(call) = &filter.call
            && !self.knows(call).await.map_err(|error| unreadable(&error))?
        {
            return Err(unknown(call.as_str()));
        }
        if let Some(call) = filter
            .call
            .as_ref()
            .filter(|_| request.after_position.is_none())
        {
            self.note_seen(&peer, call);
        }
        let (bus, store) = (self.bus.clone(), self.store.clone());
        let watch = Watch {
            events: Replay::open(bus, store, filter, request.after_position),
            peer,
            look: tokio::time::interval(LOOK),
            shutdown: self.shutdown.clone(),
            done: false,
        };
        let events = stream::unfold(watch, |mut watch| async {
            watch.next().await.map(|item| (item, watch))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn pause_recording(
        &self,
        request: Request<PauseRecordingRequest>,
    ) -> Result<Response<PauseRecordingResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.peer(&request, Action::EditCall, call).await?.actor();
        let PauseRecordingRequest { call_id, paused } = request.into_inner();
        let call = CallId::new(&call_id);
        let asked = self
            .control
            .ask(&call, actor, Command::Pause { paused })
            .await;
        asked.map_err(|refusal| match refusal {
            running::Refusal::NotRunning => unknown(&call_id),
            other => refused(other),
        })?;
        Ok(Response::new(PauseRecordingResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let call = CallId::new(&request.get_ref().call_id);
        let peer = self.peer(&request, Action::SeeCall, call.as_str()).await?;
        self.note_seen(&peer, &call);
        let filter = Filter {
            call: Some(call.clone()),
            operator: None,
        };
        let alive = self.is_alive(&call);
        let mut past = Replay::open(self.bus.clone(), self.store.clone(), filter, Some(0));
        let mut answer = GetResponse {
            position: past.horizon(),
            ..GetResponse::default()
        };
        let mut record = None;
        let mut transcript = Transcript::default();
        let mut gaps = BTreeMap::new();
        while let Some(event) = past.next_past().await.map_err(|error| unreadable(&error))? {
            let Payload::Transcript(said) = &event.payload else {
                continue;
            };
            CallRecord::note(&mut record, said);
            if let TranscriptEvent::Line(line) = said {
                transcript.apply(line.clone());
            }
            match convert::event(&event).body {
                Some(Body::Gap(gap)) => {
                    gaps.insert(gap.id, gap);
                }
                Some(Body::Alarm(alarm)) => answer.alarms.push(alarm),
                Some(Body::Media(media)) => answer.media.push(media),
                Some(Body::Note(note)) => answer.notes.push(note),
                _ => {}
            }
        }
        let record: CallRecord = record.ok_or_else(|| unknown(call.as_str()))?;
        // Asked before the past was read: a call that ended in between is told by its end.
        answer.call = Some(convert::call(&record, alive || record.elsewhere));
        let lines = transcript
            .lines()
            .iter()
            .filter(|line| line.is_final || !gaps.contains_key(&line.id));
        answer.utterances = lines
            .map(|line| convert::utterance(call.as_str(), line))
            .collect();
        answer.gaps = gaps.into_values().collect();
        Ok(Response::new(answer))
    }

    async fn edit_field(
        &self,
        request: Request<EditFieldRequest>,
    ) -> Result<Response<EditFieldResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.peer(&request, Action::EditCall, call).await?.actor();
        let EditFieldRequest { call_id, field } = request.into_inner();
        let edit = control::edit(field)?;
        let asked = self.control.ask(&CallId::new(&call_id), actor, edit).await;
        asked.map_err(refused)?;
        Ok(Response::new(EditFieldResponse {}))
    }

    async fn undo_change(
        &self,
        request: Request<UndoChangeRequest>,
    ) -> Result<Response<UndoChangeResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.peer(&request, Action::EditCall, call).await?.actor();
        let UndoChangeRequest {
            call_id,
            utterance_id,
            change,
            restore,
            revision,
        } = request.into_inner();
        let command = control::revise(utterance_id, change, revision, restore);
        let asked = self
            .control
            .ask(&CallId::new(&call_id), actor, command)
            .await;
        asked.map_err(refused)?;
        Ok(Response::new(UndoChangeResponse {}))
    }

    async fn list_calls(
        &self,
        request: Request<ListCallsRequest>,
    ) -> Result<Response<ListCallsResponse>, Status> {
        let peer = Peer::of(self.people.as_ref(), &request).await?;
        let request = request.into_inner();
        let size = match request.page_size {
            0 => DEFAULT_CALLS,
            size => size.min(MOST_CALLS),
        };
        let before = parse_token(&request.page_token)?;
        let operator = (!request.operator.is_empty()).then_some(request.operator.as_str());
        let shown = |call: &CallRecord| peer.may(Action::SeeCall, &call.info.operator);
        let (bus, store) = (&self.bus, &self.store);
        let page = recent_calls_shown(bus, store, operator, before, size, shown).await;
        let (page, next) = page.map_err(|error| unreadable(&error))?;
        let next_page_token = match next {
            Some(key) => format!("{}:{}", key.started_ms, key.call),
            None => String::new(),
        };
        let calls = page
            .iter()
            .map(|listed| convert::call(&listed.record, listed.alive));
        Ok(Response::new(ListCallsResponse {
            calls: calls.collect(),
            next_page_token,
        }))
    }
}

fn parse_token(token: &str) -> Result<Option<PageKey>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.split_once(':').and_then(|(started, call)| {
        Some(PageKey {
            started_ms: started.parse().ok()?,
            call: call.to_owned(),
        })
    });
    parsed
        .map(Some)
        .ok_or_else(|| Status::invalid_argument("page_token is none that this service has given"))
}
