//! The reference backend as the gateway's own desk: called within the process, so that no door stands open for it.

use super::Backend;
use crate::grpc::proto::ticket::v1::Outcome;
use crate::grpc::{convert, verdict};
use crate::ticket::desk::{DeskError, Receipt, Submission, TicketDesk};

impl Backend {
    async fn hand_over(&self, submission: &Submission, close: bool) -> Result<Receipt, DeskError> {
        let key = convert::key(&submission.key);
        let draft = convert::submission(submission);
        let taken = self.take(Some(key), Some(draft), close).await;
        let (outcome, ticket) = taken.map_err(|status| verdict(&status))?;
        Ok(Receipt {
            ticket,
            applied: outcome != Outcome::Stale,
        })
    }
}

impl TicketDesk for Backend {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.hand_over(submission, false).await
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.hand_over(submission, true).await
    }
}
