//! Where the rooms are wired together: sockets, the SIP stack, the call table, the servers, the test phone.

pub mod calls;
pub mod keeper;
pub mod phone;
pub mod ports;
pub mod serve;
mod server;
pub mod sip;
pub mod wav;

pub use server::{ServeError, Services, bind, serve};
