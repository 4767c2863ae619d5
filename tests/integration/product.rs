//! What the tests of the whole product share: the binary as a child process, the model, calls.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;

/// How long a process may take to say that it is up, with a busy machine and an unoptimised build.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the binary to its end.
pub fn xinqiao(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xinqiao"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// Everything that a finished process said.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The folder of the real model and the sample recordings, pulled once.
pub fn models() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("models");
        let pulled = xinqiao(&[
            "models",
            "pull",
            "--samples",
            "--dir",
            folder.to_str().expect("a plain path"),
        ]);
        assert!(pulled.status.success(), "{}", said(&pulled));
        folder
    })
}

/// The call recordings beside the checkout, if they are there.
pub fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(file);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// A running process of ours; it ends with the test.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = sync_channel(1_000);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let log = Arc::<Mutex<String>>::default();
        let written = log.clone();
        let reader = std::thread::spawn(move || {
            for line in errors.lines() {
                let line = line.expect("the log is text") + "\n";
                written.lock().expect("unpoisoned").push_str(&line);
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
            log,
        }
    }

    /// The next line of its output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let log = self.log.lock().expect("unpoisoned");
            panic!("the process says nothing ({error}); its log: {log}")
        })
    }

    /// Sends it a signal, as an administrator would.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits until its log says so.
    pub fn logs(&self, wanted: &str) {
        let begun = std::time::Instant::now();
        loop {
            let log = self.log.lock().expect("unpoisoned").clone();
            if log.contains(wanted) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {wanted} in: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to stop, as an administrator would, waits, and gives back its log.
    pub fn terminate(self) -> String {
        self.signal(rustix::process::Signal::TERM);
        self.ends()
    }

    /// Waits until it ends by itself, and gives back its log.
    pub fn ends(mut self) -> String {
        let status = self.child.wait().expect("it ends");
        let reader = self.reader.take().expect("taken only here");
        reader.join().expect("it was read");
        let log = self.log.lock().expect("unpoisoned").clone();
        assert!(status.success(), "{status}: {log}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway that serves.
pub struct Serving {
    pub process: Process,
    pub sip: SocketAddr,
    /// The URL of its gRPC.
    pub grpc: String,
    pub console: SocketAddr,
}

/// Starts a gateway on free ports with its records in `data`.
pub fn serve(data: &Path, config: Option<&Path>, sets: &[String]) -> Serving {
    let mut arguments = vec!["serve".to_owned()];
    if let Some(config) = config {
        arguments.extend(["--config".to_owned(), config.display().to_string()]);
    }
    let places = [
        "sip.listen=127.0.0.1:0".to_owned(),
        "console.listen=127.0.0.1:0".to_owned(),
        // Tests that sign in say so, behind this.
        "people.sign_in=false".to_owned(),
        "grpc.listen=127.0.0.1:0".to_owned(),
        format!("store.database={}", data.join("xinqiao.db").display()),
        format!("ticketing.database={}", data.join("ticketing.db").display()),
    ];
    for set in places.iter().chain(sets) {
        arguments.extend(["--set".to_owned(), set.clone()]);
    }
    let process = Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let up = process.line();
    let word = |after: &str| {
        let at = up.find(after).expect("the line names every address") + after.len();
        up[at..].split(' ').next().expect("an address").to_owned()
    };
    let sip = word("SIP ").parse().expect("an address");
    Serving {
        sip,
        grpc: format!("http://{}", word("gRPC ")),
        console: word("page http://").parse().expect("an address"),
        process,
    }
}

/// A gateway on free ports with an answering phone behind it.
pub struct Hotline {
    pub gateway: Process,
    _phone: Process,
    pub sip: SocketAddr,
    pub grpc: String,
    pub console: SocketAddr,
    pub data: tempfile::TempDir,
}

impl Hotline {
    /// Starts both; the operator's phone says the right channel of `wav`, `sets` are further settings.
    pub fn open(wav: &Path, sets: &[&str]) -> Self {
        Self::reopen(tempfile::tempdir().expect("a folder"), wav, sets)
    }

    /// The same on the records of an earlier one.
    pub fn reopen(data: tempfile::TempDir, wav: &Path, sets: &[&str]) -> Self {
        let wav = wav.to_str().expect("a plain path");
        let phone = Process::start(&[
            "answer",
            "--listen",
            "127.0.0.1:0",
            "--wav",
            wav,
            "--ring",
            "100",
        ]);
        let answering = phone.line();
        let address = answering
            .split(' ')
            .nth(2)
            .expect("answering at ADDRESS")
            .to_owned();
        let sets: Vec<String> = [
            format!("operators.default=sip:op@{address}"),
            format!("recognition.models_dir={}", models().display()),
        ]
        .into_iter()
        .chain(sets.iter().map(|set| (*set).to_owned()))
        .collect();
        let Serving {
            process: gateway,
            sip,
            grpc,
            console,
        } = serve(data.path(), None, &sets);
        Self {
            gateway,
            _phone: phone,
            sip,
            grpc,
            console,
            data,
        }
    }

    /// Places a call that says the left channel of `wav`.
    pub async fn call(&self, wav: &Path) -> Output {
        self.call_with(wav, &["--from", "13912345678"]).await
    }

    /// The same with these arguments.
    pub async fn call_with(&self, wav: &Path, more: &[&str]) -> Output {
        // Whoever watches is connected by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let to = format!("sip:12345@{}", self.sip);
        tokio::process::Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .args(["call", "--to", &to, "--wav"])
            .arg(wav)
            .args(more)
            .output()
            .await
            .expect("the binary starts")
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(self.grpc.clone())
            .expect("an address")
            .connect()
            .await
            .expect("it serves")
    }
}

/// A sample of a tone at 8 kHz.
pub fn tone(at: usize) -> i16 {
    (8_000.0 * (at as f32 * 440.0 * std::f32::consts::TAU / 8_000.0).sin()) as i16
}

/// Writes a stereo WAV of 8 kHz, the caller left and the operator right.
pub fn stereo(path: &Path, frames: impl Iterator<Item = [i16; 2]>) {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).expect("writable");
    for sample in frames.flatten() {
        writer.write_sample(sample).expect("writable");
    }
    writer.finalize().expect("writable");
}

/// One request over HTTP/1.1, and the answer's status and body.
pub async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let (head, body) = request_raw(server, method, path, headers, body).await;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.expect("a status"),
        String::from_utf8_lossy(&body).into_owned(),
    )
}

/// The same, with the answer's head and octets.
pub async fn request_raw(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (String, Vec<u8>) {
    let mut connection = tokio::net::TcpStream::connect(server)
        .await
        .expect("it serves");
    // What changes something is asked for by the page's own script.
    let origin = match method {
        "GET" => String::new(),
        _ => format!("origin: http://{server}\r\n"),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\ncontent-length: {}\r\n{origin}{headers}\r\n{body}",
        body.len()
    );
    connection
        .write_all(request.as_bytes())
        .await
        .expect("taken");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.expect("answered");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head");
    // Names are in any spelling; what they name is as it was sent.
    let head: Vec<String> = String::from_utf8_lossy(&answer[..end])
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line.to_lowercase(),
        })
        .collect();
    (head.join("\r\n"), answer.split_off(end + 4))
}

/// The share of characters that must be changed to make `heard` of `meant`; punctuation does not count.
pub fn character_error_rate(meant: &str, heard: &str) -> f64 {
    let letters = |text: &str| {
        text.chars()
            .filter(|letter| letter.is_alphanumeric())
            .collect::<Vec<_>>()
    };
    let (meant, heard) = (letters(meant), letters(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, a) in meant.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in heard.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[heard.len()] as f64 / meant.len().max(1) as f64
}
