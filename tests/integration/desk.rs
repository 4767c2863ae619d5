//! The operator's desk over a running gateway: real calls over SIP and RTP, a recogniser of its own that hears what the
//! test has written, the page's stream and requests, the outbox, the ticketing backend.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Request, Response, Status};
use xinqiao::grpc::proto::recognition::v1::recognition_service_server::{
    RecognitionService, RecognitionServiceServer,
};
use xinqiao::grpc::proto::recognition::v1::{
    GetLoadRequest, GetLoadResponse, Load, RecognizeRequest, RecognizeResponse,
};
use xinqiao::grpc::proto::ticket::v1::{Field, FieldName, field};

use crate::call::closed_ticket;
use crate::product::{Hotline, request, said, stereo, tone};

const PATIENCE: Duration = Duration::from_secs(40);
/// What a line may take to the page as a draft on a busy machine: it is there long before the next line is.
const PROMPT: Duration = Duration::from_millis(500);

/// A recogniser that hears a script: of the first call the first one, and so on, an utterance a line.
struct Scripted {
    scripts: Vec<Vec<&'static str>>,
    calls: Mutex<Vec<String>>,
}

#[tonic::async_trait]
impl RecognitionService for Scripted {
    async fn recognize(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let request = request.into_inner();
        let mut calls = self.calls.lock().expect("unpoisoned");
        let known = calls.iter().position(|call| *call == request.call_id);
        let index = known.unwrap_or_else(|| {
            calls.push(request.call_id.clone());
            calls.len() - 1
        });
        let line = self.scripts.get(index);
        let line = line.and_then(|lines| lines.get(request.utterance as usize));
        Ok(Response::new(RecognizeResponse {
            text: line.copied().unwrap_or_default().to_owned(),
            confidence: 0.9,
            load: Some(IDLE),
            ..RecognizeResponse::default()
        }))
    }

    async fn get_load(
        &self,
        _: Request<GetLoadRequest>,
    ) -> Result<Response<GetLoadResponse>, Status> {
        Ok(Response::new(GetLoadResponse { load: Some(IDLE) }))
    }
}

const IDLE: Load = Load {
    workers: 4,
    wait_us: 0,
};

/// A caller who makes so many utterances, with pauses between; the operator is silent.
fn utterances(folder: &Path, count: usize) -> PathBuf {
    let path = folder.join("call.wav");
    let frames = (0..(count * 2_000 + 500) * 8).map(|at| {
        let loud = at >= 4_000 && (at - 4_000) % 16_000 < 5_600;
        [if loud { tone(at) } else { 0 }, 0]
    });
    stereo(&path, frames);
    path
}

/// A hotline whose callers say what is written.
async fn hotline(wav: &Path, scripts: Vec<Vec<&'static str>>) -> Hotline {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let service = RecognitionServiceServer::new(Scripted {
        scripts,
        calls: Mutex::default(),
    });
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let remotes = format!("recognition.remotes=[\"http://{address}\"]");
    Hotline::open(wav, &[&remotes])
}

/// What the page hears of the next call that comes, with the moment at which it did.
struct Page {
    console: SocketAddr,
    call: String,
    heard: tokio::sync::mpsc::Receiver<(Instant, Value)>,
}

impl Page {
    /// Waits for a call and shows it.
    async fn open(console: SocketAddr) -> Self {
        let mut lobby = listen(console, "only=calls").await;
        let (_, started) = lobby.recv().await.expect("a call");
        let call = started["call"].as_str().expect("an id").to_owned();
        let heard = listen(console, &format!("call={call}")).await;
        Self {
            console,
            call,
            heard,
        }
    }

    async fn next(&mut self) -> Option<(Instant, Value)> {
        tokio::time::timeout(PATIENCE, self.heard.recv())
            .await
            .expect("in time")
    }

    /// Waits for a draft that is as wanted.
    async fn draft(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (_, event) = self.next().await.expect("the call goes on");
            if event["kind"] == "draft" && wanted(&event) {
                return event;
            }
        }
    }

    /// Writes into a field as the page does; the answer's status and body.
    async fn write(&self, name: &str, value: Value) -> (u16, String) {
        let path = format!("/api/calls/{}/fields/{name}", self.call);
        let body = json!({ "value": value }).to_string();
        let headers = "content-type: application/json\r\n";
        request(self.console, "PUT", &path, headers, &body).await
    }
}

/// The events of a stream, until it ends.
pub async fn listen(
    console: SocketAddr,
    query: &str,
) -> tokio::sync::mpsc::Receiver<(Instant, Value)> {
    let url = format!("ws://{console}/ws?{query}");
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("served");
    let (sender, heard) = tokio::sync::mpsc::channel(1_000);
    tokio::spawn(async move {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                let event = serde_json::from_str(&text).expect("JSON");
                if sender.send((Instant::now(), event)).await.is_err() {
                    return;
                }
            }
        }
    });
    heard
}

fn text(field: &Field) -> &str {
    match &field.value {
        Some(field::Value::Text(text)) => text,
        _ => panic!("no text"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_operator_writes_on_the_page_stands_is_contradicted_visibly_and_reaches_the_backend()
 {
    let folder = tempfile::tempdir().expect("a folder");
    let script = vec![
        "你好，我家停水了，我住在芝罘区南大街12号。",
        "小区里都停水了，你们快点来修。",
        "不对，地址说错了，是莱山区观海路99号。",
        "麻烦你们快一点。",
    ];
    let wav = utterances(folder.path(), script.len());
    let hotline = hotline(&wav, vec![script]).await;
    let operating = async {
        let mut page = Page::open(hotline.console).await;
        let address = |draft: &Value| {
            draft["fields"]["address"]["value"]
                .as_str()
                .map(str::to_owned)
        };
        page.draft(|draft| address(draft).is_some_and(|address| address.contains("南大街12号")))
            .await;
        assert_eq!(
            page.write("address", json!("芝罘区南大街18号")).await.0,
            204
        );
        let draft = page
            .draft(|draft| draft["fields"]["address"]["edited"] == true)
            .await;
        assert_eq!(address(&draft).as_deref(), Some("芝罘区南大街18号"));
        assert_eq!(draft["fields"]["address"].get("against"), None);
        // What does not fit the field is refused with a sentence for the operator.
        let (status, told) = page.write("urgency", json!("马上")).await;
        assert_eq!(status, 422, "{told}");
        assert!(told.contains("不符合该字段的要求"), "{told}");

        let draft = page
            .draft(|draft| draft["fields"]["address"].get("against").is_some())
            .await;
        assert_eq!(address(&draft).as_deref(), Some("芝罘区南大街18号"));
        let against = &draft["fields"]["address"]["against"];
        assert!(
            against["value"]
                .as_str()
                .is_some_and(|said| said.contains("观海路99号")),
            "{against}"
        );
        assert_eq!(against["evidence"][0]["utterance"], 2);
        assert!(draft["limits"]["finish"].is_object(), "{draft}");
        while page.next().await.is_some() {}
        assert_eq!(
            page.write("address", Value::Null).await.0,
            409,
            "the call is over"
        );
        page.call
    };
    let (call, output) = tokio::join!(operating, hotline.call(&wav));
    assert!(output.status.success(), "{}", said(&output));
    let record = closed_ticket(&hotline, &call).await;
    let draft = record.draft.expect("a draft");
    let address = draft
        .fields
        .iter()
        .find(|field| field.name() == FieldName::Address)
        .expect("an address");
    assert!(address.edited);
    assert_eq!(text(address), "芝罘区南大街18号");
    let against = address.contradicted_by.as_ref().expect("contradicted");
    assert!(text(against).contains("观海路99号"));
    assert!(draft.limits.is_some());
    hotline.gateway.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_draft_follows_every_final_line_at_once_and_another_callers_matter_is_shown_with_its_ticket()
 {
    let folder = tempfile::tempdir().expect("a folder");
    let first = vec![
        "你好，我要投诉芝罘区的力健健身房。",
        "我在他们家办了三千块钱的年卡，上个月突然关门了，老板联系不上。",
        "我想让他们把卡里剩下的钱退给我。",
    ];
    let second = vec![
        "喂，我投诉芝罘区的力健健身房。",
        "我也是在他们家办的年卡，两千块钱，现在关门了，老板联系不上。",
        "要求把剩下的钱退给我。",
    ];
    let wav = utterances(folder.path(), first.len());
    let hotline = hotline(&wav, vec![first, second]).await;
    let lags = Arc::new(Mutex::new(Vec::new()));
    let watching = |number: &'static str| {
        let (hotline, wav, lags) = (&hotline, &wav, lags.clone());
        let watched = async move {
            let mut page = Page::open(hotline.console).await;
            let (mut said, mut shown) = (None, Value::Null);
            while let Some((at, event)) = page.next().await {
                match event["kind"].as_str() {
                    Some("line") if event["final"] == true => said = Some(at),
                    Some("draft") => {
                        // A draft may also come of what was found out beside the call.
                        if let Some(said) = said.take() {
                            lags.lock().expect("unpoisoned").push(at - said);
                        }
                        shown = event;
                    }
                    _ => {}
                }
            }
            (page.call, shown)
        };
        async move {
            let from = ["--from", number];
            let (watched, output) = tokio::join!(watched, hotline.call_with(wav, &from));
            assert!(output.status.success(), "{}", self::said(&output));
            watched
        }
    };
    let (first, draft) = watching("13912345678").await;
    assert_eq!(draft["resembles"], json!([]));
    let ticket = closed_ticket(&hotline, &first).await.ticket_id;
    let earlier = draft;
    let (_, draft) = watching("13912345678").await;
    let shown = &draft["resembles"][0];
    assert_eq!(
        (shown["call"].as_str(), shown["ticket"].as_str()),
        (Some(&*first), Some(&*ticket))
    );
    let because = shown["because"].to_string();
    assert!(because.contains("same_caller"), "{because}");
    // The same sound may be heard differently beside other load; what was heard alike must be seen to be alike.
    let subject = |draft: &Value| draft["fields"]["subject"]["value"].clone();
    if subject(&draft).is_string() && subject(&draft) == subject(&earlier) {
        assert!(because.contains("same_subject"), "{because}");
    }
    let mut lags = std::mem::take(&mut *lags.lock().expect("unpoisoned"));
    lags.sort();
    println!("from a final line to its draft on the page: {lags:?}");
    assert!(lags.len() >= 4, "{lags:?}");
    assert!(lags[lags.len() / 2] <= PROMPT, "{lags:?}");
    hotline.gateway.terminate();
}
