//! What somebody who is signed in may see of the calls, as long as the session lasts.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Caller, People, Refusal, Roster};
use crate::people::Action;

/// One caller's view.
#[derive(Debug)]
pub struct Sight {
    people: People,
    caller: Arc<Caller>,
    token: Arc<str>,
    roster: Arc<Roster>,
    endings: broadcast::Receiver<Arc<str>>,
}

impl Sight {
    /// Of who shows `token`.
    ///
    /// # Errors
    /// [`Refusal`] when something has to be done first, or the records cannot be read.
    pub async fn open(
        people: &People,
        caller: Arc<Caller>,
        token: Arc<str>,
    ) -> Result<Self, Refusal> {
        caller.demand_ready()?;
        Ok(Self {
            roster: people.roster().await?,
            endings: people.endings(),
            people: people.clone(),
            caller,
            token,
        })
    }

    /// One more of the same caller, for a stream of its own.
    ///
    /// # Errors
    /// As [`Sight::open`].
    pub async fn again(&self, people: &People) -> Result<Self, Refusal> {
        Self::open(people, self.caller.clone(), self.token.clone()).await
    }

    /// Whose it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether `action` is allowed on a call that `phone` answers.
    #[must_use]
    pub fn may(&self, action: Action, phone: &str) -> bool {
        self.caller.may_on(action, phone, &self.roster)
    }

    /// Looks again: what another node has changed is seen as well, some seconds later. What was known holds while the
    /// records cannot be read.
    ///
    /// # Errors
    /// [`Refusal::SignIn`] when the session has ended.
    pub async fn renew(&mut self) -> Result<(), Refusal> {
        let address = self.caller.address;
        let look = async {
            self.caller = self.people.still_holds(&self.token, address).await?;
            self.people.roster().await
        };
        match look.await {
            Ok(roster) => self.roster = roster,
            Err(Refusal::SignIn) => return Err(Refusal::SignIn),
            Err(_) => {}
        }
        Ok(())
    }

    /// Ends when the session does.
    pub async fn closed(&mut self) {
        loop {
            match self.endings.recv().await {
                Ok(ended) if *ended == *self.caller.session.id => return,
                // Those that were missed are found by looking.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}
