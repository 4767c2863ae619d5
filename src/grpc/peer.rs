//! Who asks: a client by its name, or by its address.

use tonic::Request;

use super::access::{KnownClient, Shown};
use crate::control::Actor;

/// Who sent `request`: the client's name, where clients are known by certificates or tokens, else its address.
pub(super) fn actor<T>(request: &Request<T>) -> Actor {
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
