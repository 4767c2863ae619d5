//! The phone calls itself over the loopback, and each side hears the other's tone.

use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::*;

fn write_tones(path: &Path, rate: u32, tones: &[f32], seconds: f32) {
    let spec = WavSpec {
        channels: tones.len() as u16,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut writer = WavWriter::create(path, spec).expect("a file");
    for at in 0..(rate as f32 * seconds) as u32 {
        for hertz in tones {
            let turn = at as f32 / rate as f32 * hertz * std::f32::consts::TAU;
            writer
                .write_sample((turn.sin() * 12_000.0) as i16)
                .expect("written");
        }
    }
    writer.finalize().expect("written");
}

/// The share of the energy of a recording's loud part that is at `hertz`, by Goertzel's sums.
fn share(path: &Path, hertz: f64) -> f64 {
    let mut reader = hound::WavReader::open(path).expect("a recording");
    let rate = f64::from(reader.spec().sample_rate);
    let samples: Vec<f64> = reader
        .samples::<i16>()
        .map(|sample| f64::from(sample.expect("whole")))
        .skip(800)
        .take(8_000)
        .collect();
    assert!(samples.len() > 4_000, "{} samples", samples.len());
    let (mut real, mut imaginary, mut energy) = (0.0, 0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let turn = at as f64 / rate * hertz * std::f64::consts::TAU;
        real += sample * turn.cos();
        imaginary += sample * turn.sin();
        energy += sample * sample;
    }
    2.0 * (real * real + imaginary * imaginary) / energy / samples.len() as f64
}

async fn answering(
    folder: &Path,
    wav: &Path,
) -> (
    String,
    CancellationToken,
    tokio::task::JoinHandle<AnswerReport>,
) {
    let plan = AnswerPlan {
        ring: Duration::from_millis(100),
        record: Some(folder.join("operator.wav")),
        ..AnswerPlan::new("127.0.0.1:0".parse().expect("an address"), wav)
    };
    let phone = Answering::bind(plan).await.expect("listens");
    let to = format!("sip:op@{}", phone.local_addr());
    let stop = CancellationToken::new();
    let running = phone.run(stop.clone());
    (
        to,
        stop,
        tokio::spawn(async move { running.await.expect("runs") }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_hears_the_others_tone() {
    for (codec, transport, rate) in [
        (Codec::Pcma, "", 16_000),
        (Codec::Pcmu, ";transport=tcp", 44_100),
        (Codec::G722, "", 8_000),
        (Codec::Opus, "", 48_000),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let wav = folder.path().join("both.wav");
        write_tones(&wav, rate, &[440.0, 1_000.0], 2.0);
        let (to, stop, operator) = answering(folder.path(), &wav).await;
        let heard = folder.path().join("caller.wav");
        let plan = CallPlan {
            codec,
            tail: Duration::from_millis(200),
            record: Some(heard.clone()),
            ..CallPlan::new(&format!("{to}{transport}"), &wav)
        };
        let report = call(plan, &CancellationToken::new()).await.expect("tried");
        assert!(report.answered && report.cause == "hung up", "{report:?}");
        assert!((100..=130).contains(&report.sent), "{report:?}");
        assert!(report.received >= 95 && report.lost == 0, "{report:?}");
        assert!(
            report.first_heard < Some(Duration::from_secs(1)),
            "{report:?}"
        );
        stop.cancel();
        let operator = operator.await.expect("ends");
        assert_eq!((operator.calls, operator.answered), (1, 1));
        assert_eq!(operator.last.expect("a call").cause, "BYE");
        let (from_operator, from_caller) = (
            share(&heard, 1_000.0),
            share(&folder.path().join("operator.wav"), 440.0),
        );
        assert!(
            from_operator > 0.95 && from_caller > 0.95,
            "{from_operator} {from_caller}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_leave_every_twenty_milliseconds_without_drift() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("tone.wav");
    write_tones(&wav, 8_000, &[440.0], 3.0);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let far = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let offer = sdp::offer(
        &Local {
            session: 1,
            version: 1,
            rtp: far.local_addr().expect("bound"),
            direction: Direction::SendRecv,
        },
        &[Codec::Pcma],
    );
    let (_, agreed) = agree(&offer, &[Codec::Pcma]).expect("agreed");
    let wav = Wav::read(&wav).expect("read");
    let speech = Arc::new(Speech::new(&wav, LEFT, Codec::Pcma));
    let sender = Sender::start(&socket, speech, &agreed).expect("started");
    let mut datagram = [0; 256];
    far.recv(&mut datagram).await.expect("a packet");
    let began = Instant::now();
    let mut late = Vec::new();
    for number in 1..=140 {
        far.recv(&mut datagram).await.expect("a packet");
        late.push(began.elapsed().as_secs_f64() - f64::from(number) * 0.02);
    }
    // A busy machine delays single packets; a drift delays all of the later ones.
    let least = |late: &[f64]| late.iter().copied().fold(f64::MAX, f64::min);
    let drift = (least(&late[120..]) - least(&late[..20])).abs();
    assert!(drift < 0.005, "{drift} s after 2.8 s");
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_calls_at_once_and_one_after_them_are_all_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("tone.wav");
    write_tones(&wav, 8_000, &[700.0], 0.6);
    let (to, stop, operator) = answering(folder.path(), &wav).await;
    let mut calls = JoinSet::new();
    for number in 0..11 {
        let plan = CallPlan::new(&to, &wav);
        let delay = if number == 10 { 2_500 } else { 0 };
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            call(plan, &CancellationToken::new()).await.expect("tried")
        });
    }
    while let Some(report) = calls.join_next().await {
        let report = report.expect("ends");
        assert!(report.answered && report.received > 20, "{report:?}");
    }
    stop.cancel();
    assert_eq!(operator.await.expect("ends").answered, 11);
    assert!(folder.path().join("operator-11.wav").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_report_and_a_stop_hangs_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("tone.wav");
    write_tones(&wav, 8_000, &[700.0], 30.0);
    let (to, stop, operator) = answering(folder.path(), &wav).await;
    let wide = CallPlan {
        codec: Codec::L16,
        ..CallPlan::new(&to, &wav)
    };
    let report = call(wide, &CancellationToken::new()).await.expect("tried");
    assert_eq!((report.answered, report.status), (false, 488));
    let hang_up = CancellationToken::new();
    let later = hang_up.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        later.cancel();
    });
    let report = call(CallPlan::new(&to, &wav), &hang_up)
        .await
        .expect("tried");
    assert!(
        report.answered && report.duration < Duration::from_secs(20),
        "{report:?}"
    );
    // The answering side's stop ends a call too.
    let running =
        tokio::spawn(
            async move { call(CallPlan::new(&to, &wav), &CancellationToken::new()).await },
        );
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let report = running.await.expect("ends").expect("tried");
    assert_eq!(report.cause, "BYE");
    assert_eq!(operator.await.expect("ends").calls, 3);
}

#[tokio::test]
async fn a_wrong_file_and_a_wrong_address_are_sentences_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let stop = CancellationToken::new();
    let surround = folder.path().join("surround.wav");
    write_tones(&surround, 8_000, &[1.0; 6], 0.1);
    let error = call(CallPlan::new("sip:1@127.0.0.1", &surround), &stop)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("surround.wav has 6 channels; take"),
        "{error}"
    );
    let wav = folder.path().join("tone.wav");
    write_tones(&wav, 8_000, &[1.0], 0.1);
    let plan = CallPlan::new("12345", &wav);
    let error = call(plan, &stop).await.expect_err("refused").to_string();
    assert!(
        error.contains("cannot call 12345") && error.contains("sip:12345@"),
        "{error}"
    );
}
