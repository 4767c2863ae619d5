//! Brings drafts to disk without a call waiting for it.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | drafts → outbox | one a call | the newer draft of a call replaces the older, which it contains |

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::speech::CallId;
use crate::store::write_behind::{Health, Newest};
use crate::store::{EntryKind, Outbox, WriteBehind};
use crate::ticket::desk::Submission;

/// A draft and whether it closes its call.
type Draft = (Submission, EntryKind);

/// The drafts that are not on disk yet.
#[derive(Debug)]
pub struct DraftWriter(WriteBehind<Newest<CallId, Draft>>);

impl Default for DraftWriter {
    fn default() -> Self {
        Self(WriteBehind::new("drafts", Newest::default()))
    }
}

impl DraftWriter {
    /// Takes a draft; never waits. What comes after the closing of a call closes it too.
    pub fn hold(&self, submission: Submission, closes: bool) {
        let call = submission.key.call.clone();
        self.0.update(call, |waiting| {
            let is_closed = waiting.is_some_and(|(_, kind)| *kind == EntryKind::Close);
            let kind = if closes || is_closed {
                EntryKind::Close
            } else {
                EntryKind::Upsert
            };
            (submission, kind)
        });
    }

    /// Writes until `stop`, then the rest; returns how many drafts could not be written.
    pub async fn run(&self, outbox: &Outbox, stop: &CancellationToken) -> usize {
        let write = |batch: Vec<(CallId, Arc<Draft>)>| async move {
            let drafts: Vec<_> = batch.iter().map(|(_, draft)| (&draft.0, draft.1)).collect();
            outbox.keep_all(&drafts).await.map(drop)
        };
        self.0.run(write, stop).await
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::{Store, at};
    use crate::ticket::TicketDraft;
    use crate::ticket::desk::DraftKey;

    on_both_engines![the_newest_draft_of_a_call_is_kept_and_a_closing_is_not_forgotten];

    async fn the_newest_draft_of_a_call_is_kept_and_a_closing_is_not_forgotten(site: Site) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let (drafts, stop) = (DraftWriter::default(), CancellationToken::new());
        let submission = |call: &str, revision| Submission {
            key: DraftKey {
                call: CallId::new(call),
                revision,
            },
            draft: TicketDraft::default(),
            lines: Vec::new(),
        };
        drafts.hold(submission("open", 1), false);
        drafts.hold(submission("open", 2), false);
        drafts.hold(submission("over", 1), true);
        drafts.hold(submission("over", 2), false);
        stop.cancel();
        assert_eq!(drafts.run(&store.outbox(), &stop).await, 0);
        for (call, closed) in [("open", false), ("over", true)] {
            let held = store.draft(&CallId::new(call)).await.expect("read");
            let held = held.expect("kept");
            assert_eq!((held.submission.key.revision, held.closed), (2, closed));
        }
        store.close().await;
    }
}
