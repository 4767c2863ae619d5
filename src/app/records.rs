//! What is on disk: the gateway's records, and the reference backend's where it runs here.

use std::path::Path;

use tracing::warn;

use super::StartError;
use crate::config;
use crate::events::Bus;
use crate::recording::make_private_folder;
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
        make_folder(&store.database)?;
        let store = Store::open_with(&store.database, lanes)
            .await
            .map_err(StartError::Store)?;
        let abandoned = store.outbox().close_abandoned().await;
        match abandoned.map_err(StartError::Store)? {
            0 => {}
            calls => warn!("the drafts of {calls} calls that were broken off are closed"),
        }
        let book = match &ticketing.endpoint {
            Some(_) => None,
            None => {
                make_folder(&ticketing.database)?;
                let book = Book::open(&ticketing.database).await;
                Some(book.map_err(StartError::Book)?)
            }
        };
        Ok(Self {
            bus: Bus::new(store.begin_run().await.map_err(StartError::Store)?),
            store,
            book,
        })
    }

    /// Waits for running statements and closes the files.
    pub async fn close(&self) {
        self.store.close().await;
        if let Some(book) = &self.book {
            book.close().await;
        }
    }
}

/// The folder that a file is to be in.
fn make_folder(file: &Path) -> Result<(), StartError> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    make_private_folder(folder).map_err(|source| StartError::Folder {
        folder: folder.to_owned(),
        source,
    })
}
