//! Recognition in processes of their own: utterances are spread over several recognisers by their load, and come back to
//! this process's own workers when all are away.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | utterances → a recogniser | 256 owed | the next recogniser takes it, then the workers of this process |
//! | partials of a leg | one under way | the newer pass of the leg takes its place |
//!
//! Whatever becomes of a recogniser, every job gets exactly one outcome, and a final is tried wherever it can be.

mod client;
mod service;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub use client::{Remote, RemoteError};
pub use service::RecognizerService;

use super::pool::{Job, Load, RecognitionPool};
use crate::speech::{CallId, Leg, Outcome, Pass};
use client::Refusal;

/// Partials under way of which the finished ones are still noted.
const NOTED: usize = 512;

/// Everybody who recognises for this process.
pub struct Recognizers {
    shared: Arc<Shared>,
    /// The partial under way of each leg.
    partials: Mutex<HashMap<(CallId, Leg), AbortHandle>>,
    runtime: Option<Handle>,
}

struct Shared {
    local: RecognitionPool,
    remotes: Vec<Arc<Remote>>,
}

impl Recognizers {
    /// The recognisers elsewhere, and the workers of this process for when they are away. Within a tokio runtime.
    #[must_use]
    pub fn new(local: RecognitionPool, remotes: Vec<Remote>) -> Self {
        let remotes: Vec<Arc<Remote>> = remotes.into_iter().map(Arc::new).collect();
        client::watch_all(&remotes);
        Self {
            runtime: (!remotes.is_empty()).then(Handle::current),
            shared: Arc::new(Shared { local, remotes }),
            partials: Mutex::default(),
        }
    }

    /// Takes a job; never blocks.
    pub fn submit(&self, job: Job) {
        let Some(runtime) = &self.runtime else {
            self.shared.local.submit(job);
            return;
        };
        let leg = (job.utterance.key.call.clone(), job.utterance.key.leg);
        let is_partial = job.utterance.pass == Pass::Partial;
        let is_review = job.utterance.pass == Pass::Review;
        let (shared, pending) = (self.shared.clone(), Pending(Some(job)));
        let task = runtime.spawn(async move { shared.serve(pending).await });
        // Nothing panics under the lock.
        let mut partials = self.partials.lock().unwrap_or_else(PoisonError::into_inner);
        if partials.len() >= NOTED {
            partials.retain(|_, partial| !partial.is_finished());
        }
        let older = if is_review {
            None
        } else if is_partial {
            partials.insert(leg, task.abort_handle())
        } else {
            partials.remove(&leg)
        };
        if let Some(older) = older {
            older.abort();
        }
    }

    /// How busy the workers of this process are.
    #[must_use]
    pub fn load(&self) -> Load {
        self.shared.local.load()
    }

    /// Of each recogniser elsewhere whether it is there, and how many utterances it has recognised.
    #[must_use]
    pub fn served(&self) -> Vec<(bool, u64)> {
        self.shared
            .remotes
            .iter()
            .map(|remote| remote.served())
            .collect()
    }
}

/// A job on its way; one that is dropped was given up for a newer pass.
struct Pending(Option<Job>);

impl Pending {
    fn finish(mut self, outcome: Outcome) {
        if let Some(job) = self.0.take() {
            (job.reply)(job.utterance.key, outcome);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            (job.reply)(job.utterance.key, Outcome::Superseded);
        }
    }
}

impl Shared {
    async fn serve(&self, mut pending: Pending) {
        let Some((utterance, due)) = pending
            .0
            .as_ref()
            .map(|job| (job.utterance.clone(), job.due))
        else {
            return;
        };
        let mut tried = vec![false; self.remotes.len()];
        loop {
            let best = (0..tried.len())
                .filter(|at| !tried[*at])
                .filter_map(|at| Some((self.remotes[at].finish(&utterance)?, at)))
                .min();
            let Some((_, at)) = best else {
                break;
            };
            tried[at] = true;
            match self.remotes[at].recognize(&utterance, due).await {
                Ok(heard) => return pending.finish(Outcome::Recognized(heard)),
                Err(Refusal::Superseded) => return pending.finish(Outcome::Superseded),
                // A newer partial comes soon; a final is tried elsewhere.
                Err(Refusal::Full | Refusal::Away)
                    if matches!(utterance.pass, Pass::Partial | Pass::Review) =>
                {
                    return pending.finish(Outcome::Shed);
                }
                Err(Refusal::Full | Refusal::Away) => {}
            }
        }
        if let Some(job) = pending.0.take() {
            self.local.submit(job);
        }
    }
}
