//! Challenges and credentials: how the stack spells digest algorithms, and what is worth answering.

use crate::gateway::sip::edge::wire::{Message, Start};
use crate::gateway::sip::stack::message::Response;
use crate::gateway::sip::stack::values_of;
use crate::sip::digest::{Challenge, Keyring, Patience, Realm};

/// The name of an algorithm as RFC 8760 has it, and as the stack has it.
const SHA_256: &str = "algorithm=SHA-256";
const STACK_SHA_256: &str = "algorithm=SHA256";

/// Leaves the stack the one challenge that it can answer: it takes the first of several, whatever its algorithm, and
/// spells SHA-256 in its own way.
pub(crate) fn simplify_challenges(message: &mut Message) {
    if !matches!(message.start, Start::Response { status: 401 | 407 }) {
        return;
    }
    for name in ["WWW-Authenticate", "Proxy-Authenticate"] {
        if let Some(best) = Challenge::best(message.all(name)) {
            message.replace(name, vec![best.to_string().replace(SHA_256, STACK_SHA_256)]);
        }
    }
}

/// Credentials of the stack's as others write them.
pub(crate) fn respelled(credentials: &str) -> String {
    credentials
        .replace(STACK_SHA_256, SHA_256)
        .replace("qop=\"auth\"", "qop=auth")
}

/// Whether an answer is a challenge that is worth being answered.
pub(crate) fn wants_credentials(
    keys: &mut Keyring,
    patience: &mut Patience,
    answer: &Response,
) -> bool {
    let Some(by) = Realm::of(answer.status_code.code()) else {
        return false;
    };
    let values: Vec<String> = values_of(answer, by.asks()).collect();
    keys.challenged(by, values.iter().map(String::as_str))
        .is_some_and(|stale| patience.allows(by, stale))
}
