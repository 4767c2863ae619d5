//! What was done, by whom and when: what calls were asked and accepted, and what people saw, heard and changed.
//!
//! The records are a chain: each has a number and a hash over itself and the record before it, so that one that was
//! changed, put in or taken out is found ([`Store::verify_audit`]). What is cut off behind is found by who noted the last
//! number and hash elsewhere. The oldest go after the time that the site sets; where the chain then begins is kept.

use std::collections::HashSet;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::database::{Row, Transaction, Value, indexable, values};
use super::{Doing, Store, StoreError, from_unix_ms, unix_ms};
use crate::private::Private;
use crate::speech::CallId;
use crate::transcript::Actor;

/// How the hashes are made, written before each.
const ALGORITHM: &str = "sha-256";
/// Records that are read at a time.
const PAGE: u32 = 500;

/// Something that was done once.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRecord {
    /// Tells it from all others, and those of a millisecond by the order of their coming.
    pub id: String,
    /// Its place in the chain, from 1; 0 for one that isn't in it: not kept yet, or from before there was a chain.
    pub number: u64,
    /// When, to the millisecond.
    pub at: SystemTime,
    /// In which call, where it is about one.
    pub call: Option<CallId>,
    /// Who.
    pub actor: Actor,
    /// What, e.g. `edit`.
    pub action: String,
    /// All of it, JSON.
    pub detail: Private<String>,
}

impl AuditRecord {
    /// A record of what `actor` did at `at`.
    #[must_use]
    pub fn new(
        at: SystemTime,
        call: Option<CallId>,
        actor: Actor,
        action: &str,
        detail: Private<String>,
    ) -> Self {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos() as u64;
        Self {
            id: format!("{nanos:016x}{:016x}", rand::random::<u64>()),
            number: 0,
            at,
            call,
            actor,
            action: action.to_owned(),
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
    /// Only of this action.
    pub action: Option<String>,
    /// Only from then on.
    pub from: Option<SystemTime>,
    /// Only older ones than the record of this time and identifier, the last of the page before; an empty identifier
    /// is before all of its time.
    pub before: Option<(SystemTime, String)>,
}

/// What was found of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Records whose place is right.
    pub verified: u64,
    /// Records from before there was a chain.
    pub unchained: u64,
    /// The first number at which it is broken: the record is another than was written, or is missing.
    pub broken_at: Option<u64>,
    /// The number of the newest record, 0 without any.
    pub last: u64,
    /// Its hash, behind the name of its algorithm; empty without any.
    pub last_hash: String,
}

/// The end of the chain so far.
struct Link {
    number: u64,
    hash: String,
}

impl Link {
    /// The next one, of a record's columns.
    fn next(&self, row: &[Value]) -> Self {
        let number = self.number + 1;
        let mut hash = Sha256::new();
        let mut feed = |bytes: &[u8]| {
            // With its length, so that nothing moves from one column into the next.
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        feed(self.hash.as_bytes());
        feed(&number.to_be_bytes());
        for value in row {
            match value {
                Value::Text(text) => {
                    let text = text.as_deref().unwrap_or_default();
                    feed(Value::storable(text).as_bytes());
                }
                Value::Int(number) => feed(&number.unwrap_or_default().to_be_bytes()),
                Value::Flag(_) | Value::Bytes(_) => {}
            }
        }
        let hex = hash
            .finalize()
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        Self {
            number,
            hash: format!("{ALGORITHM}:{hex}"),
        }
    }
}

impl Store {
    /// Keeps records at the end of the chain, all or nothing; those that are kept already are passed over.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written.
    pub async fn save_audit(&self, records: &[AuditRecord]) -> Result<(), StoreError> {
        const DOING: &str = "saving the audit";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        // Two nodes do not write at the same end.
        transaction.lock("audit").await.doing(DOING)?;
        let mut kept = HashSet::new();
        for record in records {
            let found = transaction
                .fetch_first("SELECT 1 FROM audit WHERE id = $1", values![&record.id])
                .await
                .doing(DOING)?;
            if found.is_some() {
                kept.insert(record.id.as_str());
            }
        }
        let mut link = end(&mut transaction).await.doing(DOING)?;
        let mut rows = Vec::new();
        for record in records {
            if !kept.insert(&record.id) {
                continue;
            }
            let mut row = columns(record)?;
            link = link.next(&row);
            row.extend(values![link.number, &link.hash]);
            rows.push(row);
        }
        let into = "audit (id, at_ms, call_id, actor_name, actor, command, detail, number, hash)";
        transaction.insert_new(into, rows).await.doing(DOING)?;
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
                "SELECT id, at_ms, call_id, actor, command, detail, number FROM audit
                 WHERE ($1 IS NULL OR call_id = $1) AND ($2 IS NULL OR actor_name = $2)
                     AND ($3 IS NULL OR (at_ms, id) < ($3, $4))
                     AND ($6 IS NULL OR command = $6) AND ($7 IS NULL OR at_ms >= $7)
                 ORDER BY at_ms DESC, id DESC LIMIT $5",
                values![
                    filter.call.as_ref().map(CallId::as_str),
                    filter.actor.as_deref().map(indexable),
                    before.map(|(at, _)| unix_ms(*at)),
                    before.map(|(_, id)| id),
                    limit,
                    filter.action.as_deref(),
                    filter.from.map(unix_ms),
                ],
            )
            .await
            .doing("reading the audit")?;
        rows.iter().map(record_of).collect()
    }

    /// Computes the chain of all records again.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn verify_audit(&self) -> Result<Chain, StoreError> {
        const DOING: &str = "verifying the audit";
        let anchor = "SELECT number, hash FROM audit_anchor ORDER BY number DESC LIMIT 1";
        let anchor = self.db.fetch_first(anchor, values![]).await.doing(DOING)?;
        let mut link = anchor.as_ref().map_or_else(Link::first, Link::of);
        let unchained = "SELECT count(*) AS records FROM audit WHERE number IS NULL";
        let unchained = self
            .db
            .fetch_first(unchained, values![])
            .await
            .doing(DOING)?;
        let mut chain = Chain {
            unchained: unchained.map_or(0, |row| row.get::<i64>("records") as u64),
            ..Chain::default()
        };
        // Where it goes on; behind a break the stored hash is taken, so that one break is not told as many.
        let mut after = link.number;
        loop {
            let rows = self
                .db
                .fetch_all(
                    "SELECT id, at_ms, call_id, actor_name, actor, command, detail, number, hash FROM audit
                     WHERE number > $1 ORDER BY number LIMIT $2",
                    values![after, PAGE],
                )
                .await
                .doing(DOING)?;
            for row in &rows {
                let stored = Link::of(row);
                after = stored.number;
                let expected = link.next(&stored_columns(row));
                if stored.number == expected.number && stored.hash == expected.hash {
                    chain.verified += 1;
                } else {
                    chain.broken_at.get_or_insert(expected.number);
                }
                link = stored;
            }
            if rows.len() < PAGE as usize {
                break;
            }
        }
        (chain.last, chain.last_hash) = (link.number, link.hash);
        Ok(chain)
    }

    /// Forgets the records from before `before`, as far as they stand at the beginning of the chain; returns how many.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written; all are kept then.
    pub async fn expire_audit(&self, before: SystemTime) -> Result<u64, StoreError> {
        const DOING: &str = "forgetting old audit records";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        transaction.lock("audit").await.doing(DOING)?;
        let old = "DELETE FROM audit WHERE number IS NULL AND at_ms < $1";
        let unchained = transaction
            .execute(old, values![unix_ms(before)])
            .await
            .doing(DOING)?;
        // A clock that was set back may have put younger records between older ones.
        let young = transaction
            .fetch_first(
                "SELECT min(number) AS number FROM audit WHERE at_ms >= $1",
                values![unix_ms(before)],
            )
            .await
            .doing(DOING)?;
        let young: Option<i64> = young.and_then(|row| row.get("number"));
        let last = transaction
            .fetch_first(
                "SELECT number, hash FROM audit WHERE number < $1 ORDER BY number DESC LIMIT 1",
                values![young.unwrap_or(i64::MAX)],
            )
            .await
            .doing(DOING)?;
        let Some(Link { number, hash }) = last.as_ref().map(Link::of) else {
            transaction.commit().await.doing(DOING)?;
            return Ok(unchained);
        };
        let gone = transaction
            .execute("DELETE FROM audit WHERE number <= $1", values![number])
            .await
            .doing(DOING)?;
        for (sql, values) in [
            ("DELETE FROM audit_anchor", values![]),
            (
                "INSERT INTO audit_anchor (number, hash) VALUES ($1, $2)",
                values![number, hash],
            ),
        ] {
            transaction.execute(sql, values).await.doing(DOING)?;
        }
        transaction.commit().await.doing(DOING)?;
        Ok(unchained + gone)
    }
}

impl Link {
    const fn first() -> Self {
        Self {
            number: 0,
            hash: String::new(),
        }
    }

    fn of(row: &Row) -> Self {
        Self {
            number: row.get::<Option<i64>>("number").unwrap_or_default() as u64,
            hash: row.get::<Option<String>>("hash").unwrap_or_default(),
        }
    }
}

/// The end of the chain.
async fn end(transaction: &mut Transaction) -> super::database::Result<Link> {
    for sql in [
        "SELECT number, hash FROM audit WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1",
        "SELECT number, hash FROM audit_anchor ORDER BY number DESC LIMIT 1",
    ] {
        if let Some(row) = transaction.fetch_first(sql, values![]).await? {
            return Ok(Link::of(&row));
        }
    }
    Ok(Link::first())
}

/// What the hash is over, as it is written.
fn columns(record: &AuditRecord) -> Result<Vec<Value>, StoreError> {
    let actor = serde_json::to_string(&record.actor).map_err(|_| unreadable(&record.id))?;
    Ok(values![
        &record.id,
        unix_ms(record.at),
        record.call.as_ref().map_or("", CallId::as_str),
        indexable(record.actor.name()),
        actor,
        &record.action,
        record.detail.reveal(),
    ])
}

/// The same, as it is read.
fn stored_columns(row: &Row) -> Vec<Value> {
    let text = |column| row.get::<String>(column);
    values![
        text("id"),
        row.get::<i64>("at_ms"),
        text("call_id"),
        text("actor_name"),
        text("actor"),
        text("command"),
        text("detail"),
    ]
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
    let call: String = row.get("call_id");
    Ok(AuditRecord {
        number: row.get::<Option<i64>>("number").unwrap_or_default() as u64,
        at: from_unix_ms(row.get("at_ms")),
        call: (!call.is_empty()).then(|| CallId::new(&call)),
        actor,
        action: row.get("command"),
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

    on_both_engines![
        accepted_commands_are_kept_once_and_paged_newest_first_by_call_and_by_actor,
        what_is_changed_put_in_or_taken_out_breaks_the_chain_and_what_is_old_goes_without_breaking_it,
    ];

    async fn accepted_commands_are_kept_once_and_paged_newest_first_by_call_and_by_actor(
        site: Site,
    ) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let record = |number: u64, call: &str, user: &str| AuditRecord {
            id: format!("{number:032x}"),
            number: number + 1,
            // Two a millisecond.
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_000 + number / 2),
            call: Some(CallId::new(call)),
            actor: Actor::User {
                user: user.to_owned(),
                station: "192.0.2.30".to_owned(),
            },
            action: "note".to_owned(),
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
            ..AuditFilter::default()
        };
        let of_b = store.audit(&of(Some("b"), None), 10).await.expect("read");
        assert_eq!(of_b.len(), 3);
        let of_lead = store.audit(&of(None, Some("lead")), 10).await;
        assert_eq!(of_lead.expect("read"), [records[4].clone()]);
        let nobody = store.audit(&of(Some("a"), Some("nobody")), 10).await;
        assert_eq!(nobody.expect("read"), []);
        store.close().await;
    }

    async fn what_is_changed_put_in_or_taken_out_breaks_the_chain_and_what_is_old_goes_without_breaking_it(
        site: Site,
    ) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_hours(24 * (20_000 + day));
        let record = |number: u64| {
            let call = number.is_multiple_of(2).then(|| CallId::new("a"));
            // A text that a server cannot hold as it is.
            let detail = "{\"text\":\"回访\u{0}\"}".into();
            AuditRecord::new(day(number), call, Actor::System, "note", detail)
        };
        let records: Vec<AuditRecord> = (0..8).map(record).collect();
        store.save_audit(&records[..5]).await.expect("saved");
        store.save_audit(&records[5..]).await.expect("saved");
        let whole = store.verify_audit().await.expect("read");
        assert_eq!((whole.verified, whole.broken_at, whole.last), (8, None, 8));
        assert!(whole.last_hash.starts_with("sha-256:"));

        for (change, back, broken_at) in [
            ("UPDATE audit SET detail = '{}' WHERE number = 3", None, 3),
            (
                "UPDATE audit SET at_ms = at_ms + 1 WHERE number = 6",
                Some("UPDATE audit SET at_ms = at_ms - 1 WHERE number = 6"),
                3,
            ),
        ] {
            store.db.execute(change, values![]).await.expect("changed");
            let chain = store.verify_audit().await.expect("read");
            assert_eq!(chain.broken_at, Some(broken_at), "{change}");
            if let Some(back) = back {
                store.db.execute(back, values![]).await.expect("changed");
            }
        }
        assert_eq!(store.verify_audit().await.expect("read").verified, 7);

        // What is before the fourth day goes, and with it the record that was changed.
        assert_eq!(store.expire_audit(day(4)).await.expect("expired"), 4);
        let rest = store.verify_audit().await.expect("read");
        assert_eq!((rest.verified, rest.broken_at, rest.last), (4, None, 8));
        assert_eq!(rest.last_hash, whole.last_hash);
        store.save_audit(&[record(9)]).await.expect("saved");
        let cut = "DELETE FROM audit WHERE number = 5";
        store.db.execute(cut, values![]).await.expect("cut");
        let chain = store.verify_audit().await.expect("read");
        assert_eq!((chain.verified, chain.broken_at), (3, Some(5)));

        // When all is old, the chain goes on from where it ended.
        assert_eq!(store.expire_audit(day(100)).await.expect("expired"), 4);
        store.save_audit(&[record(10)]).await.expect("saved");
        let chain = store.verify_audit().await.expect("read");
        assert_eq!((chain.verified, chain.broken_at, chain.last), (1, None, 10));
        store.close().await;
    }
}
