//! Calls and their transcript events.

use std::sync::Arc;
use std::time::SystemTime;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{Doing, Store, StoreError, from_unix_ms, unix_ms};
use crate::audio::MediaTime;
use crate::events::{Event, Filter, Payload};
use crate::private::Private;
use crate::speech::CallId;
use crate::transcript::{CallInfo, EndReason, Origin, Transcript, TranscriptEvent};

/// A call as the records show it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Who is in it.
    pub info: CallInfo,
    /// Wall time of the answer, if there was one.
    pub answered_at: Option<SystemTime>,
    /// How long it lasted and why it ended, once it has.
    pub ended: Option<(MediaTime, EndReason)>,
}

impl CallRecord {
    /// A call that has just come in.
    #[must_use]
    pub const fn new(info: CallInfo) -> Self {
        Self {
            info,
            answered_at: None,
            ended: None,
        }
    }

    /// Takes an event of a call of which nothing may be known yet.
    pub fn note(record: &mut Option<Self>, event: &TranscriptEvent) {
        match (record.as_mut(), event) {
            (None, TranscriptEvent::Started(info)) => *record = Some(Self::new(info.clone())),
            (Some(record), event) => record.apply(event),
            (None, _) => {}
        }
    }

    /// Takes in what an event says about the call as a whole.
    pub fn apply(&mut self, event: &TranscriptEvent) {
        match event {
            TranscriptEvent::Answered { at } => self.answered_at = Some(*at),
            TranscriptEvent::CallFinal { duration, reason } => {
                self.ended = Some((*duration, reason.clone()));
            }
            _ => {}
        }
    }

    /// Where the call stands in the order of [`Store::calls`].
    #[must_use]
    pub fn page_key(&self) -> PageKey {
        PageKey {
            started_ms: unix_ms(self.info.started_at),
            call: self.info.call.as_str().to_owned(),
        }
    }
}

/// A place in the list of calls, which is ordered by start, the most recent first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// When the call began, in milliseconds since 1970.
    pub started_ms: i64,
    /// The call, to tell those of the same millisecond apart.
    pub call: String,
}

impl Store {
    /// Saves events, all or none; those that are saved already are passed over.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written; nothing of the batch is saved then.
    pub async fn append(&self, events: &[Arc<Event>]) -> Result<(), StoreError> {
        const DOING: &str = "saving transcript events";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        for event in events {
            let Payload::Transcript(transcript) = &event.payload else {
                continue;
            };
            record_call(&mut transaction, event, transcript)
                .await
                .doing(DOING)?;
            let body = serde_json::to_string(transcript)
                .map_err(|_| unreadable_event(event.position as i64))?;
            sqlx::query("INSERT OR IGNORE INTO events (position, call_id, body) VALUES (?, ?, ?)")
                .bind(event.position as i64)
                .bind(event.call.as_str())
                .bind(body)
                .execute(&mut *transaction)
                .await
                .doing(DOING)?;
        }
        transaction.commit().await.doing(DOING)
    }

    /// Saved events with `after` < position ≤ `up_to`, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn events(
        &self,
        filter: &Filter,
        after: u64,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        const DOING: &str = "reading transcript events";
        // Two texts rather than one with alternatives, so that SQLite can use the index of each case.
        let sql = if filter.call.is_some() {
            "SELECT position, call_id, operator, body FROM events JOIN calls USING (call_id)
             WHERE position > ?1 AND position <= ?2 AND call_id = ?3 AND (?4 IS NULL OR operator = ?4)
             ORDER BY position LIMIT ?5"
        } else {
            "SELECT position, call_id, operator, body FROM events JOIN calls USING (call_id)
             WHERE position > ?1 AND position <= ?2 AND (?4 IS NULL OR operator = ?4)
             ORDER BY position LIMIT ?5"
        };
        let rows = sqlx::query(sql)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(i64::try_from(up_to).unwrap_or(i64::MAX))
            .bind(filter.call.as_ref().map(CallId::as_str))
            .bind(filter.operator.as_deref())
            .bind(i64::from(limit))
            .fetch_all(&self.db.read)
            .await
            .doing(DOING)?;
        rows.iter().map(event_of).collect()
    }

    /// What was said in a call, as far as it is saved.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn transcript(&self, call: &CallId) -> Result<Transcript, StoreError> {
        const PAGE: u32 = 1_000;
        let filter = Filter {
            call: Some(call.clone()),
            operator: None,
        };
        let (mut transcript, mut after) = (Transcript::default(), 0);
        loop {
            let events = self.events(&filter, after, u64::MAX, PAGE).await?;
            let Some(last) = events.last() else {
                return Ok(transcript);
            };
            after = last.position;
            for event in &events {
                if let Payload::Transcript(TranscriptEvent::Line(line)) = &event.payload {
                    transcript.apply(line.clone());
                }
            }
        }
    }

    /// Calls that began before `before` (all when `None`), the most recent first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn calls(
        &self,
        operator: Option<&str>,
        before: Option<&PageKey>,
        limit: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM calls
             WHERE (?1 IS NULL OR operator = ?1) AND (?2 IS NULL OR (started_ms, call_id) < (?2, ?3))
             ORDER BY started_ms DESC, call_id DESC LIMIT ?4",
        )
        .bind(operator)
        .bind(before.map(|key| key.started_ms))
        .bind(before.map(|key| key.call.as_str()))
        .bind(i64::from(limit))
        .fetch_all(&self.db.read)
        .await
        .doing("listing calls")?;
        Ok(rows.iter().map(call_of).collect())
    }

    /// One call.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn call(&self, call: &CallId) -> Result<Option<CallRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM calls WHERE call_id = ?")
            .bind(call.as_str())
            .fetch_optional(&self.db.read)
            .await
            .doing("reading a call")?;
        Ok(row.as_ref().map(call_of))
    }
}

async fn record_call(
    connection: &mut SqliteConnection,
    event: &Event,
    transcript: &TranscriptEvent,
) -> Result<(), sqlx::Error> {
    let call = event.call.as_str();
    if !matches!(transcript, TranscriptEvent::Started(_)) {
        // An event must be kept even if its call's beginning never came.
        sqlx::query("INSERT OR IGNORE INTO calls (call_id, operator, called, started_ms) VALUES (?, ?, '', 0)")
            .bind(call)
            .bind(&*event.operator)
            .execute(&mut *connection)
            .await?;
    }
    match transcript {
        TranscriptEvent::Started(info) => {
            sqlx::query(
                "INSERT INTO calls (call_id, operator, called, caller_number, started_ms, trunk, diverted_from, user_to_user)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (call_id) DO UPDATE SET operator = excluded.operator, called = excluded.called,
                     caller_number = excluded.caller_number, started_ms = excluded.started_ms, trunk = excluded.trunk,
                     diverted_from = excluded.diverted_from, user_to_user = excluded.user_to_user",
            )
            .bind(call)
            .bind(&info.operator)
            .bind(&info.called)
            .bind(info.caller_number.as_ref().map(Private::reveal))
            .bind(unix_ms(info.started_at))
            .bind(&info.origin.trunk)
            .bind(info.origin.diverted_from.as_ref().map(Private::reveal))
            .bind(info.origin.user_to_user.as_ref().map(Private::reveal))
            .execute(connection)
            .await?;
        }
        TranscriptEvent::Answered { at } => {
            sqlx::query("UPDATE calls SET answered_ms = ? WHERE call_id = ?")
                .bind(unix_ms(*at))
                .bind(call)
                .execute(connection)
                .await?;
        }
        TranscriptEvent::CallFinal { duration, reason } => {
            sqlx::query("UPDATE calls SET duration_us = ?, end_reason = ? WHERE call_id = ?")
                .bind(duration.as_micros() as i64)
                .bind(stored_reason(reason))
                .bind(call)
                .execute(connection)
                .await?;
        }
        _ => {}
    }
    Ok(())
}

fn event_of(row: &SqliteRow) -> Result<Arc<Event>, StoreError> {
    let position: i64 = row.get("position");
    let transcript: TranscriptEvent =
        serde_json::from_str(row.get("body")).map_err(|_| unreadable_event(position))?;
    Ok(Arc::new(Event {
        position: position.unsigned_abs(),
        call: CallId::new(row.get("call_id")),
        operator: row.get::<&str, _>("operator").into(),
        payload: Payload::Transcript(transcript),
    }))
}

fn unreadable_event(position: i64) -> StoreError {
    StoreError::Unreadable {
        what: "event at position",
        key: position.to_string(),
    }
}

/// A reason as its column holds it.
fn stored_reason(reason: &EndReason) -> String {
    serde_json::to_string(reason).expect("a tag, numbers and texts always have a JSON form")
}

/// The reason in a column: JSON, or the sentence that an older version wrote there.
fn read_reason(column: &str) -> EndReason {
    serde_json::from_str(column).unwrap_or_else(|_| EndReason::of_sentence(column))
}

fn call_of(row: &SqliteRow) -> CallRecord {
    let ended = row.get::<Option<i64>, _>("duration_us").map(|duration| {
        let reason: Option<String> = row.get("end_reason");
        (
            MediaTime::from_micros(duration.unsigned_abs()),
            read_reason(&reason.unwrap_or_default()),
        )
    });
    let private = |column| row.get::<Option<String>, _>(column).map(Private::new);
    CallRecord {
        info: CallInfo {
            call: CallId::new(row.get("call_id")),
            caller_number: private("caller_number"),
            called: row.get("called"),
            operator: row.get("operator"),
            started_at: from_unix_ms(row.get("started_ms")),
            origin: Origin {
                trunk: row.get("trunk"),
                diverted_from: private("diverted_from"),
                user_to_user: private("user_to_user"),
            },
        },
        answered_at: row.get::<Option<i64>, _>("answered_ms").map(from_unix_ms),
        ended,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::Bus;
    use crate::speech::Leg;

    #[tokio::test]
    async fn an_end_is_kept_with_its_parameters_and_what_older_versions_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("test.db")).await.unwrap();
        let reason = EndReason::NoMedia {
            party: Some(Leg::Caller),
            seconds: 60,
        };
        let bus = Bus::new(1);
        let last = TranscriptEvent::CallFinal {
            duration: MediaTime::from_millis(61_000),
            reason: reason.clone(),
        };
        bus.publish(&CallId::new("new"), Payload::Transcript(last));
        store.append(&bus.unsaved_now(10)).await.unwrap();
        // Rows as they were written before there were codes.
        let old = [
            (
                "caller lost (no ACK)",
                EndReason::of_sentence("caller lost (no ACK)"),
            ),
            (
                "对方挂了",
                EndReason::Other {
                    detail: "对方挂了".into(),
                },
            ),
        ];
        for (at, (sentence, _)) in (10_i64..).zip(&old) {
            sqlx::query(
                "INSERT INTO calls (call_id, operator, called, started_ms, duration_us, end_reason)
                 VALUES (?, 'sip:op@h', '12345', 0, 9000000, ?)",
            )
            .bind(*sentence)
            .bind(*sentence)
            .execute(&store.db.write)
            .await
            .unwrap();
            let body =
                format!(r#"{{"kind":"call_final","duration":9000000,"reason":"{sentence}"}}"#);
            sqlx::query("INSERT INTO events (position, call_id, body) VALUES (?, ?, ?)")
                .bind(at)
                .bind(*sentence)
                .bind(body)
                .execute(&store.db.write)
                .await
                .unwrap();
        }
        for (call, reason) in old.into_iter().chain([("new", reason)]) {
            let call = CallId::new(call);
            let record = store.call(&call).await.unwrap().unwrap();
            assert_eq!(record.ended.unwrap().1, reason);
            let filter = Filter {
                call: Some(call),
                operator: None,
            };
            let events = store.events(&filter, 0, u64::MAX, 10).await.unwrap();
            assert!(
                matches!(
                    &events[0].payload,
                    Payload::Transcript(TranscriptEvent::CallFinal { reason: read, .. }) if *read == reason
                ),
                "{events:?}"
            );
        }
        store.close().await;
    }
}
