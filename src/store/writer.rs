//! Keeps the bus's durable events, which stay in the bus until they are on disk.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Store;
use super::write_behind::{Health, Queue, WriteBehind};
use crate::events::{Bus, Event};

/// Writes what the bus publishes.
#[derive(Debug)]
pub struct EventWriter(WriteBehind<Bus>);

impl EventWriter {
    /// A writer of `bus`, which is to have no other.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self(WriteBehind::new("transcript events", bus))
    }

    /// Writes until `stop`, then the rest; returns how many events could not be written.
    pub async fn run(&self, store: &Store, stop: &CancellationToken) -> usize {
        let write = |events: Vec<_>| async move { store.append(&events).await };
        self.0.run(write, stop).await
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }
}

impl Queue for Bus {
    type Item = Arc<Event>;

    fn oldest(&self, limit: usize) -> Vec<Self::Item> {
        self.unsaved_now(limit)
    }

    fn written(&self, batch: &[Self::Item]) {
        self.mark_saved(batch);
    }

    fn waiting(&self) -> usize {
        self.unsaved_now(usize::MAX).len()
    }

    async fn arrival(&self) {
        self.unsaved(1).await;
    }
}
