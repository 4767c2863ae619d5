//! What the backend takes, refuses and shows.

use super::*;

on_both_engines![
    the_backend_takes_each_revision_once_and_never_goes_back,
    a_request_that_cannot_be_understood_is_refused_with_a_sentence_that_names_the_field,
    a_watcher_of_drafts_gets_the_newest_state_of_each_and_continues_after_a_break,
    a_jump_of_revisions_is_refused_and_takes_nothing_from_the_drafts_to_come,
];

async fn a_jump_of_revisions_is_refused_and_takes_nothing_from_the_drafts_to_come(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let mut intake = office.intake().await;
    intake.upsert_draft(upsert("a", 7)).await.unwrap();
    let before = held(&office, "a").await;
    for (call, revision) in [
        ("a", i64::MAX as u64),
        ("a", 1 << 40),
        ("a", 10_008),
        ("new", 10_001),
    ] {
        let mut forged = close(call, revision);
        forged.draft = Some(Draft::default());
        let refused = intake.close_draft(forged).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{call} {revision}");
        assert!(refused.message().contains("key.revision"), "{refused}");
        let refused = intake.upsert_draft(upsert(call, revision)).await;
        assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);
    }
    assert!(held(&office, "a").await == before);
    // As many as the longest call may have are taken.
    for revision in [8, 10_008, 20_008] {
        let answer = intake.upsert_draft(upsert("a", revision)).await.unwrap();
        assert_eq!(answer.into_inner().outcome(), Outcome::Accepted);
    }
    office.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_give_way_to_clients() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path().join("ticketing.db").as_path())
        .await
        .unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let services = Services {
        ticketing: Some(Backend::new(book.clone())),
        connections: Some(8),
        ..Services::default()
    };
    let serving = serve(listener, services, None, stop.clone());
    let server = tokio::spawn(async move { serving.await.unwrap() });
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let office = Office {
        address,
        book,
        stop,
        server,
    };
    office
        .intake()
        .await
        .upsert_draft(upsert("a", 1))
        .await
        .unwrap();
    assert_eq!(revision(&held(&office, "a").await), 1);
    drop(silent);
    office.shut().await;
}

async fn the_backend_takes_each_revision_once_and_never_goes_back(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let mut intake = office.intake().await;
    let mut tickets = Vec::new();
    for (sent, expected, held_then) in [
        (2, Outcome::Accepted, 2),
        (2, Outcome::Accepted, 2),
        (1, Outcome::Stale, 2),
        (5, Outcome::Accepted, 5),
        (4, Outcome::Stale, 5),
    ] {
        let answer = intake
            .upsert_draft(upsert("a", sent))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.outcome(), expected, "revision {sent}");
        tickets.push(answer.ticket_id);
        assert_eq!(revision(&held(&office, "a").await), held_then);
    }
    assert!(tickets.iter().all(|ticket| *ticket == tickets[0]));
    assert_eq!(
        held(&office, "a").await.applied,
        2,
        "repeated and stale requests change nothing"
    );

    for _ in 0..2 {
        let answer = intake
            .close_draft(close("a", 5))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.outcome(), Outcome::Accepted);
    }
    let late = intake
        .upsert_draft(upsert("a", 6))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(late.outcome(), Outcome::Stale);
    let record = held(&office, "a").await;
    assert_eq!(
        (record.closed, revision(&record), record.applied),
        (true, 5, 3)
    );

    intake
        .close_draft(close("never heard of", 1))
        .await
        .err()
        .unwrap();
    let answer = intake
        .close_draft(close("unheard", 3))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(answer.ticket_id, tickets[0]);
    assert!(held(&office, "unheard").await.closed);
    office.shut().await;
}

async fn a_request_that_cannot_be_understood_is_refused_with_a_sentence_that_names_the_field(
    site: Site,
) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let mut intake = office.intake().await;
    let key = |call: &str, revision| {
        Some(WireKey {
            call_id: call.into(),
            revision,
        })
    };
    let field = |name: WireName, value, confidence| {
        let field = WireField {
            name: name.into(),
            value,
            confidence,
            ..WireField::default()
        };
        Some(Draft {
            fields: vec![field],
            ..Draft::default()
        })
    };
    let text = || Some(Value::Text("x".into()));
    let empty = || Some(Draft::default());
    for (key, draft, named) in [
        (None, empty(), "no key"),
        (key("", 1), empty(), "key.call_id"),
        (key(&"x".repeat(129), 1), empty(), "key.call_id"),
        (key("王", 1), empty(), "key.call_id"),
        (key("a", 0), empty(), "key.revision"),
        (key("a", u64::MAX), empty(), "key.revision"),
        (key("a", 1), None, "no draft"),
        (
            key("a", 1),
            field(WireName::Unspecified, text(), 1.0),
            "no name",
        ),
        (
            key("a", 1),
            field(WireName::AmountYuan, text(), 1.0),
            "FIELD_NAME_AMOUNT_YUAN",
        ),
        (
            key("a", 1),
            field(WireName::AmountYuan, Some(Value::Number(f64::NAN)), 1.0),
            "FIELD_NAME_AMOUNT_YUAN",
        ),
        (
            key("a", 1),
            field(WireName::Title, None, 1.0),
            "FIELD_NAME_TITLE",
        ),
        (
            key("a", 1),
            field(WireName::Title, text(), 1.5),
            "FIELD_NAME_TITLE",
        ),
        (
            key("a", 1),
            field(WireName::Title, text(), f32::NAN),
            "FIELD_NAME_TITLE",
        ),
    ] {
        let status = intake
            .upsert_draft(UpsertDraftRequest { key, draft })
            .await
            .err()
            .unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{named}");
        assert!(status.message().contains(named), "{}", status.message());
    }
    let listed = office
        .reader()
        .await
        .list_drafts(ListDraftsRequest::default())
        .await
        .unwrap();
    assert!(
        listed.into_inner().records.is_empty(),
        "a refused request left something behind"
    );
    office.shut().await;
}

async fn a_watcher_of_drafts_gets_the_newest_state_of_each_and_continues_after_a_break(site: Site) {
    let office = Office::open(&site, "127.0.0.1:0").await;
    let mut intake = office.intake().await;
    intake.upsert_draft(upsert("a", 1)).await.unwrap();
    intake.upsert_draft(upsert("a", 2)).await.unwrap();
    let mut reader = office.reader().await;
    let everything = WatchDraftsRequest {
        call_id: String::new(),
        after_change: Some(0),
    };
    let mut stream = reader.watch_drafts(everything).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().record.unwrap();
    assert_eq!(revision(&first), 2);
    drop(stream);
    intake.upsert_draft(upsert("b", 1)).await.unwrap();
    let on = WatchDraftsRequest {
        call_id: String::new(),
        after_change: Some(first.change),
    };
    let mut stream = reader.watch_drafts(on).await.unwrap().into_inner();
    let next = stream.message().await.unwrap().unwrap().record.unwrap();
    assert_eq!(next.key.unwrap().call_id, "b");
    intake.close_draft(close("a", 2)).await.unwrap();
    let live = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .record
        .unwrap();
    assert!(live.closed);
    drop(stream);
    office.shut().await;
}
