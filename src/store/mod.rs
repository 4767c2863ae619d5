//! What must outlive the process: calls, their transcript events, drafts, and the outbox, in one `SQLite` file or in a
//! PostgreSQL database, which several gateways may share.
//!
//! [`Store::open`] → [`EventWriter`] keeps the bus's durable events; [`Store::outbox`] keeps drafts until the
//! ticketing backend has them. Text is personal data: it is in the records, and nowhere in messages or logs.

mod audit;
mod calls;
pub(crate) mod copy;
pub(crate) mod database;
mod delivery;
mod gists;
mod location;
mod nodes;
mod outbox;
mod people;
pub mod postgres;
mod recordings;
mod registered_locations;
mod replay;
pub mod sqlite;
#[cfg(test)]
mod tests;
pub mod write_behind;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use audit::{AuditFilter, AuditRecord, Chain};
pub use calls::{CallRecord, PageKey};
pub use copy::{Copied, CopyError};
pub use database::{Failing, OpenError};
pub use delivery::Delivery;
#[cfg(test)]
pub(crate) use location::at;
pub use location::{Address, Location, LocationError, redacted};
pub use outbox::{Entry, EntryKind, EntryState, HeldDraft, Lane, Outbox, Put};
pub use people::KeptAccount;
pub use registered_locations::RegisteredLocation;
pub use replay::{Listed, Replay, operator_of, recent_calls_shown};
pub use write_behind::WriteBehind;
pub use writer::EventWriter;

use database::{Database, Schema};
use nodes::Node;
use outbox::Lanes;

const SCHEMA: Schema = Schema {
    name: "gateway",
    // "XqGw"
    application_id: 0x5871_4777,
    what: "a call store of this gateway",
    sqlite: sqlite::schema::GATEWAY,
    postgres: postgres::schema::GATEWAY,
};

/// Why the store could not do something.
#[derive(Debug)]
pub enum StoreError {
    /// The records cannot be opened.
    Open(OpenError),
    /// There is no such file.
    Absent(PathBuf),
    /// The database refused, for instance because the disk is full.
    Database {
        /// What was being done, e.g. `saving transcript events`.
        doing: &'static str,
        /// What it says; never a stored value.
        source: sqlx::Error,
    },
    /// A row does not hold what this program writes. The parser's message is left out: it quotes the row.
    Unreadable {
        /// Which kind of row.
        what: &'static str,
        /// Its call or position.
        key: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Absent(path) => write!(
                f,
                "there are no gateway's records at '{}'; name them with --set store.url=sqlite:FILE",
                path.display()
            ),
            Self::Database { doing, source } => write!(f, "{doing} failed: {source}"),
            Self::Unreadable { what, key } => write!(f, "the stored {what} {key} cannot be read"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Database { source, .. } => Some(source),
            Self::Absent(_) | Self::Unreadable { .. } => None,
        }
    }
}

/// Names what was being done when a statement failed.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}

/// The gateway's store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    db: Database,
    node: Node,
    lanes: Arc<Lanes>,
}

impl Store {
    /// Opens the records, making them where they are missing; drafts go to the ticketing backend.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence that names file or server, and the remedy.
    pub async fn open(at: impl Into<Location>) -> Result<Self, StoreError> {
        Self::open_with(at, &[Lane::Ticketing]).await
    }

    /// The same, with the receivers that new drafts are put in for.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(at: impl Into<Location>, lanes: &[Lane]) -> Result<Self, StoreError> {
        let db = Database::open(&at.into(), &SCHEMA)
            .await
            .map_err(StoreError::Open)?;
        Ok(Self {
            db,
            node: Node::default(),
            lanes: Lanes::new(lanes),
        })
    }

    /// Opens the records of a gateway, also beside a running one; never makes a new file.
    ///
    /// # Errors
    /// [`StoreError::Absent`], or as [`Store::open`].
    pub async fn open_existing(at: impl Into<Location>) -> Result<Self, StoreError> {
        let at = at.into();
        if let Location::Sqlite(path) = &at
            && !path.exists()
        {
            return Err(StoreError::Absent(path.clone()));
        }
        Self::open(at).await
    }

    /// Since when nothing can be written, and why; `None` while all is well. Looks at no disk.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        self.db.failing()
    }

    /// The drafts on their way to the ticketing backend.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.db.clone(), self.node.clone(), self.lanes.clone())
    }

    /// Leaves the other nodes what is left, waits for running statements and closes the records.
    pub async fn close(&self) {
        self.leave().await;
        self.db.close().await;
    }
}

/// Milliseconds since 1970: the resolution of wall time in the store and in the protocol.
pub(crate) fn unix_ms(at: SystemTime) -> i64 {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

fn from_unix_ms(ms: i64) -> SystemTime {
    let span = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 {
        SystemTime::UNIX_EPOCH - span
    } else {
        SystemTime::UNIX_EPOCH + span
    }
}
