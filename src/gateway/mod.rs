//! Where the rooms are wired together: for now the one gRPC server that carries their services.

mod server;

pub use server::{ServeError, Services, bind, serve};
