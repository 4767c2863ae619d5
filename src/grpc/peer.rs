//! Who asks: a client by its name, or by its address; or somebody who is signed in.

use tonic::{Request, Status};

use super::access::{KnownClient, Shown};
use super::people::sight;
use crate::access::{People, Refusal, Sight};
use crate::control::Actor;
use crate::events::Bus;
use crate::people::Action;
use crate::speech::CallId;
use crate::store::{Store, operator_of};

/// Who sent a request, and what of the calls they may see and do.
pub(super) enum Peer {
    /// A program; its role was asked for before.
    Program(Actor),
    /// Somebody who is signed in.
    Person(Box<Sight>),
}

impl Peer {
    /// Who sent `request`; with `people` it is one of them.
    pub async fn of<T>(people: Option<&People>, request: &Request<T>) -> Result<Self, Status> {
        match people {
            None => Ok(Self::Program(actor(request))),
            Some(people) => Ok(Self::Person(Box::new(sight(people, request).await?))),
        }
    }

    pub fn actor(&self) -> Actor {
        match self {
            Self::Program(actor) => actor.clone(),
            Self::Person(sight) => sight.caller().actor(),
        }
    }

    /// Whether `action` is allowed on a call that `phone` answers.
    pub fn may(&self, action: Action, phone: &str) -> bool {
        match self {
            Self::Program(_) => true,
            Self::Person(sight) => sight.may(action, phone),
        }
    }

    /// Whether `action` is allowed on `call`; of one that nobody knows the service itself says so.
    pub async fn demand(
        &self,
        (bus, store): (&Bus, &Store),
        action: Action,
        call: &CallId,
    ) -> Result<(), Status> {
        if matches!(self, Self::Program(_)) {
            return Ok(());
        }
        let operator = operator_of(bus, store, call).await.map_err(Refusal::from)?;
        match operator {
            Some(operator) if !self.may(action, &operator) => Err(Refusal::MayNot.into()),
            _ => Ok(()),
        }
    }
}

/// Who sent `request`: the client's name, where clients are known by certificates or tokens, else its address.
fn actor<T>(request: &Request<T>) -> Actor {
    let known = request.extensions().get::<KnownClient>();
    let shown = request.extensions().get::<Shown>();
    let address = shown
        .and_then(|shown| shown.address)
        .or_else(|| request.remote_addr());
    let service = match (known, address) {
        (Some(KnownClient(name)), _) => name.clone(),
        (None, Some(address)) => address.ip().to_string(),
        (None, None) => "unknown".to_owned(),
    };
    Actor::Service { service }
}
