//! How long a write waits for the disk: 40 drafts and 40 lines a second beside 100 bridged calls, into a `SQLite` file and
//! into a PostgreSQL server, both with every commit on the disk.
//!
//! The calls run through `xinqiao serve`, whose records are files of their own on the same disk; the drafts are delivered
//! meanwhile, to a desk that takes everything. A write is timed from when it was due. Settings by the environment:
//! `CALLS` (100), `SECONDS` (60).

#[path = "../media/gateway.rs"]
mod gateway;
#[path = "../media/load.rs"]
mod load;
// Its calls go on until the end.
#[allow(dead_code)]
#[path = "../media/phones.rs"]
mod phones;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[path = "../report/quantile.rs"]
mod quantile;
#[path = "../report/mod.rs"]
mod report;

use std::error::Error;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;
use xinqiao::audio::MediaTime;
use xinqiao::events::{Event, Filter, Payload};
use xinqiao::speech::{CallId, Leg};
use xinqiao::store::{Delivery, Lane, Location, Store};
use xinqiao::ticket::desk::{DeskError, DraftKey, Receipt, Submission, TicketDesk};
use xinqiao::ticket::{Field, FieldName, FieldValue, TicketDraft};
use xinqiao::transcript::{CallInfo, Line, Origin, TranscriptEvent};

use gateway::Gateway;
use load::Load;
use phones::Phones;
use postgres::{Durability, Postgres};
use quantile::quantile;

/// Drafts a second, and as many lines.
const RATE: u32 = 40;
/// Calls that are written about, each again and again.
const WRITTEN: u64 = 100;
/// Lines that a draft carries, as of a call of some minutes.
const LINES: u32 = 30;
const SAID: &str =
    "我在芝罘区力健健身房办了三千元的年卡，上个月店铺关门了，老板联系不上，我要求退还余额。";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn main() -> Outcome<()> {
    let (calls, seconds) = (setting("CALLS", 100), setting("SECONDS", 60));
    std::fs::create_dir_all("target/bench")?;
    let data = tempfile::tempdir_in("target/bench")?;
    let load = Load::start()?;
    let operator = UdpSocket::bind("127.0.0.1:0")?;
    let gateway = Gateway::start("store", data.path(), operator.local_addr()?, calls, &[])?;
    let mut phones = Phones::new(operator, load.legs)?;
    phones.towards(gateway.sip);
    std::thread::sleep(Duration::from_secs(1));
    phones.place(calls, 50, |_, call| load.add(call.places))?;
    load.measure(true);

    let runtime = xinqiao::gateway::runtime()?;
    let file = format!("sqlite:{}", data.path().join("measured.db").display());
    let sqlite = runtime.block_on(measure(&file, seconds))?;
    let server = Postgres::start(Durability::Real);
    let postgres = match &server {
        Some(server) => {
            let url = runtime.block_on(server.database());
            Some(runtime.block_on(measure(&url, seconds))?)
        }
        None => None,
    };
    load.measure(false);
    println!("{} calls were bridged by process {}", calls, gateway.pid());
    let carried = load.stop();
    let of = |measured: Option<&Measured>, share| {
        measured.map_or(f64::NAN, |measured| quantile(&measured.took, share))
    };
    let lost = sqlite.lost + postgres.as_ref().map_or(0, |measured| measured.lost);
    report::print(
        "store",
        &[
            ("calls", f64::from(calls)),
            ("writes_per_engine", sqlite.took.len() as f64),
            ("sqlite_write_p50_ms", of(Some(&sqlite), 0.5)),
            ("sqlite_write_p99_ms", of(Some(&sqlite), 0.99)),
            ("sqlite_write_p999_ms", of(Some(&sqlite), 0.999)),
            ("postgres_write_p50_ms", of(postgres.as_ref(), 0.5)),
            ("postgres_write_p99_ms", of(postgres.as_ref(), 0.99)),
            ("postgres_write_p999_ms", of(postgres.as_ref(), 0.999)),
            ("lost_rows", lost as f64),
            ("added_delay_p99_ms", quantile(&carried.delays, 0.99)),
        ],
    )
}

struct Measured {
    /// From due to on disk, in milliseconds, sorted.
    took: Vec<f64>,
    /// Lines and drafts that were accepted and are not there.
    lost: u64,
}

async fn measure(url: &str, seconds: u32) -> Outcome<Measured> {
    let location: Location = url.parse()?;
    let store = Store::open(&location).await?;
    let first = store.begin_run().await?;
    let stop = CancellationToken::new();
    let delivery = tokio::spawn(store.outbox().deliver(
        Lane::Ticketing,
        Arc::new(Taker),
        Delivery::with_seed(1),
        stop.clone(),
    ));
    let alive = tokio::spawn(store.clone().keep_alive(stop.clone()));
    let count = u64::from(seconds * RATE);
    let lines = tokio::spawn({
        let store = store.clone();
        async move {
            let mut took = Vec::new();
            let begun = Instant::now();
            for number in 0..count {
                let due = wait(begun, number, 0.0).await;
                let call = call(number % WRITTEN);
                let transcript = if number < WRITTEN {
                    TranscriptEvent::Started(CallInfo {
                        call: call.clone(),
                        caller_number: Some("13800000001".into()),
                        called: "12345".into(),
                        operator: "sip:op@127.0.0.1".into(),
                        started_at: SystemTime::now(),
                        origin: Origin::default(),
                    })
                } else {
                    TranscriptEvent::Line(line((number / WRITTEN) as u32))
                };
                let event = Event {
                    position: first + number,
                    call,
                    operator: "sip:op@127.0.0.1".into(),
                    payload: Payload::Transcript(transcript),
                };
                store.append(&[Arc::new(event)]).await?;
                took.push(due.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, xinqiao::store::StoreError>(took)
        }
    });
    let drafts = tokio::spawn({
        let outbox = store.outbox();
        async move {
            let mut took = Vec::new();
            let begun = Instant::now();
            for number in 0..count {
                let submission = submission(number);
                let due = wait(begun, number, 0.5).await;
                outbox.put(&submission).await?;
                took.push(due.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, xinqiao::store::StoreError>(took)
        }
    });
    let mut took = lines.await??;
    took.extend(drafts.await??);
    stop.cancel();
    delivery.await?;
    alive.await?;
    store.close().await;
    took.sort_by(f64::total_cmp);

    let store = Store::open_existing(&location).await?;
    let (mut lost, mut after) = (count, 0);
    loop {
        let page = store
            .events(&Filter::default(), after, u64::MAX, 1_000)
            .await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        lost -= page.len() as u64;
    }
    for number in count.saturating_sub(WRITTEN)..count {
        let held = store.draft(&call(number % WRITTEN)).await?;
        let newest = held.map_or(0, |held| held.submission.key.revision);
        lost += (number / WRITTEN + 1).saturating_sub(newest);
    }
    store.close().await;
    Ok(Measured { took, lost })
}

/// Waits for the turn of `number`; `part` of a turn later.
async fn wait(begun: Instant, number: u64, part: f64) -> Instant {
    let turn = (number as f64 + part) / f64::from(RATE);
    let due = begun + Duration::from_secs_f64(turn);
    tokio::time::sleep_until(due.into()).await;
    due
}

fn call(number: u64) -> CallId {
    CallId::new(&format!("call-{number}"))
}

fn line(number: u32) -> Line {
    let at = |seconds: u32| MediaTime::from_millis(u64::from(seconds) * 1_000);
    Line::plain(number, Leg::Caller, SAID, at(number), at(number + 1))
}

fn submission(number: u64) -> Submission {
    let text = |text: &str| Field {
        value: FieldValue::Text(text.into()),
        confidence: 0.9,
        evidence: Vec::new(),
    };
    let call = call(number % WRITTEN);
    Submission {
        draft: TicketDraft {
            fields: [
                (FieldName::ContactPhone, text("13800000001")),
                (
                    FieldName::Subject,
                    text(&format!("力健健身房{}", call.as_str())),
                ),
                (FieldName::Summary, text(SAID)),
            ]
            .into(),
            ..TicketDraft::default()
        },
        key: DraftKey {
            call,
            revision: number / WRITTEN + 1,
        },
        lines: (0..LINES).map(line).collect(),
    }
}

/// Takes every draft at once.
struct Taker;

impl TicketDesk for Taker {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        Ok(Receipt {
            ticket: format!("T-{}", submission.key.call.as_str()),
            applied: true,
        })
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.upsert(submission).await
    }
}
