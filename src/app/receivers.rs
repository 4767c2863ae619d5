//! Who gets the drafts: the ticketing backend, and a webhook where one is set up.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::records::Records;
use super::tasks::Tasks;
use crate::config::Ticketing;
use crate::config::delivery::Webhook as WebhookSettings;
use crate::grpc::GrpcDesk;
use crate::grpc::tls::{Connector, Identity};
use crate::store::{Delivery, Lane, Outbox};
use crate::ticket::desk::TicketDesk;
use crate::ticketing::Backend;
use crate::webhook::Webhook;

/// Set up, and not yet delivered to.
pub(super) struct Receivers {
    /// Without one, the reference backend in this process.
    backend: Option<GrpcDesk>,
    /// How drafts are handed to either.
    handover: Delivery,
    webhook: Option<(Webhook, Delivery)>,
}

impl Receivers {
    pub fn read(ticketing: &Ticketing, settings: &WebhookSettings) -> Result<Self, StartError> {
        let webhook = webhook(settings)?;
        Ok(Self {
            backend: backend(ticketing)?,
            handover: delivery(ticketing.deadline_s),
            webhook: webhook.map(|webhook| (webhook, delivery(settings.timeout_s))),
        })
    }

    /// The lanes of the outbox that lead to them.
    pub fn lanes(&self) -> Vec<Lane> {
        let webhook = self.webhook.as_ref().map(|_| Lane::Webhook);
        [Lane::Ticketing].into_iter().chain(webhook).collect()
    }

    /// Delivers what is in the outbox until the tasks are told to stop.
    pub fn deliver(self, records: &Records, tasks: &Tasks) {
        let outbox = records.store.outbox();
        if let Some(desk) = self.backend {
            deliver(outbox.clone(), Lane::Ticketing, desk, self.handover, tasks);
        } else if let Some(book) = records.book.clone() {
            // Within the process: a door for it would stand open to everybody on this machine.
            let desk = Backend::new(book);
            deliver(outbox.clone(), Lane::Ticketing, desk, self.handover, tasks);
        }
        if let Some((webhook, handover)) = self.webhook {
            deliver(outbox, Lane::Webhook, webhook, handover, tasks);
        }
    }
}

fn deliver(
    outbox: Outbox,
    lane: Lane,
    desk: impl TicketDesk + 'static,
    handover: Delivery,
    tasks: &Tasks,
) {
    tasks.spawn(|stop| outbox.deliver(lane, Arc::new(desk), handover, stop));
}

/// The backend elsewhere, where there is one.
fn backend(settings: &Ticketing) -> Result<Option<GrpcDesk>, StartError> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(None);
    };
    let identity = settings.cert.clone().zip(settings.key.clone());
    let identity = identity.map(|(cert, key)| Identity { cert, key });
    let tls = settings
        .ca
        .clone()
        .map(|ca| Connector::new(ca, identity, settings.domain.clone()))
        .transpose()
        .map_err(StartError::Tls)?;
    GrpcDesk::new(endpoint, tls, Duration::from_secs(settings.deadline_s))
        .map(Some)
        .map_err(StartError::Endpoint)
}

fn webhook(settings: &WebhookSettings) -> Result<Option<Webhook>, StartError> {
    let (Some(url), Some(secret)) = (&settings.url, &settings.secret_file) else {
        return Ok(None);
    };
    let timeout = Duration::from_secs(settings.timeout_s);
    Webhook::new(url, secret, settings.ca.as_deref(), timeout)
        .map(Some)
        .map_err(StartError::Webhook)
}

/// Hand-overs whose requests take `seconds` at most: they give up first, and say why.
fn delivery(seconds: u64) -> Delivery {
    Delivery {
        deadline: Duration::from_secs(seconds + 5),
        ..Delivery::with_seed(rand::random())
    }
}
