//! gRPC: the protocol's types, the transcript service, and the ticket client.

pub mod convert;
mod desk;
pub mod proto;
#[cfg(test)]
mod tests;
pub mod tls;
mod transcript;

pub use desk::{EndpointError, GrpcDesk};
pub use transcript::Transcripts;
