//! Drafts on their way to the ticketing backend: on disk before they count as accepted.
//!
//! There is a lane for each receiver, and none waits for another. On a lane, a call has at most two entries, its
//! newest draft and its closing, delivered in this order. A newer revision replaces a waiting or parked older one, so
//! the outbox is bounded by the number of calls, not of revisions.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sqlite::Database;
use super::{Doing, Store, StoreError, from_unix_ms, gists, unix_ms};
use crate::private::Private;
use crate::speech::CallId;
use crate::ticket::desk::{DeskError, DraftKey, Receipt, Submission};
use crate::ticket::resemble::Gist;

/// A receiver of drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The ticketing backend.
    Ticketing,
    /// The webhook.
    Webhook,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ticketing, Self::Webhook];

    /// As the command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticketing => "ticketing",
            Self::Webhook => "webhook",
        }
    }

    const fn number(self) -> i64 {
        self as i64
    }

    const fn from_number(number: i64) -> Self {
        if number == 0 {
            Self::Ticketing
        } else {
            Self::Webhook
        }
    }
}

/// What became of a draft that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is on disk and will reach the backend.
    Accepted,
    /// The same or a newer revision is on disk, or the draft is closed; nothing was changed.
    Stale,
}

/// Which of a call's two hand-overs an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// The newest draft.
    Upsert,
    /// The closing, behind the draft.
    Close,
}

impl EntryKind {
    const fn number(self) -> i64 {
        match self {
            Self::Upsert => 0,
            Self::Close => 1,
        }
    }

    const fn from_number(number: i64) -> Self {
        if number == 0 {
            Self::Upsert
        } else {
            Self::Close
        }
    }
}

/// Whether an entry moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// It will be tried, again if need be.
    Waiting {
        /// How often it has been tried in vain.
        attempts: u32,
        /// Why the last try failed, e.g. `unavailable`.
        last: Option<String>,
    },
    /// The backend refused it; it waits for [`Outbox::resend`] or a newer revision, and its call's closing with it.
    Parked {
        /// The backend's status, e.g. `invalid argument`.
        code: String,
        /// The backend's sentence.
        reason: Private<String>,
    },
}

/// What is still to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// To whom.
    pub lane: Lane,
    /// Which draft.
    pub key: DraftKey,
    /// Which of the two hand-overs.
    pub kind: EntryKind,
    /// Whether it moves.
    pub state: EntryState,
    /// Since when it has been waiting.
    pub since: SystemTime,
}

/// A call's newest draft, delivered or not.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldDraft {
    /// The draft.
    pub submission: Submission,
    /// Whether the call's draft is closed.
    pub closed: bool,
    /// The backend's number for the ticket, once it has answered.
    pub ticket: Option<String>,
}

/// An entry that may be delivered now.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub call: CallId,
    pub kind: EntryKind,
    pub attempts: u32,
}

/// What wakes the deliveries, and where drafts go.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The lanes that new drafts are put on.
    open: Vec<Lane>,
    /// One for each of [`Lane::ALL`].
    fresh: [Notify; 2],
    /// Where due times count from.
    epoch: Instant,
}

impl Lanes {
    pub(super) fn new(open: &[Lane]) -> Arc<Self> {
        Arc::new(Self {
            open: open.to_vec(),
            fresh: [Notify::new(), Notify::new()],
            epoch: Instant::now(),
        })
    }
}

/// The drafts on their way; clones share them.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: Database,
    lanes: Arc<Lanes>,
}

impl Store {
    /// A call's newest draft, delivered or not.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn draft(&self, call: &CallId) -> Result<Option<HeldDraft>, StoreError> {
        self.outbox().held(call).await
    }
}

impl Outbox {
    pub(super) const fn new(db: Database, lanes: Arc<Lanes>) -> Self {
        Self { db, lanes }
    }

    /// Keeps a draft; when this returns `Ok` it is on disk, and delivery starts at once.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written: the draft then is not kept.
    pub async fn put(&self, submission: &Submission) -> Result<Put, StoreError> {
        self.keep(submission, EntryKind::Upsert).await
    }

    /// Keeps the final draft of a call that is over; no later draft of that call is accepted.
    ///
    /// A draft that was put in before and is newer stands, and is the one that is closed.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written: the draft then is not closed.
    pub async fn close(&self, submission: &Submission) -> Result<Put, StoreError> {
        self.keep(submission, EntryKind::Close).await
    }

    async fn keep(&self, submission: &Submission, kind: EntryKind) -> Result<Put, StoreError> {
        let put = self.keep_all(&[(submission, kind)]).await?;
        Ok(put.into_iter().next().unwrap_or(Put::Stale))
    }

    /// Puts in and closes the drafts of several calls, all or none: one wait for the disk, however many calls end at
    /// once.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be written: none is kept then.
    pub async fn keep_all(
        &self,
        drafts: &[(&Submission, EntryKind)],
    ) -> Result<Vec<Put>, StoreError> {
        const DOING: &str = "writing drafts into the outbox";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let mut put = Vec::new();
        for (submission, kind) in drafts {
            put.push(self.write(&mut transaction, submission, *kind).await?);
        }
        transaction.commit().await.doing(DOING)?;
        if put.contains(&Put::Accepted) {
            self.wake();
        }
        Ok(put)
    }

    async fn write(
        &self,
        connection: &mut SqliteConnection,
        submission: &Submission,
        kind: EntryKind,
    ) -> Result<Put, StoreError> {
        const DOING: &str = "writing a draft into the outbox";
        let DraftKey { call, revision } = &submission.key;
        let revision = i64::try_from(*revision).unwrap_or(i64::MAX);
        let held: Option<(i64, bool)> =
            sqlx::query_as("SELECT revision, closed FROM drafts WHERE call_id = ?")
                .bind(call.as_str())
                .fetch_optional(&mut *connection)
                .await
                .doing(DOING)?;
        let newest = held.is_none_or(|(held, _)| held < revision);
        if held.is_some_and(|(_, closed)| closed) || (kind == EntryKind::Upsert && !newest) {
            return Ok(Put::Stale);
        }
        if newest {
            let body = serde_json::to_string(submission).map_err(|_| unreadable(call))?;
            sqlx::query(
                "INSERT INTO drafts (call_id, revision, body) VALUES (?, ?, ?)
                 ON CONFLICT (call_id) DO UPDATE SET revision = excluded.revision, body = excluded.body",
            )
            .bind(call.as_str())
            .bind(revision)
            .bind(body)
            .execute(&mut *connection)
            .await
            .doing(DOING)?;
            let gist = Gist::of(&submission.draft);
            gists::keep(connection, call, &gist, unix_ms(SystemTime::now()))
                .await
                .doing(DOING)?;
        }
        if kind == EntryKind::Close {
            sqlx::query("UPDATE drafts SET closed = 1 WHERE call_id = ?")
                .bind(call.as_str())
                .execute(&mut *connection)
                .await
                .doing(DOING)?;
        }
        for lane in &self.lanes.open {
            enqueue(connection, *lane, call, kind).await.doing(DOING)?;
        }
        Ok(Put::Accepted)
    }

    /// Closes the drafts of calls that an earlier run broke off in: nothing will be said in them any more. For a start,
    /// before there are calls; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn close_abandoned(&self) -> Result<usize, StoreError> {
        const DOING: &str = "closing the drafts of broken calls";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let calls: Vec<String> =
            sqlx::query_scalar("UPDATE drafts SET closed = 1 WHERE closed = 0 RETURNING call_id")
                .fetch_all(&mut *transaction)
                .await
                .doing(DOING)?;
        for call in &calls {
            for lane in &self.lanes.open {
                enqueue(
                    &mut transaction,
                    *lane,
                    &CallId::new(call),
                    EntryKind::Close,
                )
                .await
                .doing(DOING)?;
            }
        }
        transaction.commit().await.doing(DOING)?;
        self.wake();
        Ok(calls.len())
    }

    fn wake(&self) {
        for fresh in &self.lanes.fresh {
            fresh.notify_one();
        }
    }

    /// All entries, the longest waiting first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query("SELECT * FROM outbox ORDER BY since_ms, call_id, lane, kind")
            .fetch_all(&self.db.read)
            .await
            .doing("listing the outbox")?;
        Ok(rows.iter().map(entry_of).collect())
    }

    /// The entries that the backend refused.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn parked(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = self.entries().await?;
        entries.retain(|entry| matches!(entry.state, EntryState::Parked { .. }));
        Ok(entries)
    }

    /// Tries parked entries again, of one call or of all, on one lane or on both; returns how many. Also works from
    /// another process: the running gateway notices within two seconds.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn resend(
        &self,
        call: Option<&CallId>,
        lane: Option<Lane>,
    ) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "UPDATE outbox SET parked = 0, due_ms = 0, attempts = 0, code = NULL, reason = NULL
             WHERE parked = 1 AND (?1 IS NULL OR call_id = ?1) AND (?2 IS NULL OR lane = ?2)",
        )
        .bind(call.map(CallId::as_str))
        .bind(lane.map(Lane::number))
        .execute(&self.db.write)
        .await
        .doing("resending parked drafts")?;
        self.wake();
        Ok(done.rows_affected())
    }

    /// Gives a call's entries up, on one lane or on both: they are not delivered. The draft itself stays in the records.
    /// Returns how many entries there were.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn drop_call(&self, call: &CallId, lane: Option<Lane>) -> Result<u64, StoreError> {
        let done =
            sqlx::query("DELETE FROM outbox WHERE call_id = ?1 AND (?2 IS NULL OR lane = ?2)")
                .bind(call.as_str())
                .bind(lane.map(Lane::number))
                .execute(&self.db.write)
                .await
                .doing("dropping a draft from the outbox")?;
        Ok(done.rows_affected())
    }

    /// A call's newest draft, delivered or not.
    pub(super) async fn held(&self, call: &CallId) -> Result<Option<HeldDraft>, StoreError> {
        let row = sqlx::query("SELECT closed, ticket_id, body FROM drafts WHERE call_id = ?")
            .bind(call.as_str())
            .fetch_optional(&self.db.read)
            .await
            .doing("reading a draft")?;
        row.map(|row| {
            let submission = serde_json::from_str(row.get("body")).map_err(|_| unreadable(call))?;
            Ok(HeldDraft {
                submission,
                closed: row.get("closed"),
                ticket: row.get("ticket_id"),
            })
        })
        .transpose()
    }

    // What the delivery task needs.

    /// Waits until something was put in.
    pub(super) async fn changed(&self, lane: Lane) {
        self.lanes.fresh[lane as usize].notified().await;
    }

    /// Makes everything that waits due, as at a start or when the receiver is back.
    pub(super) async fn release(&self, lane: Lane) -> Result<(), StoreError> {
        sqlx::query("UPDATE outbox SET due_ms = 0 WHERE lane = ? AND parked = 0 AND due_ms > 0")
            .bind(lane.number())
            .execute(&self.db.write)
            .await
            .doing("waking the outbox")?;
        Ok(())
    }

    /// Entries that are due and first of their call, at most `limit`.
    pub(super) async fn ready(&self, lane: Lane, limit: usize) -> Result<Vec<Ready>, StoreError> {
        let rows = sqlx::query(
            "SELECT call_id, kind, attempts FROM outbox o
             WHERE lane = ?1 AND parked = 0 AND due_ms <= ?2 AND (kind = 0 OR NOT EXISTS
                 (SELECT 1 FROM outbox u WHERE u.lane = ?1 AND u.call_id = o.call_id AND u.kind = 0))
             ORDER BY due_ms, since_ms LIMIT ?3",
        )
        .bind(lane.number())
        .bind(self.now_ms())
        .bind(limit as i64)
        .fetch_all(&self.db.read)
        .await
        .doing("reading the outbox")?;
        let ready = rows.iter().map(|row| Ready {
            call: CallId::new(row.get("call_id")),
            kind: EntryKind::from_number(row.get("kind")),
            attempts: row.get("attempts"),
        });
        Ok(ready.collect())
    }

    /// How long until the next entry that has failed before is due.
    pub(super) async fn next_due(&self, lane: Lane) -> Result<Option<Duration>, StoreError> {
        let now = self.now_ms();
        let due: Option<i64> = sqlx::query_scalar(
            "SELECT min(due_ms) FROM outbox WHERE lane = ? AND parked = 0 AND due_ms > ?",
        )
        .bind(lane.number())
        .bind(now)
        .fetch_one(&self.db.read)
        .await
        .doing("reading the outbox")?;
        Ok(due.map(|due| Duration::from_millis((due - now).unsigned_abs())))
    }

    /// The receiver has it: the entry goes, unless a newer revision has taken its place meanwhile.
    pub(super) async fn delivered(
        &self,
        lane: Lane,
        key: &DraftKey,
        kind: EntryKind,
        receipt: &Receipt,
    ) -> Result<(), StoreError> {
        const DOING: &str = "taking a delivered draft out of the outbox";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        if !receipt.ticket.is_empty() {
            sqlx::query("UPDATE drafts SET ticket_id = ? WHERE call_id = ?")
                .bind(&receipt.ticket)
                .bind(key.call.as_str())
                .execute(&mut *transaction)
                .await
                .doing(DOING)?;
        }
        sqlx::query(
            "DELETE FROM outbox WHERE lane = ? AND call_id = ? AND kind = ? AND revision = ?",
        )
        .bind(lane.number())
        .bind(key.call.as_str())
        .bind(kind.number())
        .bind(key.revision as i64)
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
        transaction.commit().await.doing(DOING)
    }

    /// The hand-over failed: tried again after `pause`, or parked.
    pub(super) async fn failed(
        &self,
        lane: Lane,
        key: &DraftKey,
        kind: EntryKind,
        error: &DeskError,
        pause: Duration,
    ) -> Result<(), StoreError> {
        let query = match error {
            DeskError::Unavailable { code } => {
                sqlx::query("UPDATE outbox SET attempts = attempts + 1, due_ms = ?, code = ? WHERE lane = ? AND call_id = ? AND kind = ? AND revision = ?")
                    .bind(self.now_ms() + pause.as_millis() as i64)
                    .bind(*code)
            }
            DeskError::Rejected { code, reason } => {
                sqlx::query("UPDATE outbox SET parked = 1, reason = ?, code = ? WHERE lane = ? AND call_id = ? AND kind = ? AND revision = ?")
                    .bind(reason.reveal().as_str())
                    .bind(*code)
            }
        };
        query
            .bind(lane.number())
            .bind(key.call.as_str())
            .bind(kind.number())
            .bind(key.revision as i64)
            .execute(&self.db.write)
            .await
            .doing("noting a failed delivery")?;
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.lanes.epoch.elapsed().as_millis() as i64
    }
}

async fn enqueue(
    connection: &mut SqliteConnection,
    lane: Lane,
    call: &CallId,
    kind: EntryKind,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO outbox (lane, call_id, kind, revision, since_ms)
         SELECT ?4, call_id, ?2, revision, ?3 FROM drafts WHERE call_id = ?1
         ON CONFLICT (lane, call_id, kind) DO UPDATE SET revision = excluded.revision, parked = 0, due_ms = 0,
             attempts = 0, code = NULL, reason = NULL",
    )
    .bind(call.as_str())
    .bind(kind.number())
    .bind(unix_ms(SystemTime::now()))
    .bind(lane.number())
    .execute(&mut *connection)
    .await?;
    if kind == EntryKind::Close {
        // A draft that waits, or was refused, goes out as it stands now: both entries carry the final content.
        sqlx::query(
            "UPDATE outbox SET parked = 0, due_ms = 0, attempts = 0, code = NULL, reason = NULL,
                 revision = (SELECT revision FROM drafts WHERE call_id = ?1)
             WHERE lane = ?2 AND call_id = ?1 AND kind = 0
                 AND revision < (SELECT revision FROM drafts WHERE call_id = ?1)",
        )
        .bind(call.as_str())
        .bind(lane.number())
        .execute(connection)
        .await?;
    }
    Ok(())
}

fn entry_of(row: &SqliteRow) -> Entry {
    let code: Option<String> = row.get("code");
    let state = if row.get("parked") {
        let reason: Option<String> = row.get("reason");
        EntryState::Parked {
            code: code.unwrap_or_default(),
            reason: Private::new(reason.unwrap_or_default()),
        }
    } else {
        EntryState::Waiting {
            attempts: row.get("attempts"),
            last: code,
        }
    };
    Entry {
        lane: Lane::from_number(row.get("lane")),
        key: DraftKey {
            call: CallId::new(row.get("call_id")),
            revision: row.get::<i64, _>("revision").unsigned_abs(),
        },
        kind: EntryKind::from_number(row.get("kind")),
        state,
        since: from_unix_ms(row.get("since_ms")),
    }
}

fn unreadable(call: &CallId) -> StoreError {
    StoreError::Unreadable {
        what: "draft of call",
        key: call.as_str().to_owned(),
    }
}
