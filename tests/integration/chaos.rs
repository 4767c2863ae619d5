//! Both sides are killed with -9 at random, as real processes on real files, and the database server between several
//! gateways too: every draft arrives, once, and the last revision wins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use xinqiao::grpc::GrpcDesk;
use xinqiao::grpc::proto::ticket::v1::ticket_book_client::TicketBookClient;
use xinqiao::grpc::proto::ticket::v1::{
    DraftRecord, FieldName as WireName, ListDraftsRequest, field,
};
use xinqiao::speech::CallId;
use xinqiao::store::{Delivery, EntryKind, Lane, Location, Put, Store, StoreError};
use xinqiao::ticket::desk::{DraftKey, Submission};
use xinqiao::ticket::{Field, FieldName, FieldValue, TicketDraft};

use crate::peers::sipp::free_port;
use crate::postgres::{Durability, Postgres};
use crate::product::{Process, models};

const CALLS: usize = 200;
/// Drafts of a call before its closing.
const REVISIONS: u64 = 5;
/// Callers who try, of whom those fail that call while the gateway starts; on a busy machine that takes some seconds.
const CALLERS: usize = 10 * CALLS;
/// How long calls are placed at most, until so many have ended in good order.
const CALLING: Duration = Duration::from_mins(2);
/// A whole test, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(55);
/// Where the producer finds its files and the backend: FOLDER;ENDPOINT.
const PRODUCER: &str = "CHAOS_PRODUCER";
/// Where a node finds its files, the backend and the database: FOLDER;ENDPOINT;URL;NAME.
const NODE: &str = "CHAOS_NODE";
/// How long nodes and their database server are killed, and how long what they left may take to arrive: a dead node's
/// drafts are closed by another one after ten seconds.
const KILLING: Duration = Duration::from_secs(20);
const SETTLING: Duration = Duration::from_mins(1);
const SIPP: &str = "/usr/bin/sipp";

/// The seed of this run; it is printed, so that a failure can be had again.
fn random() -> StdRng {
    let seed = rand::random();
    println!("seed {seed}");
    StdRng::seed_from_u64(seed)
}

/// A child that dies with the test.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        // This is kill -9.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The reference backend; dropping it is kill -9.
fn backend(port: u16, folder: &Path) -> Process {
    let process = Process::start(&[
        "ticketing",
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--database",
        folder.join("ticketing.db").to_str().expect("a plain path"),
    ]);
    assert!(process.line().contains("taking drafts"));
    process
}

/// Everything that has arrived, by call.
async fn arrived(port: u16) -> BTreeMap<String, DraftRecord> {
    let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let mut book = TicketBookClient::new(channel.connect().await.expect("it serves"));
    let (mut records, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDraftsRequest {
            page_size: 500,
            page_token,
        };
        let answer = book
            .list_drafts(request)
            .await
            .expect("listed")
            .into_inner();
        records.extend(answer.records);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let tickets: BTreeSet<_> = records.iter().map(|record| &record.ticket_id).collect();
    assert_eq!(tickets.len(), records.len(), "a ticket each");
    let keyed = records.into_iter().map(|record| {
        let call = record.key.as_ref().expect("a key").call_id.clone();
        (call, record)
    });
    keyed.collect()
}

fn phone(record: &DraftRecord) -> String {
    let fields = &record.draft.as_ref().expect("a draft").fields;
    let field = fields
        .iter()
        .find(|field| field.name() == WireName::ContactPhone)
        .expect("a phone");
    match &field.value {
        Some(field::Value::Text(text)) => text.clone(),
        _ => panic!("a phone is text"),
    }
}

fn revision(record: &DraftRecord) -> u64 {
    record.key.as_ref().expect("a key").revision
}

fn submission(call: &CallId, revision: u64) -> Submission {
    let phone = Field {
        value: FieldValue::Text(format!("1380000{revision:04}").into()),
        confidence: 1.0,
        evidence: Vec::new(),
    };
    Submission {
        key: DraftKey {
            call: call.clone(),
            revision,
        },
        draft: TicketDraft {
            fields: [(FieldName::ContactPhone, phone)].into(),
            ..TicketDraft::default()
        },
        lines: Vec::new(),
    }
}

/// The gateway's half of the test below, as a process: puts drafts into the outbox and delivers them, and goes on where
/// it was killed. Notes each draft that the outbox has accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test below, which starts it as a process of its own"]
async fn producer() {
    let Ok(setting) = std::env::var(PRODUCER) else {
        return;
    };
    let (folder, endpoint) = setting.split_once(';').expect("FOLDER;ENDPOINT");
    let folder = Path::new(folder);
    let store = Store::open(&folder.join("gateway.db"))
        .await
        .expect("opened");
    let noted = std::fs::read_to_string(folder.join("accepted")).unwrap_or_default();
    for line in noted.lines() {
        let (call, revision) = line.split_once(' ').expect("CALL REVISION");
        let held = store.draft(&CallId::new(call)).await.expect("read");
        let held = held
            .expect("what was accepted is kept")
            .submission
            .key
            .revision;
        assert!(
            held >= revision.parse().expect("a number"),
            "{line}: {held}"
        );
    }
    let desk = Arc::new(GrpcDesk::connect_lazy(endpoint).expect("an address"));
    let options = Delivery {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
        ..Delivery::with_seed(rand::random())
    };
    let (outbox, stop) = (store.outbox(), CancellationToken::new());
    let delivery = tokio::spawn(outbox.clone().deliver(
        Lane::Ticketing,
        desk,
        options,
        stop.clone(),
    ));
    let mut accepted = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("accepted"))
        .expect("a file");
    for round in 1..=REVISIONS {
        for number in 0..CALLS {
            let call = CallId::new(&format!("call-{number}"));
            let held = store.draft(&call).await.expect("read");
            if held.is_some_and(|held| held.closed || held.submission.key.revision >= round) {
                continue;
            }
            let submission = submission(&call, round);
            if round == REVISIONS {
                outbox.close(&submission).await.expect("on disk");
            } else {
                outbox.put(&submission).await.expect("on disk");
            }
            // In one piece: half a line would be taken for another draft.
            let note = format!("{} {round}\n", call.as_str());
            accepted.write_all(note.as_bytes()).expect("noted");
            // Slow enough for many deaths in between.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while !outbox.entries().await.expect("read").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    delivery.await.expect("it ends");
    store.close().await;
    std::fs::write(folder.join("done"), "").expect("written");
}

fn start_producer(folder: &Path, port: u16) -> Mortal {
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "chaos::producer", "--ignored", "--nocapture"])
        .env(
            PRODUCER,
            format!("{};http://127.0.0.1:{port}", folder.display()),
        )
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    Mortal(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_draft_arrives_once_though_both_sides_are_killed_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut random, port) = (random(), free_port());
    let mut ticketing = Some(backend(port, folder.path()));
    let mut producer = start_producer(folder.path(), port);
    let begun = Instant::now();
    let mut kills = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(150..900))).await;
        if let Some(status) = producer.0.try_wait().expect("a child") {
            assert!(
                status.success(),
                "the producer found a draft lost: {status}"
            );
            assert!(folder.path().join("done").exists());
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "it does not come to an end; {kills} kills"
        );
        // Bounded, so that a slow machine makes progress too.
        if kills == 16 {
            continue;
        }
        kills += 1;
        if random.random_bool(0.5) {
            drop(ticketing.take());
            tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
            ticketing = Some(backend(port, folder.path()));
        } else {
            drop(producer);
            producer = start_producer(folder.path(), port);
        }
    }
    let records = arrived(port).await;
    println!(
        "{} drafts arrived after {kills} kills in {:?}",
        records.len(),
        begun.elapsed()
    );
    assert!(kills >= 5, "it was over before much was killed: {kills}");
    assert_eq!(records.len(), CALLS);
    for (call, record) in &records {
        assert!(record.closed, "{call} is open");
        assert_eq!(revision(record), REVISIONS, "{call}");
        assert_eq!(phone(record), format!("1380000{REVISIONS:04}"), "{call}");
        assert!(
            u64::from(record.applied) <= 2 * REVISIONS,
            "{call}: {}",
            record.applied
        );
    }
}

/// One gateway of several on a PostgreSQL server, as a process: calls of its own without end, each with its drafts and
/// its closing, delivered meanwhile. Notes each draft that the outbox has accepted; what it has not is tried again, as a
/// gateway does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test below, which starts it as a process of its own"]
async fn node() {
    let Ok(setting) = std::env::var(NODE) else {
        return;
    };
    let parts: Vec<&str> = setting.splitn(4, ';').collect();
    let [folder, endpoint, url, name] = parts[..] else {
        panic!("FOLDER;ENDPOINT;URL;NAME");
    };
    let (folder, location): (_, Location) = (Path::new(folder), url.parse().expect("a location"));
    let store = loop {
        match Store::open(&location).await {
            Ok(store) => break store,
            // The server may just be dead.
            Err(StoreError::Open(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let first = loop {
        if let Ok(first) = store.begin_run().await {
            break first;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let desk = Arc::new(GrpcDesk::connect_lazy(endpoint).expect("an address"));
    let options = Delivery {
        first_pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(200),
        ..Delivery::with_seed(rand::random())
    };
    let (outbox, stop) = (store.outbox(), CancellationToken::new());
    tokio::spawn(
        outbox
            .clone()
            .deliver(Lane::Ticketing, desk, options, stop.clone()),
    );
    tokio::spawn(store.clone().keep_alive(stop.clone()));
    let mut accepted = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(format!("accepted-{name}")))
        .expect("a file");
    for number in 0_u64.. {
        // Three calls at a time, so that a death leaves some open.
        let calls = [0, 1, 2].map(|part| CallId::new(&format!("{name}-{first}-{number}-{part}")));
        for round in 1..=REVISIONS {
            for call in &calls {
                let submission = submission(call, round);
                let kind = if round == REVISIONS {
                    EntryKind::Close
                } else {
                    EntryKind::Upsert
                };
                loop {
                    match outbox.keep_all(&[(&submission, kind)]).await {
                        Ok(kept) => {
                            // Stale when the commit's answer was lost, or another took the call over.
                            if kept == [Put::Accepted] {
                                let note = format!("{} {round}\n", call.as_str());
                                accepted.write_all(note.as_bytes()).expect("noted");
                            }
                            break;
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        while folder.join("enough").exists() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn start_node(folder: &Path, port: u16, url: &str, name: &str) -> Mortal {
    let setting = format!("{};http://127.0.0.1:{port};{url};{name}", folder.display());
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "chaos::node", "--ignored", "--nocapture"])
        .env(NODE, setting)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    Mortal(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_accepted_is_lost_though_the_database_server_and_its_nodes_are_killed() {
    let started = tokio::task::spawn_blocking(|| Postgres::start(Durability::Real));
    let Some(mut server) = started.await.expect("started") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (mut random, port) = (random(), free_port());
    let url = server.database().await;
    let _ticketing = backend(port, folder.path());
    let names = ["a", "b", "c"];
    let mut nodes: Vec<Mortal> = names
        .iter()
        .map(|name| start_node(folder.path(), port, &url, name))
        .collect();
    let begun = Instant::now();
    let (mut servers_killed, mut nodes_killed) = (0, 0);
    while begun.elapsed() < KILLING {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1_500))).await;
        for (node, name) in nodes.iter_mut().zip(names) {
            let ended = node.0.try_wait().expect("a child");
            assert!(ended.is_none(), "node {name} has ended: {ended:?}");
        }
        if random.random_bool(0.4) {
            servers_killed += 1;
            let pause = Duration::from_millis(random.random_range(0..800));
            server = tokio::task::spawn_blocking(move || {
                server.kill();
                std::thread::sleep(pause);
                server.launch();
                server
            })
            .await
            .expect("it starts again");
        } else {
            nodes_killed += 1;
            let at = random.random_range(0..nodes.len());
            nodes[at] = start_node(folder.path(), port, &url, names[at]);
        }
    }
    std::fs::write(folder.path().join("enough"), "").expect("written");
    // One node dies for good: the others finish its calls.
    drop(nodes.pop());

    let location: Location = url.parse().expect("a location");
    let store = Store::open_existing(&location).await.expect("the records");
    let mut accepted = BTreeMap::new();
    for name in names {
        let noted = std::fs::read_to_string(folder.path().join(format!("accepted-{name}")));
        for line in noted.unwrap_or_default().lines() {
            let (call, revision) = line.split_once(' ').expect("CALL REVISION");
            let revision: u64 = revision.parse().expect("a number");
            let newest = accepted.entry(call.to_owned()).or_insert(0);
            *newest = revision.max(*newest);
        }
    }
    let begun = Instant::now();
    loop {
        let left = store.outbox().entries().await.expect("read");
        let mut open = 0;
        for call in accepted.keys() {
            let held = store.draft(&CallId::new(call)).await.expect("read");
            open += usize::from(!held.expect("what was accepted is kept").closed);
        }
        if left.is_empty() && open == 0 {
            break;
        }
        assert!(
            begun.elapsed() < SETTLING,
            "{open} drafts are open, {} entries wait",
            left.len()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let records = arrived(port).await;
    println!(
        "{} calls after {servers_killed} deaths of the server and {nodes_killed} of nodes, settled in {:?}",
        accepted.len(),
        begun.elapsed()
    );
    assert!(servers_killed >= 2 && nodes_killed >= 2 && accepted.len() > 30);
    for (call, newest) in &accepted {
        let record = records.get(call).expect("it has arrived");
        assert!(record.closed, "{call} is open");
        assert!(revision(record) >= *newest, "{call}: {}", revision(record));
    }
    store.close().await;
}

/// What the caller's `SIPp` says of calls that it has ended in good order.
fn completed(log: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter_map(|line| {
            line.rsplit_once("done ")
                .map(|(_, number)| number.trim().to_owned())
        })
        .collect()
}

/// The callers of whom no draft comes to disk, though it has had plenty of time.
async fn missing(database: &Path, callers: &BTreeSet<String>) -> BTreeSet<String> {
    let store = Store::open_existing(database).await.expect("the records");
    let mut missing = callers.clone();
    for _ in 0..200 {
        for call in store.calls(None, None, 1_000).await.expect("read") {
            if let Some(number) = &call.info.caller_number
                && missing.contains(number.reveal())
                && store.draft(&call.info.call).await.expect("read").is_some()
            {
                missing.remove(number.reveal());
            }
        }
        if missing.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await;
    missing
}

fn sipp(
    folder: &Path,
    scenario: &str,
    rewrite: impl Fn(String) -> String,
    arguments: &[&str],
) -> Mortal {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(scenario);
    let text = std::fs::read_to_string(path).expect("the scenario");
    std::fs::write(folder.join(scenario), rewrite(text)).expect("written");
    let child = Command::new(SIPP)
        .args(["-sf", scenario, "-i", "127.0.0.1", "-nostdin"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sipp starts");
    Mortal(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_through_a_gateway_that_dies_again_and_again_leave_each_ticket_once() {
    if !Path::new(SIPP).exists() {
        println!("skipped: {SIPP} is not installed (apt-get install sip-tester)");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut random = random();
    let (desk, sip, operator, caller) = (free_port(), free_port(), free_port(), free_port());
    let sets = [
        format!("sip.listen=127.0.0.1:{sip}"),
        "console.listen=127.0.0.1:0".to_owned(),
        "grpc.listen=127.0.0.1:0".to_owned(),
        "calls.max=300".to_owned(),
        "media.quiet_s=0".to_owned(),
        format!("operators.default=sip:op@127.0.0.1:{operator}"),
        format!("ticketing.endpoint=http://127.0.0.1:{desk}"),
        format!("recognition.models_dir={}", models().display()),
        "recognition.workers=1".to_owned(),
        format!("store.database={}", path("gateway.db").display()),
    ];
    let gateway = || {
        let mut arguments = vec!["serve"];
        for set in &sets {
            arguments.extend(["--set", set]);
        }
        let process = Process::start(&arguments);
        assert!(process.line().starts_with("SIP "));
        process
    };
    let numbers: Vec<String> = (0..CALLERS)
        .map(|number| format!("138{number:08}"))
        .collect();
    std::fs::write(
        path("numbers.csv"),
        format!("SEQUENTIAL\n{}\n", numbers.join("\n")),
    )
    .expect("written");

    let mut ticketing = Some(backend(desk, folder.path()));
    let mut serving = Some(gateway());
    let phone_port = operator.to_string();
    let _phone = sipp(
        folder.path(),
        "operator-answers.xml",
        |text| text,
        &["-p", &phone_port],
    );
    let note = r#"<nop><action><log message="done [field0]"/></action></nop></scenario>"#;
    let rewrite = |text: String| {
        text.replace("13800138000", "[field0]")
            .replace("</scenario>", note)
    };
    let (to, from, calls) = (
        format!("127.0.0.1:{sip}"),
        caller.to_string(),
        CALLERS.to_string(),
    );
    let mut callers = sipp(
        folder.path(),
        "caller-hangs-up.xml",
        rewrite,
        &[
            &to,
            "-p",
            &from,
            "-m",
            &calls,
            "-r",
            "15",
            "-d",
            "300",
            "-inf",
            "numbers.csv",
            "-trace_logs",
            "-log_file",
            "done.log",
            // A call that a death cut short is given up soon.
            "-recv_timeout",
            "4000",
            "-max_retrans",
            "4",
        ],
    );
    let begun = Instant::now();
    // Calls that were over before a death for as long as their drafts need to the disk, and those that ended while one
    // waited for that: what becomes of the latter is not certain.
    let (mut certain, mut unsure) = (BTreeSet::new(), BTreeSet::new());
    let mut kills = 0;
    while callers.0.try_wait().expect("a child").is_none()
        && begun.elapsed() < CALLING
        && (kills < 3 || completed(&path("done.log")).len() < CALLS)
    {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1_200))).await;
        if kills == 8 {
            continue;
        }
        kills += 1;
        if random.random_bool(0.4) {
            drop(ticketing.take());
            tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
            ticketing = Some(backend(desk, folder.path()));
        } else {
            let log = path("done.log");
            certain.extend(completed(&log).difference(&unsure).cloned());
            let lost = missing(&path("gateway.db"), &certain).await;
            assert!(lost.is_empty(), "not on disk before a death: {lost:?}");
            drop(serving.take());
            tokio::time::sleep(Duration::from_millis(50)).await;
            unsure.extend(completed(&log).difference(&certain).cloned());
            serving = Some(gateway());
        }
    }
    drop(callers);
    certain.extend(completed(&path("done.log")).difference(&unsure).cloned());
    let lost = missing(&path("gateway.db"), &certain).await;
    assert!(lost.is_empty(), "not on disk at the end: {lost:?}");
    // One death more: what was still open is closed by the next start.
    drop(serving.take());
    let _serving = gateway();
    let settling = Instant::now();

    let store = Store::open_existing(&path("gateway.db"))
        .await
        .expect("the records");
    while !store.outbox().entries().await.expect("read").is_empty() {
        assert!(
            settling.elapsed() < PATIENCE,
            "drafts are left in the outbox"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let records = arrived(desk).await;
    println!(
        "{} calls ended in good order, {} tickets, {kills} kills, {:?}",
        certain.len(),
        records.len(),
        begun.elapsed()
    );
    assert!(
        kills >= 3 && certain.len() >= CALLS / 2,
        "{kills} kills, {} calls",
        certain.len()
    );
    let mut drafts = 0;
    for call in store.calls(None, None, 1_000).await.expect("read") {
        let call = call.info.call;
        let Some(held) = store.draft(&call).await.expect("read") else {
            continue;
        };
        drafts += 1;
        let record = records.get(call.as_str()).expect("every draft has arrived");
        assert!(record.closed && held.closed, "{}", call.as_str());
        assert_eq!(revision(record), held.submission.key.revision);
        assert_eq!(held.ticket.as_deref(), Some(record.ticket_id.as_str()));
    }
    assert!(drafts <= records.len() && records.len() <= 2 * CALLS);
    let phones: BTreeSet<String> = records.values().map(phone).collect();
    let lost: Vec<&String> = certain.difference(&phones).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    store.close().await;
}
