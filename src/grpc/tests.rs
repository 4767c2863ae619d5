//! The transcript service over a real connection, a real bus and a real store.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use super::proto::transcript::v1::{
    ActorKind, CallState, Event as WireEvent, GetRequest, ListCallsRequest, UndoChangeRequest,
    WatchRequest, WatchResponse, event::Body,
};
use super::{Controls, Transcripts};
use crate::audio::MediaTime;
use crate::control::tests::answering;
use crate::control::{Actor, CallControl, Command, Refusal};
use crate::events::{Bus, Payload, WATCHER_LAG};
use crate::gateway::{Services, bind, serve};
use crate::postgres_server::{Site, on_both_engines};
use crate::speech::finish::{Change, ChangeKind, Mark};
use crate::speech::words::Word;
use crate::speech::{CallId, Leg};
use crate::store::{EventWriter, Store, at};
use crate::ticket::{FieldName, FieldValue};
use crate::transcript::revise::{Revision, revised};
use crate::transcript::{CallInfo, EndReason, GapReason, Line, Note, Origin, TranscriptEvent};

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway reduced to its bus, store, writer and gRPC server.
struct House {
    bus: Bus,
    store: Store,
    control: CallControl,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    writer: JoinHandle<usize>,
    server: JoinHandle<()>,
}

impl House {
    async fn open(site: &Site) -> Self {
        let store = Store::open(at(&site.store())).await.unwrap();
        let bus = Bus::new(store.begin_run().await.unwrap());
        let control = CallControl::default();
        let stop = CancellationToken::new();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = Services {
            transcripts: Some(Transcripts::new(
                bus.clone(),
                store.clone(),
                control.clone(),
            )),
            control: Some(Controls::new(control.clone())),
            ticketing: None,
            ..Services::default()
        };
        let serving = serve(listener, services, None, stop.clone());
        let server = tokio::spawn(async move { serving.await.unwrap() });
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
        }
    }

    async fn shut(self) {
        self.stop.cancel();
        assert_eq!(self.writer.await.unwrap(), 0, "events were left unsaved");
        self.server.await.unwrap();
        self.store.close().await;
    }

    async fn client(&self) -> TranscriptServiceClient<Channel> {
        TranscriptServiceClient::connect(format!("http://{}", self.address))
            .await
            .unwrap()
    }

    async fn watch(&self, request: WatchRequest) -> Streaming<WatchResponse> {
        self.client()
            .await
            .watch(request)
            .await
            .unwrap()
            .into_inner()
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

    fn say(&self, call: &str, event: TranscriptEvent) -> u64 {
        self.bus
            .publish(&CallId::new(call), Payload::Transcript(event))
    }
}

fn started(call: &str, operator: &str) -> TranscriptEvent {
    TranscriptEvent::Started(CallInfo {
        call: CallId::new(call),
        caller_number: Some("13800001234".into()),
        called: "12345".into(),
        operator: operator.into(),
        started_at: SystemTime::now(),
        origin: Origin {
            trunk: Some("carrier".into()),
            diverted_from: Some("8001".into()),
            user_to_user: Some("56a390".into()),
        },
    })
}

fn line(id: u32, revision: u32, is_final: bool) -> TranscriptEvent {
    let start = MediaTime::from_millis(u64::from(id) * 1_000);
    let end = MediaTime::from_millis(u64::from(id) * 1_000 + 800);
    TranscriptEvent::Line(Line {
        revision,
        is_final,
        confidence: 0.9,
        ..Line::plain(id, Leg::Caller, &format!("第{id}句"), start, end)
    })
}

fn over() -> TranscriptEvent {
    TranscriptEvent::CallFinal {
        duration: MediaTime::from_millis(61_000),
        reason: EndReason::HungUp { party: Leg::Caller },
    }
}

fn of_call(call: &str, after_position: Option<u64>) -> WatchRequest {
    WatchRequest {
        call_id: call.into(),
        operator: String::new(),
        after_position,
    }
}

async fn next(stream: &mut Streaming<WatchResponse>) -> Option<WireEvent> {
    let message = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .expect("nothing came")
        .unwrap();
    message.map(|response| response.event.unwrap())
}

/// Reads until the stream ends.
async fn rest(stream: &mut Streaming<WatchResponse>) -> Vec<WireEvent> {
    let mut events = Vec::new();
    while let Some(event) = next(stream).await {
        events.push(event);
    }
    events
}

fn positions(events: &[WireEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

on_both_engines![
    a_watcher_that_reconnects_again_and_again_misses_none_of_a_thousand_events,
    a_watcher_that_falls_behind_the_live_events_catches_up_without_a_hole,
    after_a_restart_the_past_is_still_there_and_positions_go_on_rising,
    a_watcher_of_an_operator_gets_the_stored_and_the_live_calls_of_that_operator_only,
    get_shows_each_line_once_and_watching_from_its_position_continues,
    words_changes_and_marks_are_told_and_a_change_is_undone_for_all_who_watch_now_or_later,
    the_list_of_calls_pages_through_memory_and_disk_without_repeating_any,
    a_note_is_an_event_and_stands_beside_the_finished_transcript,
];

async fn a_watcher_that_reconnects_again_and_again_misses_none_of_a_thousand_events(site: Site) {
    let house = House::open(&site).await;
    let mut published = vec![house.say("a", started("a", "sip:op@h"))];
    let (bus, call) = (house.bus.clone(), CallId::new("a"));
    let speaker = tokio::spawn(async move {
        let mut positions = Vec::new();
        for id in 0..1_000 {
            positions.push(bus.publish(&call, Payload::Transcript(line(id, 1, true))));
            // Another call's events lie between.
            bus.publish(&CallId::new("b"), Payload::Transcript(line(id, 1, true)));
            if id % 20 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        positions.push(bus.publish(&call, Payload::Transcript(over())));
        positions
    });
    let mut got: Vec<u64> = Vec::new();
    let mut connections = 0;
    'watching: loop {
        connections += 1;
        let mut stream = house.watch(of_call("a", got.last().copied())).await;
        for _ in 0..37 {
            match next(&mut stream).await {
                Some(event) => got.push(event.position),
                None => break 'watching,
            }
        }
    }
    published.extend(speaker.await.unwrap());
    assert_eq!(got, published);
    assert!(connections > 20, "{connections}");
    house.shut().await;
}

async fn a_watcher_that_falls_behind_the_live_events_catches_up_without_a_hole(site: Site) {
    let house = House::open(&site).await;
    let mut published = vec![house.say("a", started("a", "sip:op@h"))];
    let mut stream = house.watch(of_call("a", None)).await;
    assert_eq!(next(&mut stream).await.unwrap().position, published[0]);
    // The reader pauses: more than the connection's windows and the bus's bound together can hold.
    for id in 0..(WATCHER_LAG as u32 * 4) {
        published.push(house.say("a", line(id, 1, true)));
        if id % 256 == 0 {
            tokio::task::yield_now().await;
        }
    }
    published.push(house.say("a", over()));
    house.until_saved(0).await;
    assert_eq!(positions(&rest(&mut stream).await), published[1..]);
    house.shut().await;
}

async fn after_a_restart_the_past_is_still_there_and_positions_go_on_rising(site: Site) {
    let house = House::open(&site).await;
    house.say("done", started("done", "sip:op@h"));
    house.say(
        "done",
        TranscriptEvent::Answered {
            at: SystemTime::now(),
        },
    );
    house.say("done", line(0, 1, false));
    house.say("done", line(0, 2, true));
    house.say("done", over());
    house.say("cut", started("cut", "sip:op@h"));
    let last_partial = house.say("cut", line(0, 1, false));
    house.until_saved(1).await;
    house.shut().await;

    let house = House::open(&site).await;
    let mut stream = house.watch(of_call("done", None)).await;
    let events = rest(&mut stream).await;
    assert_eq!(
        events.len(),
        4,
        "started, answered, the final line, the end"
    );
    assert!(matches!(events[3].body, Some(Body::CallFinal(_))));
    let mut again = house.watch(of_call("done", Some(events[3].position))).await;
    assert!(next(&mut again).await.is_none(), "nothing follows the end");
    let mut cut = house.watch(of_call("cut", None)).await;
    assert_eq!(
        rest(&mut cut).await.len(),
        1,
        "a call that was cut off ends its stream"
    );

    assert!(house.say("new", started("new", "sip:op@h")) > last_partial);
    let answer = house
        .client()
        .await
        .list_calls(ListCallsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let states: Vec<_> = answer
        .calls
        .iter()
        .map(|call| (call.call_id.as_str(), call.state()))
        .collect();
    assert_eq!(states[0], ("new", CallState::Ringing));
    assert!(states.contains(&("done", CallState::Ended)));
    assert!(states.contains(&("cut", CallState::Interrupted)));
    house.shut().await;
}

async fn a_watcher_of_an_operator_gets_the_stored_and_the_live_calls_of_that_operator_only(
    site: Site,
) {
    let house = House::open(&site).await;
    let mut wanted = vec![
        house.say("a", started("a", "sip:one@h")),
        house.say("a", over()),
    ];
    house.say("b", started("b", "sip:two@h"));
    house.until_saved(1).await;
    let request = WatchRequest {
        operator: "sip:one@h".into(),
        after_position: Some(0),
        ..WatchRequest::default()
    };
    let mut stream = house.watch(request).await;
    let mut got = vec![
        next(&mut stream).await.unwrap().position,
        next(&mut stream).await.unwrap().position,
    ];
    house.say("b", line(0, 1, true));
    wanted.push(house.say("c", started("c", "sip:one@h")));
    got.push(next(&mut stream).await.unwrap().position);
    assert_eq!(got, wanted);
    house.stop.cancel();
    let end = tokio::time::timeout(PATIENCE, stream.message())
        .await
        .unwrap();
    assert_eq!(
        end.err().map(|status| status.code()),
        Some(Code::Unavailable)
    );
    house.shut().await;
}

async fn get_shows_each_line_once_and_watching_from_its_position_continues(site: Site) {
    let house = House::open(&site).await;
    house.say("a", started("a", "sip:op@h"));
    house.say("a", line(0, 1, false));
    house.say("a", line(0, 2, true));
    house.say("a", line(1, 1, false));
    let gap = TranscriptEvent::Gap {
        id: 2,
        leg: Leg::Operator,
        start: MediaTime::from_millis(5),
        end: MediaTime::from_millis(9),
        reason: GapReason::Overload,
    };
    house.say("a", gap);
    let mut client = house.client().await;
    let seen = client
        .get(GetRequest {
            call_id: "a".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let lines: Vec<_> = seen
        .utterances
        .iter()
        .map(|line| (line.id, line.revision, line.r#final))
        .collect();
    assert_eq!(lines, [(0, 2, true), (1, 1, false)]);
    assert_eq!(
        (seen.gaps[0].id, seen.gaps[0].start_ms, seen.gaps[0].end_ms),
        (2, 5, 9)
    );
    let mut stream = house.watch(of_call("a", Some(seen.position))).await;
    let position = house.say("a", line(1, 2, true));
    assert_eq!(next(&mut stream).await.unwrap().position, position);
    let unknown = client
        .get(GetRequest {
            call_id: "z".into(),
        })
        .await;
    assert_eq!(
        unknown.err().map(|status| status.code()),
        Some(Code::NotFound)
    );
    let unknown = client.watch(of_call("z", None)).await;
    assert_eq!(
        unknown.err().map(|status| status.code()),
        Some(Code::NotFound)
    );
    house.shut().await;
}

/// 在芝罘区自杀, of which 芝罘 was put right.
fn put_right() -> Line {
    let end = MediaTime::from_millis(600);
    Line {
        words: (0..6)
            .map(|at| Word {
                from: at,
                to: at + 1,
                start: MediaTime::from_millis(u64::from(at) * 100),
                end: MediaTime::from_millis(u64::from(at) * 100 + 100),
                confidence: 0.25 + at as f32 / 10.0,
            })
            .collect(),
        changes: vec![Change {
            from: 1,
            to: 3,
            said: "支湖".into(),
            kind: ChangeKind::Hotword,
            list: "行政区划".into(),
            undone: None,
        }],
        marks: vec![Mark {
            from: 4,
            to: 6,
            category: "自伤自杀".into(),
        }],
        ..Line::plain(0, Leg::Caller, "在芝罘区自杀", MediaTime::ZERO, end)
    }
}

async fn words_changes_and_marks_are_told_and_a_change_is_undone_for_all_who_watch_now_or_later(
    site: Site,
) {
    let house = House::open(&site).await;
    house.say("a", started("a", "sip:op@h"));
    house.say("a", TranscriptEvent::Line(put_right()));
    let mut client = house.client().await;
    let mut undo = async |call: &str, change, restore| {
        let request = UndoChangeRequest {
            call_id: call.into(),
            utterance_id: 0,
            change,
            restore,
            revision: 0,
        };
        client
            .undo_change(request)
            .await
            .map_err(|status| status.code())
    };
    assert_eq!(
        undo("a", 0, false).await.err(),
        Some(Code::FailedPrecondition),
        "it does not run"
    );
    let bus = house.bus.clone();
    let running = answering(&house.control, "a", move |_, command| {
        let Command::Revise(revision) = command else {
            panic!("{command:?}");
        };
        let line = revised(&put_right(), revision.change, revision.undone);
        let line = line.ok_or(Refusal::NoSuchChange)?;
        bus.publish(
            &CallId::new("a"),
            Payload::Transcript(TranscriptEvent::Line(line)),
        );
        Ok(())
    });
    assert_eq!(undo("a", 1, false).await.err(), Some(Code::NotFound));
    assert_eq!(
        undo("b", 0, false).await.err(),
        Some(Code::FailedPrecondition)
    );
    let mut viewer = house.watch(of_call("a", None)).await;
    next(&mut viewer).await.unwrap();
    let Some(Body::Utterance(before)) = next(&mut viewer).await.unwrap().body else {
        panic!("no line");
    };
    let change = &before.changes[0];
    assert_eq!(
        (change.said.as_str(), change.list.as_str(), &change.undone),
        ("支湖", "行政区划", &None)
    );
    let (word, mark) = (&before.words[2], &before.marks[0]);
    assert_eq!((word.start_char, word.start_ms, word.end_ms), (2, 200, 300));
    assert!((word.confidence - 0.45).abs() < 1e-6);
    assert_eq!(
        (mark.start_char, mark.end_char, mark.category.as_str()),
        (4, 6, "自伤自杀")
    );
    undo("a", 0, false).await.unwrap();
    let Some(Body::Utterance(after)) = next(&mut viewer).await.unwrap().body else {
        panic!("no line");
    };
    assert_eq!(
        (after.text.as_str(), after.revision, after.r#final),
        ("在支湖区自杀", 2, true)
    );
    assert_eq!(after.changes[0].undone.as_deref(), Some("芝罘"));
    house.say("a", over());
    running.abort();
    house.until_saved(0).await;
    house.shut().await;

    let house = House::open(&site).await;
    let request = GetRequest {
        call_id: "a".into(),
    };
    let answer = house
        .client()
        .await
        .get(request)
        .await
        .unwrap()
        .into_inner();
    assert!(answer.utterances == [after], "as it stood at the end");
    house.shut().await;
}

async fn the_list_of_calls_pages_through_memory_and_disk_without_repeating_any(site: Site) {
    let house = House::open(&site).await;
    for number in 0..25 {
        let call = format!("c{number}");
        house.say(&call, started(&call, "sip:op@h"));
        if number % 2 == 0 {
            house.say(&call, over());
        }
    }
    let mut client = house.client().await;
    let mut seen = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListCallsRequest {
            page_size: 7,
            page_token,
            operator: String::new(),
        };
        let answer = client.list_calls(request).await.unwrap().into_inner();
        for call in &answer.calls {
            let origin = [&call.trunk, &call.diverted_from, &call.user_to_user];
            assert_eq!(origin, ["carrier", "8001", "56a390"]);
        }
        seen.extend(answer.calls.into_iter().map(|call| call.call_id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    seen.sort();
    let mut all: Vec<_> = (0..25).map(|number| format!("c{number}")).collect();
    all.sort();
    assert_eq!(seen, all);
    let request = ListCallsRequest {
        page_token: "nonsense".into(),
        ..ListCallsRequest::default()
    };
    let refused = client.list_calls(request).await;
    assert_eq!(
        refused.err().map(|status| status.code()),
        Some(Code::InvalidArgument)
    );
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_ask_calls_by_name_and_every_refusal_has_its_status() {
    use super::proto::control::v1 as wire;
    use super::proto::control::v1::call_control_client::CallControlClient;
    use super::proto::ticket::v1::{Field, FieldName as Name, field::Value};

    let site = Site::of_files();
    let house = House::open(&site).await;
    let address = format!("http://{}", house.address);
    let mut client = CallControlClient::connect(address).await.unwrap();
    let (sender, asked) = std::sync::mpsc::sync_channel(8);
    let call = answering(&house.control, "a", move |actor, command| {
        let _ = sender.try_send((actor.clone(), command));
        Ok(())
    });
    let call_id = || "a".to_owned();
    let field = Field {
        name: Name::Address.into(),
        value: Some(Value::Text("南大街1号".into())),
        ..Field::default()
    };
    let edit = wire::EditRequest {
        call_id: call_id(),
        field: Some(field),
    };
    client.edit(edit).await.unwrap();
    let revise = wire::ReviseRequest {
        call_id: call_id(),
        utterance_id: 3,
        change: 1,
        restore: false,
        revision: 2,
    };
    client.revise(revise).await.unwrap();
    let pause = wire::PauseRequest {
        call_id: call_id(),
        paused: true,
    };
    client.pause(pause).await.unwrap();
    let note = wire::NoteRequest {
        call_id: call_id(),
        text: "回访".into(),
    };
    client.note(note).await.unwrap();
    let transfer = wire::TransferRequest {
        call_id: call_id(),
        to: "1002".into(),
    };
    client.transfer(transfer).await.unwrap();
    let hang_up = || wire::HangUpRequest { call_id: call_id() };
    client.hang_up(hang_up()).await.unwrap();
    let actor = Actor::Service {
        service: "127.0.0.1".into(),
    };
    for command in [
        Command::Edit {
            name: FieldName::Address,
            value: Some(FieldValue::Text("南大街1号".into())),
        },
        Command::Revise(Revision {
            line: 3,
            change: 1,
            seen: Some(2),
            undone: true,
        }),
        Command::Pause { paused: true },
        Command::Note {
            text: "回访".into(),
        },
        Command::Transfer { to: "1002".into() },
        Command::HangUp,
    ] {
        assert_eq!(asked.try_recv(), Ok((actor.clone(), command)));
    }
    let nameless = wire::EditRequest {
        call_id: call_id(),
        field: None,
    };
    let refused = client.edit(nameless).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    call.abort();
    let _ = call.await;
    let refused = client.hang_up(hang_up()).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    for (refusal, code) in [
        (Refusal::NotRunning, Code::FailedPrecondition),
        (Refusal::Unfit("the field is a text"), Code::InvalidArgument),
        (Refusal::NoSuchChange, Code::NotFound),
        (Refusal::HeardAnew, Code::Aborted),
        (Refusal::UnfitNote, Code::InvalidArgument),
        (Refusal::NotAnswered, Code::FailedPrecondition),
        (Refusal::TakesPlaceElsewhere, Code::FailedPrecondition),
        (Refusal::NoDestination, Code::InvalidArgument),
        (Refusal::TransferUnderWay, Code::FailedPrecondition),
        (Refusal::TooManyTransfers, Code::FailedPrecondition),
        (Refusal::Busy, Code::ResourceExhausted),
        (Refusal::NoAnswer, Code::DeadlineExceeded),
    ] {
        let call = answering(&house.control, "a", move |_, _| Err(refusal));
        let refused = client.hang_up(hang_up()).await.map(drop).unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (code, refusal.to_string().as_str())
        );
        call.abort();
        let _ = call.await;
    }
    house.shut().await;
}

async fn a_note_is_an_event_and_stands_beside_the_finished_transcript(site: Site) {
    let house = House::open(&site).await;
    house.say("a", started("a", "sip:op@h"));
    let note = Note {
        at: MediaTime::from_millis(2_500),
        by: Actor::User {
            user: "console".into(),
            station: "192.0.2.30".into(),
        },
        text: "回访".into(),
    };
    house.say("a", TranscriptEvent::Note(note));
    let mut viewer = house.watch(of_call("a", None)).await;
    next(&mut viewer).await.unwrap();
    let Some(Body::Note(live)) = next(&mut viewer).await.unwrap().body else {
        panic!("no note");
    };
    assert_eq!((live.at_ms, live.text.as_str()), (2_500, "回访"));
    let by = live.by.clone().unwrap();
    assert_eq!(by.kind(), ActorKind::User);
    assert_eq!(
        (by.name.as_str(), by.station.as_str()),
        ("console", "192.0.2.30")
    );
    house.say("a", over());
    house.until_saved(0).await;
    let request = GetRequest {
        call_id: "a".into(),
    };
    let answer = house.client().await.get(request).await.unwrap();
    assert!(answer.into_inner().notes == [live]);
    house.shut().await;
}

#[tokio::test]
async fn a_port_in_use_is_a_sentence_with_the_remedy() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = taken.local_addr().unwrap();
    let said = bind(address).await.unwrap_err().to_string();
    assert!(
        said.contains(&address.to_string()) && said.contains("in use") && said.contains("--set"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_serving_and_reflection_can_be_asked() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let site = Site::of_files();
    let house = House::open(&site).await;
    let endpoint = Channel::from_shared(format!("http://{}", house.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let service = "xinqiao.transcript.v1.TranscriptService".to_owned();
    let answer = health
        .check(HealthCheckRequest {
            service: service.clone(),
        })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(service)),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection
        .server_reflection_info(futures_util::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(
        answer.message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
    house.shut().await;
}
