//! Records in a PostgreSQL server, and moved there from files.

use std::path::Path;
use std::time::{Duration, Instant};

use xinqiao::store::{Location, Store};

use crate::postgres::{self, Site};
use crate::product::{Process, said, stereo, tone, xinqiao};

const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway with its records there, without recognition; and where it takes calls.
fn gateway(store: &str, ticketing: &str, operator: &str) -> (Process, String) {
    let sets = [
        "sip.listen=127.0.0.1:0".to_owned(),
        "console.listen=127.0.0.1:0".to_owned(),
        "grpc.listen=127.0.0.1:0".to_owned(),
        "recognition.enabled=false".to_owned(),
        format!("operators.default=sip:op@{operator}"),
        format!("store.url={store}"),
        format!("ticketing.url={ticketing}"),
    ];
    let mut arguments = vec!["serve"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let process = Process::start(&arguments);
    let up = process.line();
    let sip = up.split(' ').nth(1).expect("SIP ADDRESS").to_owned();
    (process, sip)
}

fn phone(wav: &Path) -> (Process, String) {
    let wav = wav.to_str().expect("a plain path");
    let phone = Process::start(&["answer", "--listen", "127.0.0.1:0", "--wav", wav]);
    let answering = phone.line();
    let address = answering.split(' ').nth(2).expect("answering at ADDRESS");
    (phone, address.to_owned())
}

fn call(sip: &str, from: &str, wav: &Path) {
    let (to, wav) = (format!("sip:12345@{sip}"), wav.to_str().expect("plain"));
    let output = xinqiao(&["call", "--to", &to, "--from", from, "--wav", wav]);
    assert!(output.status.success(), "{}", said(&output));
}

/// The callers whose drafts are closed and delivered.
async fn delivered(url: &str, callers: usize) -> Vec<String> {
    let location: Location = url.parse().expect("a location");
    let store = Store::open_existing(&location).await.expect("the records");
    let begun = Instant::now();
    loop {
        let mut done = Vec::new();
        for call in store.calls(None, None, 100).await.expect("read") {
            let held = store.draft(&call.info.call).await.expect("read");
            if held.is_some_and(|held| held.closed && held.ticket.is_some()) {
                done.extend(
                    call.info
                        .caller_number
                        .map(|number| number.reveal().clone()),
                );
            }
        }
        if done.len() == callers {
            store.close().await;
            done.sort();
            return done;
        }
        assert!(begun.elapsed() < PATIENCE, "delivered: {done:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_moves_from_files_to_a_server_where_two_gateways_share_it() {
    let Some(server) = Site::of_a_server().await else {
        return;
    };
    let (files, folder) = (Site::of_files(), tempfile::tempdir().expect("a folder"));
    let wav = folder.path().join("tone.wav");
    stereo(&wav, (0..4_000).map(|at| [tone(at), tone(at)]));
    let (_phone, operator) = phone(&wav);
    let (first, sip) = gateway(&files.store(), &files.ticketing(), &operator);
    call(&sip, "13900000001", &wav);
    delivered(&files.store(), 1).await;
    first.terminate();

    let copy = |more: &[&str], from: &str, to: &str| {
        let mut arguments = vec!["store", "copy", "--from", from, "--to", to];
        arguments.extend(more);
        let output = xinqiao(&arguments);
        (output.status.code(), said(&output))
    };
    for _ in 0..2 {
        let (code, told) = copy(&[], &files.store(), &server.store());
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("verified; set store.url"), "{told}");
        let (code, told) = copy(&["--ticketing"], &files.ticketing(), &server.ticketing());
        assert_eq!(code, Some(0), "{told}");
        assert!(
            told.contains("tickets") && told.contains("1 rows"),
            "{told}"
        );
    }

    // The records outlive the move, and two gateways go on in them.
    let (second, there) = gateway(&server.store(), &server.ticketing(), &operator);
    let (third, here) = gateway(&server.store(), &server.ticketing(), &operator);
    call(&there, "13900000002", &wav);
    call(&here, "13900000003", &wav);
    let callers = delivered(&server.store(), 3).await;
    assert_eq!(callers, ["13900000001", "13900000002", "13900000003"]);
    second.terminate();
    third.terminate();

    // What is lived in is not copied over.
    let (code, told) = copy(&[], &files.store(), &server.store());
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("of its own") && told.contains("empty database"),
        "{told}"
    );
    let (code, told) = copy(&["--ticketing"], &files.ticketing(), &server.ticketing());
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn a_password_in_an_address_is_refused_and_shown_nowhere() {
    let address = "postgres://xinqiao:topsecret@127.0.0.1:1/xinqiao";
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("xinqiao.toml");
    std::fs::write(&config, format!("[store]\nurl = \"{address}\"\n")).expect("written");
    let config = config.to_str().expect("a plain path");
    let set = format!("store.url={address}");
    for arguments in [
        &["check-config", config][..],
        &["outbox", "list", "--set", &set],
        &["store", "copy", "--from", "sqlite:x.db", "--to", address],
        &["ticketing", "--url", address],
    ] {
        let output = xinqiao(arguments);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("PGPASSWORD") && told.contains("xinqiao:…@"),
            "{told}"
        );
        assert!(!told.contains("topsecret"), "{told}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_remedy() {
    let Some(server) = postgres::shared() else {
        return;
    };
    for (url, part) in [
        ("postgres://u@127.0.0.1:1/d".to_owned(), "cannot be reached"),
        (server.url("postgres", "nowhere"), "createdb"),
    ] {
        let set = format!("store.url={url}");
        let output = xinqiao(&["outbox", "list", "--set", &set]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(part), "{told}");
    }
}
