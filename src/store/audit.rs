//! What calls were asked from outside and accepted: who, what and when.

use std::time::SystemTime;

use super::database::{Row, indexable, values};
use super::{Doing, Store, StoreError, from_unix_ms, unix_ms};
use crate::private::Private;
use crate::speech::CallId;
use crate::transcript::Actor;

/// One accepted command.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRecord {
    /// Tells it from all others, and those of a millisecond by the order of their coming.
    pub id: String,
    /// When it was accepted, to the millisecond.
    pub at: SystemTime,
    /// By which call.
    pub call: CallId,
    /// Whose it was.
    pub actor: Actor,
    /// What kind of command, e.g. `edit`.
    pub command: String,
    /// The whole command, JSON.
    pub detail: Private<String>,
}

impl AuditRecord {
    /// A record of what `call` accepted at `at`.
    #[must_use]
    pub fn new(
        at: SystemTime,
        call: CallId,
        actor: Actor,
        command: &str,
        detail: Private<String>,
    ) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos() as u64;
        Self {
            id: format!("{nanos:016x}{:016x}", rand::random::<u64>()),
            at,
            call,
            actor,
            command: command.to_owned(),
            detail,
        }
    }
}

/// Which records are wanted; an empty filter wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this call.
    pub call: Option<CallId>,
    /// Only of actors of this name.
    pub actor: Option<String>,
    /// Only older ones than the record of this time and identifier, the last of the page before.
    pub before: Option<(SystemTime, String)>,
}

impl Store {
    /// Keeps records, all or nothing; those that are kept already are passed over.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written.
    pub async fn save_audit(&self, records: &[AuditRecord]) -> Result<(), StoreError> {
        const DOING: &str = "saving the audit";
        let rows = records.iter().map(|record| {
            let actor = serde_json::to_string(&record.actor).map_err(|_| unreadable(&record.id))?;
            Ok(values![
                &record.id,
                unix_ms(record.at),
                record.call.as_str(),
                indexable(record.actor.name()),
                actor,
                &record.command,
                record.detail.reveal(),
            ])
        });
        let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let columns = "audit (id, at_ms, call_id, actor_name, actor, command, detail)";
        transaction.insert_new(columns, rows).await.doing(DOING)?;
        transaction.commit().await.doing(DOING)
    }

    /// The records that `filter` wants, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let before = filter.before.as_ref();
        let rows = self
            .db
            .fetch_all(
                "SELECT id, at_ms, call_id, actor, command, detail FROM audit
                 WHERE ($1 IS NULL OR call_id = $1) AND ($2 IS NULL OR actor_name = $2)
                     AND ($3 IS NULL OR (at_ms, id) < ($3, $4))
                 ORDER BY at_ms DESC, id DESC LIMIT $5",
                values![
                    filter.call.as_ref().map(CallId::as_str),
                    filter.actor.as_deref().map(indexable),
                    before.map(|(at, _)| unix_ms(*at)),
                    before.map(|(_, id)| id),
                    limit,
                ],
            )
            .await
            .doing("reading the audit")?;
        rows.iter().map(record_of).collect()
    }
}

fn unreadable(id: &str) -> StoreError {
    StoreError::Unreadable {
        what: "audit record",
        key: id.to_owned(),
    }
}

fn record_of(row: &Row) -> Result<AuditRecord, StoreError> {
    let id: String = row.get("id");
    let actor = serde_json::from_str(&row.get::<String>("actor")).map_err(|_| unreadable(&id))?;
    Ok(AuditRecord {
        at: from_unix_ms(row.get("at_ms")),
        call: CallId::new(&row.get::<String>("call_id")),
        actor,
        command: row.get("command"),
        detail: Private::new(row.get("detail")),
        id,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::at;

    on_both_engines![accepted_commands_are_kept_once_and_paged_newest_first_by_call_and_by_actor];

    async fn accepted_commands_are_kept_once_and_paged_newest_first_by_call_and_by_actor(
        site: Site,
    ) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let record = |number: u64, call: &str, user: &str| AuditRecord {
            id: format!("{number:032x}"),
            // Two a millisecond.
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + number / 2),
            call: CallId::new(call),
            actor: Actor::User {
                user: user.to_owned(),
                station: "192.0.2.30".to_owned(),
            },
            command: "note".to_owned(),
            detail: "{\"command\":\"note\",\"text\":\"回访\"}".into(),
        };
        let records: Vec<AuditRecord> = (0..7)
            .map(|number| {
                let call = if number % 3 == 0 { "b" } else { "a" };
                record(number, call, if number == 4 { "lead" } else { "console" })
            })
            .collect();
        // A batch that is written again, since nobody heard that it had come off.
        store.save_audit(&records[..4]).await.expect("saved");
        store.save_audit(&records).await.expect("saved");

        let (mut paged, mut filter) = (Vec::new(), AuditFilter::default());
        loop {
            let page = store.audit(&filter, 3).await.expect("read");
            let Some(last) = page.last() else { break };
            filter.before = Some((last.at, last.id.clone()));
            paged.extend(page);
        }
        let newest_first: Vec<AuditRecord> = records.iter().rev().cloned().collect();
        assert_eq!(paged, newest_first);

        let of = |call: Option<&str>, actor: Option<&str>| AuditFilter {
            call: call.map(CallId::new),
            actor: actor.map(str::to_owned),
            before: None,
        };
        let of_b = store.audit(&of(Some("b"), None), 10).await.expect("read");
        assert_eq!(of_b.len(), 3);
        let of_lead = store.audit(&of(None, Some("lead")), 10).await;
        assert_eq!(of_lead.expect("read"), [records[4].clone()]);
        let nobody = store.audit(&of(Some("a"), Some("nobody")), 10).await;
        assert_eq!(nobody.expect("read"), []);
        store.close().await;
    }
}
