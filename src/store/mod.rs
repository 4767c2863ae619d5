//! What must outlive the process: calls, their transcript events, drafts, and the outbox, in one `SQLite` file.
//!
//! [`Store::open`] → [`EventWriter`] keeps the bus's durable events; [`Store::outbox`] keeps drafts until the
//! ticketing backend has them. Text is personal data: it is in the file, and nowhere in messages or logs.

mod calls;
mod delivery;
mod gists;
mod outbox;
mod places;
mod recordings;
mod replay;
pub mod sqlite;
pub mod write_behind;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use calls::{CallRecord, PageKey};
pub use delivery::Delivery;
pub use outbox::{Entry, EntryKind, EntryState, HeldDraft, Lane, Outbox, Put};
pub use places::Place;
pub use replay::{Listed, Replay, recent_calls};
pub use sqlite::OpenError;
pub use write_behind::WriteBehind;
pub use writer::EventWriter;

use outbox::Lanes;
use sqlite::{Database, Schema};

/// How far positions jump at every start: more than the unsaved ones (partial lines, drafts) that a run can have
/// given out behind its last saved event, so that no position is ever given twice.
const POSITIONS_PER_RUN: i64 = 1 << 32;

const SCHEMA: Schema = Schema {
    // "XqGw"
    application_id: 0x5871_4777,
    what: "a call store of this gateway",
    migrations: &[
        "
        CREATE TABLE runs (first_position INTEGER NOT NULL);
        CREATE TABLE calls (
            call_id       TEXT PRIMARY KEY,
            operator      TEXT NOT NULL,
            called        TEXT NOT NULL,
            caller_number TEXT,
            started_ms    INTEGER NOT NULL,
            answered_ms   INTEGER,
            duration_us   INTEGER,
            end_reason    TEXT
        );
        CREATE INDEX calls_by_start ON calls (started_ms, call_id);
        CREATE INDEX calls_of_operator ON calls (operator, started_ms, call_id);
        CREATE TABLE events (
            position INTEGER PRIMARY KEY,
            call_id  TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
            body     TEXT NOT NULL
        );
        CREATE INDEX events_of_call ON events (call_id, position);
        CREATE TABLE drafts (
            call_id   TEXT PRIMARY KEY,
            revision  INTEGER NOT NULL,
            closed    INTEGER NOT NULL DEFAULT 0,
            ticket_id TEXT,
            body      TEXT NOT NULL
        );
        CREATE TABLE outbox (
            call_id  TEXT NOT NULL REFERENCES drafts ON DELETE CASCADE,
            kind     INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            parked   INTEGER NOT NULL DEFAULT 0,
            due_ms   INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            code     TEXT,
            reason   TEXT,
            since_ms INTEGER NOT NULL,
            PRIMARY KEY (call_id, kind)
        );
        CREATE INDEX outbox_due ON outbox (parked, due_ms, since_ms);
    ", "
        CREATE TABLE outbox_lanes (
            lane     INTEGER NOT NULL,
            call_id  TEXT NOT NULL REFERENCES drafts ON DELETE CASCADE,
            kind     INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            parked   INTEGER NOT NULL DEFAULT 0,
            due_ms   INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            code     TEXT,
            reason   TEXT,
            since_ms INTEGER NOT NULL,
            PRIMARY KEY (lane, call_id, kind)
        );
        INSERT INTO outbox_lanes
            SELECT 0, call_id, kind, revision, parked, due_ms, attempts, code, reason, since_ms FROM outbox;
        DROP TABLE outbox;
        ALTER TABLE outbox_lanes RENAME TO outbox;
        CREATE INDEX outbox_due ON outbox (lane, parked, due_ms, since_ms);
        CREATE INDEX drafts_open ON drafts (call_id) WHERE closed = 0;
        CREATE TABLE gists (
            call_id  TEXT PRIMARY KEY REFERENCES drafts ON DELETE CASCADE,
            at_ms    INTEGER NOT NULL,
            phone    TEXT,
            category TEXT,
            subject  TEXT,
            address  TEXT,
            pairs    BLOB NOT NULL
        );
        CREATE INDEX gists_of_phone ON gists (phone, at_ms) WHERE phone IS NOT NULL;
        CREATE INDEX gists_of_subject ON gists (subject, at_ms) WHERE subject IS NOT NULL;
        CREATE INDEX gists_of_category ON gists (category, at_ms) WHERE category IS NOT NULL;
    ", "
        ALTER TABLE calls ADD COLUMN trunk TEXT;
        ALTER TABLE calls ADD COLUMN diverted_from TEXT;
        ALTER TABLE calls ADD COLUMN user_to_user TEXT;
    ", "
        CREATE TABLE places (
            extension TEXT NOT NULL,
            body      TEXT NOT NULL,
            until_ms  INTEGER NOT NULL
        );
        CREATE INDEX places_of_extension ON places (extension);
    ", "
        CREATE TABLE recordings (
            call_id     TEXT PRIMARY KEY,
            file        TEXT NOT NULL,
            state       TEXT NOT NULL,
            duration_us INTEGER NOT NULL,
            lost_us     INTEGER NOT NULL
        );
    "],
};

/// Why the store could not do something.
#[derive(Debug)]
pub enum StoreError {
    /// The file cannot be opened.
    Open(OpenError),
    /// There is no such file.
    Absent(PathBuf),
    /// `SQLite` refused, for instance because the disk is full.
    Sqlite {
        /// What was being done, e.g. `saving transcript events`.
        doing: &'static str,
        /// What `SQLite` says; never a stored value.
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
                "there are no gateway's records at '{}'; name them with --set store.database=FILE",
                path.display()
            ),
            Self::Sqlite { doing, source } => write!(f, "{doing} failed: {source}"),
            Self::Unreadable { what, key } => write!(f, "the stored {what} {key} cannot be read"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Sqlite { source, .. } => Some(source),
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
        self.map_err(|source| StoreError::Sqlite { doing, source })
    }
}

/// The gateway's store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    db: Database,
    lanes: Arc<Lanes>,
}

impl Store {
    /// Opens the file, creating it and its folder where missing; drafts go to the ticketing backend.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence that names the file and the remedy.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, &[Lane::Ticketing]).await
    }

    /// The same, with the receivers that new drafts are put in for.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(path: &Path, lanes: &[Lane]) -> Result<Self, StoreError> {
        let db = sqlite::open(path, &SCHEMA)
            .await
            .map_err(StoreError::Open)?;
        Ok(Self {
            db,
            lanes: Lanes::new(lanes),
        })
    }

    /// Opens a file that a gateway has written, also beside a running one; never makes a new one.
    ///
    /// # Errors
    /// [`StoreError::Absent`], or as [`Store::open`].
    pub async fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Absent(path.to_owned()));
        }
        Self::open(path).await
    }

    /// The first event position of this run: higher than any that an earlier run can have given out. For
    /// [`crate::events::Bus::new`], once a start.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn begin_run(&self) -> Result<u64, StoreError> {
        const DOING: &str = "reserving event positions";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let last_run: Option<i64> = sqlx::query_scalar("SELECT max(first_position) FROM runs")
            .fetch_one(&mut *transaction)
            .await
            .doing(DOING)?;
        let last_event: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM events")
            .fetch_one(&mut *transaction)
            .await
            .doing(DOING)?;
        let first = last_run
            .max(last_event)
            .map_or(1, |last| last + POSITIONS_PER_RUN);
        sqlx::query("DELETE FROM runs")
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        sqlx::query("INSERT INTO runs VALUES (?)")
            .bind(first)
            .execute(&mut *transaction)
            .await
            .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        Ok(first.unsigned_abs())
    }

    /// The drafts on their way to the ticketing backend.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.db.clone(), self.lanes.clone())
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
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
