//! From the outbox on disk to the backend's book.

use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::*;
use crate::grpc::proto::ticket::v1::ticket_intake_server::{TicketIntake, TicketIntakeServer};
use crate::grpc::proto::ticket::v1::{CloseDraftResponse, UpsertDraftResponse};

on_both_engines![
    drafts_put_while_the_backend_is_down_arrive_once_it_is_up_with_the_last_revision,
    what_was_put_before_the_gateway_died_is_delivered_by_the_next_one_and_the_book_survives_too,
    a_refused_draft_is_parked_with_its_reason_holds_its_closing_back_and_leaves_others_alone,
    resending_parked_drafts_delivers_them_and_their_closings_and_a_newer_revision_does_so_by_itself,
    fields_keep_their_values_and_evidence_names_the_moment_in_the_recording,
    a_draft_is_at_the_backend_within_a_fraction_of_a_second_after_it_was_put,
    a_revision_put_while_an_older_one_is_under_way_is_delivered_after_it_and_the_closing_last,
    a_backend_is_told_how_long_it_has_and_one_that_does_not_answer_by_then_is_asked_again,
    within_the_process_drafts_arrive_without_a_door_and_a_foreign_hand_is_noticed,
];

async fn within_the_process_drafts_arrive_without_a_door_and_a_foreign_hand_is_noticed(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    crate::telemetry::start();
    let stale = || {
        let metrics = crate::telemetry::metrics();
        let line = metrics
            .lines()
            .find(|line| line.starts_with("xinqiao_drafts_stale_total"));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        count.unwrap_or(0)
    };
    let desk = Backend::new(office.book.clone());
    let gateway = Gateway::open(&site, desk).await;
    gateway.outbox().put(&submission("a", 1)).await.unwrap();
    gateway.until_empty().await;
    assert_eq!(revision(&held(&office, "a").await), 1);
    let before = stale();
    // Somebody else writes to the call's ticket; our next draft does not get through, and that is no small matter.
    let mut intake = office.intake().await;
    intake.upsert_draft(upsert("a", 9)).await.unwrap();
    gateway.outbox().put(&submission("a", 2)).await.unwrap();
    gateway.until_empty().await;
    // The metric is the process's: the same test on the other engine counts in it as well.
    assert!(stale() > before);
    // What the backend refuses is parked as it is over the wire.
    gateway.outbox().put(&refused("b", 1)).await.unwrap();
    let parked = async {
        loop {
            let entries = gateway.outbox().entries().await.unwrap();
            if entries
                .iter()
                .any(|entry| !matches!(entry.state, EntryState::Waiting { .. }))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, parked)
        .await
        .expect("parked");
    gateway.shut().await;
    office.shut().await;
}

async fn drafts_put_while_the_backend_is_down_arrive_once_it_is_up_with_the_last_revision(
    site: Site,
) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let address = office.address.to_string();
    let endpoint = office.endpoint();
    office.shut().await;
    let gateway = Gateway::open(&site, GrpcDesk::connect_lazy(&endpoint).unwrap()).await;
    let calls: Vec<_> = (0..40).map(|number| format!("call-{number}")).collect();
    for revision in 1..=3 {
        for call in &calls {
            assert_eq!(
                gateway
                    .outbox()
                    .put(&submission(call, revision))
                    .await
                    .unwrap(),
                Put::Accepted
            );
        }
    }
    assert_eq!(
        gateway
            .outbox()
            .put(&submission("call-0", 2))
            .await
            .unwrap(),
        Put::Stale
    );
    for call in &calls[..20] {
        gateway.outbox().close(&submission(call, 4)).await.unwrap();
    }
    assert_eq!(
        gateway
            .outbox()
            .put(&submission("call-0", 9))
            .await
            .unwrap(),
        Put::Stale,
        "closed is closed"
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waiting = gateway.outbox().entries().await.unwrap();
    assert_eq!(waiting.len(), 60, "one draft a call and twenty closings");
    assert!(
        waiting
            .iter()
            .any(|entry| matches!(entry.state, EntryState::Waiting { attempts: 1.., .. }))
    );

    let office = Office::open(&site, &address).await;
    gateway.until_empty().await;
    for (number, call) in calls.iter().enumerate() {
        let record = held(&office, call).await;
        let expected = if number < 20 {
            (true, 4, 2)
        } else {
            (false, 3, 1)
        };
        assert_eq!(
            (record.closed, revision(&record), record.applied),
            expected,
            "{call}"
        );
        let kept = gateway
            .store
            .draft(&CallId::new(call))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept.ticket, Some(record.ticket_id));
    }
    gateway.shut().await;
    office.shut().await;
}

async fn what_was_put_before_the_gateway_died_is_delivered_by_the_next_one_and_the_book_survives_too(
    site: Site,
) {
    let store = Store::open(at(&site.store())).await.unwrap();
    for number in 0..30 {
        let call = format!("call-{number}");
        store.outbox().put(&submission(&call, 1)).await.unwrap();
        store.outbox().close(&submission(&call, 2)).await.unwrap();
    }
    drop(store); // no orderly close

    let office = Office::open(&site, "127.0.0.1:0").await;
    let (address, endpoint) = (office.address.to_string(), office.endpoint());
    let gateway = Gateway::open(&site, GrpcDesk::connect_lazy(&endpoint).unwrap()).await;
    // Both sides go away in the middle of it, and come back.
    gateway
        .until("nothing is delivered", |left| left < 50)
        .await;
    office.shut().await;
    gateway.delivery.abort();
    drop(gateway);
    let office = Office::open(&site, &address).await;
    let gateway = Gateway::open(&site, GrpcDesk::connect_lazy(&endpoint).unwrap()).await;
    gateway.until_empty().await;
    let request = ListDraftsRequest {
        page_size: 500,
        page_token: String::new(),
    };
    let records = office
        .reader()
        .await
        .list_drafts(request)
        .await
        .unwrap()
        .into_inner()
        .records;
    assert_eq!(records.len(), 30);
    for record in &records {
        assert!(record.closed && revision(record) == 2 && record.applied <= 2);
    }
    gateway.shut().await;
    office.shut().await;
}

async fn a_refused_draft_is_parked_with_its_reason_holds_its_closing_back_and_leaves_others_alone(
    site: Site,
) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let desk = GrpcDesk::connect_lazy(&office.endpoint()).unwrap();
    let gateway = Gateway::open(&site, desk).await;
    let outbox = gateway.outbox();
    outbox.put(&refused("bad", 1)).await.unwrap();
    outbox.close(&refused("bad", 1)).await.unwrap();
    outbox.put(&submission("good", 1)).await.unwrap();
    outbox.close(&submission("good", 1)).await.unwrap();
    gateway
        .until("the good call is not delivered", |left| left == 2)
        .await;
    let begun = Instant::now();
    while outbox.parked().await.unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(held(&office, "good").await.closed);
    let parked = outbox.parked().await.unwrap();
    assert_eq!((parked.len(), parked[0].kind), (1, EntryKind::Upsert));
    let EntryState::Parked { code, reason } = &parked[0].state else {
        panic!("not parked")
    };
    assert_eq!(code, "invalid argument");
    assert!(reason.reveal().contains("FIELD_NAME_AMOUNT_YUAN"));

    // Resending without a change brings the same refusal.
    assert_eq!(
        outbox
            .resend(Some(&CallId::new("other")), None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(outbox.resend(None, None).await.unwrap(), 1);
    let begun = Instant::now();
    while outbox.parked().await.unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(outbox.entries().await.unwrap().len(), 2);
    gateway.shut().await;
    office.shut().await;
}

/// Forwards to the real desk once the administrator has repaired the backend.
struct Repaired {
    desk: GrpcDesk,
    broken: Arc<AtomicUsize>,
}

impl Repaired {
    fn check(&self) -> Result<(), DeskError> {
        match self.broken.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(DeskError::Rejected {
                code: "failed precondition",
                reason: Private::from("not set up"),
            }),
        }
    }
}

impl TicketDesk for Repaired {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.check()?;
        self.desk.upsert(submission).await
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.check()?;
        self.desk.close(submission).await
    }
}

async fn resending_parked_drafts_delivers_them_and_their_closings_and_a_newer_revision_does_so_by_itself(
    site: Site,
) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let broken = Arc::new(AtomicUsize::new(1));
    let desk = Repaired {
        desk: GrpcDesk::connect_lazy(&office.endpoint()).unwrap(),
        broken: broken.clone(),
    };
    let gateway = Gateway::open(&site, desk).await;
    let outbox = gateway.outbox();
    outbox.put(&submission("a", 1)).await.unwrap();
    outbox.put(&submission("b", 1)).await.unwrap();
    outbox.close(&submission("b", 1)).await.unwrap();
    let begun = Instant::now();
    while outbox.parked().await.unwrap().len() < 2 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    broken.store(0, Ordering::SeqCst);
    outbox.put(&submission("a", 2)).await.unwrap();
    gateway
        .until("the newer revision is not delivered", |left| left == 2)
        .await;
    assert_eq!(outbox.resend(None, None).await.unwrap(), 1);
    gateway.until_empty().await;
    assert_eq!(revision(&held(&office, "a").await), 2);
    assert!(held(&office, "b").await.closed);
    gateway.shut().await;
    office.shut().await;
}

async fn fields_keep_their_values_and_evidence_names_the_moment_in_the_recording(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let desk = GrpcDesk::connect_lazy(&office.endpoint()).unwrap();
    let mut sent = submission("a", 1);
    for (name, value) in [
        (FieldName::AmountYuan, FieldValue::Number(3_280.5)),
        (FieldName::Confidential, FieldValue::Flag(true)),
        (
            FieldName::Category,
            FieldValue::List(vec!["市场监管".into(), "预付卡".into()]),
        ),
    ] {
        sent.draft.fields.insert(
            name,
            Field {
                value,
                confidence: 0.5,
                evidence: Vec::new(),
            },
        );
    }
    let receipt = desk.upsert(&sent).await.unwrap();
    assert!(receipt.applied);
    let record = held(&office, "a").await;
    assert_eq!(record.ticket_id, receipt.ticket);
    let arrived = record.draft.unwrap();
    assert!(convert::draft_back(&arrived) == sent.draft);
    let phone = arrived
        .fields
        .iter()
        .find(|field| field.name() == WireName::ContactPhone)
        .unwrap();
    assert_eq!(
        (phone.evidence[0].start_ms, phone.evidence[0].end_ms),
        (Some(4_000), Some(6_500))
    );
    assert_eq!(arrived.transcript[0].text, "我的电话是");
    office.shut().await;
}

async fn a_draft_is_at_the_backend_within_a_fraction_of_a_second_after_it_was_put(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let desk = GrpcDesk::connect_lazy(&office.endpoint()).unwrap();
    let gateway = Gateway::open(&site, desk).await;
    let mut reader = office.reader().await;
    let request = WatchDraftsRequest {
        call_id: String::new(),
        after_change: Some(0),
    };
    let mut stream = reader.watch_drafts(request).await.unwrap().into_inner();
    let mut took = Vec::new();
    for number in 1..=100 {
        let begun = Instant::now();
        gateway
            .outbox()
            .put(&submission("a", number))
            .await
            .unwrap();
        let record = tokio::time::timeout(PATIENCE, stream.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .record
            .unwrap();
        assert_eq!(revision(&record), number);
        took.push(begun.elapsed());
    }
    took.sort();
    println!(
        "put → read back from the backend over 100 drafts: median {:?}, p95 {:?}, worst {:?}",
        took[50], took[95], took[99]
    );
    assert!(took[95] < Duration::from_secs(5), "{took:?}");
    drop(stream);
    gateway.shut().await;
    office.shut().await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused_with_an_example() {
    for wrong in ["", "127.0.0.1:50051", "not an address", "ftp://host:1"] {
        let said = GrpcDesk::connect_lazy(wrong).unwrap_err().to_string();
        assert!(said.contains("http://127.0.0.1:50051"), "{wrong}: {said}");
    }
}

#[test]
fn what_can_be_printed_of_a_submission_or_a_refusal_shows_no_personal_data() {
    let submission = submission("a", 1);
    let error = DeskError::Rejected {
        code: "invalid argument",
        reason: Private::from("13800000001 is no phone"),
    };
    let printed = format!("{submission:?} {submission:#?} {error} {error:?}");
    assert!(
        !printed.contains("1380000") && !printed.contains("电话"),
        "{printed}"
    );
}

/// Holds each hand-over up until it is let through.
struct Held {
    desk: GrpcDesk,
    arrived: Arc<Semaphore>,
    let_through: Arc<Semaphore>,
}

impl TicketDesk for Held {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.arrived.add_permits(1);
        self.let_through.acquire().await.unwrap().forget();
        self.desk.upsert(submission).await
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.desk.close(submission).await
    }
}

async fn a_revision_put_while_an_older_one_is_under_way_is_delivered_after_it_and_the_closing_last(
    site: Site,
) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let (arrived, let_through) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let desk = Held {
        desk: GrpcDesk::connect_lazy(&office.endpoint()).unwrap(),
        arrived: arrived.clone(),
        let_through: let_through.clone(),
    };
    let gateway = Gateway::open(&site, desk).await;
    let outbox = gateway.outbox();
    outbox.put(&submission("a", 1)).await.unwrap();
    arrived.acquire().await.unwrap().forget();
    outbox.put(&submission("a", 2)).await.unwrap();
    outbox.close(&submission("a", 2)).await.unwrap();
    let_through.add_permits(1);
    arrived.acquire().await.unwrap().forget();
    let first = held(&office, "a").await;
    assert_eq!((revision(&first), first.closed), (1, false));
    let_through.add_permits(1);
    gateway.until_empty().await;
    let last = held(&office, "a").await;
    assert_eq!((revision(&last), last.closed, last.applied), (2, true, 3));
    gateway.shut().await;
    office.shut().await;
}

/// A backend that forgets to answer the first request, and notes how long it was given for each.
#[derive(Clone, Default)]
struct Forgetful {
    given: Arc<std::sync::Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TicketIntake for Forgetful {
    async fn upsert_draft(
        &self,
        request: Request<UpsertDraftRequest>,
    ) -> Result<Response<UpsertDraftResponse>, Status> {
        let given = request
            .metadata()
            .get("grpc-timeout")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let first = {
            let mut all = self.given.lock().unwrap();
            all.push(given);
            all.len() == 1
        };
        if first {
            tokio::time::sleep(PATIENCE).await;
        }
        Ok(Response::new(UpsertDraftResponse {
            outcome: Outcome::Accepted.into(),
            ticket_id: "T1".to_owned(),
        }))
    }

    async fn close_draft(
        &self,
        _: Request<CloseDraftRequest>,
    ) -> Result<Response<CloseDraftResponse>, Status> {
        Err(Status::internal("nothing is closed here"))
    }
}

async fn a_backend_is_told_how_long_it_has_and_one_that_does_not_answer_by_then_is_asked_again(
    site: Site,
) {
    let backend = Forgetful::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TicketIntakeServer::new(backend.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)),
    );
    let desk = GrpcDesk::new(&endpoint, None, Duration::from_millis(300)).unwrap();
    let gateway = Gateway::open(&site, desk).await;
    gateway.outbox().put(&submission("a", 1)).await.unwrap();
    let begun = Instant::now();
    loop {
        let entries = gateway.outbox().entries().await.unwrap();
        match entries.first().map(|entry| &entry.state) {
            Some(EntryState::Waiting { attempts: 0, .. }) => {}
            Some(EntryState::Waiting { last, .. }) => {
                assert_eq!(last.as_deref(), Some("deadline exceeded"));
                break;
            }
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed() < PATIENCE, "the deadline is not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.until_empty().await;
    let given = backend.given.lock().unwrap().clone();
    assert_eq!(given.len(), 2);
    for given in given {
        let micros: u64 = given.trim_end_matches('u').parse().expect("microseconds");
        assert!(micros <= 300_000, "{micros}");
    }
    let kept = gateway
        .store
        .draft(&CallId::new("a"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.ticket.as_deref(), Some("T1"));
    gateway.shut().await;
}
