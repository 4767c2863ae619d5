//! A call that an exchange taps to the gateway over `AudioSocket`: two TCP connections, the real model, the ticket.
//!
//! Debian has no Asterisk; the exchange here is a client that speaks its protocol at its pace.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xinqiao::grpc::proto::transcript::v1::event::Body;

use crate::call::{closed_ticket, heard_samples, samples_as_call, watch};
use crate::product::Hotline;

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A channel of a recording in 20 ms of 8 kHz, as Asterisk sends it.
fn frames(wav: &Path, channel: usize) -> Vec<Vec<u8>> {
    let mut reader = hound::WavReader::open(wav).expect("a recording");
    let spec = reader.spec();
    let step = spec.sample_rate as usize / 8_000;
    let samples: Vec<i16> = reader
        .samples::<i16>()
        .map(|sample| sample.expect("a sample"))
        .collect();
    let channels = usize::from(spec.channels);
    let one: Vec<i16> = samples
        .chunks_exact(channels)
        .map(|frame| frame[channel])
        .collect();
    // What lies above 4 kHz is averaged away.
    let down: Vec<i16> = one
        .chunks_exact(step)
        .map(|piece| {
            (piece.iter().map(|sample| i32::from(*sample)).sum::<i32>() / step as i32) as i16
        })
        .collect();
    down.chunks(160)
        .map(|piece| {
            let sound: Vec<u8> = piece
                .iter()
                .flat_map(|sample| sample.to_le_bytes())
                .collect();
            frame(0x10, &sound)
        })
        .collect()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend(payload);
    frame
}

/// Plays a channel at the pace of time and hangs up, or reads until the other side has.
async fn play(port: SocketAddr, id: u128, frames: Vec<Vec<u8>>, hangs_up: bool) {
    let mut stream = TcpStream::connect(port).await.expect("listened to");
    stream
        .write_all(&frame(1, &id.to_be_bytes()))
        .await
        .expect("sent");
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    for frame in frames {
        clock.tick().await;
        stream.write_all(&frame).await.expect("the call goes on");
    }
    if hangs_up {
        // What was said last is heard before.
        tokio::time::sleep(Duration::from_millis(500)).await;
        stream.write_all(&frame(0, &[])).await.expect("sent");
    }
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .await
        .expect("closed properly");
    // While it says nothing it gets silence, 20 ms at a time.
    let silence = frame(0x10, &[0; 320]);
    let mut rest = rest.as_slice();
    while let Some(more) = rest.strip_prefix(silence.as_slice()) {
        rest = more;
    }
    assert_eq!(rest, [0, 0, 0], "nothing is played to the exchange");
}

/// A tapped call of both channels; what the stream said of it.
async fn tapped(wav: &Path) -> (Hotline, Vec<xinqiao::grpc::proto::transcript::v1::Event>) {
    let ports = [free(), free()];
    let sets = [
        format!("audiosocket.caller={}", ports[0]),
        format!("audiosocket.operator={}", ports[1]),
    ];
    let hotline = Hotline::open(wav, &[&sets[0], &sets[1]]);
    let call = 0x1763_9012_0042_8f12_8345_0000_0000_0000_u128;
    let (events, (), ()) = tokio::join!(
        watch(&hotline, None, ""),
        async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            play(ports[0], call | 0xf139_1234_5678, frames(wav, 0), true).await;
        },
        async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            play(ports[1], call | 0xffff_ffff_1007, frames(wav, 1), false).await;
        },
    );
    (hotline, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_tapped_by_audiosocket_is_transcribed_by_who_speaks_and_filed() {
    let _alone = crate::call::ALONE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let wav = samples_as_call(folder.path());
    let (hotline, events) = tapped(&wav).await;
    let started = events.iter().find_map(|event| match &event.body {
        Some(Body::Started(started)) => Some(started.clone()),
        _ => None,
    });
    let started = started.expect("it began");
    assert_eq!(started.caller_number, "13912345678");
    assert_eq!(started.called, "12345");
    heard_samples(&events);
    let ticket = closed_ticket(&hotline, &events[0].call_id).await;
    assert!(ticket.closed);
    let log = hotline.gateway.terminate();
    assert!(!log.contains("13912345678"), "{log}");
}
