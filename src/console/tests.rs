//! The console over a real connection, a real bus and a real store.
#![allow(clippy::unwrap_used)]

mod people;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use super::{Console, LONGEST_MESSAGE, serve};
use crate::audio::MediaTime;
use crate::control::tests::answering;
use crate::control::{Actor, CallControl, Command, Refusal};
use crate::events::{Bus, Payload, WATCHER_LAG};
use crate::postgres_server::{Site, on_both_engines};
use crate::speech::{CallId, Leg};
use crate::store::{EventWriter, Store, at};
use crate::telemetry::{Fault, Readiness};
use crate::ticket::desk::{DraftKey, Submission};
use crate::ticket::resemble::{Likeness, Resemblance};
use crate::ticket::{Evidence, Field, FieldName, FieldValue, TicketDraft};
use crate::transcript::revise::Revision;
use crate::transcript::{CallInfo, EndReason, GapReason, Line, Note, TranscriptEvent};

const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A gateway reduced to its bus, store, writer and console.
struct House {
    bus: Bus,
    store: Store,
    control: CallControl,
    address: SocketAddr,
    stop: CancellationToken,
    writer: JoinHandle<usize>,
    server: JoinHandle<()>,
    _site: Site,
}

impl House {
    async fn open() -> Self {
        Self::at(Site::of_files()).await
    }

    async fn at(site: Site) -> Self {
        Self::at_with(site, |console| console).await
    }

    async fn open_with(change: impl FnOnce(Console) -> Console) -> Self {
        Self::at_with(Site::of_files(), change).await
    }

    async fn at_with(site: Site, change: impl FnOnce(Console) -> Console) -> Self {
        let store = Store::open(at(&site.store())).await.unwrap();
        let bus = Bus::new(store.begin_run().await.unwrap());
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = CallControl::default();
        let console = Console::new(bus.clone(), store.clone()).controlling(control.clone());
        let console = change(console);
        let serving = serve(listener, console, stop.clone());
        let server = tokio::spawn(serving);
        let writer = tokio::spawn({
            let (writer, store, stop) =
                (EventWriter::new(bus.clone()), store.clone(), stop.clone());
            async move { writer.run(&store, &stop).await }
        });
        Self {
            bus,
            store,
            control,
            address,
            stop,
            writer,
            server,
            _site: site,
        }
    }

    async fn shut(self) {
        self.stop.cancel();
        assert_eq!(self.writer.await.unwrap(), 0, "events were left unsaved");
        tokio::time::timeout(PATIENCE, self.server)
            .await
            .expect("the server does not stop")
            .unwrap();
        self.store.close().await;
    }

    fn say(&self, call: &str, event: TranscriptEvent) -> u64 {
        self.bus
            .publish(&CallId::new(call), Payload::Transcript(event))
    }

    async fn until_saved(&self, calls: usize) {
        for _ in 0..500 {
            if self.bus.calls().len() == calls && self.bus.unsaved_now(1).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the writer does not keep up");
    }

    async fn watch(&self, query: &str) -> Socket {
        tokio_tungstenite::connect_async(format!("ws://{}/ws?{query}", self.address))
            .await
            .unwrap()
            .0
    }

    /// A request of one line, and the whole answer.
    async fn ask(&self, path: &str, header: &str) -> (String, String) {
        self.act("GET", path, header).await
    }

    async fn act(&self, method: &str, path: &str, header: &str) -> (String, String) {
        let (head, body) = self.answer(method, path, header).await;
        (head.to_lowercase(), body)
    }

    /// The same with the head as it was sent: tokens in it have capital letters.
    async fn answer(&self, method: &str, path: &str, header: &str) -> (String, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let own = if method == "GET" || header.contains("Origin:") {
            String::new()
        } else {
            format!("Origin: http://{}\r\n", self.address)
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{own}{header}\r\n",
            self.address
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// An answer's status, and the code of what went wrong.
    async fn status(&self, method: &str, path: &str, header: &str) -> (String, Value) {
        let (head, body) = self.act(method, path, header).await;
        let code = serde_json::from_str::<Value>(&body).map(|body| body["error"]["code"].clone());
        (head[9..12].to_owned(), code.unwrap_or_default())
    }

    async fn calls(&self, query: &str) -> Value {
        let (head, body) = self.ask(&format!("/api/calls?{query}"), "").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        serde_json::from_str(&body).unwrap()
    }
}

fn started(call: &str, operator: &str) -> TranscriptEvent {
    TranscriptEvent::Started(CallInfo {
        call: CallId::new(call),
        caller_number: Some("13800001234".into()),
        called: "12345".into(),
        operator: operator.into(),
        started_at: SystemTime::now(),
        origin: crate::transcript::Origin::default(),
    })
}

fn line(id: u32, revision: u32, is_final: bool) -> TranscriptEvent {
    let start = MediaTime::from_millis(u64::from(id) * 1_000);
    let end = MediaTime::from_millis(u64::from(id) * 1_000 + 800);
    TranscriptEvent::Line(Line {
        revision,
        is_final,
        confidence: 0.5,
        ..Line::plain(id, Leg::Caller, &format!("第{id}句"), start, end)
    })
}

fn over() -> TranscriptEvent {
    TranscriptEvent::CallFinal {
        duration: MediaTime::from_millis(61_000),
        reason: EndReason::HungUp { party: Leg::Caller },
    }
}

fn a_draft() -> TicketDraft {
    let address = Field {
        value: FieldValue::Text("南大街128号".into()),
        confidence: 0.5,
        evidence: vec![Evidence {
            utterance: 3,
            start: 2,
            end: 5,
        }],
    };
    let amount = Field {
        value: FieldValue::Number(860.0),
        confidence: 1.0,
        evidence: Vec::new(),
    };
    TicketDraft {
        fields: [
            (FieldName::Address, address),
            (FieldName::AmountYuan, amount),
        ]
        .into(),
        missing: vec![FieldName::CallerName],
        resembles: vec![Resemblance {
            call: CallId::new("earlier"),
            ticket: Some("T00000001".into()),
            score: 0.75,
            because: vec![Likeness::SameCaller],
            started_unix_ms: 1_700_000_000_000,
        }],
        ..TicketDraft::default()
    }
}

/// The next JSON message; `None` when the server has closed.
async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next())
            .await
            .expect("nothing came")?;
        match message.unwrap() {
            Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// Reads until the server closes.
async fn rest(socket: &mut Socket) -> Vec<Value> {
    let mut events = Vec::new();
    while let Some(event) = next(socket).await {
        // On a busy machine there is time for a sign of life between.
        if event["kind"] != "alive" {
            events.push(event);
        }
    }
    events
}

fn positions(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event["position"].as_u64().unwrap())
        .collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

on_both_engines![
    a_viewer_sees_every_kind_of_event_while_it_happens,
    a_viewer_that_reconnects_again_and_again_misses_none_of_a_thousand_lines,
    a_viewer_that_lags_holds_nothing_up_and_catches_up_without_a_hole,
    a_call_that_is_over_is_shown_from_disk_with_its_last_draft,
    the_list_of_calls_reaches_over_memory_and_disk_page_by_page,
    an_operator_sees_their_own_calls_alone,
    a_note_is_shown_to_who_watches_and_to_who_comes_later,
];

async fn a_viewer_sees_every_kind_of_event_while_it_happens(site: Site) {
    let house = House::at(site).await;
    house.say("a", started("a", "sip:op@h"));
    let mut viewer = house.watch("call=a").await;
    let seen = next(&mut viewer).await.unwrap();
    assert_eq!(seen["kind"], "started");
    assert_eq!(
        seen["caller_number"], "13800001234",
        "the operator may see it"
    );
    house.say(
        "a",
        TranscriptEvent::Answered {
            at: SystemTime::now(),
        },
    );
    assert_eq!(next(&mut viewer).await.unwrap()["kind"], "answered");
    house.say("a", line(3, 1, false));
    let seen = next(&mut viewer).await.unwrap();
    assert_eq!(
        (&seen["kind"], &seen["final"]),
        (&"line".into(), &false.into())
    );
    assert_eq!(
        (&seen["text"], &seen["leg"]),
        (&"第3句".into(), &"caller".into())
    );
    assert_eq!(
        (&seen["start_ms"], &seen["end_ms"]),
        (&3_000.into(), &3_800.into())
    );
    house.bus.publish(
        &CallId::new("a"),
        Payload::Draft {
            revision: 1,
            draft: Arc::new(a_draft()),
        },
    );
    let seen = next(&mut viewer).await.unwrap();
    assert_eq!(
        (&seen["kind"], &seen["revision"]),
        (&"draft".into(), &1.into())
    );
    let address = serde_json::json!({
        "value": "南大街128号", "confidence": 0.5, "edited": false, "evidence": [{"utterance": 3, "start": 2, "end": 5}],
    });
    assert_eq!(seen["fields"]["address"], address);
    assert_eq!(seen["fields"]["amount_yuan"]["value"], 860.0);
    assert_eq!(seen["missing"], serde_json::json!(["caller_name"]));
    let earlier = &seen["resembles"][0];
    assert_eq!(
        (&earlier["call"], &earlier["because"][0]),
        (&"earlier".into(), &"same_caller".into())
    );
    house.say(
        "a",
        TranscriptEvent::Gap {
            id: 3,
            leg: Leg::Caller,
            start: MediaTime::ZERO,
            end: MediaTime::from_millis(900),
            reason: GapReason::Overload,
        },
    );
    let gap = next(&mut viewer).await.unwrap();
    assert_eq!(
        (&gap["kind"], &gap["reason"]["code"]),
        (&"gap".into(), &"overload".into())
    );
    house.say("a", over());
    let last = rest(&mut viewer).await;
    assert_eq!(kinds(&last), ["call_final"]);
    assert_eq!(last[0]["duration_ms"], 61_000);
    house.shut().await;
}

async fn a_viewer_that_reconnects_again_and_again_misses_none_of_a_thousand_lines(site: Site) {
    let house = House::at(site).await;
    let mut published = vec![house.say("a", started("a", "sip:op@h"))];
    let bus = house.bus.clone();
    let speaker = tokio::spawn(async move {
        let mut positions = Vec::new();
        for id in 0..1_000 {
            positions.push(bus.publish(&CallId::new("a"), Payload::Transcript(line(id, 1, true))));
            // Another call's events lie between.
            bus.publish(&CallId::new("b"), Payload::Transcript(line(id, 1, true)));
            if id % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        positions.push(bus.publish(&CallId::new("a"), Payload::Transcript(over())));
        positions
    });
    let mut got: Vec<u64> = Vec::new();
    let mut connections = 0;
    'watching: loop {
        connections += 1;
        let after = got
            .last()
            .map_or(String::new(), |last| format!("&after={last}"));
        let mut viewer = house.watch(&format!("call=a{after}")).await;
        for _ in 0..37 {
            match next(&mut viewer).await {
                Some(event) => got.push(event["position"].as_u64().unwrap()),
                None => break 'watching,
            }
        }
    }
    published.extend(speaker.await.unwrap());
    assert_eq!(got, published);
    assert!(connections > 20, "{connections}");
    house.shut().await;
}

async fn a_viewer_that_lags_holds_nothing_up_and_catches_up_without_a_hole(site: Site) {
    let house = House::at(site).await;
    let mut published = vec![house.say("a", started("a", "sip:op@h"))];
    let mut viewer = house.watch("call=a").await;
    assert_eq!(next(&mut viewer).await.unwrap()["kind"], "started");
    // Far more than the connection's buffers and the bus's window hold, while the viewer reads nothing.
    let long = "很长的一句话".repeat(200);
    let began = std::time::Instant::now();
    for id in 0..3 * WATCHER_LAG as u32 {
        let TranscriptEvent::Line(said) = line(id, 1, true) else {
            unreachable!()
        };
        published.push(house.say(
            "a",
            TranscriptEvent::Line(Line {
                text: long.clone().into(),
                ..said
            }),
        ));
    }
    let took = began.elapsed();
    published.push(house.say("a", over()));
    assert!(took < Duration::from_secs(5), "publishing took {took:?}");
    let got = rest(&mut viewer).await;
    assert_eq!(positions(&got), published[1..]);
    house.shut().await;
}

async fn a_call_that_is_over_is_shown_from_disk_with_its_last_draft(site: Site) {
    let house = House::at(site).await;
    house.say("a", started("a", "sip:op@h"));
    house.say("a", line(0, 1, false));
    let spoken = house.say("a", line(0, 2, true));
    let submission = Submission {
        key: DraftKey {
            call: CallId::new("a"),
            revision: 7,
        },
        draft: a_draft(),
        lines: Vec::new(),
    };
    house.store.outbox().close(&submission).await.unwrap();
    house.say("a", over());
    house.until_saved(0).await;
    let seen = rest(&mut house.watch("call=a").await).await;
    assert_eq!(kinds(&seen), ["started", "line", "draft", "call_final"]);
    assert_eq!(
        (&seen[2]["revision"], &seen[2]["position"]),
        (&7.into(), &spoken.into())
    );
    // A page that has seen it all and comes back hears that there is no more.
    let end = seen[3]["position"].as_u64().unwrap();
    let again = rest(&mut house.watch(&format!("call=a&after={end}")).await).await;
    assert_eq!(kinds(&again), ["draft"]);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_undone_and_made_again_while_the_call_runs_and_only_from_the_page_itself() {
    let house = House::open().await;
    let path = "/api/calls/a/lines/3/changes/0?revision=2";
    let refused = |status: &str, code: &str| (status.to_owned(), Value::from(code));
    assert_eq!(
        house.status("DELETE", path, "").await,
        refused("409", "not_running")
    );
    let (sender, asked) = std::sync::mpsc::sync_channel(4);
    answering(&house.control, "a", move |actor, command| {
        let _ = sender.try_send((actor.clone(), command));
        Ok(())
    });
    assert_eq!(
        house
            .status("DELETE", path, "Origin: http://evil\r\n")
            .await,
        refused("403", "foreign_origin")
    );
    let actor = Actor::User {
        user: "console".to_owned(),
        station: "127.0.0.1".to_owned(),
    };
    for (method, undone) in [("DELETE", true), ("POST", false)] {
        assert_eq!(house.status(method, path, "").await.0, "204");
        let revision = Revision {
            line: 3,
            change: 0,
            seen: Some(2),
            undone,
        };
        let wanted = (actor.clone(), Command::Revise(revision));
        assert_eq!(asked.try_recv(), Ok(wanted));
    }
    assert!(asked.try_recv().is_err());
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_notes_transfers_and_hangs_up_and_other_sites_do_not() {
    let house = House::open().await;
    let (sender, asked) = std::sync::mpsc::sync_channel(4);
    answering(&house.control, "a", move |_, command| {
        let _ = sender.try_send(command);
        Ok(())
    });
    for (what, body, command) in [
        (
            "note",
            r#"{"text":"回访"}"#,
            Command::Note {
                text: "回访".into(),
            },
        ),
        (
            "transfer",
            r#"{"to":"1002"}"#,
            Command::Transfer { to: "1002".into() },
        ),
        ("hangup", "", Command::HangUp),
    ] {
        let path = format!("/api/calls/a/{what}");
        let sent = |origin: &str| {
            let length = body.len();
            format!(
                "{origin}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        let (status, code) = house
            .status("POST", &path, &sent("Origin: http://evil\r\n"))
            .await;
        assert_eq!((status.as_str(), code), ("403", "foreign_origin".into()));
        assert!(asked.try_recv().is_err());
        assert_eq!(house.status("POST", &path, &sent("")).await.0, "204");
        assert_eq!(asked.try_recv(), Ok(command));
        assert_eq!(house.status("GET", &path, "").await.0, "405");
    }
    for (path, body) in [("note", "{}"), ("transfer", r#"{"to":7}"#), ("note", "[")] {
        let length = body.len();
        let sent =
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        let (status, _) = house
            .status("POST", &format!("/api/calls/a/{path}"), &sent)
            .await;
        assert!(status.starts_with('4'), "{status}");
    }
    assert!(asked.try_recv().is_err());
    house.shut().await;
}

async fn a_note_is_shown_to_who_watches_and_to_who_comes_later(site: Site) {
    let house = House::at(site).await;
    house.say("a", started("a", "sip:op@h"));
    house.say(
        "a",
        TranscriptEvent::Note(Note {
            at: MediaTime::from_millis(2_500),
            by: Actor::User {
                user: "console".into(),
                station: "192.0.2.30".into(),
            },
            text: "回访".into(),
        }),
    );
    house.say("a", over());
    house.until_saved(0).await;
    let seen = rest(&mut house.watch("call=a").await).await;
    assert_eq!(kinds(&seen), ["started", "note", "call_final"]);
    assert_eq!(
        (&seen[1]["at_ms"], &seen[1]["text"], &seen[1]["by"]["user"]),
        (&2_500.into(), &"回访".into(), &"console".into())
    );
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_refuses_is_told_with_its_status_its_code_and_a_sentence() {
    let house = House::open().await;
    for (refusal, status, code) in [
        (Refusal::NotRunning, "409", "not_running"),
        (Refusal::Unfit("the field is a text"), "422", "unfit_value"),
        (Refusal::NoSuchChange, "404", "no_such_change"),
        (Refusal::HeardAnew, "409", "heard_anew"),
        (Refusal::UnfitNote, "422", "unfit_note"),
        (Refusal::NotAnswered, "409", "not_answered"),
        (Refusal::TakesPlaceElsewhere, "409", "takes_place_elsewhere"),
        (Refusal::NoDestination, "422", "no_destination"),
        (Refusal::TransferUnderWay, "409", "transfer_under_way"),
        (Refusal::TooManyTransfers, "409", "too_many_transfers"),
        (Refusal::Busy, "503", "call_busy"),
        (Refusal::NoAnswer, "504", "no_answer"),
    ] {
        let call = answering(&house.control, "a", move |_, _| Err(refusal));
        let path = "/api/calls/a/lines/3/changes/0";
        let (told, body) = house.act("POST", path, "").await;
        assert_eq!(&told[9..12], status, "{refusal:?}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"]["code"], code);
        let sentence = body["error"]["message"].as_str().unwrap();
        assert!(sentence.ends_with('。'), "{sentence}");
        call.abort();
        let _ = call.await;
    }
    house.shut().await;
}

async fn the_list_of_calls_reaches_over_memory_and_disk_page_by_page(site: Site) {
    let house = House::at(site).await;
    for call in ["1", "2", "3"] {
        house.say(call, started(call, "sip:op@h"));
        house.say(call, over());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    house.until_saved(0).await;
    house.say("4", started("4", "sip:other@h"));
    let first = house.calls("limit=3").await;
    let names = |page: &Value| -> Vec<String> {
        let calls = page["calls"].as_array().unwrap();
        calls
            .iter()
            .map(|call| call["call"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&first), ["4", "3", "2"]);
    assert_eq!(first["calls"][0]["state"], "ringing");
    assert_eq!(first["calls"][1]["state"], "ended");
    let reason = serde_json::json!({"code": "hung_up", "party": "caller"});
    assert_eq!(first["calls"][1]["reason"], reason);
    let next = first["next"].as_str().unwrap();
    let second = house.calls(&format!("limit=3&before={next}")).await;
    assert_eq!(
        (names(&second), &second["next"]),
        (vec!["1".into()], &Value::Null)
    );
    assert_eq!(names(&house.calls("operator=sip:other@h").await), ["4"]);
    let (head, body) = house.ask("/api/calls?before=nonsense", "").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(body.contains("翻页标记无效"), "{body}");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lobby_hears_when_calls_come_and_go_and_nothing_of_what_is_said() {
    let house = House::open().await;
    let mut lobby = house.watch("only=calls").await;
    house.say("a", started("a", "sip:op@h"));
    assert_eq!(next(&mut lobby).await.unwrap()["kind"], "started");
    house.say("a", line(0, 1, true));
    house.say("a", over());
    assert_eq!(next(&mut lobby).await.unwrap()["kind"], "call_final");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_viewer_is_told_what_the_gateway_cannot_do_and_when_it_can_again() {
    let is_full = Arc::new(AtomicBool::new(false));
    let readiness = Arc::<Readiness>::default();
    for fault in [
        Fault::RecordingStopped,
        Fault::RecordsUnwritten,
        Fault::RecordsUnwritten,
    ] {
        let is_full = is_full.clone();
        readiness.watch(fault, move || {
            is_full.load(Ordering::Relaxed).then(|| "full".to_owned())
        });
    }
    let house = House::open_with(|console| console.telling(readiness)).await;
    let mut lobby = house.watch("only=calls").await;
    is_full.store(true, Ordering::Relaxed);
    let told = json!({"kind": "faults", "faults": ["records_unwritten", "recording_stopped"]});
    assert_eq!(next(&mut lobby).await, Some(told.clone()));
    // Who comes meanwhile is told at once.
    house.say("a", started("a", "sip:op@h"));
    let mut late = house.watch("operator=sip:op@h").await;
    let first = [next(&mut late).await, next(&mut late).await];
    assert!(first.contains(&Some(told)), "{first:?}");
    assert_eq!(next(&mut lobby).await.unwrap()["kind"], "started");
    is_full.store(false, Ordering::Relaxed);
    for viewer in [&mut lobby, &mut late] {
        let told = json!({"kind": "faults", "faults": []});
        assert_eq!(next(viewer).await, Some(told));
    }
    house.shut().await;
}

async fn an_operator_sees_their_own_calls_alone(site: Site) {
    let house = House::at(site).await;
    house.say("a", started("a", "sip:op@h"));
    house.say("b", started("b", "sip:other@h"));
    let mut viewer = house.watch("operator=sip:other@h").await;
    assert_eq!(next(&mut viewer).await.unwrap()["call"], "b");
    house.say("a", line(0, 1, true));
    house.say("b", line(0, 1, true));
    assert_eq!(next(&mut viewer).await.unwrap()["call"], "b");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_of_another_site_is_refused_and_the_pages_own_is_not() {
    let house = House::open().await;
    house.say("a", started("a", "sip:op@h"));
    let address = house.address;
    let opened_from = |origin: String| async move {
        let url = format!("ws://{address}/ws?call=a");
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        tokio_tungstenite::connect_async(request).await
    };
    for foreign in [
        "https://example.com".to_owned(),
        format!("http://{}.example.com", house.address),
        "null".to_owned(),
    ] {
        match opened_from(foreign.clone()).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{foreign}"),
            other => panic!("{foreign}: {other:?}"),
        }
    }
    assert!(
        opened_from(format!("http://{}", house.address))
            .await
            .is_ok()
    );
    house.shut().await;
}

impl House {
    /// The first line of the answer to whatever is sent.
    async fn raw(&self, from: &str, request: &str) -> String {
        let mut connection = self.open_from(from).await;
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // One that is closed without an answer has none.
        let _ = connection.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    async fn open_from(&self, address: &str) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(address.parse().unwrap(), 0))
            .unwrap();
        socket.connect(self.address).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_another_host_is_told_so_whatever_it_asks() {
    let house = House::open().await;
    house.say("a", started("a", "sip:op@h"));
    let own = house.address.to_string();
    for (hosts, path, status) in [
        (vec![own.as_str()], "/", 200),
        (vec!["localhost"], "/api/calls", 200),
        (vec!["evil.example"], "/", 421),
        (vec!["evil.example:8080"], "/api/calls", 421),
        (vec!["evil.example"], "/api/calls/a/recording", 421),
        (vec!["evil.example"], "/ws?call=a", 421),
        (vec![], "/api/calls", 400),
        (vec![own.as_str(), "evil.example"], "/api/calls", 421),
        (vec![own.as_str()], "http://evil.example/api/calls", 421),
        // What says nothing about calls is for whoever watches over the machine.
        (vec!["evil.example"], "/healthz", 200),
        (vec!["evil.example"], "/metrics", 200),
    ] {
        let lines: String = hosts
            .iter()
            .flat_map(|host| ["Host: ", *host, "\r\n"])
            .collect();
        let request = format!("GET {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
        let line = house.raw("127.0.0.1", &request).await;
        let told = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        // Without any it is no HTTP/1.1, whoever says so first.
        let fits = told == Some(status) || (hosts.is_empty() && told == Some(421));
        assert!(fits, "{hosts:?} {path}: {line}");
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_must_name_the_pages_own_site() {
    let house = House::open().await;
    house.say("a", started("a", "sip:op@h"));
    let own = format!("http://{}", house.address);
    for (origin, status) in [
        (None, "403"),
        (Some("null"), "403"),
        (Some("http://evil.example"), "403"),
        (Some(own.as_str()), "409"),
    ] {
        for (method, path) in [
            ("PUT", "/api/calls/a/fields/address"),
            ("DELETE", "/api/calls/a/lines/3/changes/0"),
            ("POST", "/api/calls/a/lines/3/changes/0"),
        ] {
            let origin_line =
                origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
            let body = "{\"value\":null}";
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\n{origin_line}Connection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                house.address,
                body.len()
            );
            let line = house.raw("127.0.0.1", &request).await;
            // From the page itself it is the call's to judge, which here does not run.
            let told = line.split(' ').nth(1).filter(|told| *told != "404");
            assert_eq!(told.unwrap_or("409"), status, "{method} {origin:?}: {line}");
        }
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_requests_take_nothing_from_those_that_come_and_nobody_holds_all_places() {
    let house = House::open_with(|console| console.within(8)).await;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        house.address
    );
    let mut half_open = Vec::new();
    for _ in 0..100 {
        let mut connection = house.open_from("127.0.0.2").await;
        let _ = connection.write_all(b"G").await;
        half_open.push(connection);
    }
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.1"] {
        let line = house.raw(from, &request).await;
        assert!(line.ends_with("200 OK"), "{from}: {line}");
    }
    drop(half_open);
    // Viewers and players: one address has at most half, another finds the rest.
    let console = Console::new(house.bus.clone(), house.store.clone());
    for (places, most) in [
        (&console.viewers, super::MOST_VIEWERS),
        (&console.listeners, super::MOST_LISTENERS),
    ] {
        let greedy = std::net::IpAddr::from([192, 0, 2, 1]);
        let taken: Vec<_> = (0..most).map_while(|_| places.admit(greedy)).collect();
        assert_eq!(taken.len(), most / 2);
        assert!(
            places
                .admit(std::net::IpAddr::from([192, 0, 2, 2]))
                .is_some()
        );
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_call_is_told_in_a_sentence_and_a_code_that_ends_the_attempts() {
    let house = House::open().await;
    let mut viewer = house.watch("call=nobody").await;
    let told = next(&mut viewer).await.unwrap();
    assert_eq!(
        (&told["kind"], &told["code"]),
        (&"error".into(), &"unknown_call".into())
    );
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .starts_with("没有找到这通电话"),
        "{told}"
    );
    match viewer.next().await.unwrap().unwrap() {
        Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 4404),
        other => panic!("{other:?}"),
    }
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_sends_too_much_is_cut_off_and_one_that_chatters_is_ignored() {
    use futures_util::SinkExt;
    let house = House::open().await;
    house.say("a", started("a", "sip:op@h"));
    let mut viewer = house.watch("call=a").await;
    assert!(next(&mut viewer).await.is_some());
    viewer
        .send(Message::text("<script>".repeat(10)))
        .await
        .unwrap();
    house.say("a", line(0, 1, true));
    assert_eq!(next(&mut viewer).await.unwrap()["kind"], "line");
    viewer
        .send(Message::text("x".repeat(LONGEST_MESSAGE + 1)))
        .await
        .unwrap();
    let end = tokio::time::timeout(PATIENCE, viewer.next()).await.unwrap();
    assert!(
        matches!(end, None | Some(Err(_) | Ok(Message::Close(_)))),
        "{end:?}"
    );
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_viewers_hear_that_the_gateway_goes_down() {
    let house = House::open().await;
    house.say("a", started("a", "sip:op@h"));
    let mut viewer = house.watch("call=a").await;
    assert!(next(&mut viewer).await.is_some());
    house.shut().await;
    assert_eq!(next(&mut viewer).await.unwrap()["code"], "going_down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_loads_nothing_from_elsewhere_and_is_sent_again_only_when_it_is_new() {
    let house = House::open().await;
    let (head, body) = house.ask("/", "").await;
    assert!(
        head.contains("content-security-policy: default-src 'self';"),
        "{head}"
    );
    assert!(body.contains("心桥"));
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let (head, body) = house.ask("/", &format!("If-None-Match: {tag}\r\n")).await;
    assert!(head.starts_with("http/1.1 304"), "{head}");
    assert_eq!(body, "");
    for path in [
        "/",
        "/app.js",
        "/contract.js",
        "/controls.js",
        "/dom.js",
        "/fields.js",
        "/player.js",
        "/ticket.js",
        "/style.css",
        "/icon.svg",
    ] {
        let (head, body) = house.ask(path, "").await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        let elsewhere = body.replace("http://www.w3.org/", "");
        assert!(
            !elsewhere.contains("http://") && !elsewhere.contains("https://"),
            "{path}"
        );
        assert!(!body.contains("innerHTML"), "{path}");
    }
    let (head, body) = house.ask("/readyz", "").await;
    assert!(head.starts_with("http/1.1 503") && body.contains("starting"));
    crate::telemetry::start();
    metrics::counter!("console_test_total").increment(1);
    let (head, body) = house.ask("/metrics", "").await;
    assert!(head.contains("text/plain") && body.contains("console_test_total 1"));
    let (head, body) = house.ask("/healthz", "").await;
    assert!(head.starts_with("http/1.1 200") && body == "ok\n", "{head}");
    house.shut().await;
}
