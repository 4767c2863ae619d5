//! The seam to the ticketing backend, or another receiver of drafts: what is handed over, and what the backend may say to it.

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};

use super::TicketDraft;
use crate::private::Private;
use crate::speech::CallId;
use crate::transcript::Line;

/// What makes a hand-over idempotent: the same key again is the same hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DraftKey {
    /// The call.
    pub call: CallId,
    /// Counts the call's drafts from 1; higher replaces lower.
    pub revision: u64,
}

/// A draft on its way to the backend, complete in itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Which call and which revision.
    pub key: DraftKey,
    /// The whole draft.
    pub draft: TicketDraft,
    /// The final lines that the evidence points into; they give each piece of evidence its time.
    pub lines: Vec<Line>,
}

/// The backend's acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The backend's own number for the ticket.
    pub ticket: String,
    /// False when the backend holds something newer, so that this content was not taken.
    pub applied: bool,
}

/// Why a hand-over failed, in the one distinction that the outbox needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeskError {
    /// Nobody could take it now: try again later.
    Unavailable {
        /// A short code for logs and metrics, e.g. `deadline exceeded`.
        code: &'static str,
    },
    /// The backend does not want it as it is: trying again is of no use until somebody has acted.
    Rejected {
        /// A short code for logs and metrics, e.g. `invalid argument`.
        code: &'static str,
        /// The backend's sentence, which may quote the draft.
        reason: Private<String>,
    },
}

impl fmt::Display for DeskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { code } => {
                write!(f, "the receiver cannot take it now ({code})")
            }
            Self::Rejected { code, reason } => {
                write!(
                    f,
                    "the receiver refused the draft ({code}, reason of {reason})"
                )
            }
        }
    }
}

impl std::error::Error for DeskError {}

/// Takes drafts on behalf of the ticketing backend.
///
/// Calls for one draft come one after the other and in the order of their revisions; a call that failed as
/// [`DeskError::Unavailable`] may have reached the backend all the same, and is made again.
pub trait TicketDesk: Send + Sync {
    /// Hands over a draft while the call goes on.
    ///
    /// # Errors
    /// [`DeskError::Unavailable`] to be retried, [`DeskError::Rejected`] to be parked.
    fn upsert(
        &self,
        submission: &Submission,
    ) -> impl Future<Output = Result<Receipt, DeskError>> + Send;

    /// Hands over the final draft of a call that is over.
    ///
    /// # Errors
    /// As for [`TicketDesk::upsert`].
    fn close(
        &self,
        submission: &Submission,
    ) -> impl Future<Output = Result<Receipt, DeskError>> + Send;
}
