//! gRPC: the protocol's types, the transcript service, and the ticket client.

pub mod access;
mod control;
pub mod convert;
mod desk;
mod peer;
pub mod people;
pub mod proto;
#[cfg(test)]
mod tests;
pub mod tls;
mod transcript;

pub use control::Controls;
pub use desk::{EndpointError, GrpcDesk, verdict};
pub use transcript::Transcripts;

/// Why a request got no answer, in the words of the lowest layer (connection refused, unknown certificate); `None` where
/// the peer itself answered.
pub fn no_answer(status: &tonic::Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}
