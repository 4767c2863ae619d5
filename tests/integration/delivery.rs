//! What leaves the gateway and how it is looked after: the outbox's commands beside a running delivery; one real call
//! through webhook, language model and duplicate search; and its export.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use xinqiao::grpc::GrpcDesk;
use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use xinqiao::grpc::proto::transcript::v1::{Event, WatchRequest};
use xinqiao::speech::CallId;
use xinqiao::store::{Delivery, Lane, Store};
use xinqiao::ticket::desk::{DraftKey, Submission};
use xinqiao::ticket::{Field, FieldName, FieldValue, TicketDraft};

use crate::product::{Hotline, Process, models, said, xinqiao};

const PATIENCE: Duration = Duration::from_secs(40);
const PHONE: &str = "13863512207";

fn submission(call: &str, amount: FieldValue) -> Submission {
    let field = |value| Field {
        value,
        confidence: 0.9,
        evidence: Vec::new(),
    };
    Submission {
        key: DraftKey {
            call: CallId::new(call),
            revision: 1,
        },
        draft: TicketDraft {
            fields: [
                (
                    FieldName::ContactPhone,
                    field(FieldValue::Text(PHONE.into())),
                ),
                (FieldName::AmountYuan, field(amount)),
            ]
            .into(),
            ..TicketDraft::default()
        },
        lines: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outboxs_commands_work_beside_a_running_delivery_and_mask_what_is_personal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    };
    let backend = Process::start(&[
        "ticketing",
        "--listen",
        "127.0.0.1:0",
        "--database",
        &path("t.db"),
    ]);
    let line = backend.line();
    let address = line.split(' ').nth(3).expect("taking drafts at ADDRESS");
    let database = format!("store.database={}", path("gateway.db"));
    let run = |arguments: &[&str]| {
        let mut all = vec!["outbox"];
        all.extend_from_slice(arguments);
        all.extend(["--set", &database]);
        let output = xinqiao(&all);
        (output.status.code(), said(&output))
    };
    let (code, told) = run(&["list"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("store.url"), "{told}");

    let store = Store::open(std::path::Path::new(&path("gateway.db")))
        .await
        .expect("opened");
    let desk = Arc::new(GrpcDesk::connect_lazy(&format!("http://{address}")).expect("an address"));
    let stop = CancellationToken::new();
    let delivery =
        store
            .outbox()
            .deliver(Lane::Ticketing, desk, Delivery::with_seed(1), stop.clone());
    let delivery = tokio::spawn(delivery);
    assert!(run(&["list"]).1.contains("nothing waits"));
    // The backend refuses an amount that is no number.
    let refused = submission("bad", FieldValue::Flag(true));
    store.outbox().put(&refused).await.expect("on disk");
    store.outbox().close(&refused).await.expect("on disk");
    store
        .outbox()
        .put(&submission("good", FieldValue::Number(860.0)))
        .await
        .expect("on disk");
    let begun = Instant::now();
    while store.outbox().parked().await.expect("read").is_empty()
        || store.outbox().entries().await.expect("read").len() > 2
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let (code, told) = run(&["list"]);
    assert_eq!(code, Some(0));
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(
        told.contains("refused: invalid argument: ‹") && told.contains("closing"),
        "{told}"
    );
    assert!(
        run(&["list", "--reveal"])
            .1
            .contains("FIELD_NAME_AMOUNT_YUAN")
    );
    assert_eq!(run(&["list", "--parked"]).1.lines().count(), 1);
    let (_, told) = run(&["show", "good"]);
    assert!(
        told.contains("ticket T0000000") && told.contains("delivered"),
        "{told}"
    );
    assert!(
        told.contains("‹11 chars›") && !told.contains(PHONE),
        "{told}"
    );
    assert!(run(&["show", "good", "--reveal"]).1.contains(PHONE));

    assert!(run(&["resend", "--all"]).1.contains("1 sent again"));
    let begun = Instant::now();
    while store.outbox().parked().await.expect("read").is_empty() {
        assert!(
            begun.elapsed() < PATIENCE,
            "the running delivery has not noticed"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for gone in ["show", "resend", "drop"] {
        let (code, told) = run(&[gone, "absent"]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("xinqiao outbox list"), "{told}");
    }
    assert!(run(&["drop", "bad"]).1.contains("2 dropped"));
    assert!(run(&["list"]).1.contains("nothing waits"));
    assert!(
        store
            .draft(&CallId::new("bad"))
            .await
            .expect("read")
            .is_some(),
        "the record stays"
    );
    stop.cancel();
    delivery.await.expect("it ends");
    store.close().await;
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Value>>>);

/// A webhook's receiver.
async fn receive(State(heard): State<Heard>, headers: HeaderMap, body: String) {
    assert!(headers.contains_key("webhook-signature"));
    heard
        .0
        .lock()
        .expect("unpoisoned")
        .push(serde_json::from_str(&body).expect("JSON"));
}

/// A model that reads well: it takes the first two characters of the caller's line for a name, and quotes the line.
async fn complete(body: String) -> String {
    let question: Value = serde_json::from_str(&body).expect("JSON");
    let said = question["messages"][1]["content"]
        .as_str()
        .expect("text")
        .to_owned();
    let line = said
        .lines()
        .find(|line| line.contains("市民："))
        .unwrap_or_default();
    let Some((id, words)) = line.split_once("] ") else {
        // The operator was heard first.
        return json!({"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]})
            .to_string();
    };
    let (_, words) = words.split_once('：').expect("WHO：WORDS");
    let id: u32 = id.trim_start_matches('[').parse().expect("a number");
    let name: String = words.chars().take(2).collect();
    let content = json!({
        "caller_name": {"value": name, "evidence": [{"utterance": id, "quote": words}]},
        "address": {"value": "月球", "evidence": [{"utterance": id, "quote": "没有说过的话"}]},
    });
    json!({"choices": [{"message": {"content": content.to_string()}, "finish_reason": "stop"}]})
        .to_string()
}

/// The events of the next call, to its end.
async fn watched(hotline: &Hotline) -> Vec<Event> {
    let mut client = TranscriptServiceClient::new(hotline.channel().await);
    let mut stream = client
        .watch(WatchRequest::default())
        .await
        .expect("served")
        .into_inner();
    let mut events = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE * 2, stream.message())
            .await
            .expect("in time");
        let event = next
            .expect("it goes on")
            .and_then(|answer| answer.event)
            .expect("an event");
        let last = matches!(event.body, Some(Body::CallFinal(_)));
        events.push(event);
        if last {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_call_reaches_the_webhook_with_what_a_model_read_and_the_next_one_is_shown_with_it()
{
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let peer = listener.local_addr().expect("bound");
    let router = Router::new()
        .route("/hook", post(receive))
        .route("/v1/chat/completions", post(complete))
        .with_state(heard.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    let secrets = tempfile::tempdir().expect("a folder");
    let secret = secrets.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("written");
    let wav = models().join("samples/zh/nihao_shijie.wav");
    let sets = [
        format!("webhook.url=http://{peer}/hook"),
        format!("webhook.secret_file={}", secret.display()),
        format!("language_model.url=http://{peer}/v1"),
    ];
    let hotline = Hotline::open(&wav, &sets.each_ref().map(String::as_str));

    // Long enough for the model to answer before the last draft, which waits for nobody.
    let patient = ["--from", "13912345678", "--tail", "4000"];
    let (first, output) = tokio::join!(watched(&hotline), hotline.call_with(&wav, &patient));
    assert!(output.status.success(), "{}", said(&output));
    let call = first[0].call_id.clone();
    let closed = |data: &Value| data["type"] == "ticket.draft.closed";
    let begun = Instant::now();
    while !heard.0.lock().expect("unpoisoned").iter().any(closed) {
        assert!(
            begun.elapsed() < PATIENCE,
            "the closing does not reach the webhook"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = heard
        .0
        .lock()
        .expect("unpoisoned")
        .last()
        .expect("one")
        .clone();
    assert_eq!(
        (closed(&last), last["data"]["call_id"].as_str()),
        (true, Some(call.as_str()))
    );
    let name = &last["data"]["fields"]["caller_name"];
    assert!(
        name["confidence"].as_f64().is_some_and(|sure| sure < 0.8),
        "{last}"
    );
    assert!(
        name["evidence"][0]["end_ms"]
            .as_u64()
            .is_some_and(|at| at > 0),
        "{last}"
    );
    assert_eq!(
        last["data"]["fields"].get("address"),
        None,
        "what was not said is not believed"
    );

    let (second, output) = tokio::join!(watched(&hotline), hotline.call(&wav));
    assert!(output.status.success(), "{}", said(&output));
    let shown = second.iter().find_map(|event| match &event.body {
        Some(Body::Draft(updated)) => updated.draft.as_ref(),
        _ => None,
    });
    let shown = &shown.expect("a draft").resembles;
    assert_eq!(
        shown[0].call_id, call,
        "the same caller's ticket, from the first draft on"
    );
    assert!(shown[0].ticket_id.starts_with('T'));

    let store = format!(
        "store.database={}",
        hotline.data.path().join("xinqiao.db").display()
    );
    let out = secrets.path().join("call.vcon.json");
    let out = out.to_str().expect("a plain path");
    let audio = wav.to_str().expect("a plain path");
    let output = xinqiao(&[
        "export-call",
        &call,
        "--out",
        out,
        "--audio",
        audio,
        "--set",
        &store,
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let vcon: Value =
        serde_json::from_str(&std::fs::read_to_string(out).expect("written")).expect("JSON");
    assert_eq!(vcon["dialog"][0]["type"], "recording");
    assert_eq!(vcon["dialog"][1]["type"], "text");
    assert_eq!(vcon["parties"][0]["tel"], "tel:+8613912345678");
    assert!(vcon["attachments"][0]["body"]["ticket_id"].is_string());
    let output = xinqiao(&["export-call", "absent", "--set", &store]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    hotline.gateway.terminate();
}
