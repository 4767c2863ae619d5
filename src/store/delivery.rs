//! The task that hands a lane's drafts to their receiver.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | hand-overs under way | [`Delivery::concurrency`], one a call | the rest waits on disk |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::StoreError;
use super::outbox::{EntryKind, Lane, Outbox, Ready};
use crate::speech::CallId;
use crate::ticket::desk::{DeskError, DraftKey, Receipt, TicketDesk};

/// Drafts of ours that the receiver did not take because it holds something newer.
const STALE: &str = "xinqiao_drafts_stale_total";

/// How long the task sleeps at most: another process may have resent something.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Pause when the store itself fails.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// What a lease outlasts a hand-over by, for noting what became of it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// Failures in a row that count as an outage of the backend, so that the first success wakes everything.
const OUTAGE: u32 = 2;

/// How drafts are delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Hand-overs at a time, each of another call; at least 1.
    pub concurrency: usize,
    /// Pause after the first failure; doubles with each further one.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// After this a hand-over counts as failed and is tried again.
    pub deadline: Duration,
    /// For the pauses' jitter, so that several gateways do not knock at the same moment.
    pub seed: u64,
}

impl Delivery {
    /// 8 at a time, pauses from 250 ms to 30 s, 10 s a hand-over.
    #[must_use]
    pub const fn with_seed(seed: u64) -> Self {
        Self {
            concurrency: 8,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            deadline: Duration::from_secs(10),
            seed,
        }
    }

    /// The doubled pause after `attempts` earlier failures, and of it a random part between a half and the whole.
    fn pause(&self, attempts: u32, random: &mut StdRng) -> Duration {
        let whole = self
            .first_pause
            .saturating_mul(1 << attempts.min(20))
            .min(self.longest_pause);
        whole.mul_f64(random.random_range(0.5..=1.0))
    }
}

struct Outcome {
    key: DraftKey,
    kind: EntryKind,
    attempts: u32,
    result: Result<Receipt, DeskError>,
}

/// The hand-overs under way and what is known of the backend's health.
struct Deliveries {
    lane: Lane,
    options: Delivery,
    random: StdRng,
    under_way: JoinSet<Result<Option<Outcome>, StoreError>>,
    /// The call of each one under way, at most [`Delivery::concurrency`].
    busy: HashMap<Id, CallId>,
    /// Failures since the last success.
    failures: u32,
}

impl Outbox {
    /// Delivers until `shutdown`, then lets the hand-overs under way finish. What is left stays on disk.
    ///
    /// One such task a lane and store: two would send everything twice.
    pub async fn deliver<D: TicketDesk + 'static>(
        self,
        lane: Lane,
        desk: Arc<D>,
        options: Delivery,
        shutdown: CancellationToken,
    ) {
        let mut deliveries = Deliveries {
            lane,
            random: StdRng::seed_from_u64(options.seed),
            options,
            under_way: JoinSet::new(),
            busy: HashMap::new(),
            failures: 0,
        };
        let released = async {
            self.release(lane).await?;
            self.give_back(lane, None).await
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "drafts that failed before the start wait for their old pauses");
        }
        while !shutdown.is_cancelled() {
            let sleep = match self.start(&desk, &mut deliveries).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read; drafts wait on disk");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                Some(done) = deliveries.under_way.join_next_with_id() => self.finish(done, &mut deliveries).await,
                () = self.changed(lane) => {}
                () = tokio::time::sleep(sleep) => {}
                () = shutdown.cancelled() => {}
            }
        }
        while let Some(done) = deliveries.under_way.join_next_with_id().await {
            self.finish(done, &mut deliveries).await;
        }
    }

    /// Starts as many hand-overs as there is room for; returns how long to sleep if nothing happens.
    async fn start<D: TicketDesk + 'static>(
        &self,
        desk: &Arc<D>,
        deliveries: &mut Deliveries,
    ) -> Result<Duration, StoreError> {
        let room = deliveries.options.concurrency.max(1);
        if deliveries.busy.len() < room {
            let deadline = deliveries.options.deadline;
            let (lane, lease) = (deliveries.lane, deadline + LEASE_MARGIN);
            // In a file there are no leases: those under way may still be among the ready ones, so enough to fill the
            // room all the same is asked for.
            let most = if self.is_shared() {
                room - deliveries.busy.len()
            } else {
                2 * room
            };
            for ready in self.claim(lane, most, lease).await? {
                if deliveries.busy.len() == room {
                    break;
                }
                let call = ready.call.clone();
                if !deliveries.busy.values().any(|busy| *busy == call) {
                    let task = deliveries.under_way.spawn(hand_over(
                        self.clone(),
                        desk.clone(),
                        ready,
                        deadline,
                    ));
                    deliveries.busy.insert(task.id(), call);
                }
            }
        }
        Ok(self
            .next_due(deliveries.lane)
            .await?
            .unwrap_or(LOOK_AGAIN)
            .clamp(Duration::from_millis(1), LOOK_AGAIN))
    }

    /// Notes what became of a hand-over.
    async fn finish(
        &self,
        done: Result<(Id, Result<Option<Outcome>, StoreError>), JoinError>,
        deliveries: &mut Deliveries,
    ) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let call = deliveries.busy.remove(&id);
        let noted = match done {
            Ok((_, Ok(Some(outcome)))) => self.note(outcome, deliveries).await,
            Ok((_, Ok(None))) => Ok(()),
            Ok((_, Err(error))) => self
                .give_back(deliveries.lane, call.as_ref())
                .await
                .and(Err(error)),
            Err(_) => {
                tracing::error!(
                    call = call.as_ref().map_or("?", CallId::as_str),
                    "the hand-over of a draft broke off; it is tried again"
                );
                tokio::time::sleep(STORE_PAUSE).await;
                self.give_back(deliveries.lane, call.as_ref()).await
            }
        };
        if let Err(error) = noted {
            // The entry is still there: the draft is handed over once more, which the backend tells by its key.
            tracing::error!(%error, "the outbox cannot be kept");
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    async fn note(&self, outcome: Outcome, deliveries: &mut Deliveries) -> Result<(), StoreError> {
        let Outcome {
            key,
            kind,
            attempts,
            result,
        } = outcome;
        let lane = deliveries.lane;
        let to = lane.name();
        let error = match result {
            Ok(receipt) => {
                tracing::debug!(call = %key.call, revision = key.revision, ?kind, to, applied = receipt.applied, "draft delivered");
                if !receipt.applied {
                    // Nobody but us counts the drafts of our calls.
                    counter!(STALE, "to" => to).increment(1);
                    tracing::error!(call = %key.call, revision = key.revision, ?kind, to, "the receiver holds something newer than our draft: somebody else writes to this ticket");
                }
                self.delivered(lane, &key, kind, &receipt).await?;
                if std::mem::take(&mut deliveries.failures) >= OUTAGE {
                    tracing::info!(to, "the receiver is back; waiting drafts are sent now");
                    self.release(lane).await?;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        tracing::warn!(call = %key.call, revision = key.revision, ?kind, to, attempts, %error, "draft not delivered");
        match error {
            DeskError::Unavailable { .. } => {
                deliveries.failures = deliveries.failures.saturating_add(1);
            }
            // A refusal is an answer: the backend is there.
            DeskError::Rejected { .. } => deliveries.failures = 0,
        }
        let pause = deliveries.options.pause(attempts, &mut deliveries.random);
        self.failed(lane, &key, kind, &error, pause).await
    }
}

/// Hands over what the call's draft now is; `None` if it is gone.
async fn hand_over<D: TicketDesk>(
    outbox: Outbox,
    desk: Arc<D>,
    ready: Ready,
    deadline: Duration,
) -> Result<Option<Outcome>, StoreError> {
    let Some(held) = outbox.held(&ready.call).await? else {
        return Ok(None);
    };
    let submission = held.submission;
    let answer = async {
        match ready.kind {
            EntryKind::Upsert => desk.upsert(&submission).await,
            EntryKind::Close => desk.close(&submission).await,
        }
    };
    let result = match tokio::time::timeout(deadline, answer).await {
        Ok(result) => result,
        Err(_) => Err(DeskError::Unavailable {
            code: "deadline exceeded",
        }),
    };
    Ok(Some(Outcome {
        key: submission.key,
        kind: ready.kind,
        attempts: ready.attempts,
        result,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_fall_below_half_of_it() {
        let options = Delivery::with_seed(1);
        let mut random = StdRng::seed_from_u64(1);
        for attempts in 0..100 {
            let whole = Duration::from_millis(250 << attempts.min(7)).min(Duration::from_secs(30));
            let pause = options.pause(attempts, &mut random);
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{attempts}: {pause:?}"
            );
        }
    }
}
