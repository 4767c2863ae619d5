//! Recordings of real calls: what is on them, and what a gateway that is killed leaves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use xinqiao::grpc::proto::transcript::v1::{PauseRecordingRequest, RecordingKind, WatchRequest};

use crate::product::{Hotline, request, request_raw, said, stereo, tone, xinqiao};

/// Tones as a stereo WAV of 8 kHz: from when until when each channel sounds, in milliseconds.
fn tones(folder: &Path, name: &str, length: usize, left: [usize; 2], right: [usize; 2]) -> PathBuf {
    let path = folder.join(name);
    let frames = (0..length * 8).map(|at| {
        [left, right].map(|[from, to]| {
            let sounds = (from * 8..to * 8).contains(&at);
            if sounds { tone(at) } else { 0 }
        })
    });
    stereo(&path, frames);
    path
}

/// How loud a channel is between two moments in milliseconds.
fn loudness(samples: &[i16], channel: usize, from: usize, to: usize) -> f64 {
    let heard: Vec<f64> = samples
        .chunks_exact(2)
        .take(to * 8)
        .skip(from * 8)
        .map(|frame| f64::from(frame[channel]).abs())
        .collect();
    assert_eq!(heard.len(), (to - from) * 8, "the recording is too short");
    heard.iter().sum::<f64>() / heard.len() as f64
}

fn recording_sets(data: &Path) -> Vec<String> {
    vec![
        "recognition.enabled=false".to_owned(),
        "recording.enabled=true".to_owned(),
        format!("recording.folder={}", data.join("recordings").display()),
        format!("recording.key_file={}", data.join("key").display()),
    ]
}

/// A recording hotline on the records in `data`, with a few settings more.
fn hotline(data: tempfile::TempDir, wav: &Path, more: &[String]) -> Hotline {
    let mut sets = recording_sets(data.path());
    sets.extend_from_slice(more);
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    Hotline::reopen(data, wav, &sets)
}

fn command(data: &Path, arguments: &[&str]) -> std::process::Output {
    let mut sets = recording_sets(data);
    sets.push(format!(
        "store.database={}",
        data.join("xinqiao.db").display()
    ));
    let sets = sets.iter().flat_map(|set| ["--set", set.as_str()]);
    let all: Vec<&str> = ["recording"]
        .into_iter()
        .chain(arguments.iter().copied())
        .chain(sets)
        .collect();
    xinqiao(&all)
}

fn folder_with_a_key() -> tempfile::TempDir {
    let data = tempfile::tempdir().expect("a folder");
    let key = data.path().join("key");
    let made = xinqiao(&["recording", "new-key", key.to_str().expect("a plain path")]);
    assert!(made.status.success(), "{}", said(&made));
    data
}

/// The call's vCon holds the recording by itself, or names where it is, or leaves it out.
fn exported_call(data: &Path, call: &str, wav: &Path) {
    let wav = std::fs::read(wav).expect("read");
    let export = |more: &[&str]| -> serde_json::Value {
        let mut arguments = vec!["export-call", call];
        arguments.extend(more);
        let sets: Vec<String> = [
            recording_sets(data),
            vec![format!(
                "store.database={}",
                data.join("xinqiao.db").display()
            )],
        ]
        .concat();
        arguments.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        let output = xinqiao(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let inside = &export(&[])["dialog"][0];
    let body = inside["body"].as_str().expect("the recording");
    assert_eq!(URL_SAFE_NO_PAD.decode(body).expect("base64url"), wav);
    let url = "https://hotline.example/recording";
    let outside = &export(&["--audio-url", url])["dialog"][0];
    assert_eq!(
        (outside["url"].as_str(), outside.get("body")),
        (Some(url), None)
    );
    assert_eq!(outside["content_hash"], inside["content_hash"]);
    assert_eq!(inside["content_hash"], xinqiao::vcon::content_hash(&wav));
    assert_ne!(export(&["--no-audio"])["dialog"][0]["type"], "recording");
}

/// What the page's player gets of a finished call: whole, and put together from ranges.
async fn played(hotline: &Hotline, call: &str) -> Vec<u8> {
    let path = format!("/api/calls/{call}/recording");
    let get = |range: String| {
        let path = &path;
        async move { request_raw(hotline.console, "GET", path, &range, "").await }
    };
    // Its last second may still be on its way to the disk.
    let mut whole = get(String::new()).await;
    for _ in 0..100 {
        if whole.0.starts_with("http/1.1 200") {
            break;
        }
        assert!(whole.0.starts_with("http/1.1 409"), "{}", whole.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
        whole = get(String::new()).await;
    }
    let (head, whole) = whole;
    assert!(head.contains("content-type: audio/wav"), "{head}");
    assert!(
        head.contains("cross-origin-resource-policy: same-origin"),
        "{head}"
    );
    let half = whole.len() / 2;
    let (head, first) = get(format!("range: bytes=0-{}\r\n", half - 1)).await;
    assert!(head.starts_with("http/1.1 206"), "{head}");
    let (head, second) = get(format!("range: bytes={half}-\r\n")).await;
    let range = format!(
        "content-range: bytes {half}-{}/{}",
        whole.len() - 1,
        whole.len()
    );
    assert!(head.contains(&range), "{head}");
    assert_eq!([first, second].concat(), whole);
    let (head, _) = get(format!("range: bytes={}-\r\n", whole.len())).await;
    assert!(head.starts_with("http/1.1 416"), "{head}");
    let unknown = request(
        hotline.console,
        "GET",
        "/api/calls/nobody/recording",
        "",
        "",
    )
    .await;
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn both_voices_are_on_the_recording_and_what_was_paused_is_not() {
    let data = folder_with_a_key();
    // The caller speaks from 3 s on, the operator always.
    let wav = tones(data.path(), "call.wav", 8_000, [3_000, 8_000], [0, 8_000]);
    let announcement = tones(
        data.path(),
        "announcement.wav",
        1_000,
        [0, 1_000],
        [0, 1_000],
    );
    let more = [format!("recording.announcement={}", announcement.display())];
    let hotline = hotline(data, &wav, &more);
    let mut client = TranscriptServiceClient::new(hotline.channel().await);
    let mut events = client
        .watch(WatchRequest::default())
        .await
        .expect("served")
        .into_inner();
    let watching = async {
        let (mut marks, mut call) = (Vec::new(), String::new());
        while let Some(event) = events
            .message()
            .await
            .expect("served")
            .and_then(|response| response.event)
        {
            call = event.call_id;
            match event.body {
                Some(Body::Recording(mark)) => {
                    if mark.kind() == RecordingKind::Announced {
                        // From 5 s to 6 s, the caller reads a number.
                        let mut client = client.clone();
                        let call_id = call.clone();
                        tokio::spawn(async move {
                            for paused in [true, false] {
                                tokio::time::sleep(Duration::from_secs(if paused { 4 } else { 1 }))
                                    .await;
                                let request = PauseRecordingRequest {
                                    call_id: call_id.clone(),
                                    paused,
                                };
                                client
                                    .pause_recording(request)
                                    .await
                                    .expect("the call runs");
                            }
                        });
                    }
                    marks.push((mark.kind(), mark.at_ms as usize));
                }
                Some(Body::CallFinal(_)) => break,
                _ => {}
            }
        }
        (marks, call)
    };
    let ((marks, call), output) = tokio::join!(watching, hotline.call(&wav));
    assert!(output.status.success(), "{}", said(&output));
    let [
        (RecordingKind::Announced, announced),
        (RecordingKind::Paused, from),
        (RecordingKind::Resumed, to),
    ] = marks[..]
    else {
        panic!("{marks:?}");
    };
    assert!((980..1_500).contains(&announced), "{announced}");
    let unknown = PauseRecordingRequest {
        call_id: "nobody".to_owned(),
        paused: true,
    };
    let refused = client.pause_recording(unknown).await.map(|_| ());
    assert!(refused.is_err_and(|status| status.code() == tonic::Code::NotFound));

    let played = played(&hotline, &call).await;
    let Hotline { gateway, data, .. } = hotline;
    gateway.terminate();
    let out = data.path().join("out.wav");
    let exported = command(
        data.path(),
        &["export", &call, "--out", out.to_str().expect("plain")],
    );
    assert!(exported.status.success(), "{}", said(&exported));
    assert_eq!(
        played,
        std::fs::read(&out).expect("read"),
        "the page plays what is exported"
    );
    exported_call(data.path(), &call, &out);
    let samples: Vec<i16> = hound::WavReader::open(&out)
        .expect("a WAV file")
        .samples()
        .map(|sample| sample.expect("whole"))
        .collect();
    for (channel, from, to, loud) in [
        (0, 500, 2_500, false),
        (0, 3_600, from - 400, true),
        (0, from + 200, to - 200, false),
        (0, to + 300, to + 1_000, true),
        (1, 500, from - 400, true),
        (1, from + 200, to - 200, false),
        (1, to + 300, to + 1_000, true),
    ] {
        let level = loudness(&samples, channel, from, to);
        assert!(
            if loud { level > 4_000.0 } else { level < 50.0 },
            "channel {channel}, {from}–{to} ms: {level}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_leaves_all_but_the_last_second() {
    let data = folder_with_a_key();
    let wav = tones(data.path(), "call.wav", 20_000, [0, 20_000], [0, 20_000]);
    let hotline = hotline(data, &wav, &[]);
    let recordings = hotline.data.path().join("recordings");
    let parts = || {
        let days = std::fs::read_dir(&recordings)
            .into_iter()
            .flatten()
            .flatten();
        days.flat_map(|day| {
            std::fs::read_dir(day.path())
                .into_iter()
                .flatten()
                .flatten()
        })
        .filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "part")
        })
        .count()
    };
    let killed = async {
        while parts() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    tokio::select! {
        () = killed => {}
        output = hotline.call(&wav) => panic!("{}", said(&output)),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("nothing was recorded"),
    }
    let Hotline { gateway, data, .. } = hotline;
    // SIGKILL, by its end.
    drop(gateway);
    assert_eq!(parts(), 1);

    let restarted = self::hotline(data, &wav, &[]);
    assert_eq!(parts(), 0);
    let Hotline { gateway, data, .. } = restarted;
    gateway.terminate();
    let listed = command(data.path(), &["list"]);
    let line = said(&listed);
    let seconds: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|seconds| seconds.parse().ok())
        .expect("FILE SECONDS s STATE");
    assert!(line.contains("Recovered") && seconds >= 2.0, "{line}");
}
