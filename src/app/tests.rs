//! A whole gateway in this process: what a start that fails leaves, and what a stop waits for.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::*;
/// A gateway of its own below `folder`, with every address free and nothing to recognise with.
fn settings(folder: &Path) -> Config {
    let free = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut config = Config::default();
    config.sip.listen = free();
    config.grpc.listen = free();
    config.console.listen = free();
    config.store.database = Some(folder.join("gateway/xinqiao.db"));
    config.ticketing.database = Some(folder.join("ticketing/ticketing.db"));
    config.recording.folder = folder.join("recordings");
    config.recording.enabled = true;
    config.recognition.enabled = false;
    config
}

/// A port that is free for TCP and UDP.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = tcp.local_addr().expect("bound");
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}

/// What a sentence must name, and what it is to be said of.
type Fault<'a> = (&'a str, Box<dyn Fn(&mut Config) + 'a>);

/// Waits until no more than `tasks` run in this test's runtime.
async fn only(tasks: usize) {
    let began = Instant::now();
    while Handle::current().metrics().num_alive_tasks() > tasks {
        let alive = Handle::current().metrics().num_alive_tasks();
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{alive} tasks run, not {tasks}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_and_leaves_nothing_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken_tcp = taken.local_addr().expect("bound");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let taken_udp = taken.local_addr().expect("bound");
    let taken_sip = taken_udp.to_string();
    let faults: Vec<Fault> = vec![
        ("absent", {
            Box::new(|config| {
                config.recognition.enabled = true;
                config.recognition.model = "absent".to_owned();
            })
        }),
        (
            "taxonomy file",
            Box::new(|config| config.ticketing.taxonomy = Some(file.clone())),
        ),
        (
            "grpc.listen",
            Box::new(|config| config.grpc.listen = taken_tcp),
        ),
        (
            "console.listen",
            Box::new(|config| config.console.listen = taken_tcp),
        ),
        (
            "nowhere",
            Box::new(|config| config.ticketing.endpoint = Some("nowhere".to_owned())),
        ),
        (&taken_sip, Box::new(|config| config.sip.listen = taken_udp)),
        (
            "file",
            Box::new(|config| config.store.database = Some(file.join("xinqiao.db"))),
        ),
        (
            "file",
            Box::new(|config| config.ticketing.database = Some(file.join("ticketing.db"))),
        ),
        (
            "file",
            Box::new(|config| config.recording.folder = file.clone()),
        ),
    ];
    let tasks = Handle::current().metrics().num_alive_tasks();
    let sound = settings(folder.path());
    for (named, spoil) in faults {
        let mut config = sound.clone();
        spoil(&mut config);
        let error = Gateway::start(&config).await.err();
        let why = error.expect(named).to_string();
        assert!(why.contains(named), "{why:?} does not name {named}");
        only(tasks).await;
    }
    // Every address is free again.
    let gateway = Gateway::start(&sound).await.expect("starts");
    gateway.stop(CancellationToken::new()).await;
    only(tasks).await;
}

#[tokio::test]
async fn a_part_that_hangs_does_not_keep_the_others_from_their_end() {
    let began = Instant::now();
    stop::within(
        "what never ends",
        Duration::from_millis(20),
        std::future::pending(),
    )
    .await;
    assert!((20..5_000).contains(&began.elapsed().as_millis()));
}
