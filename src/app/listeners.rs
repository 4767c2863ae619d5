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
        Self::within(spare_descriptors(calls, wanted), sip)
    }

    /// All that each wants where there is room for it; else each has its part of what there is.
    fn within(spare: usize, sip: usize) -> Self {
        let (console, grpc) = (console::CONNECTIONS.total, server::CONNECTIONS.total);
        let is_ample = spare >= console + grpc + sip;
        let part = |wanted: usize, eighths: usize| {
            if is_ample {
                wanted
            } else {
                wanted.min((spare * eighths / 8).max(1))
            }
        };
        Self {
            sip: part(sip, 3),
            console: part(console, 3),
            grpc: part(grpc, 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_what_they_want_or_share_what_there_is() {
        let of = |spare, sip| {
            let Connections { sip, console, grpc } = Connections::within(spare, sip);
            (sip, console, grpc)
        };
        let (console, grpc) = (console::CONNECTIONS.total, server::CONNECTIONS.total);
        assert_eq!(of(console + grpc + 3_000, 3_000), (3_000, console, grpc));
        assert_eq!(of(800, 1_000), (300, 300, 200));
        assert_eq!(of(800, 100), (100, 300, 200));
    }
}
