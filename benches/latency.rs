//! How soon the words are there: one real call at a time, from the end of an utterance to its final line on the gRPC
//! stream, and from the last word of the call to the draft that contains it at the backend.

#[path = "report/quantile.rs"]
mod quantile;
mod report;

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use xinqiao::app::Gateway;
use xinqiao::config::Config;
use xinqiao::gateway::phone::{self, AnswerPlan, Answering, CallPlan};
use xinqiao::grpc::proto::ticket::v1::WatchDraftsRequest;
use xinqiao::grpc::proto::ticket::v1::ticket_book_client::TicketBookClient;
use xinqiao::grpc::proto::transcript::v1::WatchRequest;
use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;

fn main() -> Result<(), Box<dyn Error>> {
    let mut recordings: Vec<PathBuf> = std::fs::read_dir("../shared/audio")
        .map(|folder| {
            folder
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default();
    recordings.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    recordings.sort();
    if recordings.is_empty() {
        println!(
            "latency: no call recordings in ../shared/audio, the sample recording is played instead"
        );
        recordings.push("data/models/samples/zh/pangrama.wav".into());
    }
    let runtime = xinqiao::gateway::runtime()?;
    let (mut lines, mut drafts) = (Vec::new(), Vec::new());
    for recording in recordings {
        let (line, draft) = runtime.block_on(measured(&recording))?;
        println!(
            "{}: {} utterances, draft after {draft:.3} s",
            recording.display(),
            line.len()
        );
        lines.extend(line);
        drafts.push(draft);
    }
    lines.sort_by(f64::total_cmp);
    drafts.sort_by(f64::total_cmp);
    report::print(
        "latency",
        &[
            ("utterances", lines.len() as f64),
            (
                "end_of_speech_to_final_p50_s",
                quantile::quantile(&lines, 0.5),
            ),
            (
                "end_of_speech_to_final_p95_s",
                quantile::quantile(&lines, 0.95),
            ),
            (
                "last_word_to_draft_max_s",
                drafts.last().copied().unwrap_or_default(),
            ),
        ],
    )
}

/// The seconds from the end of each utterance to its final line, and from the last one's to its draft.
async fn measured(recording: &Path) -> Result<(Vec<f64>, f64), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let operator = Answering::bind(AnswerPlan::new("127.0.0.1:0".parse()?, recording)).await?;
    let set = |key: &str, value: &dyn std::fmt::Display| format!("{key}={value}");
    let config = Config::load(
        None,
        &[
            set("sip.listen", &"127.0.0.1:0"),
            set("console.listen", &"127.0.0.1:0"),
            set("grpc.listen", &"127.0.0.1:0"),
            set(
                "operators.default",
                &format!("sip:op@{}", operator.local_addr()),
            ),
            set("store.database", &folder.path().join("x.db").display()),
            set("ticketing.database", &folder.path().join("t.db").display()),
        ],
    )?;
    let gateway = Gateway::start(&config).await?;
    let stop = CancellationToken::new();
    let operator = tokio::spawn(operator.run(stop.clone()));
    let channel = Channel::from_shared(format!("http://{}", gateway.grpc))?
        .connect()
        .await?;
    let mut events = TranscriptServiceClient::new(channel.clone())
        .watch(WatchRequest::default())
        .await?
        .into_inner();
    let mut arrivals = TicketBookClient::new(channel)
        .watch_drafts(WatchDraftsRequest::default())
        .await?
        .into_inner();
    // Notes when each draft came to the backend and how many lines it holds.
    let arrived = tokio::spawn(async move {
        let mut arrived = Vec::new();
        while let Ok(Some(response)) = arrivals.message().await {
            let Some(record) = response.record else {
                continue;
            };
            let lines = record.draft.map_or(0, |draft| draft.transcript.len());
            arrived.push((Instant::now(), lines));
            if record.closed {
                break;
            }
        }
        arrived
    });
    let plan = CallPlan::new(&format!("sip:12345@{}", gateway.sip), recording);
    let calling = tokio::spawn({
        let stop = stop.clone();
        async move { phone::call(plan, &stop).await }
    });
    let mut known = HashSet::new();
    let (mut answered, mut waits, mut finals, mut last) =
        (Instant::now(), Vec::new(), 0, Instant::now());
    while let Some(event) = events.message().await?.and_then(|response| response.event) {
        let now = Instant::now();
        match event.body {
            Some(Body::Answered(_)) => answered = now,
            // A later version is a second hearing.
            Some(Body::Utterance(said)) if said.r#final && known.insert(said.id) => {
                let end = answered + Duration::from_millis(said.end_ms);
                waits.push(now.saturating_duration_since(end).as_secs_f64());
                finals += 1;
                last = end;
            }
            Some(Body::CallFinal(_)) => break,
            _ => {}
        }
    }
    let arrived = tokio::time::timeout(Duration::from_secs(10), arrived).await??;
    let complete = arrived
        .iter()
        .find(|(_, lines)| *lines == finals)
        .ok_or("the draft lacks the last words")?
        .0;
    calling.await??;
    stop.cancel();
    operator.await??;
    gateway.stop(CancellationToken::new()).await;
    Ok((
        waits,
        complete.saturating_duration_since(last).as_secs_f64(),
    ))
}
