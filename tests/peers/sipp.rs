//! `SIPp` as a phone: one of the scenarios beside this file, as a child process.

mod parts;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The program, from Debian's package sip-tester.
pub(super) const SIPP: &str = "/usr/bin/sipp";
/// How long a scenario may take, on a busy machine; `SIPp` itself gives up a little sooner.
const PATIENCE: Duration = Duration::from_secs(65);

/// A running `SIPp`; killed when dropped.
pub(super) struct Sipp {
    child: Child,
    folder: tempfile::TempDir,
    name: String,
}

impl Sipp {
    fn start(scenario: Scenario, replace: &str, arguments: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = scenario.text.replace("STATUS", replace);
        std::fs::write(folder.path().join("scenario.xml"), text).expect("written");
        let child = Command::new(SIPP)
            .args(arguments)
            .args([
                "-sf",
                "scenario.xml",
                "-i",
                "127.0.0.1",
                "-nostdin",
                "-timeout",
                "60s",
            ])
            .args(["-timeout_error", "-trace_err", "-error_file", "errors.log"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sipp starts");
        Self {
            child,
            folder,
            name: scenario.name,
        }
    }

    /// A caller; `replace` takes the place of `STATUS`.
    pub fn caller(
        scenario: impl Into<Scenario>,
        replace: &str,
        gateway: u16,
        calls: u32,
        more: &[&str],
    ) -> Self {
        let mut arguments = vec![
            format!("127.0.0.1:{gateway}"),
            "-p".to_owned(),
            free_port().to_string(),
            "-m".to_owned(),
            calls.to_string(),
            "-d".to_owned(),
            "100".to_owned(),
        ];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        Self::start(scenario.into(), replace, &arguments)
    }

    /// An operator's phone that takes calls, and its port.
    pub fn operator(
        scenario: impl Into<Scenario>,
        replace: &str,
        calls: u32,
        more: &[&str],
    ) -> (Self, u16) {
        let port = free_port();
        let mut arguments = vec![
            "-p".to_owned(),
            port.to_string(),
            "-m".to_owned(),
            calls.to_string(),
        ];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        let phone = Self::start(scenario.into(), replace, &arguments);
        let end = Instant::now() + PATIENCE;
        while !is_taken(port) {
            assert!(Instant::now() < end, "{} does not listen", phone.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        (phone, port)
    }

    pub async fn succeeds(mut self) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < end, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let errors = std::fs::read_to_string(self.folder.path().join("errors.log"));
        assert!(
            status.success(),
            "{} failed: {status}\n{}",
            self.name,
            errors.unwrap_or_default()
        );
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scenario of this folder, with its parts filled in.
pub(super) struct Scenario {
    pub name: String,
    pub text: String,
}

impl From<&str> for Scenario {
    fn from(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/peers")
            .join(name)
            .with_extension("xml");
        let text = std::fs::read_to_string(path).expect("the scenario");
        Self {
            name: name.to_owned(),
            text: parts::expanded(&text),
        }
    }
}

/// Whether somebody has this port of ours, as the system tells it: to try it would take it from whom it is meant for.
fn is_taken(port: u16) -> bool {
    let place = format!(":{port:04X} ");
    ["/proc/net/udp", "/proc/net/tcp"].iter().any(|table| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        let mut sockets = table.lines().filter_map(|line| line.split_once(": "));
        sockets.any(|(_, socket)| socket.find(&place).is_some_and(|at| at < 12))
    })
}

/// A port that is free over UDP and TCP, and that no other test of this process is given. It is below the range that the
/// system gives out by itself, so that it stays free until its program has started, however busy the machine is.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 22_000;
    const COUNT: u32 = 10_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (number % COUNT) as u16;
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return port;
        }
    }
}
