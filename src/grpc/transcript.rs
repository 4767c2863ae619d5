//! `TranscriptService`: the bus's live events behind what memory and store hold of the past.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use futures_util::stream::{self, Stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::control::{self, refused};
use super::convert;
use super::peer::actor;
use super::proto::transcript::v1::transcript_service_server::TranscriptService;
use super::proto::transcript::v1::{
    EditFieldRequest, EditFieldResponse, GetRequest, GetResponse, ListCallsRequest,
    ListCallsResponse, PauseRecordingRequest, PauseRecordingResponse, UndoChangeRequest,
    UndoChangeResponse, WatchRequest, WatchResponse, event::Body,
};
use crate::control::{CallControl, Command, Refusal};
use crate::events::{Bus, Filter, Payload};
use crate::speech::CallId;
use crate::store::{CallRecord, PageKey, Replay, Store, StoreError, recent_calls};
use crate::transcript::{Transcript, TranscriptEvent};

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
            shutdown: CancellationToken::new(),
        }
    }

    /// Ends its streams when `shutdown` is cancelled.
    #[must_use]
    pub fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
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
    shutdown: CancellationToken,
    done: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        if self.done {
            return None;
        }
        let next = tokio::select! {
            next = self.events.next() => next.map_err(|error| unreadable(&error)),
            () = self.shutdown.cancelled() => Err(going_down()),
        };
        self.done = !matches!(next, Ok(Some(_)));
        match next {
            Ok(event) => event.map(|event| {
                Ok(WatchResponse {
                    event: Some(convert::event(&event)),
                })
            }),
            Err(status) => Some(Err(status)),
        }
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
        let (bus, store) = (self.bus.clone(), self.store.clone());
        let watch = Watch {
            events: Replay::open(bus, store, filter, request.after_position),
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
        let actor = actor(&request);
        let PauseRecordingRequest { call_id, paused } = request.into_inner();
        let call = CallId::new(&call_id);
        let asked = self
            .control
            .ask(&call, actor, Command::Pause { paused })
            .await;
        asked.map_err(|refusal| match refusal {
            Refusal::NotRunning => unknown(&call_id),
            other => refused(other),
        })?;
        Ok(Response::new(PauseRecordingResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let call = CallId::new(&request.into_inner().call_id);
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
        let actor = actor(&request);
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
        let actor = actor(&request);
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
        let request = request.into_inner();
        let size = match request.page_size {
            0 => DEFAULT_CALLS,
            size => size.min(MOST_CALLS),
        };
        let before = parse_token(&request.page_token)?;
        let operator = (!request.operator.is_empty()).then_some(request.operator.as_str());
        let page = recent_calls(&self.bus, &self.store, operator, before.as_ref(), size).await;
        let (page, more) = page.map_err(|error| unreadable(&error))?;
        let next_page_token = match page.last() {
            Some(last) if more => {
                let key = last.record.page_key();
                format!("{}:{}", key.started_ms, key.call)
            }
            _ => String::new(),
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
