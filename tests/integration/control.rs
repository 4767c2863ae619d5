//! A running call is reached from outside: from the page and by gRPC, while real phones speak through a real gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xinqiao::grpc::proto::control::v1::call_control_client::CallControlClient;
use xinqiao::grpc::proto::control::v1::{HangUpRequest, TransferRequest};

use super::call::closed_ticket;
use super::desk::listen;
use super::product::{Hotline, Process, request, said, stereo, tone, xinqiao};

/// Both sides speak a tone for this long; nobody waits for its end.
const SECONDS: usize = 60;

fn tones(folder: &Path) -> PathBuf {
    let path = folder.join("tones.wav");
    stereo(&path, (0..SECONDS * 8_000).map(|at| [tone(at); 2]));
    path
}

/// A call that runs, as its page sees it.
struct Page {
    console: SocketAddr,
    call: String,
    events: tokio::sync::mpsc::Receiver<(Instant, Value)>,
}

impl Page {
    async fn open(console: SocketAddr) -> Self {
        let mut lobby = listen(console, "only=calls").await;
        let (_, started) = lobby.recv().await.expect("a call");
        let call = started["call"].as_str().expect("an id").to_owned();
        let events = listen(console, &format!("call={call}")).await;
        Self {
            console,
            call,
            events,
        }
    }

    /// The next event that is as wanted.
    async fn hears(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let patience = Duration::from_mins(1);
        let event = async {
            loop {
                let (_, event) = self.events.recv().await.expect("the call goes on");
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(patience, event)
            .await
            .expect("in time")
    }

    async fn asks(&self, method: &str, what: &str, body: Value) -> (u16, String) {
        let path = format!("/api/calls/{}/{what}", self.call);
        let headers = "content-type: application/json\r\n";
        request(self.console, method, &path, headers, &body.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_call_is_edited_noted_on_transferred_and_hung_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = tones(folder.path());
    let hotline = Hotline::open(&wav, &["recognition.enabled=false"]);
    let expert = Process::start(&[
        "answer",
        "--listen",
        "127.0.0.1:0",
        "--wav",
        wav.to_str().expect("a plain path"),
        "--ring",
        "300",
    ]);
    let answering = expert.line();
    let expert_at = answering.split(' ').nth(2).expect("an address").to_owned();
    let mut control = CallControlClient::new(hotline.channel().await);
    let operating = async {
        let mut page = Page::open(hotline.console).await;
        page.hears(|event| event["kind"] == "answered").await;

        let edit = json!({"value": "芝罘区南大街18号"});
        assert_eq!(page.asks("PUT", "fields/address", edit).await.0, 204);
        page.hears(|event| event["fields"]["address"]["value"] == "芝罘区南大街18号")
            .await;
        let nonsense = page
            .asks("PUT", "fields/urgency", json!({"value": "马上"}))
            .await;
        assert_eq!(nonsense.0, 422, "{}", nonsense.1);

        let note = json!({"text": "市民情绪激动，请回访。"});
        assert_eq!(page.asks("POST", "note", note).await.0, 204);
        let noted = page.hears(|event| event["kind"] == "note").await;
        assert_eq!(
            noted["by"],
            json!({"kind": "user", "user": "console", "station": "127.0.0.1"})
        );

        // Nobody is at the first destination: the operator keeps the caller.
        let nowhere = || json!({"to": "sip:nobody@127.0.0.1:9;transport=tcp"});
        assert_eq!(page.asks("POST", "transfer", nowhere()).await.0, 204);
        page.hears(|event| event["alarm"] == "transfer_failed")
            .await;
        let transfer = TransferRequest {
            call_id: page.call.clone(),
            to: format!("sip:expert@{expert_at}"),
        };
        control.transfer(transfer).await.expect("accepted");
        // The next transfer is taken when this one has come off.
        let mut again = page.asks("POST", "transfer", nowhere()).await;
        while again.1.contains("transfer_under_way") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            again = page.asks("POST", "transfer", nowhere()).await;
        }
        assert_eq!(again.0, 204, "{}", again.1);
        page.hears(|event| event["alarm"] == "transfer_failed")
            .await;

        assert_eq!(page.asks("POST", "hangup", Value::Null).await.0, 204);
        let over = page.hears(|event| event["kind"] == "call_final").await;
        assert_eq!(over["reason"], json!({"code": "ended_by", "actor": "user"}));
        let again = HangUpRequest {
            call_id: page.call.clone(),
        };
        let refused = control.hang_up(again).await.map(drop);
        assert!(
            refused.is_err_and(|status| status.code() == tonic::Code::FailedPrecondition),
            "the call is over"
        );
        page.call
    };
    let (call, output) = tokio::join!(operating, hotline.call(&wav));
    assert!(output.status.success(), "{}", said(&output));
    expert.signal(rustix::process::Signal::TERM);
    assert_eq!(expert.line(), "1 calls, 1 answered");
    let database = format!(
        "store.database={}",
        hotline.data.path().join("xinqiao.db").display()
    );
    let audit = |more: &[&str]| {
        let arguments = ["audit", "list", "--call", &call, "--set", &database];
        let output = xinqiao(&[&arguments[..], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let told = audit(&[]);
    let commands: Vec<&str> = told
        .lines()
        .map(|line| line.split('\t').nth(3).expect("a command"))
        .collect();
    assert_eq!(
        commands,
        [
            "hang_up", "transfer", "transfer", "transfer", "note", "edit"
        ],
        "{told}"
    );
    assert!(told.contains("user console at 127.0.0.1"), "{told}");
    assert!(told.contains("service 127.0.0.1"), "{told}");
    assert!(!told.contains("南大街") && !told.contains("回访"), "{told}");
    assert!(audit(&["--reveal"]).contains("address = 芝罘区南大街18号"));
    let record = closed_ticket(&hotline, &call).await;
    let fields = record.draft.expect("a draft").fields;
    assert!(fields.iter().any(|field| field.edited));
    hotline.gateway.terminate();
}
