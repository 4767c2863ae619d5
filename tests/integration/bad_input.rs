//! What is wrong is said in one sentence with the thing and the remedy, and nothing breaks by it.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::product::{Hotline, Process, models, said, xinqiao};

/// Runs the binary and checks that it refuses with exit code 2 and these words.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = xinqiao(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{word} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_missing_model_is_named_with_the_command_that_brings_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = format!("recognition.models_dir={}", folder.path().display());
    refused(
        &["serve", "--set", &dir],
        &["whisper-base", "xinqiao models pull"],
    );
}

#[test]
fn a_port_in_use_is_named_with_the_key_that_changes_it() {
    let models = format!("recognition.models_dir={}", models().display());
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let free = [
        "sip.listen=127.0.0.1:0",
        "console.listen=127.0.0.1:0",
        "grpc.listen=127.0.0.1:0",
    ];
    for key in ["sip.listen", "console.listen", "grpc.listen"] {
        let mut arguments = vec!["serve".to_owned(), "--set".to_owned(), models.clone()];
        for set in free.iter().filter(|set| !set.starts_with(key)) {
            arguments.extend(["--set".to_owned(), (*set).to_owned()]);
        }
        arguments.extend(["--set".to_owned(), format!("{key}={address}")]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        refused(&arguments, &[&address, key]);
    }
}

#[test]
fn a_wrong_configuration_is_named_by_key_value_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("xinqiao.toml");
    std::fs::write(&file, "[sip]\nlisten = \"somewhere\"\n").expect("written");
    let file = file.to_str().expect("a plain path");
    refused(
        &["check-config", file],
        &["sip.listen", "somewhere", "ADDRESS:PORT"],
    );
    refused(&["serve", "--config", file], &["sip.listen", "somewhere"]);
    refused(&["serve", "--set", "sip.lisen=1"], &["lisen", "listen"]);
    std::fs::write(file, "[sip]\nlisten = \"127.0.0.1:5070\"\n").expect("written");
    assert!(xinqiao(&["check-config", file]).status.success());
}

#[test]
fn a_wrong_recording_or_dialogue_is_named_with_what_it_should_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text.wav");
    std::fs::write(
        &file,
        "these are words and no sound, long enough for a header",
    )
    .expect("written");
    let file = file.to_str().expect("a plain path");
    refused(&["transcribe", file], &["text.wav", "not a WAV"]);
    refused(
        &["call", "--to", "sip:1@127.0.0.1:9", "--wav", file],
        &["text.wav"],
    );
    refused(&["draft", file], &["line 1"]);
    refused(&["draft", "absent.jsonl"], &["absent.jsonl"]);
}

#[test]
fn the_log_s_level_is_no_setting_of_the_gateway() {
    use std::process::Command;
    let checked = |variable: &str| {
        let checked = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .args(["check-config", "deploy/xinqiao.toml"])
            .env(variable, "trace")
            .output()
            .expect("the binary starts");
        (checked.status.code(), said(&checked))
    };
    assert_eq!(checked("XINQIAO_LOG").0, Some(0));
    let (code, said) = checked("XINQIAO_LOGS");
    assert!(code == Some(2) && said.contains("logs"), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_quietly() {
    use std::process::{Command, Stdio};
    let dialogues = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dialogues.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
        .arg("draft")
        .arg(dialogues)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(said(&output), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_signalling_is_refused_or_dropped_and_the_gateway_goes_on() {
    let sample = models().join("samples/zh/nihao_shijie.wav");
    let hotline = Hotline::open(Path::new(&sample), &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a socket");
    let own = socket.local_addr().expect("bound");
    let send = |message: &[u8]| socket.send_to(message, hotline.sip).expect("sent");
    for nonsense in [
        &b""[..],
        b"hello",
        b"\xff\xfe\x00",
        b"INVITE sip:x SIP/2.0\r\n\r\n",
        &vec![b'a'; 60_000],
    ] {
        send(nonsense);
    }
    let request = |method: &str, branch: u32, body: &str| {
        format!(
            "{method} sip:12345@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:1@{own}>;tag={branch}\r\nTo: <sip:12345@{sip}>\r\n\
             Call-ID: {branch}@test\r\nCSeq: 1 {method}\r\nContact: <sip:1@{own}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}",
            sip = hotline.sip,
            length = body.len()
        )
    };
    let answer = |wanted: &str| {
        let mut buffer = vec![0; 65_536];
        for _ in 0..20 {
            let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // 100 Trying, and whatever the nonsense is answered with.
            if text.contains(wanted) && !text.starts_with("SIP/2.0 1") {
                return text;
            }
        }
        panic!("no answer to {wanted}");
    };
    let unknown = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 111\r\n\
         a=rtpmap:111 G729/8000\r\n",
        own.port()
    );
    send(request("INVITE", 71, &unknown).as_bytes());
    let refusal = answer("71@test");
    assert!(refusal.starts_with("SIP/2.0 488"), "{refusal}");
    send(request("OPTIONS", 72, "").as_bytes());
    assert!(answer("72@test").starts_with("SIP/2.0 200"));
    hotline.gateway.terminate();
}

#[test]
fn word_lists_are_read_again_on_sighup_and_a_broken_one_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("hotwords/words.txt");
    std::fs::create_dir(list.parent().expect("a folder")).expect("made");
    std::fs::write(&list, "退款\n").expect("written");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let sets = [
        "recognition.enabled=false".to_owned(),
        "sip.listen=127.0.0.1:0".to_owned(),
        "console.listen=127.0.0.1:0".to_owned(),
        "grpc.listen=127.0.0.1:0".to_owned(),
        format!("text.hotwords={}", path("hotwords")),
        format!("store.database={}", path("xinqiao.db")),
        format!("ticketing.database={}", path("ticketing.db")),
    ];
    let mut arguments = vec!["serve"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let gateway = Process::start(&arguments);
    gateway.line();
    std::fs::write(&list, "退款 退货\n退，费\n").expect("written");
    gateway.signal(Signal::HUP);
    gateway.logs("words.txt, line 2: `退，费` holds `，`");
    std::fs::write(&list, "退款 退货\n退费\n").expect("written");
    gateway.signal(Signal::HUP);
    gateway.logs("word lists read again words=3");
    gateway.terminate();
}
