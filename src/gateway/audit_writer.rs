//! Brings to the audit what calls have accepted and people have done, without anybody waiting for it.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | what was done → audit | [`MOST_WAITING`] | the newest is lost, which the log and a metric say; the command stands |

use metrics::{counter, describe_counter};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::control::Accepted;
use crate::private::Private;
use crate::store::write_behind::{Health, InOrder};
use crate::store::{AuditRecord, Store, WriteBehind};

/// More than people do in the hour for which a disk may refuse.
const MOST_WAITING: usize = 16_384;

/// Records that found no room.
const LOST: &str = "xinqiao_audit_lost_total";

/// What was done and is not on disk yet.
#[derive(Debug)]
pub struct AuditWriter(WriteBehind<InOrder<AuditRecord>>);

impl Default for AuditWriter {
    fn default() -> Self {
        describe_counter!(
            LOST,
            "deeds of which the audit has no record, since the disk refused for too long"
        );
        Self(WriteBehind::new(
            "audit records",
            InOrder::new(MOST_WAITING),
        ))
    }
}

impl AuditWriter {
    /// Takes what a call has accepted; never waits.
    pub fn note(&self, accepted: Accepted) {
        let Accepted {
            at,
            call,
            actor,
            command,
        } = accepted;
        let name = command.name();
        // A command is made of plain values, which always have a JSON form.
        let detail = serde_json::to_string(&command).unwrap_or_default();
        let record = AuditRecord::new(at, Some(call), actor, name, Private::new(detail));
        self.keep(record);
    }

    /// Takes what somebody has done; never waits.
    pub fn keep(&self, record: AuditRecord) {
        if let Err(full) = self.0.push(record) {
            counter!(LOST).increment(1);
            let AuditRecord { actor, action, .. } = full.0;
            error!(%actor, "the audit has no room: that {action} was done is not kept");
        }
    }

    /// Writes until `stop`, then the rest; returns how many records could not be written.
    pub async fn run(&self, store: &Store, stop: &CancellationToken) -> usize {
        let write = |batch: Vec<AuditRecord>| async move { store.save_audit(&batch).await };
        self.0.run(write, stop).await
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }
}
