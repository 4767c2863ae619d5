//! Taking the gateway down: who is told to stop in which order, and how long each is waited for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Gateway;
use crate::telemetry::State;

/// For calls that have been told to end, beside the time for their last words.
const CALLS: Duration = Duration::from_secs(10);
/// For goodbyes to phones and trunks, which the edge itself gives up sooner.
const SIP: Duration = Duration::from_secs(15);
/// For the ends of the recordings' files.
const RECORDER: Duration = Duration::from_secs(10);
/// For what waits in memory; the writers themselves give up sooner and say what is lost.
const WRITERS: Duration = Duration::from_secs(15);
/// For hand-overs under way; the rest stays on disk for the next start.
const DELIVERIES: Duration = Duration::from_secs(10);
/// For the answers to clients, which the servers themselves cut sooner.
const SERVERS: Duration = Duration::from_secs(10);
/// For statements that still run.
const RECORDS: Duration = Duration::from_secs(5);

impl Gateway {
    /// Takes no more calls: new ones are told to come back (503 with Retry-After), and it does not count as ready.
    pub fn refuse_new_calls(&self) {
        self.readiness.set(State::Draining);
        self.edge.set_accepting(false);
        self.inlets.cancel();
    }

    /// Takes no more calls, lets the running ones end (at most `calls.drain_s`), ends the rest, and writes what is left.
    ///
    /// `hurry` cuts the wait short.
    pub async fn stop(self, hurry: CancellationToken) {
        self.refuse_new_calls();
        tokio::select! {
            () = self.calls.idle() => {}
            () = tokio::time::sleep(self.drain) => self.end_calls().await,
            () = hurry.cancelled() => self.end_calls().await,
        }
        within("the SIP edge", SIP, self.edge.close()).await;
        if let Some(archive) = &self.archive {
            within("the recorder", RECORDER, archive.close()).await;
        }
        // The last drafts and lines are in memory: to disk, then out to the backend and to the watchers.
        within("the writers", WRITERS, self.tasks.writers.stop()).await;
        within("the deliveries", DELIVERIES, self.tasks.deliveries.stop()).await;
        within("the servers", SERVERS, self.tasks.servers.stop()).await;
        within("the records", RECORDS, self.records.close()).await;
        info!("the gateway is down");
    }

    async fn end_calls(&self) {
        warn!("{} calls are ended by the shutdown", self.calls.running());
        self.calls.end_all();
        within("the running calls", self.flush + CALLS, self.calls.idle()).await;
    }
}

/// Waits for a part to end, but no longer than `limit`: whoever hangs must not keep the others from their end.
pub(super) async fn within(what: &str, limit: Duration, end: impl Future<Output = ()>) {
    if tokio::time::timeout(limit, end).await.is_err() {
        warn!("the shutdown goes on without {what}, which did not end within {limit:?}");
    }
}
