//! What brings to disk what calls and phones leave behind.

use std::sync::Arc;

use super::tasks::Tasks;
use crate::events::Bus;
use crate::gateway::audit_writer::AuditWriter;
use crate::gateway::draft_writer::DraftWriter;
use crate::gateway::registrations::RegistrationStore;
use crate::store::{EventWriter, Store};
use crate::telemetry::{Fault, Readiness};

/// One for each kind.
pub(super) struct Writers {
    pub drafts: Arc<DraftWriter>,
    pub registrations: Arc<RegistrationStore>,
    pub events: Arc<EventWriter>,
    pub audit: Arc<AuditWriter>,
}

impl Writers {
    pub fn new(registrations: Arc<RegistrationStore>, bus: Bus) -> Self {
        Self {
            drafts: Arc::default(),
            registrations,
            events: Arc::new(EventWriter::new(bus)),
            audit: Arc::default(),
        }
    }

    /// Has `readiness` tell what does not come to disk.
    pub fn tell(&self, readiness: &Readiness) {
        let (drafts, events) = (self.drafts.clone(), self.events.clone());
        let registrations = self.registrations.clone();
        readiness.watch(Fault::RecordsUnwritten, move || drafts.health().fault());
        readiness.watch(Fault::RecordsUnwritten, move || events.health().fault());
        let audit = self.audit.clone();
        readiness.watch(Fault::RecordsUnwritten, move || {
            registrations.health().fault()
        });
        readiness.watch(Fault::RecordsUnwritten, move || audit.health().fault());
    }

    /// Writes until the tasks are told to stop, then the rest.
    pub fn run(&self, store: &Store, tasks: &Tasks) {
        let (drafts, outbox) = (self.drafts.clone(), store.outbox());
        tasks.spawn(|stop| async move { drafts.run(&outbox, &stop).await });
        let (registrations, own) = (self.registrations.clone(), store.clone());
        tasks.spawn(|stop| async move { registrations.run(&own, &stop).await });
        let (events, own) = (self.events.clone(), store.clone());
        tasks.spawn(|stop| async move { events.run(&own, &stop).await });
        let (audit, own) = (self.audit.clone(), store.clone());
        tasks.spawn(|stop| async move { audit.run(&own, &stop).await });
    }
}
