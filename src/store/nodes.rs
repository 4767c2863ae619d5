//! Several gateways on one database: each run is a node, which beats by the database's own clock while it lives, and
//! owns the calls that it runs. What one leaves open that beats no more, another closes.
//!
//! Nothing is taken from a node that is only slow and comes back, but the drafts that were closed meanwhile: its calls
//! are its own again with its next beat, its positions were never another's, and what it writes for a draft that was
//! closed is [`Put::Stale`](super::Put::Stale), as for any closed draft.
//!
//! A `SQLite` file has one gateway: whoever begins a run in it owns it, and every earlier node is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::database::values;
use super::{Doing, Store, StoreError};

/// How far positions jump at every start: more than the unsaved ones (partial lines, drafts) that a run can have
/// given out behind its last saved event, and more than all that a run of years gives out, so that no position is ever
/// given twice, by whichever node.
const POSITIONS_PER_RUN: i64 = 1 << 36;
/// Between two beats.
const BEAT: Duration = Duration::from_secs(2);
/// Without a beat for so long, a node is dead: longer than a restart of the database server takes to be noticed.
pub(super) const DEAD_MS: i64 = 10_000;
/// Records of dead nodes are kept for so long, in case one comes back.
const FORGET_MS: i64 = 24 * 3_600_000;

/// Which node this store writes for: its first position, or 0 as long as no run has begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Node(Arc<AtomicI64>);

impl Node {
    /// For the column `node`.
    pub fn id(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|id| *id > 0)
    }
}

/// The nodes that live, as a subquery.
pub(super) fn living(now_ms: &str) -> String {
    format!("SELECT first_position FROM nodes WHERE beat_ms > {now_ms} - {DEAD_MS}")
}

impl Store {
    /// Begins this node's run; returns its first event position, which is higher than any that was ever given out. For
    /// [`crate::events::Bus::new`], once a start.
    ///
    /// # Errors
    /// [`StoreError`] when the records cannot be written.
    pub async fn begin_run(&self) -> Result<u64, StoreError> {
        const DOING: &str = "reserving event positions";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        // Two nodes that begin at once must not be given the same positions.
        transaction.lock("nodes").await.doing(DOING)?;
        let last = transaction
            .fetch_first(
                "SELECT max(position) AS last FROM
                     (SELECT max(first_position) AS position FROM nodes UNION ALL SELECT max(position) FROM events) AS given",
                values![],
            )
            .await
            .doing(DOING)?;
        let last: Option<i64> = last.and_then(|row| row.get("last"));
        let first = last.map_or(1, |last| last + POSITIONS_PER_RUN);
        let now = self.db.now_ms();
        let forgotten = if self.db.is_shared() {
            format!("beat_ms < {now} - {FORGET_MS}")
        } else {
            "TRUE".to_owned()
        };
        transaction
            .execute(&format!("DELETE FROM nodes WHERE {forgotten}"), values![])
            .await
            .doing(DOING)?;
        transaction
            .execute(
                &format!("INSERT INTO nodes (first_position, beat_ms) VALUES ($1, {now})"),
                values![first],
            )
            .await
            .doing(DOING)?;
        // From now on these records are lived in: nothing is copied over them any more.
        transaction
            .execute("UPDATE site SET copied_from = NULL", values![])
            .await
            .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        self.node.0.store(first, Ordering::Relaxed);
        Ok(first.unsigned_abs())
    }

    /// Says that this node lives, and closes what dead ones have left open, until `shutdown`. In a file there is nothing
    /// to do.
    pub async fn keep_alive(self, shutdown: CancellationToken) {
        if !self.db.is_shared() {
            return;
        }
        let mut watch = Watch::default();
        while !shutdown.is_cancelled() {
            match self.beat().await {
                Ok(Some(beat)) => {
                    if watch.has_seen_enough(beat) {
                        self.close_abandoned_ones().await;
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "this gateway cannot say that it lives"),
            }
            tokio::select! {
                () = tokio::time::sleep(BEAT) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn close_abandoned_ones(&self) {
        match self.outbox().close_left_open().await {
            Ok(0) => {}
            Ok(calls) => {
                tracing::warn!("the drafts of {calls} calls that were broken off are closed");
            }
            Err(error) => {
                tracing::error!(%error, "the drafts of dead gateways cannot be closed yet");
            }
        }
    }

    /// This node lives; returns the database's time.
    pub(super) async fn beat(&self) -> Result<Option<i64>, StoreError> {
        const DOING: &str = "saying that this gateway lives";
        let Some(node) = self.node.id() else {
            return Ok(None);
        };
        let sql = format!(
            "INSERT INTO nodes (first_position, beat_ms) VALUES ($1, {})
             ON CONFLICT (first_position) DO UPDATE SET beat_ms = excluded.beat_ms RETURNING beat_ms",
            self.db.now_ms()
        );
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let row = transaction
            .fetch_first(&sql, values![node])
            .await
            .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        Ok(row.map(|row| row.first()))
    }

    /// The others need not wait for this node's death.
    pub(super) async fn leave(&self) {
        if self.db.is_shared()
            && let Some(node) = self.node.id()
        {
            let sql = "UPDATE nodes SET beat_ms = 0 WHERE first_position = $1";
            if let Err(error) = self.db.execute(sql, values![node]).await {
                tracing::warn!(%error, "the other gateways learn late that this one is gone");
            }
        }
    }
}

/// Whether this node has beaten for so long without a pause that every other one that lives has done so too: when the
/// database server comes back from a restart, all nodes look dead at first.
#[derive(Debug, Default)]
struct Watch {
    /// The first and the last of the unbroken row of beats.
    beats: Option<(i64, i64)>,
}

impl Watch {
    fn has_seen_enough(&mut self, beat: i64) -> bool {
        let first = match self.beats {
            Some((first, last)) if (0..DEAD_MS / 2).contains(&(beat - last)) => first,
            _ => beat,
        };
        self.beats = Some((first, beat));
        beat - first >= DEAD_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_for_dead_before_there_was_time_to_beat_again() {
        let mut watch = Watch::default();
        let beats = |watch: &mut Watch, from: i64| {
            (0..10)
                .map(|beat| from + beat * 2_000)
                .find(|beat| watch.has_seen_enough(*beat))
        };
        assert_eq!(beats(&mut watch, 0), Some(10_000));
        // The server was away for a while, or its clock was set back.
        assert_eq!(beats(&mut watch, 60_000), Some(70_000));
        assert_eq!(beats(&mut watch, 1_000), Some(11_000));
    }
}
