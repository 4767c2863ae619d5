//! What is served by gRPC, and to whom.

use std::io;
use std::path::Path;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::records::Records;
use crate::access::People;
use crate::config::delivery::{self, Grpc};
use crate::control::CallControl;
use crate::gateway::{self, Services};
use crate::grpc::access::{Access, Client, Role};
use crate::grpc::people::PeopleServices;
use crate::grpc::tls::{Acceptor, Identity};
use crate::grpc::{Controls, Transcripts};
use crate::ticketing::Backend;

/// What gRPC clients are shown, and asked for.
pub(super) fn tls(settings: &Grpc) -> Result<Option<Acceptor>, StartError> {
    let Some(tls) = settings.tls.clone() else {
        return Ok(None);
    };
    let identity = Identity {
        cert: tls.cert,
        key: tls.key,
    };
    Acceptor::new(identity, tls.client_ca)
        .map(Some)
        .map_err(StartError::Tls)
}

/// Who may use the gRPC services.
pub(super) fn access(settings: &Grpc) -> Result<Access, StartError> {
    let clients = settings.client.iter().map(|client| {
        let token = client.token_file.as_deref().map(token).transpose()?;
        let roles = client.roles.iter().map(|role| match role {
            delivery::Role::Transcripts => Role::Transcripts,
            delivery::Role::ControlCalls => Role::ControlCalls,
            delivery::Role::ReadTickets => Role::ReadTickets,
            delivery::Role::WriteTickets => Role::WriteTickets,
        });
        Ok(Client::new(&client.name, token.as_deref(), roles))
    });
    clients.collect::<Result<_, _>>().map(Access::of)
}

/// The word that a client shows.
fn token(file: &Path) -> Result<String, StartError> {
    let token = std::fs::read_to_string(file).and_then(|text| match text.trim() {
        "" => Err(io::Error::other("it is empty")),
        token => Ok(token.to_owned()),
    });
    token.map_err(|source| StartError::Token {
        file: file.to_owned(),
        source,
    })
}

/// What is served by gRPC.
pub(super) fn services(
    records: &Records,
    control: &CallControl,
    access: Access,
    people: Option<People>,
    connections: usize,
) -> Services {
    let (bus, store) = (records.bus.clone(), records.store.clone());
    Services {
        transcripts: Some(Transcripts::new(bus, store, control.clone())),
        control: Some(Controls::new(control.clone())),
        ticketing: records.book.clone().map(Backend::new),
        people: people.map(PeopleServices::new),
        access,
        connections: Some(connections),
        ..Services::default()
    }
}

/// Serves gRPC until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    services: Services,
    tls: Option<Acceptor>,
    stop: CancellationToken,
) {
    if let Err(error) = gateway::serve(listener, services, tls, stop).await {
        tracing::error!("the gRPC server stopped: {error}");
    }
}
