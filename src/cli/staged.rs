//! A staged call: a recording's two channels played through a running gateway by a caller's and an operator's phone,
//! from the first ring to the ticket at the backend.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::Failure;
use crate::app::Gateway;
use crate::gateway::phone::{self, Answering, CallPlan};
use crate::grpc::proto::ticket::v1::ticket_book_client::TicketBookClient;
use crate::grpc::proto::ticket::v1::{DraftRecord, GetDraftRequest};
use crate::grpc::proto::transcript::v1::event::Body;
use crate::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use crate::grpc::proto::transcript::v1::{Event, WatchRequest};

/// How long the closing draft may take to the backend after the call.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the watcher hears that time goes by.
const TICK: Duration = Duration::from_millis(500);

/// What came of a staged call.
pub struct Outcome {
    /// What the backend holds of it.
    pub record: DraftRecord,
    /// How long after the call it was there.
    pub after: Duration,
}

/// Plays `wav` as a call to `number` and waits for its ticket. `operator` answers; `show` hears every event, and
/// `None` as time goes by. One staged call at a time: it takes the next call that ends for its own.
pub async fn play(
    gateway: &Gateway,
    operator: Answering,
    number: &str,
    from: Option<&str>,
    wav: PathBuf,
    mut show: impl FnMut(Option<&Event>),
) -> Result<Outcome, Failure> {
    let hung_up = CancellationToken::new();
    let operator = tokio::spawn(operator.run(hung_up.clone()));
    let channel = Channel::from_shared(format!("http://{}", gateway.grpc))
        .map_err(Failure::failed)?
        .connect()
        .await
        .map_err(Failure::failed)?;
    let mut events = TranscriptServiceClient::new(channel.clone())
        .watch(WatchRequest::default())
        .await
        .map_err(Failure::failed)?
        .into_inner();
    let mut plan = CallPlan::new(&format!("sip:{number}@{}", gateway.sip), wav);
    if let Some(from) = from {
        plan.from = from.into();
    }
    let stop = hung_up.clone();
    let mut caller = tokio::spawn(async move { phone::call(plan, &stop).await });
    let mut report = None;
    let call = loop {
        let event = tokio::select! {
            event = events.message() => event.map_err(Failure::failed)?,
            over = &mut caller, if report.is_none() => {
                let over = over.map_err(Failure::failed)?.map_err(Failure::failed)?;
                if !over.answered {
                    let what = format!("nobody answered: {} {}", over.status, over.cause);
                    return Err(Failure::failed(what));
                }
                report = Some(over);
                continue;
            }
            () = tokio::time::sleep(TICK) => {
                show(None);
                continue;
            }
        };
        let Some(event) = event.and_then(|response| response.event) else {
            return Err(Failure::failed(
                "the transcript stream ended before the call",
            ));
        };
        show(Some(&event));
        if matches!(event.body, Some(Body::CallFinal(_))) {
            break event.call_id;
        }
    };
    let over = Instant::now();
    if report.is_none() {
        caller
            .await
            .map_err(Failure::failed)?
            .map_err(Failure::failed)?;
    }
    hung_up.cancel();
    let _ = operator.await;

    let mut book = TicketBookClient::new(channel);
    loop {
        let request = GetDraftRequest {
            call_id: call.clone(),
        };
        let record = book.get_draft(request).await;
        match record.map(|response| response.into_inner().record) {
            Ok(Some(record)) if record.closed => {
                let after = over.elapsed();
                return Ok(Outcome { record, after });
            }
            _ if over.elapsed() > PATIENCE => {
                return Err(Failure::failed(
                    "the ticket did not arrive at the backend within 30 s",
                ));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
