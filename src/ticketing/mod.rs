//! The reference ticketing backend: takes drafts over gRPC, keeps them in its own `SQLite` file, shows what arrived.
//!
//! It closes the loop for the demonstration and the tests, and is the example for a real backend's team: what it
//! does is what `proto/xinqiao/ticket/v1/ticket.proto` asks for. It shares no state with the gateway, which calls it
//! within the process where both run in one (`desk`).

mod book;
mod desk;
#[cfg(test)]
mod tests;

use std::pin::Pin;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub use book::{Book, BookError};

use crate::grpc::convert::value_back;
use crate::grpc::proto::ticket::v1::ticket_book_server::TicketBook;
use crate::grpc::proto::ticket::v1::ticket_intake_server::TicketIntake;
use crate::grpc::proto::ticket::v1::{
    CloseDraftRequest, CloseDraftResponse, Draft, DraftKey, DraftRecord, FieldName as WireName,
    GetDraftRequest, GetDraftResponse, ListDraftsRequest, ListDraftsResponse, Outcome,
    UpsertDraftRequest, UpsertDraftResponse, WatchDraftsRequest, WatchDraftsResponse,
};
use crate::ticket::FieldName;

/// The longest call id that is accepted.
const LONGEST_CALL_ID: usize = 128;
/// Records in an answer when the client names no number.
const DEFAULT_RECORDS: u32 = 50;
/// Records in an answer at most.
const MOST_RECORDS: u32 = 500;
/// Records that a watcher reads at a time.
const PAGE: u32 = 64;

/// The backend's services; clones share the book.
#[derive(Clone, Debug)]
pub struct Backend {
    book: Book,
    shutdown: CancellationToken,
}

impl Backend {
    /// Over an open book.
    #[must_use]
    pub fn new(book: Book) -> Self {
        Self {
            book,
            shutdown: CancellationToken::new(),
        }
    }

    /// Ends its streams when `shutdown` is cancelled.
    #[must_use]
    pub fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }

    async fn take(
        &self,
        key: Option<DraftKey>,
        draft: Option<Draft>,
        close: bool,
    ) -> Result<(Outcome, String), Status> {
        let key = checked_key(key)?;
        let draft = checked_draft(draft)?;
        let taken = self
            .book
            .take(&key, &draft, close)
            .await
            .map_err(|error| match error {
                BookError::Jump { .. } => Status::invalid_argument(error.to_string()),
                error => unavailable(&error),
            })?;
        let outcome = if taken.stale {
            Outcome::Stale
        } else {
            Outcome::Accepted
        };
        Ok((outcome, taken.ticket_id))
    }
}

#[tonic::async_trait]
impl TicketIntake for Backend {
    async fn upsert_draft(
        &self,
        request: Request<UpsertDraftRequest>,
    ) -> Result<Response<UpsertDraftResponse>, Status> {
        let request = request.into_inner();
        let (outcome, ticket_id) = self.take(request.key, request.draft, false).await?;
        Ok(Response::new(UpsertDraftResponse {
            outcome: outcome.into(),
            ticket_id,
        }))
    }

    async fn close_draft(
        &self,
        request: Request<CloseDraftRequest>,
    ) -> Result<Response<CloseDraftResponse>, Status> {
        let request = request.into_inner();
        let (outcome, ticket_id) = self.take(request.key, request.draft, true).await?;
        Ok(Response::new(CloseDraftResponse {
            outcome: outcome.into(),
            ticket_id,
        }))
    }
}

/// A client's stream of changed drafts.
struct Watch {
    backend: Backend,
    call_id: String,
    changes: watch::Receiver<u64>,
    after: u64,
    page: std::vec::IntoIter<DraftRecord>,
    done: bool,
}

impl Watch {
    async fn next(&mut self) -> Result<DraftRecord, Status> {
        loop {
            if let Some(record) = self.page.next() {
                self.after = record.change;
                return Ok(record);
            }
            // Marked as seen before reading, so that a change in between wakes us.
            self.changes.borrow_and_update();
            let call = (!self.call_id.is_empty()).then_some(self.call_id.as_str());
            let page = self
                .backend
                .book
                .changed_after(self.after, call, PAGE)
                .await;
            let page = page.map_err(|error| unavailable(&error))?;
            if page.is_empty() {
                tokio::select! {
                    changed = self.changes.changed() => changed.map_err(|_| going_down())?,
                    () = self.backend.shutdown.cancelled() => return Err(going_down()),
                }
            }
            self.page = page.into_iter();
        }
    }
}

#[tonic::async_trait]
impl TicketBook for Backend {
    async fn get_draft(
        &self,
        request: Request<GetDraftRequest>,
    ) -> Result<Response<GetDraftResponse>, Status> {
        let call = request.into_inner().call_id;
        let record = self
            .book
            .get(&call)
            .await
            .map_err(|error| unavailable(&error))?;
        let missing = || {
            Status::not_found(format!(
                "no draft of call '{}' has arrived",
                call.escape_default()
            ))
        };
        Ok(Response::new(GetDraftResponse {
            record: Some(record.ok_or_else(missing)?),
        }))
    }

    async fn list_drafts(
        &self,
        request: Request<ListDraftsRequest>,
    ) -> Result<Response<ListDraftsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size {
            0 => DEFAULT_RECORDS,
            size => size.min(MOST_RECORDS),
        };
        let before = match request.page_token.as_str() {
            "" => u64::MAX,
            token => token.parse().map_err(|_| {
                Status::invalid_argument("page_token is none that this service has given")
            })?,
        };
        let listed = self.book.changed_before(before, size + 1).await;
        let mut records = listed.map_err(|error| unavailable(&error))?;
        let more = records.len() > size as usize;
        records.truncate(size as usize);
        let next_page_token = match records.last() {
            Some(last) if more => last.change.to_string(),
            _ => String::new(),
        };
        Ok(Response::new(ListDraftsResponse {
            records,
            next_page_token,
        }))
    }

    type WatchDraftsStream =
        Pin<Box<dyn Stream<Item = Result<WatchDraftsResponse, Status>> + Send>>;

    async fn watch_drafts(
        &self,
        request: Request<WatchDraftsRequest>,
    ) -> Result<Response<Self::WatchDraftsStream>, Status> {
        let request = request.into_inner();
        let changes = self.book.changes();
        let now = *changes.borrow();
        let watch = Watch {
            backend: self.clone(),
            call_id: request.call_id,
            after: request.after_change.unwrap_or(now),
            changes,
            page: Vec::new().into_iter(),
            done: false,
        };
        let records = stream::unfold(watch, |mut watch| async {
            if watch.done {
                return None;
            }
            let item = watch.next().await.map(|record| WatchDraftsResponse {
                record: Some(record),
            });
            watch.done = item.is_err();
            Some((item, watch))
        });
        Ok(Response::new(Box::pin(records)))
    }
}

/// Sentences here name the field, never the value: they end up in the gateway's list of refused drafts.
fn checked_key(key: Option<DraftKey>) -> Result<DraftKey, Status> {
    let Some(key) = key else {
        return Err(Status::invalid_argument(
            "the request has no key; send key.call_id and key.revision",
        ));
    };
    if key.call_id.is_empty() {
        return Err(Status::invalid_argument(
            "key.call_id is empty; send the call's identifier",
        ));
    }
    if key.call_id.len() > LONGEST_CALL_ID
        || !key.call_id.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Status::invalid_argument(format!(
            "key.call_id is not 1 to {LONGEST_CALL_ID} visible ASCII characters"
        )));
    }
    if key.revision == 0 || i64::try_from(key.revision).is_err() {
        return Err(Status::invalid_argument(
            "key.revision is out of range; revisions count from 1",
        ));
    }
    Ok(key)
}

fn checked_draft(draft: Option<Draft>) -> Result<Draft, Status> {
    let Some(draft) = draft else {
        return Err(Status::invalid_argument("the request has no draft"));
    };
    let mut seen = std::collections::HashSet::new();
    for field in &draft.fields {
        let shown = field.name().as_str_name();
        if field.name == WireName::Unspecified as i32 {
            return Err(Status::invalid_argument("a field has no name"));
        }
        // A name that a newer gateway knows is kept, not judged.
        let Some(name) = FieldName::of_number(field.name) else {
            continue;
        };
        if !seen.insert(name) {
            return Err(Status::invalid_argument(format!(
                "field {shown} is there twice"
            )));
        }
        let kind = name.spec().kind;
        let fits = value_back(field).is_some_and(|value| kind.has_shape_of(&value));
        if !fits {
            return Err(Status::invalid_argument(format!(
                "field {shown} has no value, or one of the wrong type"
            )));
        }
        if !(0.0..=1.0).contains(&field.confidence) {
            return Err(Status::invalid_argument(format!(
                "field {shown} has a confidence outside 0.0 to 1.0"
            )));
        }
        if field
            .evidence
            .iter()
            .any(|evidence| evidence.start_char > evidence.end_char)
        {
            return Err(Status::invalid_argument(format!(
                "field {shown} has evidence that ends before it starts"
            )));
        }
    }
    Ok(draft)
}

fn unavailable(error: &BookError) -> Status {
    tracing::error!(%error, "a request to the ticketing backend failed");
    Status::unavailable("the ticketing backend cannot use its store now; try again")
}

fn going_down() -> Status {
    Status::unavailable("the ticketing backend is shutting down; watch again from the last change")
}
