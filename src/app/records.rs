//! What outlives the process: the gateway's records, and the reference backend's where it runs here.

use tracing::warn;

use super::StartError;
use crate::config;
use crate::events::Bus;
use crate::store::{Lane, Store};
use crate::ticketing::Book;

/// Open, with what an earlier run left in order.
pub(super) struct Records {
    pub store: Store,
    /// The reference backend's.
    pub book: Option<Book>,
    /// Its positions go on behind those of earlier runs.
    pub bus: Bus,
}

impl Records {
    pub async fn open(
        store: &config::Store,
        ticketing: &config::Ticketing,
        lanes: &[Lane],
    ) -> Result<Self, StartError> {
        let at = store.location().map_err(StartError::Records)?;
        let store = Store::open_with(at, lanes)
            .await
            .map_err(StartError::Store)?;
        let bus = Bus::new(store.begin_run().await.map_err(StartError::Store)?);
        let abandoned = store.outbox().close_abandoned().await;
        match abandoned.map_err(StartError::Store)? {
            0 => {}
            calls => warn!("the drafts of {calls} calls that were broken off are closed"),
        }
        let book = if ticketing.endpoint.is_some() {
            None
        } else {
            let at = ticketing.location().map_err(StartError::Records)?;
            let book = Book::open(at).await;
            Some(book.map_err(StartError::Book)?)
        };
        Ok(Self { store, book, bus })
    }

    /// Waits for running statements and closes both.
    pub async fn close(&self) {
        self.store.close().await;
        if let Some(book) = &self.book {
            book.close().await;
        }
    }
}
