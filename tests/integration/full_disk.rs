//! The disk fills up under calls: they go on, whoever asks is told, and everything is written as soon as there is room,
//! without a restart.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xinqiao::store::Store;

use crate::product::{Process, request, said, serve, stereo, tone};
use crate::small_disk::Disk;

/// From room on the disk to everything written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_the_disk_is_full_and_all_of_them_are_written_as_soon_as_there_is_room() {
    let Some(disk) = Disk::mount(12) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("tone.wav");
    stereo(&wav, (0..8_000).map(|at| [tone(at), tone(at)]));
    let phone = Process::start(&[
        "answer",
        "--listen",
        "127.0.0.1:0",
        "--wav",
        wav.to_str().expect("a plain path"),
        "--ring",
        "100",
    ]);
    let answering = phone.line();
    let address = answering.split(' ').nth(2).expect("answering at ADDRESS");
    let sets = [
        format!("operators.default=sip:op@{address}"),
        "recognition.enabled=false".to_owned(),
    ];
    let gateway = serve(disk.path(), None, &sets);
    let readiness = async || request(gateway.console, "GET", "/readyz", "", "").await;
    let failing = async || {
        let (_, metrics) = request(gateway.console, "GET", "/metrics", "", "").await;
        metrics.contains("xinqiao_records_failing{records=\"gateway\"} 1")
    };
    let mut numbers = BTreeSet::new();
    let mut call = async |number: u32| {
        let from = format!("1390000{number:04}");
        let to = format!("sip:12345@{}", gateway.sip);
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .args(["call", "--to", &to, "--from", &from, "--wav"])
            .arg(&wav)
            .output()
            .await
            .expect("the binary starts");
        assert!(output.status.success(), "{}", said(&output));
        numbers.insert(from);
    };
    call(0).await;
    assert_eq!(readiness().await.0, 200);
    assert!(!failing().await);

    disk.fill();
    for number in 1..6 {
        call(number).await;
    }
    let (status, why) = readiness().await;
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("full"), "{why}");
    assert!(failing().await);

    disk.relieve();
    let room = Instant::now();
    let store = Store::open_existing(&disk.path().join("xinqiao.db"))
        .await
        .expect("the records");
    loop {
        let mut missing = numbers.clone();
        for call in store.calls(None, None, 100).await.expect("read") {
            let held = store.draft(&call.info.call).await.expect("read");
            if let Some(number) = &call.info.caller_number
                && call.ended.is_some()
                && held.is_some_and(|held| held.closed && held.ticket.is_some())
            {
                missing.remove(number.reveal());
            }
        }
        if missing.is_empty() {
            break;
        }
        assert!(room.elapsed() < WRITTEN_WITHIN, "not written: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(readiness().await.0, 200);
    store.close().await;
    let log = gateway.process.terminate();
    assert!(!log.contains("could not be written"), "{log}");
}
