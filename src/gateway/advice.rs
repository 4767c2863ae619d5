//! What is found out beside each call: earlier tickets that its draft resembles, and what a language model reads.
//!
//! Two tasks a call look at its newest draft; neither ever holds the call up, and what they find comes back as an input.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | drafts to look at | one a call | the newer draft replaces the older |

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::language_model::LanguageModel;
use crate::speech::{CallId, Leg};
use crate::store::Store;
use crate::ticket::TicketDraft;
use crate::ticket::advice::Advice;
use crate::ticket::resemble::TicketFingerprint;
use crate::transcript::Line;

/// A call's draft and the lines that it was drawn from.
#[derive(Clone, Debug, Default)]
pub struct Considered {
    /// The draft.
    pub draft: Arc<TicketDraft>,
    /// The final lines.
    pub lines: Vec<Line>,
}

/// Looks things up for calls, or nothing by default; clones share it.
#[derive(Clone, Default)]
pub struct Advisor {
    /// The store, and the runtime that the looking up is done on: calls live on threads of their own.
    store: Option<(Store, Handle)>,
    model: Option<LanguageModel>,
}

impl Advisor {
    /// Looks into `store`, and asks `model` where there is one; needs a running tokio runtime.
    #[must_use]
    pub fn new(store: Store, model: Option<LanguageModel>) -> Self {
        Self {
            store: Some((store, Handle::current())),
            model,
        }
    }

    /// Attends to a call until what is returned is dropped; `reply` takes what is found.
    #[must_use]
    pub fn attend<R>(&self, call: CallId, first: Considered, reply: R) -> watch::Sender<Considered>
    where
        R: Fn(Advice) + Clone + Send + Sync + 'static,
    {
        let (sender, drafts) = watch::channel(first);
        if let Some((store, runtime)) = self.store.clone() {
            runtime.spawn(look_back(
                store,
                call.clone(),
                drafts.clone(),
                reply.clone(),
            ));
            if let Some(model) = self.model.clone() {
                runtime.spawn(read_along(model, call, drafts, reply));
            }
        }
        sender
    }
}

/// Looks for earlier tickets whenever what the draft is about has changed.
async fn look_back(
    store: Store,
    call: CallId,
    mut drafts: watch::Receiver<Considered>,
    reply: impl Fn(Advice),
) {
    let (mut last, mut told) = (TicketFingerprint::default(), Vec::new());
    loop {
        let gist = TicketFingerprint::of(&drafts.borrow_and_update().draft);
        if gist != last {
            match store.resembling(&call, &gist).await {
                Ok(found) if found != told => {
                    told.clone_from(&found);
                    reply(Advice::Resembles(found));
                }
                Ok(_) => {}
                Err(error) => warn!(%call, %error, "earlier tickets are not looked for"),
            }
            last = gist;
        }
        if drafts.changed().await.is_err() {
            return;
        }
    }
}

/// Has the model read whenever the caller has said more.
async fn read_along(
    model: LanguageModel,
    call: CallId,
    mut drafts: watch::Receiver<Considered>,
    reply: impl Fn(Advice),
) {
    let mut read = 0;
    loop {
        let Some(place) = model.place().await else {
            return;
        };
        let lines = drafts.borrow_and_update().lines.clone();
        let said = lines
            .iter()
            .filter(|line| line.leg != Leg::Operator)
            .count();
        if said > read {
            read = said;
            match model.read(lines).await {
                Ok(fields) => {
                    debug!(%call, fields = fields.len(), "the language model has read along");
                    reply(Advice::Read(fields));
                }
                Err(error) => info!(%call, %error, "the rules' draft stands alone"),
            }
        }
        drop(place);
        if drafts.changed().await.is_err() {
            return;
        }
    }
}
