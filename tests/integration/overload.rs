//! More calls than recognition has time for: what is not recognised is said to be missing, in the transcript and in the
//! metrics, and the calls themselves go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use xinqiao::grpc::proto::transcript::v1::{GapReason, Leg, WatchRequest};

use crate::call::samples_as_call;
use crate::product::{Hotline, said};

/// Calls at once, on one worker with room for one final.
const CALLS: usize = 8;

/// The value of a metric of the page's `/metrics`; 0 when it has none yet.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

#[tokio::test]
async fn too_many_calls_at_once_lose_tentative_lines_first_and_then_show_honest_gaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = samples_as_call(folder.path());
    let sets = [
        "recognition.workers=1",
        "recognition.queue=1",
        "calls.flush_s=60",
    ];
    let hotline = Hotline::open(&wav, &sets);
    let mut client = TranscriptServiceClient::new(hotline.channel().await);
    let request = WatchRequest {
        after_position: Some(0),
        ..WatchRequest::default()
    };
    let mut events = client.watch(request).await.expect("served").into_inner();
    let watching = async {
        let (mut ended, mut tentative) = (0, 0);
        let (mut spoken, mut gaps) = (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new());
        while ended < CALLS {
            let next = tokio::time::timeout(Duration::from_mins(2), events.message());
            let next = next.await.expect("in time").expect("the stream goes on");
            let event = next.and_then(|next| next.event).expect("an event");
            let call = event.call_id;
            match event.body {
                Some(Body::Utterance(line)) if line.r#final => {
                    spoken.entry(call).or_default().insert(line.leg());
                }
                Some(Body::Utterance(_)) => tentative += 1,
                Some(Body::Gap(gap)) => {
                    assert!(gap.code() == GapReason::Overload && gap.end_ms > gap.start_ms);
                    spoken.entry(call.clone()).or_default().insert(gap.leg());
                    gaps.insert((call, gap.id));
                }
                Some(Body::CallFinal(_)) => ended += 1,
                _ => {}
            }
        }
        (spoken, gaps, tentative)
    };
    let calling = futures_util::future::join_all((0..CALLS).map(|_| hotline.call(&wav)));
    let ((spoken, gaps, tentative), calls) = tokio::join!(watching, calling);
    for call in &calls {
        assert!(call.status.success(), "{}", said(call));
    }
    // Each side of each call has left its trace: a line, or the hole where it should be.
    let both = BTreeSet::from([Leg::Caller, Leg::Operator]);
    assert!(
        spoken.len() == CALLS && spoken.values().all(|legs| *legs == both),
        "{spoken:?}"
    );
    assert!(!gaps.is_empty(), "nothing was too much");
    let mut page = TcpStream::connect(hotline.console)
        .await
        .expect("the page is there");
    let ask = "GET /metrics HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n";
    page.write_all(ask.as_bytes()).await.expect("sent");
    let mut metrics = String::new();
    page.read_to_string(&mut metrics).await.expect("text");
    let passes = |pass: &str, outcome: &str| {
        let labels = format!("{{pass=\"{pass}\",outcome=\"{outcome}\"}}");
        value(
            &metrics,
            &format!("xinqiao_recognition_passes_total{labels}"),
        )
    };
    assert!(passes("final", "shed") > 0.0, "{metrics}");
    assert!(
        passes("partial", "shed") > passes("partial", "recognized"),
        "{tentative}: {metrics}"
    );
    assert!(
        metrics.contains("xinqiao_recognition_partial_stretch"),
        "{metrics}"
    );
}
