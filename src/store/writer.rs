//! The task that keeps the bus's durable events.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Store;
use crate::events::Bus;

/// Events a transaction: one disk flush for many lines when many calls speak at once.
const BATCH: usize = 512;
/// Pause after a failed write, e.g. on a full disk. Meanwhile the events wait in the bus's memory.
const PAUSE: Duration = Duration::from_secs(1);
/// Failed attempts after `shutdown` before the rest is given up, so that a broken disk cannot stop the exit.
const LAST_ATTEMPTS: u32 = 3;

/// Saves what the bus publishes until `shutdown`, then the rest; returns the number of events left unsaved.
pub async fn writer(store: Store, bus: Bus, shutdown: CancellationToken) -> usize {
    let mut failed_at_end = 0;
    loop {
        let batch = tokio::select! {
            batch = bus.unsaved(BATCH) => batch,
            () = shutdown.cancelled() => bus.unsaved_now(BATCH),
        };
        if batch.is_empty() {
            return 0;
        }
        match store.append(&batch).await {
            Ok(()) => bus.mark_saved(&batch),
            Err(error) => {
                tracing::error!(events = batch.len(), %error, "transcript events wait in memory");
                if shutdown.is_cancelled() {
                    failed_at_end += 1;
                    if failed_at_end == LAST_ATTEMPTS {
                        return bus.unsaved_now(usize::MAX).len();
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
