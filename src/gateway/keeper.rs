//! Brings drafts to disk without a call waiting for it: the newest draft of each call, tried until the disk takes it.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | drafts → outbox | one a call | the newer draft of a call replaces the older, which it contains |

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::speech::CallId;
use crate::store::{EntryKind, Outbox};
use crate::ticket::desk::Submission;

/// Between attempts while the disk refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// Attempts after the shutdown, so that a broken disk cannot stop the exit.
const LAST_ATTEMPTS: u32 = 3;

/// A draft and whether it closes its call.
type Held = (Submission, EntryKind);

/// The drafts that are not on disk yet.
#[derive(Default)]
pub struct Keeper {
    waiting: Mutex<HashMap<CallId, Held>>,
    fresh: Notify,
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Held>> {
        // Nothing panics under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a draft; never waits.
    pub fn hold(&self, submission: Submission, closes: bool) {
        let kind = if closes {
            EntryKind::Close
        } else {
            EntryKind::Upsert
        };
        self.lock()
            .insert(submission.key.call.clone(), (submission, kind));
        self.fresh.notify_one();
    }

    /// Writes until `shutdown`, then the rest; returns how many drafts could not be written.
    pub async fn run(&self, outbox: &Outbox, shutdown: &CancellationToken) -> usize {
        let mut failed_at_end = 0;
        loop {
            let batch = std::mem::take(&mut *self.lock());
            if batch.is_empty() {
                if shutdown.is_cancelled() {
                    return 0;
                }
                tokio::select! {
                    () = self.fresh.notified() => {}
                    () = shutdown.cancelled() => {}
                }
                continue;
            }
            let drafts: Vec<_> = batch.values().map(|held| (&held.0, held.1)).collect();
            if let Err(error) = outbox.keep_all(&drafts).await {
                error!(drafts = batch.len(), %error, "drafts wait in memory");
                for (call, held) in batch {
                    // A newer one may have come meanwhile.
                    self.lock().entry(call).or_insert(held);
                }
                failed_at_end += u32::from(shutdown.is_cancelled());
                if failed_at_end == LAST_ATTEMPTS {
                    return self.lock().len();
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
