//! The store's own tests, on both engines.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::database::values;
use super::{AuditRecord, EntryKind, Put, RegisteredLocation, Store, at};
use crate::audio::MediaTime;
use crate::events::{Event, Filter, Payload};
use crate::postgres_server::{self, GUARDED, Site, on_both_engines};
use crate::small_disk::Disk;
use crate::speech::{CallId, Leg};
use crate::ticket::desk::{DraftKey, Submission};
use crate::ticket::resemble::TicketFingerprint;
use crate::ticket::{Field, FieldName, FieldValue, TicketDraft};
use crate::transcript::{Actor, CallInfo, Line, Origin, TranscriptEvent};

fn submission(call: &str, revision: u64) -> Submission {
    Submission {
        key: DraftKey {
            call: CallId::new(call),
            revision,
        },
        draft: TicketDraft::default(),
        lines: Vec::new(),
    }
}

fn event(position: u64, call: &str, transcript: TranscriptEvent) -> Arc<Event> {
    Arc::new(Event {
        position,
        call: CallId::new(call),
        operator: "sip:op@h".into(),
        payload: Payload::Transcript(transcript),
    })
}

fn started(call: &str, called: &str) -> TranscriptEvent {
    TranscriptEvent::Started(CallInfo {
        call: CallId::new(call),
        caller_number: Some("13800000001".into()),
        called: called.into(),
        operator: "sip:op@h".into(),
        started_at: SystemTime::now(),
        origin: Origin::default(),
    })
}

fn line(text: &str) -> TranscriptEvent {
    let (start, end) = (MediaTime::from_millis(0), MediaTime::from_millis(900));
    TranscriptEvent::Line(Line::plain(1, Leg::Caller, text, start, end))
}

on_both_engines![
    records_survive_a_restart_and_a_new_run_has_higher_positions,
    the_places_of_an_extension_replace_the_former_ones_and_the_ended_are_forgotten,
    a_zero_byte_in_what_a_peer_sends_holds_nothing_up,
    texts_of_any_length_that_a_peer_sends_are_kept_and_found,
    after_a_failure_the_store_says_so_and_the_next_write_goes_through,
    a_transaction_that_is_given_up_half_way_leaves_nothing_and_holds_nothing_up,
    runs_that_begin_at_once_share_no_position,
];

async fn records_survive_a_restart_and_a_new_run_has_higher_positions(site: Site) {
    let store = Store::open(at(&site.store())).await.unwrap();
    let first = store.begin_run().await.unwrap();
    let call = CallId::new("a");
    let events = [
        event(first, "a", started("a", "12345")),
        event(first + 1, "a", line("你好")),
    ];
    store.append(&events).await.unwrap();
    store.append(&events).await.unwrap();
    assert_eq!(
        store.outbox().put(&submission("a", 1)).await.unwrap(),
        Put::Accepted
    );
    store.close().await;

    let store = Store::open(at(&site.store())).await.unwrap();
    assert!(store.begin_run().await.unwrap() > first + (1 << 32));
    let found = store.events(&Filter::default(), 0, u64::MAX, 9).await;
    assert_eq!(found.unwrap(), events, "each once, in order");
    assert_eq!(
        store.call(&call).await.unwrap().unwrap().info.called,
        "12345"
    );
    let held = store.draft(&call).await.unwrap().unwrap();
    assert_eq!((held.submission, held.closed), (submission("a", 1), false));
    store.close().await;
}

async fn the_places_of_an_extension_replace_the_former_ones_and_the_ended_are_forgotten(
    site: Site,
) {
    let store = Store::open(at(&site.store())).await.unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let place = |extension: &str, body: &str, seconds| RegisteredLocation {
        extension: extension.into(),
        body: body.into(),
        until: now + Duration::from_secs(seconds),
    };
    let kept = [
        place("1", "b", 60),
        place("1", "a", 60),
        place("1", "over", 0),
    ];
    store
        .keep_registered_locations(&[("1", vec![place("1", "old", 60)])])
        .await
        .unwrap();
    store
        .keep_registered_locations(&[("1", kept.to_vec())])
        .await
        .unwrap();
    store
        .keep_registered_locations(&[("2", vec![place("2", "c", 60)])])
        .await
        .unwrap();
    let found = store.registered_locations(now).await.unwrap();
    assert_eq!(
        found,
        [kept[0].clone(), kept[1].clone(), place("2", "c", 60)],
        "in the order in which they came"
    );
    store.close().await;
}

async fn a_zero_byte_in_what_a_peer_sends_holds_nothing_up(site: Site) {
    let store = Store::open(at(&site.store())).await.unwrap();
    store
        .append(&[
            event(1, "a", started("a", "12\u{0}345")),
            event(2, "a", line("你\u{0}好")),
        ])
        .await
        .unwrap();
    let called = store.call(&CallId::new("a")).await.unwrap().unwrap();
    assert!(called.info.called.starts_with("12"));
    let said = store.transcript(&CallId::new("a")).await.unwrap();
    assert_eq!(said.lines()[0].text.reveal(), "你\u{0}好");
    store.close().await;
}

async fn texts_of_any_length_that_a_peer_sends_are_kept_and_found(site: Site) {
    let store = Store::open(at(&site.store())).await.unwrap();
    let number = std::cell::Cell::new(7_u32);
    // Not compressible: what an index takes is counted after compression.
    let long: String = std::iter::repeat_with(|| {
        number.set(
            number
                .get()
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223),
        );
        char::from_u32(0x4e00 + (number.get() >> 16) % 20_000).unwrap()
    })
    .take(20_000)
    .collect();
    let operator = format!("sip:{long}@h");
    let mut said = Event::clone(&event(1, "a", started("a", &long)));
    said.operator = operator.as_str().into();
    if let Payload::Transcript(TranscriptEvent::Started(info)) = &mut said.payload {
        info.operator.clone_from(&operator);
        info.caller_number = Some(long.as_str().into());
    }
    store.append(&[Arc::new(said)]).await.unwrap();
    let found = store.calls(Some(&operator), None, 9).await.unwrap();
    assert_eq!((found.len(), &found[0].info.called), (1, &long));
    let text = |text: &str| Field {
        value: FieldValue::Text(text.into()),
        confidence: 0.9,
        evidence: Vec::new(),
    };
    let mut draft = submission("a", 1);
    draft.draft.fields = [
        (FieldName::ContactPhone, text("13800000001")),
        (FieldName::Subject, text(&long)),
        (FieldName::Address, text(&long)),
    ]
    .into();
    store.outbox().put(&draft).await.unwrap();
    let gist = TicketFingerprint::of(&draft.draft);
    let found = store.resembling(&CallId::new("b"), &gist).await.unwrap();
    assert_eq!(found[0].call.as_str(), "a");
    store.close().await;
}

async fn after_a_failure_the_store_says_so_and_the_next_write_goes_through(site: Site) {
    let store = Store::open(at(&site.store())).await.unwrap();
    assert_eq!(store.failing(), None);
    let broken = store
        .db
        .execute("INSERT INTO nowhere VALUES (1)", values![]);
    assert!(broken.await.is_err());
    let failing = store.failing().unwrap();
    assert!(failing.reason.contains("nowhere"), "{failing}");
    let kept = store.outbox().put(&submission("a", 1)).await.unwrap();
    assert_eq!((kept, store.failing()), (Put::Accepted, None));
    store.close().await;
}

async fn a_transaction_that_is_given_up_half_way_leaves_nothing_and_holds_nothing_up(site: Site) {
    let store = Store::open(at(&site.store())).await.unwrap();
    for _ in 0..20 {
        let mut transaction = store.db.begin().await.unwrap();
        transaction
            .execute("INSERT INTO nodes VALUES (7, 0)", values![])
            .await
            .unwrap();
        drop(transaction);
    }
    let mut transaction = store.db.begin().await.unwrap();
    let rows = transaction
        .fetch_all("SELECT * FROM nodes", values![])
        .await;
    assert!(rows.unwrap().is_empty());
    transaction.rollback().await.unwrap();
    let call = submission("a", 1);
    for revision in 1..4 {
        let next = submission("a", revision);
        store.outbox().put(&next).await.unwrap();
        assert_eq!(store.outbox().put(&call).await.unwrap(), Put::Stale);
    }
    store.close().await;
}

async fn runs_that_begin_at_once_share_no_position(site: Site) {
    let mut starts = Vec::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        let store = Store::open(at(&site.store())).await.unwrap();
        runs.push(tokio::spawn(async move {
            let first = store.begin_run().await.unwrap();
            store.close().await;
            first
        }));
    }
    for run in runs {
        starts.push(run.await.unwrap());
    }
    starts.sort_unstable();
    for pair in starts.windows(2) {
        assert!(pair[1] - pair[0] >= 1 << 36, "{starts:?}");
    }
}

/// A node that shares the site's database.
async fn node(site: &Site) -> Store {
    let store = Store::open(at(&site.store())).await.unwrap();
    store.begin_run().await.unwrap();
    store
}

async fn entries(store: &Store) -> Vec<(String, u64, EntryKind)> {
    let entries = store.outbox().entries().await.unwrap();
    entries
        .into_iter()
        .map(|entry| {
            (
                entry.key.call.as_str().to_owned(),
                entry.key.revision,
                entry.kind,
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_closed_for_a_dead_node_and_what_that_one_writes_when_it_comes_back_is_stale() {
    let Some(site) = Site::of_a_server().await else {
        return;
    };
    let (slow, other) = (node(&site).await, node(&site).await);
    slow.outbox().put(&submission("slow", 1)).await.unwrap();
    other.outbox().put(&submission("other", 1)).await.unwrap();
    let info = event(1, "slow", started("slow", "12345"));
    slow.append(std::slice::from_ref(&info)).await.unwrap();
    let seen = |store: Store| async move {
        let found = store.call(&CallId::new("slow")).await.unwrap();
        found.unwrap().elsewhere
    };
    assert!(seen(other.clone()).await, "it runs elsewhere");
    assert!(!seen(slow.clone()).await, "it runs here");
    assert_eq!(other.outbox().close_left_open().await.unwrap(), 0);

    // Eleven seconds pass in which the slow one does not beat.
    let late = "UPDATE nodes SET beat_ms = beat_ms - 11000 WHERE first_position = $1";
    let id = slow.node.id();
    other.db.execute(late, values![id]).await.unwrap();
    assert!(!seen(other.clone()).await, "it was broken off");
    assert_eq!(other.outbox().close_left_open().await.unwrap(), 1);
    assert_eq!(other.outbox().close_left_open().await.unwrap(), 0);
    assert!(
        entries(&other)
            .await
            .contains(&("slow".into(), 1, EntryKind::Close))
    );

    // It comes back and goes on: what was closed stays as it is, new calls are its own.
    let late = slow.outbox().close(&submission("slow", 9)).await.unwrap();
    assert_eq!(late, Put::Stale);
    assert!(slow.beat().await.unwrap().is_some());
    assert_eq!(
        slow.outbox().put(&submission("new", 1)).await.unwrap(),
        Put::Accepted
    );
    assert_eq!(other.outbox().close_left_open().await.unwrap(), 0);
    assert!(seen(other.clone()).await, "its call goes on");
    let held = other.draft(&CallId::new("slow")).await.unwrap().unwrap();
    assert_eq!((held.submission.key.revision, held.closed), (1, true));

    // One that ends in good order is not waited for.
    slow.close().await;
    assert_eq!(other.outbox().close_left_open().await.unwrap(), 1);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_taken_by_one_node_at_a_time_and_by_another_when_the_lease_is_over() {
    use super::Lane::Ticketing;
    let Some(site) = Site::of_a_server().await else {
        return;
    };
    let (a, b) = (node(&site).await, node(&site).await);
    for number in 0..40 {
        let call = submission(&format!("call-{number}"), 1);
        a.outbox().close(&call).await.unwrap();
        a.outbox()
            .put(&submission(&format!("open-{number}"), 1))
            .await
            .unwrap();
    }
    let minute = Duration::from_mins(1);
    let taken = |store: Store| {
        tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let mine = store.outbox().claim(Ticketing, 3, minute).await.unwrap();
                if mine.is_empty() {
                    return taken;
                }
                taken.extend(mine.into_iter().map(|ready| ready.call.as_str().to_owned()));
            }
        })
    };
    let (of_a, of_b) = (taken(a.clone()), taken(b.clone()));
    let mut all = of_a.await.unwrap();
    all.extend(of_b.await.unwrap());
    all.sort();
    let before = all.len();
    all.dedup();
    assert_eq!((all.len(), before), (80, 80), "each by one");

    // A node dies: its leases end by themselves.
    a.db.execute("UPDATE outbox SET lease_ms = lease_ms - 60001", values![])
        .await
        .unwrap();
    let again = b.outbox().claim(Ticketing, 100, minute).await.unwrap();
    assert_eq!(again.len(), 80);
    // What a node gives back it or another may take at once.
    let call = again[0].call.clone();
    b.outbox().give_back(Ticketing, Some(&call)).await.unwrap();
    let again = a.outbox().claim(Ticketing, 100, minute).await.unwrap();
    assert_eq!((again.len(), &again[0].call), (1, &call));
    a.close().await;
    b.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_let_in_by_a_password_file_and_its_refusals_are_sentences_without_the_password()
{
    let Some(server) = tokio::task::spawn_blocking(postgres_server::shared)
        .await
        .unwrap()
    else {
        return;
    };
    let role = format!("CREATE ROLE {GUARDED} LOGIN PASSWORD 'secret'");
    server.execute(&role).await;
    server
        .execute("CREATE DATABASE guarded OWNER guarded")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let guarded = || at(&server.url(GUARDED, "guarded")).with_password_file(Some(file.clone()));
    let said = |error: super::StoreError| {
        let said = error.to_string();
        assert!(
            !said.contains("secret") && !said.contains("wrong"),
            "{said}"
        );
        said
    };
    let absent = said(Store::open(guarded()).await.unwrap_err());
    assert!(
        absent.contains("password") && absent.contains("name a file"),
        "{absent}"
    );
    std::fs::write(&file, "wrong\n").unwrap();
    let wrong = said(Store::open(guarded()).await.unwrap_err());
    assert!(wrong.contains("lets this user not in"), "{wrong}");
    std::fs::write(&file, "secret\n").unwrap();
    let store = Store::open(guarded()).await.unwrap();
    assert!(!format!("{store:?}").contains("secret"));
    store.close().await;

    let nobody = at(&server.url("postgres", "nowhere"));
    let nowhere = said(Store::open(nobody).await.unwrap_err());
    assert!(nowhere.contains("createdb"), "{nowhere}");
    let dead = at("postgres://u@127.0.0.1:1/d");
    let dead = said(Store::open(dead).await.unwrap_err());
    assert!(dead.contains("cannot be reached"), "{dead}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_ours_or_newer_is_refused_and_many_may_begin_in_a_new_one_at_once() {
    let Some(server) = tokio::task::spawn_blocking(postgres_server::shared)
        .await
        .unwrap()
    else {
        return;
    };
    let url = server.database().await;
    let opened = (0..6).map(|_| Store::open(at(&url)));
    let opened = futures_util::future::join_all(opened).await;
    let stores: Vec<Store> = opened.into_iter().map(Result::unwrap).collect();
    let version = "UPDATE xinqiao_schema SET version = 99";
    stores[0].db.execute(version, values![]).await.unwrap();
    let newer = Store::open(at(&url)).await.unwrap_err().to_string();
    assert!(newer.contains("version 99"), "{newer}");
    stores[0]
        .db
        .execute("DROP TABLE xinqiao_schema", values![])
        .await
        .unwrap();
    let foreign = Store::open(at(&url)).await.unwrap_err().to_string();
    assert!(foreign.contains("another program"), "{foreign}");
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_that_was_accepted_is_lost_and_writing_goes_on_as_soon_as_there_is_room()
 {
    let Some(disk) = Disk::mount(2) else {
        return;
    };
    let file = disk.path().join("x.db");
    let store = Store::open(&file).await.unwrap();
    let first = store.begin_run().await.unwrap();
    let (mut accepted, mut position) = (0, first);
    let words = "市民在力健健身房办理三千元年卡".repeat(60);
    let mut write = async |number: u32| {
        let call = format!("call-{number}");
        let said = [
            event(position, &call, started(&call, "12345")),
            event(position + 1, &call, line(&words)),
        ];
        position += 2;
        store.append(&said).await?;
        store.outbox().put(&submission(&call, 1)).await
    };
    // Full in the middle of calls, and for a while.
    let refused = loop {
        match write(accepted).await {
            Ok(_) => accepted += 1,
            Err(error) => break error.to_string(),
        }
        assert!(accepted < 10_000, "the disk does not become full");
    };
    assert!(refused.contains("full"), "{refused}");
    for _ in 0..5 {
        let refused = write(accepted).await.map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("full"), "as at first: {refused}");
    }
    let failing = store.failing().unwrap();
    assert!(failing.reason.contains("full"), "{failing}");
    let readable = store.draft(&CallId::new("call-0")).await.unwrap();
    assert!(readable.is_some(), "what is there can be read");

    disk.enlarge(20);
    write(accepted).await.unwrap();
    assert_eq!(store.failing(), None);
    for number in 0..=accepted {
        let call = CallId::new(&format!("call-{number}"));
        assert!(
            store.draft(&call).await.unwrap().is_some(),
            "{number} of {accepted}"
        );
        assert_eq!(store.transcript(&call).await.unwrap().lines().len(), 1);
    }
    let sound = store
        .db
        .fetch_first("PRAGMA integrity_check", values![])
        .await;
    assert_eq!(sound.unwrap().unwrap().first::<String>(), "ok");
    store.close().await;
}

/// A little of everything, in `store`.
async fn fill(store: &Store, calls: u64) {
    let first = store.begin_run().await.unwrap();
    for number in 0..calls {
        let (call, position) = (format!("call-{number}"), first + 2 * number);
        let said = [
            event(position, &call, started(&call, "12345")),
            event(position + 1, &call, line("你好\u{0}")),
        ];
        store.append(&said).await.unwrap();
        store.outbox().put(&submission(&call, 2)).await.unwrap();
        if number % 2 == 0 {
            store.outbox().close(&submission(&call, 3)).await.unwrap();
        }
    }
    let place = |body: &str| RegisteredLocation {
        extension: "1001".into(),
        body: body.into(),
        until: SystemTime::now() + Duration::from_mins(1),
    };
    let places = vec![place("b"), place("a")];
    store
        .keep_registered_locations(&[("1001", places)])
        .await
        .unwrap();
    let call = CallId::new("call-0");
    let asked = ["{}".into(), "{\"text\":\"回访\"}".into()].map(|detail| {
        let now = SystemTime::now();
        AuditRecord::new(now, Some(call.clone()), Actor::System, "note", detail)
    });
    store.save_audit(&asked).await.unwrap();
}

fn rows(copied: &[super::Copied]) -> Vec<(&'static str, u64)> {
    copied
        .iter()
        .map(|table| (table.table, table.rows))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_whole_goes_both_ways_and_can_be_repeated_and_taken_up() {
    let Some(server) = Site::of_a_server().await else {
        return;
    };
    let (file, back) = (Site::of_files(), Site::of_files());
    let source = Store::open(at(&file.store())).await.unwrap();
    fill(&source, 1_203).await;
    let target = Store::open(at(&server.store())).await.unwrap();
    let copied = source.copy_to(&target).await.unwrap();
    let expected = [
        ("calls", 1_203),
        ("events", 2_406),
        ("drafts", 1_203),
        ("outbox", 1_805),
        ("gists", 1_203),
        ("places", 2),
        ("recordings", 0),
        ("audit", 2),
        ("audit_anchor", 0),
        ("users", 0),
    ];
    assert_eq!(rows(&copied), expected);
    assert_eq!(
        source.copy_to(&target).await.unwrap(),
        copied,
        "nothing is doubled"
    );

    // Broken off in the middle, and then changed on both sides.
    for sql in [
        "DELETE FROM events WHERE position > (SELECT min(position) FROM events) + 700",
        "DELETE FROM outbox WHERE call_id > 'call-5'",
        "UPDATE drafts SET revision = 1 WHERE call_id = 'call-7'",
        "INSERT INTO places (extension, body, until_ms) VALUES ('x', '{}', 0)",
    ] {
        target.db.execute(sql, values![]).await.unwrap();
    }
    let gone = "DELETE FROM outbox WHERE call_id = 'call-1'";
    assert_eq!(source.db.execute(gone, values![]).await.unwrap(), 1);
    let again = source.copy_to(&target).await.unwrap();
    assert_eq!(
        (again[3].rows, again[1].clone()),
        (1_804, copied[1].clone())
    );

    // Back into a file, and it is the same.
    let third = Store::open(at(&back.store())).await.unwrap();
    assert_eq!(target.copy_to(&third).await.unwrap(), again);

    // It is lived in: what is written comes behind what was copied, and no copy goes over it any more.
    let first = target.begin_run().await.unwrap();
    let last = source
        .events(&Filter::default(), 0, u64::MAX, 9_999)
        .await
        .unwrap();
    assert!(first > last.last().unwrap().position);
    let more = RegisteredLocation {
        extension: "1002".into(),
        body: "c".into(),
        until: SystemTime::now() + Duration::from_mins(1),
    };
    target
        .keep_registered_locations(&[("1002", vec![more])])
        .await
        .unwrap();
    let places = target
        .registered_locations(SystemTime::now())
        .await
        .unwrap();
    let bodies: Vec<&str> = places.iter().map(|place| place.body.as_str()).collect();
    assert_eq!(bodies, ["b", "a", "c"]);
    let refused = source.copy_to(&target).await.unwrap_err().to_string();
    assert!(
        refused.contains("of its own") && refused.contains("calls"),
        "{refused}"
    );
    let same = source.copy_to(&source).await.unwrap_err().to_string();
    assert!(same.contains("the same records"), "{same}");
    for store in [source, target, third] {
        store.close().await;
    }
}
