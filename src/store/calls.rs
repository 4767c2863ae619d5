//! Calls and their transcript events.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::database::{self, Row, Transaction, indexable, values};
use super::nodes::DEAD_MS;
use super::{Doing, Store, StoreError, from_unix_ms, unix_ms};
use crate::audio::MediaTime;
use crate::events::{Event, Filter, Payload};
use crate::private::Private;
use crate::speech::CallId;
use crate::transcript::{CallInfo, EndReason, Note, Origin, Transcript, TranscriptEvent};

/// A call as the records show it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Who is in it.
    pub info: CallInfo,
    /// Wall time of the answer, if there was one.
    pub answered_at: Option<SystemTime>,
    /// How long it lasted and why it ended, once it has.
    pub ended: Option<(MediaTime, EndReason)>,
    /// Whether another gateway on the same database, which lives, has it.
    pub elsewhere: bool,
}

impl CallRecord {
    /// A call that has just come in.
    #[must_use]
    pub const fn new(info: CallInfo) -> Self {
        Self {
            info,
            answered_at: None,
            ended: None,
            elsewhere: false,
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
        let (mut known, mut rows) = (HashSet::new(), Vec::new());
        for event in events {
            let Payload::Transcript(transcript) = &event.payload else {
                continue;
            };
            let first = known.insert(&event.call);
            record_call(&mut transaction, event, transcript, first, self.node.id())
                .await
                .doing(DOING)?;
            let body = serde_json::to_string(transcript)
                .map_err(|_| unreadable_event(event.position as i64))?;
            rows.push(values![event.position, event.call.as_str(), body]);
        }
        let into = "events (position, call_id, body)";
        transaction.insert_new(into, rows).await.doing(DOING)?;
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
        let mut values = values![
            after,
            up_to,
            filter.operator.as_deref().map(indexable),
            limit
        ];
        // Two texts rather than one with alternatives, so that the index of each case can be used.
        let of_call = match &filter.call {
            Some(call) => {
                values.push(call.as_str().into());
                "AND call_id = $5"
            }
            None => "",
        };
        let sql = format!(
            "SELECT position, call_id, operator, body FROM events JOIN calls USING (call_id)
             WHERE position > $1 AND position <= $2 AND ($3 IS NULL OR operator = $3) {of_call}
             ORDER BY position LIMIT $4"
        );
        let rows = self.db.fetch_all(&sql, values).await.doing(DOING)?;
        rows.iter().map(event_of).collect()
    }

    /// What was said in a call, as far as it is saved.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn transcript(&self, call: &CallId) -> Result<Transcript, StoreError> {
        let mut transcript = Transcript::default();
        self.each_event(call, |event| {
            if let TranscriptEvent::Line(line) = event {
                transcript.apply(line.clone());
            }
        })
        .await?;
        Ok(transcript)
    }

    /// What was noted beside a call, in order, as far as it is saved.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn notes(&self, call: &CallId) -> Result<Vec<Note>, StoreError> {
        let mut notes = Vec::new();
        self.each_event(call, |event| {
            if let TranscriptEvent::Note(note) = event {
                notes.push(note.clone());
            }
        })
        .await?;
        Ok(notes)
    }

    async fn each_event(
        &self,
        call: &CallId,
        mut take: impl FnMut(&TranscriptEvent),
    ) -> Result<(), StoreError> {
        const PAGE: u32 = 1_000;
        let filter = Filter {
            call: Some(call.clone()),
            operator: None,
        };
        let mut after = 0;
        loop {
            let events = self.events(&filter, after, u64::MAX, PAGE).await?;
            let Some(last) = events.last() else {
                return Ok(());
            };
            after = last.position;
            for event in &events {
                if let Payload::Transcript(event) = &event.payload {
                    take(event);
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
        let sql = format!(
            "{} WHERE ($1 IS NULL OR operator = $1) AND ($2 IS NULL OR (started_ms, call_id) < ($2, $3))
             ORDER BY started_ms DESC, call_id DESC LIMIT $4",
            self.select_calls()
        );
        let values = values![
            operator.map(indexable),
            before.map(|key| key.started_ms),
            before.map(|key| key.call.as_str()),
            limit,
        ];
        let rows = self
            .db
            .fetch_all(&sql, values)
            .await
            .doing("listing calls")?;
        Ok(rows.iter().map(call_of).collect())
    }

    /// One call.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn call(&self, call: &CallId) -> Result<Option<CallRecord>, StoreError> {
        let sql = format!("{} WHERE call_id = $1", self.select_calls());
        let row = self
            .db
            .fetch_first(&sql, values![call.as_str()])
            .await
            .doing("reading a call")?;
        Ok(row.as_ref().map(call_of))
    }

    /// The columns of [`call_of`].
    fn select_calls(&self) -> String {
        format!(
            "SELECT calls.*, coalesce(first_position <> {} AND beat_ms > {} - {DEAD_MS}, FALSE) AS elsewhere
             FROM calls LEFT JOIN nodes ON first_position = node",
            self.node.id().unwrap_or(0),
            self.db.now_ms()
        )
    }
}

/// Takes what an event says about its call, of which it may be the `first` in a batch.
async fn record_call(
    transaction: &mut Transaction,
    event: &Event,
    transcript: &TranscriptEvent,
    first: bool,
    node: Option<i64>,
) -> database::Result<()> {
    let call = event.call.as_str();
    if first && !matches!(transcript, TranscriptEvent::Started(_)) {
        // An event must be kept even if its call's beginning never came.
        transaction
            .execute(
                "INSERT INTO calls (call_id, operator, called, started_ms, node) VALUES ($1, $2, '', 0, $3)
                 ON CONFLICT DO NOTHING",
                values![call, indexable(&event.operator), node],
            )
            .await?;
    }
    let (sql, values) = match transcript {
        TranscriptEvent::Started(info) => {
            let origin = &info.origin;
            let revealed =
                |text: &Option<Private<String>>| text.as_ref().map(Private::reveal).cloned();
            (
                "INSERT INTO calls (call_id, operator, called, caller_number, started_ms, trunk, diverted_from, user_to_user, node)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                 ON CONFLICT (call_id) DO UPDATE SET operator = excluded.operator, called = excluded.called,
                     caller_number = excluded.caller_number, started_ms = excluded.started_ms, trunk = excluded.trunk,
                     diverted_from = excluded.diverted_from, user_to_user = excluded.user_to_user, node = excluded.node",
                values![
                    call,
                    indexable(&info.operator),
                    &info.called,
                    revealed(&info.caller_number),
                    unix_ms(info.started_at),
                    &origin.trunk,
                    revealed(&origin.diverted_from),
                    revealed(&origin.user_to_user),
                    node,
                ],
            )
        }
        TranscriptEvent::Answered { at } => (
            "UPDATE calls SET answered_ms = $2 WHERE call_id = $1",
            values![call, unix_ms(*at)],
        ),
        TranscriptEvent::CallFinal { duration, reason } => (
            "UPDATE calls SET duration_us = $2, end_reason = $3 WHERE call_id = $1",
            values![call, duration.as_micros() as i64, stored_reason(reason)],
        ),
        _ => return Ok(()),
    };
    transaction.execute(sql, values).await?;
    Ok(())
}

fn event_of(row: &Row) -> Result<Arc<Event>, StoreError> {
    let position: i64 = row.get("position");
    let transcript: TranscriptEvent =
        serde_json::from_str(&row.get::<String>("body")).map_err(|_| unreadable_event(position))?;
    Ok(Arc::new(Event {
        position: position.unsigned_abs(),
        call: CallId::new(&row.get::<String>("call_id")),
        operator: row.get::<String>("operator").into(),
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

fn call_of(row: &Row) -> CallRecord {
    let ended = row.get::<Option<i64>>("duration_us").map(|duration| {
        let reason: Option<String> = row.get("end_reason");
        (
            MediaTime::from_micros(duration.unsigned_abs()),
            read_reason(&reason.unwrap_or_default()),
        )
    });
    let private = |column| row.get::<Option<String>>(column).map(Private::new);
    CallRecord {
        info: CallInfo {
            call: CallId::new(&row.get::<String>("call_id")),
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
        answered_at: row.get::<Option<i64>>("answered_ms").map(from_unix_ms),
        ended,
        elsewhere: row.get("elsewhere"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::Bus;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::speech::Leg;
    use crate::store::at;

    on_both_engines![an_end_is_kept_with_its_parameters_and_what_older_versions_wrote_is_read];

    async fn an_end_is_kept_with_its_parameters_and_what_older_versions_wrote_is_read(site: Site) {
        let store = Store::open(at(&site.store())).await.unwrap();
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
        for (position, (sentence, _)) in (10_i64..).zip(&old) {
            store
                .db
                .execute(
                    "INSERT INTO calls (call_id, operator, called, started_ms, duration_us, end_reason)
                     VALUES ($1, 'sip:op@h', '12345', 0, 9000000, $1)",
                    values![*sentence],
                )
                .await
                .unwrap();
            let body =
                format!(r#"{{"kind":"call_final","duration":9000000,"reason":"{sentence}"}}"#);
            store
                .db
                .execute(
                    "INSERT INTO events (position, call_id, body) VALUES ($1, $2, $3)",
                    values![position, *sentence, body],
                )
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
