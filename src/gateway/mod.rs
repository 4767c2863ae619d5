//! Sockets, the SIP stack, the call table, the gRPC server, the test phone.

#![cfg_attr(not(test), warn(unreachable_pub))]

pub mod advice;
pub mod audiosocket;
pub mod audit_writer;
pub mod calls;
pub mod draft_writer;
pub mod media;
pub mod phone;
pub mod registrations;
pub mod server;
pub mod sip;
pub mod wav;

pub use server::{ServeError, Services, bind, serve};

/// How far the threads of media and signalling stand before others, where the system allows it (`LimitNICE=` of systemd).
const NICE: i32 = -10;

/// The runtime that signalling and the servers run on; media has threads of its own.
///
/// # Errors
/// When the system refuses threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            // Without the right to it, the threads are as urgent as any other.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        })
        .build()
}
