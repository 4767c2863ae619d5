//! The reference backend over a real connection, and the way of a draft from the outbox to it.
#![allow(clippy::unwrap_used)]

mod delivery;
mod intake;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use super::{Backend, Book};
use crate::audio::MediaTime;
use crate::gateway::{Services, bind, serve};
use crate::grpc::proto::ticket::v1::ticket_book_client::TicketBookClient;
use crate::grpc::proto::ticket::v1::ticket_intake_client::TicketIntakeClient;
use crate::grpc::proto::ticket::v1::{
    CloseDraftRequest, Draft, DraftKey as WireKey, DraftRecord, Field as WireField,
    FieldName as WireName, GetDraftRequest, ListDraftsRequest, Outcome, UpsertDraftRequest,
    WatchDraftsRequest, field::Value,
};
use crate::grpc::{GrpcDesk, convert};
use crate::postgres_server::{Site, on_both_engines};
use crate::private::Private;
use crate::speech::{CallId, Leg};
use crate::store::{Delivery, EntryKind, EntryState, Lane, Outbox, Put, Store, at};
use crate::ticket::desk::{DeskError, DraftKey, Receipt, Submission, TicketDesk};
use crate::ticket::model::{Limits, Span};
use crate::ticket::resemble::{Likeness, Resemblance};
use crate::ticket::{Evidence, Field, FieldName, FieldValue, TicketDraft};
use crate::transcript::Line;

const PATIENCE: Duration = Duration::from_secs(20);

/// The backend's process.
struct Office {
    address: SocketAddr,
    book: Book,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Office {
    async fn open(site: &Site, address: &str) -> Self {
        let book = Book::open(at(&site.ticketing())).await.unwrap();
        let listener = bind(address.parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let services = Services {
            transcripts: None,
            ticketing: Some(Backend::new(book.clone())),
            ..Services::default()
        };
        let serving = serve(listener, services, None, stop.clone());
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            book,
            stop,
            server,
        }
    }

    async fn shut(self) {
        self.stop.cancel();
        self.server.await.unwrap();
        self.book.close().await;
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn reader(&self) -> TicketBookClient<Channel> {
        TicketBookClient::connect(self.endpoint()).await.unwrap()
    }

    async fn intake(&self) -> TicketIntakeClient<Channel> {
        TicketIntakeClient::connect(self.endpoint()).await.unwrap()
    }
}

/// The gateway's half: a store and a delivery task.
struct Gateway {
    store: Store,
    stop: CancellationToken,
    delivery: JoinHandle<()>,
}

impl Gateway {
    async fn open<D: TicketDesk + 'static>(site: &Site, desk: D) -> Self {
        let store = Store::open(at(&site.store())).await.unwrap();
        let stop = CancellationToken::new();
        let options = Delivery {
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_millis(200),
            ..Delivery::with_seed(7)
        };
        let delivery = tokio::spawn(store.outbox().deliver(
            Lane::Ticketing,
            Arc::new(desk),
            options,
            stop.clone(),
        ));
        Self {
            store,
            stop,
            delivery,
        }
    }

    fn outbox(&self) -> Outbox {
        self.store.outbox()
    }

    async fn shut(self) {
        self.stop.cancel();
        self.delivery.await.unwrap();
        self.store.close().await;
    }

    async fn until_empty(&self) {
        self.until("the outbox is not empty", |entries| entries == 0)
            .await;
    }

    async fn until(&self, complaint: &str, done: impl Fn(usize) -> bool) {
        let begun = Instant::now();
        while !done(self.outbox().entries().await.unwrap().len()) {
            assert!(begun.elapsed() < PATIENCE, "{complaint}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn submission(call: &str, revision: u64) -> Submission {
    let phone = Field {
        value: FieldValue::Text(format!("1380000{revision:04}").into()),
        confidence: 0.8,
        evidence: vec![Evidence {
            utterance: 3,
            start: 2,
            end: 13,
        }],
    };
    Submission {
        key: DraftKey {
            call: CallId::new(call),
            revision,
        },
        draft: TicketDraft {
            fields: [(FieldName::ContactPhone, phone)].into(),
            missing: vec![FieldName::Address],
            resembles: vec![Resemblance {
                call: CallId::new("earlier"),
                ticket: Some("T00000001".into()),
                score: 0.75,
                because: vec![Likeness::SameCaller, Likeness::SimilarText],
                started_unix_ms: 1_700_000_000_000,
            }],
            limits: Some(Limits {
                accept: Span::Hours(2),
                reply: Span::WorkingDays(1),
                finish: Span::WorkingDays(3),
            }),
            ..TicketDraft::default()
        },
        lines: vec![Line {
            revision: 2,
            confidence: 0.7,
            ..Line::plain(
                3,
                Leg::Caller,
                "我的电话是",
                MediaTime::from_millis(4_000),
                MediaTime::from_millis(6_500),
            )
        }],
    }
}

/// A draft that the reference backend refuses.
fn refused(call: &str, revision: u64) -> Submission {
    let mut submission = submission(call, revision);
    let amount = Field {
        value: FieldValue::Flag(true),
        confidence: 1.0,
        evidence: Vec::new(),
    };
    submission
        .draft
        .fields
        .insert(FieldName::AmountYuan, amount);
    submission
}

fn upsert(call: &str, revision: u64) -> UpsertDraftRequest {
    let submission = submission(call, revision);
    UpsertDraftRequest {
        key: Some(convert::key(&submission.key)),
        draft: Some(convert::submission(&submission)),
    }
}

fn close(call: &str, revision: u64) -> CloseDraftRequest {
    let UpsertDraftRequest { key, draft } = upsert(call, revision);
    CloseDraftRequest { key, draft }
}

async fn held(office: &Office, call: &str) -> DraftRecord {
    let request = GetDraftRequest {
        call_id: call.into(),
    };
    office
        .reader()
        .await
        .get_draft(request)
        .await
        .unwrap()
        .into_inner()
        .record
        .unwrap()
}

fn revision(record: &DraftRecord) -> u64 {
    record.key.as_ref().unwrap().revision
}
