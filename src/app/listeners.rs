//! The addresses that the gateway takes beside SIP's, and how many connections each may have.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::StartError;
use crate::config::Config;
use crate::console;
use crate::gateway::{self, server};
use crate::listener::spare_descriptors;

/// Bound, and not served yet.
pub(super) struct Listeners {
    pub grpc: TcpListener,
    pub console: TcpListener,
    /// For the callers' and the operators' connections.
    pub audiosocket: Option<[TcpListener; 2]>,
}

impl Listeners {
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let audiosocket = match config.audiosocket.listens() {
            Some([caller, operator]) => Some([
                bind("audiosocket.caller", caller).await?,
                bind("audiosocket.operator", operator).await?,
            ]),
            None => None,
        };
        Ok(Self {
            grpc: bind("grpc.listen", config.grpc.listen).await?,
            console: bind("console.listen", config.console.listen).await?,
            audiosocket,
        })
    }

    /// Where the page and the gRPC services are; what the settings ask for may leave the port open.
    pub fn addresses(&self, config: &Config) -> (SocketAddr, SocketAddr) {
        let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
        (
            address(&self.console, config.console.listen),
            address(&self.grpc, config.grpc.listen),
        )
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    gateway::bind(address)
        .await
        .map_err(|source| StartError::Listen { key, source })
}

/// Connections that each listener may have at a time, so that descriptors for the calls are left.
#[derive(Clone, Copy)]
pub(super) struct Connections {
    pub sip: usize,
    pub console: usize,
    pub grpc: usize,
}

impl Connections {
    /// What can be had beside so many calls, where SIP is to have `sip`.
    pub fn beside(calls: usize, sip: usize) -> Self {
        let wanted = console::CONNECTIONS.total + server::CONNECTIONS.total + sip;
        let spare = spare_descriptors(calls, wanted);
        let eighths = |parts: usize| (spare * parts / 8).max(1);
        Self {
            sip: sip.min(eighths(3)),
            console: eighths(3),
            grpc: eighths(2),
        }
    }
}
