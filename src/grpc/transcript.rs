//! `TranscriptService`: the bus's live events behind what memory and store hold of the past.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::pin::Pin;
use std::sync::Arc;
use std::vec::IntoIter;

use futures_util::stream::{self, Stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::convert;
use super::proto::transcript::v1::transcript_service_server::TranscriptService;
use super::proto::transcript::v1::{
    GetRequest, GetResponse, ListCallsRequest, ListCallsResponse, WatchRequest, WatchResponse,
    event::Body,
};
use crate::events::{Bus, Event, Filter, Next, Payload, Subscription};
use crate::speech::CallId;
use crate::store::{CallRecord, PageKey, Store, StoreError};
use crate::transcript::{Transcript, TranscriptEvent};

/// Events read from the store at a time.
const PAGE: u32 = 256;
/// Calls in an answer when the client names no number.
const DEFAULT_CALLS: u32 = 50;
/// Calls in an answer at most.
const MOST_CALLS: u32 = 500;

/// The transcript service of a gateway; clones share it.
#[derive(Clone, Debug)]
pub struct Transcripts {
    bus: Bus,
    store: Store,
    shutdown: CancellationToken,
}

impl Transcripts {
    /// Over what `bus` holds in memory and `store` on disk.
    #[must_use]
    pub fn new(bus: Bus, store: Store) -> Self {
        Self {
            bus,
            store,
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

    /// Whether the call is still in memory, but its end is not behind `position`.
    fn has_ended_by(&self, call: &CallId, position: u64) -> bool {
        let filter = Filter {
            call: Some(call.clone()),
            operator: None,
        };
        self.bus
            .watch(filter, None)
            .backlog()
            .any(|event| is_final(&event) && event.position <= position)
    }

    /// Whether memory or disk knows the call. Memory first: a call goes from there to the disk, not back.
    async fn knows(&self, call: &CallId) -> Result<bool, StoreError> {
        Ok(self.is_alive(call) || self.store.call(call).await?.is_some())
    }
}

/// What has happened behind a position, as of one moment: the store's events and memory's, merged.
struct Past {
    store: Store,
    filter: Filter,
    /// The last event taken.
    after: u64,
    /// The last position that belongs to the past.
    horizon: u64,
    stored: Peekable<IntoIter<Arc<Event>>>,
    /// Whether the store may hold more behind `stored`.
    more: bool,
    remembered: Peekable<IntoIter<Arc<Event>>>,
}

impl Past {
    /// `use_store` is false when the past is only what memory holds.
    fn new(
        store: Store,
        filter: Filter,
        after: u64,
        view: &mut Subscription,
        use_store: bool,
    ) -> Self {
        Self {
            store,
            filter,
            after,
            horizon: view.horizon(),
            stored: Vec::new().into_iter().peekable(),
            more: use_store,
            remembered: view.backlog().collect::<Vec<_>>().into_iter().peekable(),
        }
    }

    async fn next(&mut self) -> Result<Option<Arc<Event>>, StoreError> {
        loop {
            if self.stored.peek().is_none() && self.more {
                let page = self
                    .store
                    .events(&self.filter, self.after, self.horizon, PAGE)
                    .await?;
                self.more = page.len() == PAGE as usize;
                self.stored = page.into_iter().peekable();
            }
            let event = match (self.stored.peek(), self.remembered.peek()) {
                (None, None) => return Ok(None),
                (Some(stored), Some(remembered)) if stored.position <= remembered.position => {
                    self.stored.next()
                }
                (Some(_), None) => self.stored.next(),
                _ => self.remembered.next(),
            };
            // What memory holds may have been saved too: the second copy is passed over.
            if let Some(event) = event.filter(|event| event.position > self.after) {
                self.after = event.position;
                return Ok(Some(event));
            }
        }
    }
}

/// A client's stream.
struct Watch {
    service: Transcripts,
    filter: Filter,
    past: Option<Past>,
    live: Subscription,
    /// Everything up to here has been sent.
    sent: u64,
    done: bool,
}

impl Watch {
    fn open(service: Transcripts, filter: Filter, after: Option<u64>) -> Self {
        let use_store = after.is_some() || filter.call.is_some();
        // Memory first, then disk: what leaves memory in between is on disk by then.
        let mut live = service.bus.watch(filter.clone(), after);
        let sent = after.unwrap_or(0);
        let past = Past::new(
            service.store.clone(),
            filter.clone(),
            sent,
            &mut live,
            use_store,
        );
        Self {
            service,
            filter,
            past: Some(past),
            live,
            sent,
            done: false,
        }
    }

    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        if self.done {
            return None;
        }
        match self.next_event().await {
            Ok(Some(event)) => {
                self.sent = event.position;
                self.done = self.filter.call.is_some() && is_final(&event);
                Some(Ok(WatchResponse {
                    event: Some(convert::event(&event)),
                }))
            }
            Ok(None) => None,
            Err(status) => {
                self.done = true;
                Some(Err(status))
            }
        }
    }

    async fn next_event(&mut self) -> Result<Option<Arc<Event>>, Status> {
        loop {
            if self.service.shutdown.is_cancelled() {
                return Err(going_down());
            }
            if let Some(past) = &mut self.past {
                if let Some(event) = past.next().await.map_err(|error| unreadable(&error))? {
                    return Ok(Some(event));
                }
                self.past = None;
                // Nothing up to here is missing any more: a watcher that lags starts again behind it.
                self.sent = self.sent.max(self.live.horizon());
                if let Some(call) = &self.filter.call {
                    if self.service.has_ended_by(call, self.sent) {
                        return Ok(None);
                    }
                    // No longer in memory and no end recorded: nothing will ever follow.
                    if !self.service.is_alive(call) {
                        return self.last_words().await;
                    }
                }
            }
            let next = tokio::select! {
                next = self.live.next() => next,
                () = self.service.shutdown.cancelled() => Next::Closed,
            };
            match next {
                Next::Event(event) => return Ok(Some(event)),
                Next::Lagged => {
                    *self = Self::open(self.service.clone(), self.filter.clone(), Some(self.sent));
                }
                Next::Closed => return Err(going_down()),
            }
        }
    }

    /// What a call that is not in memory has still to say: its end may have been published, saved and forgotten
    /// while its past was being read.
    async fn last_words(&mut self) -> Result<Option<Arc<Event>>, Status> {
        let rest = self
            .service
            .store
            .events(&self.filter, self.sent, u64::MAX, 1)
            .await;
        let next = rest.map_err(|error| unreadable(&error))?.into_iter().next();
        if next.is_some() {
            // Reads on from the store, after this one.
            let mut view = self.service.bus.watch(self.filter.clone(), Some(self.sent));
            let after = next.as_ref().map_or(self.sent, |event| event.position);
            self.past = Some(Past::new(
                self.service.store.clone(),
                self.filter.clone(),
                after,
                &mut view,
                true,
            ));
        }
        Ok(next)
    }
}

fn is_final(event: &Event) -> bool {
    matches!(
        event.payload,
        Payload::Transcript(TranscriptEvent::CallFinal { .. })
    )
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
        let watch = Watch::open(self.clone(), filter, request.after_position);
        let events = stream::unfold(watch, |mut watch| async {
            watch.next().await.map(|item| (item, watch))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let call = CallId::new(&request.into_inner().call_id);
        let filter = Filter {
            call: Some(call.clone()),
            operator: None,
        };
        let alive = self.is_alive(&call);
        let mut view = self.bus.watch(filter.clone(), None);
        let position = view.horizon();
        let mut past = Past::new(self.store.clone(), filter, 0, &mut view, true);
        let mut answer = GetResponse {
            position,
            ..GetResponse::default()
        };
        let mut record = None;
        let mut transcript = Transcript::default();
        let mut gaps = BTreeMap::new();
        while let Some(event) = past.next().await.map_err(|error| unreadable(&error))? {
            let Payload::Transcript(said) = &event.payload else {
                continue;
            };
            note(&mut record, said);
            if let TranscriptEvent::Line(line) = said {
                transcript.apply(line.clone());
            }
            match convert::event(&event).body {
                Some(Body::Gap(gap)) => {
                    gaps.insert(gap.id, gap);
                }
                Some(Body::Alarm(alarm)) => answer.alarms.push(alarm),
                _ => {}
            }
        }
        let record: CallRecord = record.ok_or_else(|| unknown(call.as_str()))?;
        // Asked before the past was read: a call that ended in between is told by its end.
        answer.call = Some(convert::call(&record, alive));
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
        // Memory first, as above. A call of which nothing is saved yet is only there.
        let mut calls = BTreeMap::new();
        let mut alive = std::collections::HashSet::new();
        for record in self.remembered() {
            alive.insert(record.info.call.clone());
            let wanted = operator.is_none_or(|operator| operator == record.info.operator)
                && before
                    .as_ref()
                    .is_none_or(|before| record.page_key() < *before);
            if wanted {
                calls.insert(record.page_key(), record);
            }
        }
        let stored = self.store.calls(operator, before.as_ref(), size + 1).await;
        for record in stored.map_err(|error| unreadable(&error))? {
            calls.entry(record.page_key()).or_insert(record);
        }
        let more = calls.len() > size as usize;
        let page: Vec<_> = calls.into_iter().rev().take(size as usize).collect();
        let next_page_token = match page.last() {
            Some((key, _)) if more => format!("{}:{}", key.started_ms, key.call),
            _ => String::new(),
        };
        let calls = page
            .iter()
            .map(|(_, record)| convert::call(record, alive.contains(&record.info.call)));
        Ok(Response::new(ListCallsResponse {
            calls: calls.collect(),
            next_page_token,
        }))
    }
}

impl Transcripts {
    /// The calls that memory holds, as they now stand.
    fn remembered(&self) -> Vec<CallRecord> {
        let mut calls: BTreeMap<CallId, Option<CallRecord>> = BTreeMap::new();
        for event in self.bus.watch(Filter::default(), None).backlog() {
            if let Payload::Transcript(said) = &event.payload {
                note(calls.entry(event.call.clone()).or_default(), said);
            }
        }
        calls.into_values().flatten().collect()
    }
}

fn note(record: &mut Option<CallRecord>, event: &TranscriptEvent) {
    match (record.as_mut(), event) {
        (None, TranscriptEvent::Started(info)) => *record = Some(CallRecord::new(info.clone())),
        (Some(record), event) => record.apply(event),
        (None, _) => {}
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
