//! Drafts on their way to the ticketing backend: on disk before they count as accepted.
//!
//! There is a lane for each receiver, and none waits for another. On a lane, a call has at most two entries, its
//! newest draft and its closing, delivered in this order. A newer revision replaces a waiting or parked older one, so
//! the outbox is bounded by the number of calls, not of revisions.
//!
//! Where several gateways share a database, each takes entries for itself for a while (a lease), past those that another
//! one is just taking; what a node that died had taken is free again when that while is over.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::database::{self, Database, Row, Transaction, values};
use super::nodes::{Node, living};
use super::{Doing, Store, StoreError, from_unix_ms, gists, unix_ms};
use crate::private::Private;
use crate::speech::CallId;
use crate::ticket::desk::{DeskError, DraftKey, Receipt, Submission};
use crate::ticket::resemble::TicketFingerprint;

/// An entry that is due later than this is due now: the clock was set back.
const LATEST_DUE_MS: i64 = 10 * 60_000;

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
}

impl Lanes {
    pub(super) fn new(open: &[Lane]) -> Arc<Self> {
        Arc::new(Self {
            open: open.to_vec(),
            fresh: [Notify::new(), Notify::new()],
        })
    }
}

/// The drafts on their way; clones share them.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: Database,
    node: Node,
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
    pub(super) const fn new(db: Database, node: Node, lanes: Arc<Lanes>) -> Self {
        Self { db, node, lanes }
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
        // In one order, so that no two nodes wait for each other's rows.
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|at| drafts[*at].0.key.call.as_str());
        let mut put = vec![Put::Stale; drafts.len()];
        let mut transaction = self.db.begin().await.doing(DOING)?;
        for at in order {
            let (submission, kind) = drafts[at];
            put[at] = self.write(&mut transaction, submission, kind).await?;
        }
        transaction.commit().await.doing(DOING)?;
        if put.contains(&Put::Accepted) {
            self.wake();
        }
        Ok(put)
    }

    async fn write(
        &self,
        transaction: &mut Transaction,
        submission: &Submission,
        kind: EntryKind,
    ) -> Result<Put, StoreError> {
        const DOING: &str = "writing a draft into the outbox";
        let DraftKey { call, revision } = &submission.key;
        let revision = i64::try_from(*revision).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT revision, closed FROM drafts WHERE call_id = $1{}",
            self.db.for_update()
        );
        let held = transaction
            .fetch_first(&sql, values![call.as_str()])
            .await
            .doing(DOING)?;
        let held: Option<(i64, bool)> = held.map(|row| (row.get("revision"), row.get("closed")));
        let newest = held.is_none_or(|(held, _)| held < revision);
        if held.is_some_and(|(_, closed)| closed) || (kind == EntryKind::Upsert && !newest) {
            return Ok(Put::Stale);
        }
        if newest {
            let body = serde_json::to_string(submission).map_err(|_| unreadable(call))?;
            transaction
                .execute(
                    "INSERT INTO drafts (call_id, revision, body, node) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (call_id) DO UPDATE SET revision = excluded.revision, body = excluded.body,
                         node = excluded.node",
                    values![call.as_str(), revision, body, self.node.id()],
                )
                .await
                .doing(DOING)?;
            let gist = TicketFingerprint::of(&submission.draft);
            gists::keep(transaction, call, &gist, unix_ms(SystemTime::now()))
                .await
                .doing(DOING)?;
        }
        if kind == EntryKind::Close {
            transaction
                .execute(
                    "UPDATE drafts SET closed = TRUE WHERE call_id = $1",
                    values![call.as_str()],
                )
                .await
                .doing(DOING)?;
        }
        for lane in &self.lanes.open {
            enqueue(transaction, *lane, call, kind).await.doing(DOING)?;
        }
        Ok(Put::Accepted)
    }

    /// Closes the drafts of calls that an earlier run broke off in: nothing will be said in them any more. For a start,
    /// before there are calls; returns how many. Where gateways share the database this is left to
    /// [`Store::keep_alive`], which knows who lives.
    ///
    /// # Errors
    /// [`StoreError`] when the records cannot be written.
    pub async fn close_abandoned(&self) -> Result<usize, StoreError> {
        if self.db.is_shared() {
            return Ok(0);
        }
        self.close_left_open().await
    }

    /// Closes the drafts of nodes that are dead; returns how many.
    pub(super) async fn close_left_open(&self) -> Result<usize, StoreError> {
        const DOING: &str = "closing the drafts of broken calls";
        let others = if self.db.is_shared() {
            format!("node NOT IN ({})", living(self.db.now_ms()))
        } else {
            "node <> $1".to_owned()
        };
        let sql = format!(
            "UPDATE drafts SET closed = TRUE WHERE NOT closed AND (node IS NULL OR {others}) AND coalesce(node, 0) <> $1
             RETURNING call_id"
        );
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let rows = transaction
            .fetch_all(&sql, values![self.node.id().unwrap_or(-1)])
            .await
            .doing(DOING)?;
        let calls: Vec<String> = rows.iter().map(Row::first).collect();
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
        let rows = self
            .db
            .fetch_all(
                "SELECT * FROM outbox ORDER BY since_ms, call_id, lane, kind",
                values![],
            )
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
        let done = self
            .db
            .execute(
                "UPDATE outbox SET parked = FALSE, due_ms = 0, attempts = 0, code = NULL, reason = NULL
                 WHERE parked AND ($1 IS NULL OR call_id = $1) AND ($2 IS NULL OR lane = $2)",
                values![call.map(CallId::as_str), lane.map(Lane::number)],
            )
            .await
            .doing("resending parked drafts")?;
        self.wake();
        Ok(done)
    }

    /// Gives a call's entries up, on one lane or on both: they are not delivered. The draft itself stays in the records.
    /// Returns how many entries there were.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn drop_call(&self, call: &CallId, lane: Option<Lane>) -> Result<u64, StoreError> {
        self.db
            .execute(
                "DELETE FROM outbox WHERE call_id = $1 AND ($2 IS NULL OR lane = $2)",
                values![call.as_str(), lane.map(Lane::number)],
            )
            .await
            .doing("dropping a draft from the outbox")
    }

    /// A call's newest draft, delivered or not.
    pub(super) async fn held(&self, call: &CallId) -> Result<Option<HeldDraft>, StoreError> {
        let row = self
            .db
            .fetch_first(
                "SELECT closed, ticket_id, body FROM drafts WHERE call_id = $1",
                values![call.as_str()],
            )
            .await
            .doing("reading a draft")?;
        row.map(|row| {
            let body: String = row.get("body");
            let submission = serde_json::from_str(&body).map_err(|_| unreadable(call))?;
            Ok(HeldDraft {
                submission,
                closed: row.get("closed"),
                ticket: row.get("ticket_id"),
            })
        })
        .transpose()
    }

    // What the delivery task needs.

    /// Whether other gateways deliver from it too.
    pub(super) const fn is_shared(&self) -> bool {
        self.db.is_shared()
    }

    /// Waits until something was put in.
    pub(super) async fn changed(&self, lane: Lane) {
        self.lanes.fresh[lane as usize].notified().await;
    }

    /// Makes everything that waits due, as at a start or when the receiver is back.
    pub(super) async fn release(&self, lane: Lane) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE outbox SET due_ms = 0 WHERE lane = $1 AND NOT parked AND due_ms > 0",
                values![lane.number()],
            )
            .await
            .doing("waking the outbox")?;
        Ok(())
    }

    /// Entries that are due and first of their call, at most `limit`. Where gateways share the database they are this
    /// node's for the time of `lease`.
    pub(super) async fn claim(
        &self,
        lane: Lane,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Ready>, StoreError> {
        const DOING: &str = "reading the outbox";
        let now = self.db.now_ms();
        let due = format!(
            "lane = $1 AND NOT parked AND due_ms NOT BETWEEN {now} + 1 AND {now} + {LATEST_DUE_MS}
             AND (kind = 0 OR NOT EXISTS
                 (SELECT 1 FROM outbox u WHERE u.lane = $1 AND u.call_id = o.call_id AND u.kind = 0))"
        );
        let rows = if self.db.is_shared() {
            let sql = format!(
                "WITH mine AS MATERIALIZED
                     (SELECT lane, call_id, kind FROM outbox o
                      WHERE {due} AND lease_ms NOT BETWEEN {now} + 1 AND {now} + {LATEST_DUE_MS}
                      ORDER BY due_ms, since_ms LIMIT $2 FOR UPDATE SKIP LOCKED)
                 UPDATE outbox o SET lease_node = $3, lease_ms = {now} + $4 FROM mine
                 WHERE o.lane = mine.lane AND o.call_id = mine.call_id AND o.kind = mine.kind
                 RETURNING o.call_id, o.kind, o.attempts"
            );
            let node = self.node.id().unwrap_or(0);
            let values = values![lane.number(), limit as i64, node, lease.as_millis() as i64];
            let mut transaction = self.db.begin().await.doing(DOING)?;
            // A lease that a fall of the server forgets is only taken once more.
            transaction
                .execute("SET LOCAL synchronous_commit = off", values![])
                .await
                .doing(DOING)?;
            let rows = transaction.fetch_all(&sql, values).await.doing(DOING)?;
            transaction.commit().await.doing(DOING)?;
            rows
        } else {
            let sql = format!(
                "SELECT call_id, kind, attempts FROM outbox o WHERE {due} ORDER BY due_ms, since_ms LIMIT $2"
            );
            let values = values![lane.number(), limit as i64];
            self.db.fetch_all(&sql, values).await.doing(DOING)?
        };
        let ready = rows.iter().map(|row| Ready {
            call: CallId::new(&row.get::<String>("call_id")),
            kind: EntryKind::from_number(row.get("kind")),
            attempts: row.get::<i64>("attempts") as u32,
        });
        Ok(ready.collect())
    }

    /// Frees what this node has taken of a call; without a call, of all.
    pub(super) async fn give_back(
        &self,
        lane: Lane,
        call: Option<&CallId>,
    ) -> Result<(), StoreError> {
        if self.db.is_shared() {
            self.db
                .execute(
                    "UPDATE outbox SET lease_ms = 0 WHERE lane = $1 AND ($2 IS NULL OR call_id = $2) AND lease_node = $3",
                    values![
                        lane.number(),
                        call.map(CallId::as_str),
                        self.node.id().unwrap_or(0),
                    ],
                )
                .await
                .doing("giving drafts back to the outbox")?;
        }
        Ok(())
    }

    /// How long until the next entry that has failed before is due.
    pub(super) async fn next_due(&self, lane: Lane) -> Result<Option<Duration>, StoreError> {
        let now = self.db.now_ms();
        let sql = format!(
            "SELECT min(due_ms) - {now} AS due_in FROM outbox WHERE lane = $1 AND NOT parked AND due_ms > {now}"
        );
        let row = self
            .db
            .fetch_first(&sql, values![lane.number()])
            .await
            .doing("reading the outbox")?;
        let due_in: Option<i64> = row.and_then(|row| row.get("due_in"));
        Ok(due_in.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs())))
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
            transaction
                .execute(
                    "UPDATE drafts SET ticket_id = $2 WHERE call_id = $1",
                    values![key.call.as_str(), &receipt.ticket],
                )
                .await
                .doing(DOING)?;
        }
        let gone = transaction
            .execute(
                "DELETE FROM outbox WHERE lane = $1 AND call_id = $2 AND kind = $3 AND revision = $4",
                values![
                    lane.number(),
                    key.call.as_str(),
                    kind.number(),
                    key.revision
                ],
            )
            .await
            .doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        if gone == 0 {
            self.give_back(lane, Some(&key.call)).await?;
        }
        Ok(())
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
        let entry = "WHERE lane = $1 AND call_id = $2 AND kind = $3 AND revision = $4";
        let mut values = values![
            lane.number(),
            key.call.as_str(),
            kind.number(),
            key.revision
        ];
        let sql = match error {
            DeskError::Unavailable { code } => {
                values.extend(values![*code, pause.as_millis() as i64]);
                let now = self.db.now_ms();
                format!(
                    "UPDATE outbox SET attempts = attempts + 1, code = $5, due_ms = {now} + $6 {entry}"
                )
            }
            DeskError::Rejected { code, reason } => {
                values.extend(values![*code, reason.reveal()]);
                format!("UPDATE outbox SET parked = TRUE, code = $5, reason = $6 {entry}")
            }
        };
        self.db
            .execute(&sql, values)
            .await
            .doing("noting a failed delivery")?;
        self.give_back(lane, Some(&key.call)).await
    }
}

async fn enqueue(
    transaction: &mut Transaction,
    lane: Lane,
    call: &CallId,
    kind: EntryKind,
) -> database::Result<()> {
    transaction
        .execute(
            "INSERT INTO outbox (lane, call_id, kind, revision, since_ms)
             SELECT $4, call_id, $2, revision, $3 FROM drafts WHERE call_id = $1
             ON CONFLICT (lane, call_id, kind) DO UPDATE SET revision = excluded.revision, parked = FALSE, due_ms = 0,
                 attempts = 0, code = NULL, reason = NULL",
            values![
                call.as_str(),
                kind.number(),
                unix_ms(SystemTime::now()),
                lane.number(),
            ],
        )
        .await?;
    if kind == EntryKind::Close {
        // A draft that waits, or was refused, goes out as it stands now: both entries carry the final content.
        transaction
            .execute(
                "UPDATE outbox SET parked = FALSE, due_ms = 0, attempts = 0, code = NULL, reason = NULL,
                     revision = (SELECT revision FROM drafts WHERE call_id = $1)
                 WHERE lane = $2 AND call_id = $1 AND kind = 0
                     AND revision < (SELECT revision FROM drafts WHERE call_id = $1)",
                values![call.as_str(), lane.number()],
            )
            .await?;
    }
    Ok(())
}

fn entry_of(row: &Row) -> Entry {
    let code: Option<String> = row.get("code");
    let state = if row.get::<bool>("parked") {
        let reason: Option<String> = row.get("reason");
        EntryState::Parked {
            code: code.unwrap_or_default(),
            reason: Private::new(reason.unwrap_or_default()),
        }
    } else {
        EntryState::Waiting {
            attempts: row.get::<i64>("attempts") as u32,
            last: code,
        }
    };
    Entry {
        lane: Lane::from_number(row.get("lane")),
        key: DraftKey {
            call: CallId::new(&row.get::<String>("call_id")),
            revision: row.get::<i64>("revision").unsigned_abs(),
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
