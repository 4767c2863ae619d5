//! What the settings make of the ways out: TLS, the ticketing backend, the webhook, the language model.

use std::io;
use std::time::Duration;

use super::serve::StartError;
use crate::config::{Config, delivery};
use crate::grpc::GrpcDesk;
use crate::grpc::access::{Access, Client, Role};
use crate::grpc::tls::{Acceptor, Connector, Identity, TlsError};
use crate::language_model::{KeyError, LanguageModel};
use crate::store::Delivery;
use crate::ticket::Taxonomy;
use crate::ticket::reading::Reader;
use crate::webhook::{Webhook, WebhookError};

/// What gRPC clients are shown, and asked for.
pub(super) fn grpc_tls(config: &Config) -> Result<Option<Acceptor>, TlsError> {
    let Some(tls) = config.grpc.tls.clone() else {
        return Ok(None);
    };
    let identity = Identity {
        cert: tls.cert,
        key: tls.key,
    };
    Acceptor::new(identity, tls.client_ca).map(Some)
}

/// Who may use the gRPC services.
pub(super) fn grpc_access(config: &Config) -> Result<Access, StartError> {
    let clients = config.grpc.client.iter().map(|client| {
        let token = client.token_file.as_ref().map(|file| {
            let read = std::fs::read_to_string(file);
            read.map_err(|source| StartError::Token {
                file: file.clone(),
                source,
            })
        });
        let token = token.transpose()?;
        let token = token.as_deref().map(str::trim);
        if token.is_some_and(str::is_empty) {
            return Err(StartError::Token {
                file: client.token_file.clone().unwrap_or_default(),
                source: io::Error::other("it is empty"),
            });
        }
        let roles = client.roles.iter().map(|role| match role {
            delivery::Role::Transcripts => Role::Transcripts,
            delivery::Role::ReadTickets => Role::ReadTickets,
            delivery::Role::WriteTickets => Role::WriteTickets,
        });
        Ok(Client::new(&client.name, token, roles))
    });
    clients.collect::<Result<_, _>>().map(Access::of)
}

/// The ticketing backend at `endpoint`.
pub(super) fn desk(config: &Config, endpoint: &str) -> Result<GrpcDesk, StartError> {
    let ticketing = &config.ticketing;
    let identity = ticketing.cert.clone().zip(ticketing.key.clone());
    let identity = identity.map(|(cert, key)| Identity { cert, key });
    let tls = ticketing
        .ca
        .clone()
        .map(|ca| Connector::new(ca, identity, ticketing.domain.clone()))
        .transpose()
        .map_err(StartError::Tls)?;
    GrpcDesk::new(endpoint, tls, Duration::from_secs(ticketing.deadline_s))
        .map_err(StartError::Endpoint)
}

/// The second way out, where there is one.
pub(super) fn webhook(config: &Config) -> Result<Option<Webhook>, WebhookError> {
    let webhook = &config.webhook;
    let (Some(url), Some(secret)) = (&webhook.url, &webhook.secret_file) else {
        return Ok(None);
    };
    let timeout = Duration::from_secs(webhook.timeout_s);
    Webhook::new(url, secret, webhook.ca.as_deref(), timeout).map(Some)
}

/// The model that reads along, where there is one.
pub(super) fn language_model(
    config: &Config,
    taxonomy: &Taxonomy,
) -> Result<Option<LanguageModel>, KeyError> {
    let model = &config.language_model;
    let Some(url) = &model.url else {
        return Ok(None);
    };
    let made = LanguageModel::new(
        url,
        &model.model,
        model.api_key_file.as_deref(),
        Duration::from_secs(model.timeout_s),
        model.allow_public,
        Reader::new(taxonomy),
    );
    made.map(Some)
}

/// Hand-overs whose requests take `seconds` at most: they give up first, and say why.
pub(super) fn delivery(seconds: u64) -> Delivery {
    Delivery {
        deadline: Duration::from_secs(seconds + 5),
        ..Delivery::with_seed(rand::random())
    }
}
