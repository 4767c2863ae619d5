//! What the backend keeps: one row a call, with the newest draft.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use prost::Message;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::watch;

use crate::grpc::proto::ticket::v1::{Draft, DraftKey, DraftRecord};
use crate::store::sqlite::{self, Database, OpenError, Schema};
use crate::store::unix_ms;

const SCHEMA: Schema = Schema {
    // "XqTk"
    application_id: 0x5871_546b,
    what: "a book of the reference ticketing backend",
    migrations: &["
        CREATE TABLE tickets (
            number     INTEGER PRIMARY KEY AUTOINCREMENT,
            call_id    TEXT NOT NULL UNIQUE,
            revision   INTEGER NOT NULL,
            closed     INTEGER NOT NULL,
            created_ms INTEGER NOT NULL,
            changed_ms INTEGER NOT NULL,
            change     INTEGER NOT NULL UNIQUE,
            applied    INTEGER NOT NULL,
            draft      BLOB NOT NULL
        );
    "],
};

/// How far one hand-over may count on from the one before: more than the drafts of the longest call. Whoever counts
/// further would make every draft to come an old one.
const LONGEST_STEP: i64 = 10_000;

/// Why the book could not be used.
#[derive(Debug)]
pub enum BookError {
    /// The file cannot be opened.
    Open(OpenError),
    /// `SQLite` refused.
    Sqlite(sqlx::Error),
    /// A revision is too far from the one that is held.
    Jump {
        /// The one that is held; 0 where there is none.
        held: i64,
    },
    /// A stored draft cannot be decoded.
    Unreadable {
        /// Its call.
        call: String,
        /// What the decoder says; it names fields, not values.
        source: prost::DecodeError,
    },
}

impl fmt::Display for BookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Sqlite(source) => write!(f, "the ticketing backend's store failed: {source}"),
            Self::Jump { held } => write!(
                f,
                "key.revision is more than {LONGEST_STEP} beyond {held}, the newest that is held; count on from that"
            ),
            Self::Unreadable { call, source } => write!(
                f,
                "the stored draft of call {call} cannot be read: {source}"
            ),
        }
    }
}

impl std::error::Error for BookError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(error) => Some(error),
            Self::Sqlite(source) => Some(source),
            Self::Jump { .. } => None,
            Self::Unreadable { source, .. } => Some(source),
        }
    }
}

impl From<sqlx::Error> for BookError {
    fn from(source: sqlx::Error) -> Self {
        Self::Sqlite(source)
    }
}

/// What became of a request.
pub(super) struct Taken {
    pub ticket_id: String,
    pub stale: bool,
}

/// The backend's store; clones share it.
#[derive(Clone, Debug)]
pub struct Book {
    db: Database,
    /// The newest change's number.
    changes: Arc<watch::Sender<u64>>,
}

impl Book {
    /// Opens the file, creating it and its folder where missing.
    ///
    /// # Errors
    /// [`BookError::Open`] with a sentence that names the file and the remedy.
    pub async fn open(path: &Path) -> Result<Self, BookError> {
        let db = sqlite::open(path, &SCHEMA).await.map_err(BookError::Open)?;
        let newest: Option<i64> = sqlx::query_scalar("SELECT max(change) FROM tickets")
            .fetch_one(&db.read)
            .await?;
        let changes = Arc::new(watch::Sender::new(newest.unwrap_or(0).unsigned_abs()));
        Ok(Self { db, changes })
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// Takes a draft in, if it is newer than the one held; on disk when this returns.
    pub(super) async fn take(
        &self,
        key: &DraftKey,
        draft: &Draft,
        close: bool,
    ) -> Result<Taken, BookError> {
        let revision = key.revision as i64;
        let mut transaction = self.db.begin().await?;
        let held: Option<(i64, i64, bool)> =
            sqlx::query_as("SELECT number, revision, closed FROM tickets WHERE call_id = ?")
                .bind(&key.call_id)
                .fetch_optional(&mut *transaction)
                .await?;
        let newest = held.map_or(0, |(_, revision, _)| revision);
        if revision.saturating_sub(newest) > LONGEST_STEP {
            return Err(BookError::Jump { held: newest });
        }
        let (newer, closes) = match held {
            Some((_, held, closed)) => (!closed && revision > held, !closed && close),
            None => (true, close),
        };
        let stale =
            held.is_some_and(|(_, held, closed)| revision < held || (closed && revision > held));
        if let Some((number, _, _)) = held
            && !newer
            && !closes
        {
            return Ok(Taken {
                ticket_id: ticket_id(number),
                stale,
            });
        }
        let now = unix_ms(SystemTime::now());
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO tickets (call_id, revision, closed, created_ms, changed_ms, change, applied, draft)
             VALUES (?1, ?2, ?3, ?4, ?4, (SELECT coalesce(max(change), 0) + 1 FROM tickets), 1, ?5)
             ON CONFLICT (call_id) DO UPDATE SET
                 revision = max(revision, excluded.revision), closed = max(closed, excluded.closed),
                 changed_ms = excluded.changed_ms, change = excluded.change, applied = applied + 1,
                 draft = CASE WHEN excluded.revision > revision THEN excluded.draft ELSE draft END
             RETURNING number",
        )
        .bind(&key.call_id)
        .bind(revision)
        .bind(close)
        .bind(now)
        .bind(draft.encode_to_vec())
        .fetch_one(&mut *transaction)
        .await?;
        let change: i64 = sqlx::query_scalar("SELECT max(change) FROM tickets")
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.changes.send_if_modified(|newest| {
            let rises = change.unsigned_abs() > *newest;
            *newest = change.unsigned_abs().max(*newest);
            rises
        });
        Ok(Taken {
            ticket_id: ticket_id(number),
            stale,
        })
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) async fn get(&self, call: &str) -> Result<Option<DraftRecord>, BookError> {
        let row = sqlx::query("SELECT * FROM tickets WHERE call_id = ?")
            .bind(call)
            .fetch_optional(&self.db.read)
            .await?;
        row.as_ref().map(record_of).transpose()
    }

    /// Drafts that changed after `change`, in order of change.
    pub(super) async fn changed_after(
        &self,
        change: u64,
        call: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DraftRecord>, BookError> {
        let rows = sqlx::query(
            "SELECT * FROM tickets WHERE change > ?1 AND (?2 IS NULL OR call_id = ?2) ORDER BY change LIMIT ?3",
        )
        .bind(i64::try_from(change).unwrap_or(i64::MAX))
        .bind(call)
        .bind(i64::from(limit))
        .fetch_all(&self.db.read)
        .await?;
        rows.iter().map(record_of).collect()
    }

    /// Drafts whose newest change is before `change`, the most recent first.
    pub(super) async fn changed_before(
        &self,
        change: u64,
        limit: u32,
    ) -> Result<Vec<DraftRecord>, BookError> {
        let rows =
            sqlx::query("SELECT * FROM tickets WHERE change < ? ORDER BY change DESC LIMIT ?")
                .bind(i64::try_from(change).unwrap_or(i64::MAX))
                .bind(i64::from(limit))
                .fetch_all(&self.db.read)
                .await?;
        rows.iter().map(record_of).collect()
    }
}

fn ticket_id(number: i64) -> String {
    format!("T{number:08}")
}

fn record_of(row: &SqliteRow) -> Result<DraftRecord, BookError> {
    let call_id: String = row.get("call_id");
    let draft =
        Draft::decode(row.get::<&[u8], _>("draft")).map_err(|source| BookError::Unreadable {
            call: call_id.clone(),
            source,
        })?;
    Ok(DraftRecord {
        key: Some(DraftKey {
            call_id,
            revision: row.get::<i64, _>("revision").unsigned_abs(),
        }),
        ticket_id: ticket_id(row.get("number")),
        draft: Some(draft),
        closed: row.get("closed"),
        created_unix_ms: row.get("created_ms"),
        changed_unix_ms: row.get("changed_ms"),
        change: row.get::<i64, _>("change").unsigned_abs(),
        applied: row.get("applied"),
    })
}
