//! What drafts are about, kept beside them and indexed, so that a call on a matter already known is noticed.

use std::time::{Duration, SystemTime};

use super::database::{self, Row, Transaction, indexable, values};
use super::{Doing, Store, StoreError, unix_ms};
use crate::speech::CallId;
use crate::ticket::resemble::{Resemblance, TicketFingerprint, likest};

/// A matter counts as open for so long after its last call: the longest time limit of a work order, with its extension.
const OPEN_FOR: Duration = Duration::from_hours(24 * 30);
/// Tickets of one caller, of one subject and of one category that are compared at most, the latest first.
const OF_CALLER: i64 = 50;
const OF_SUBJECT: i64 = 200;
const OF_CATEGORY: i64 = 1_000;

/// As much of it as is kept and looked for.
fn kept(gist: &TicketFingerprint) -> TicketFingerprint {
    let cut = |text: &Option<String>| text.as_deref().map(|text| indexable(text).to_owned());
    TicketFingerprint {
        phone: cut(&gist.phone),
        category: cut(&gist.category),
        subject: cut(&gist.subject),
        address: cut(&gist.address),
        pairs: gist.pairs.clone(),
    }
}

/// Keeps what `call` is about.
pub(super) async fn keep(
    transaction: &mut Transaction,
    call: &CallId,
    gist: &TicketFingerprint,
    at_ms: i64,
) -> database::Result<()> {
    let gist = kept(gist);
    let pairs: Vec<u8> = gist
        .pairs
        .iter()
        .flat_map(|pair| pair.to_le_bytes())
        .collect();
    transaction
        .execute(
            "INSERT INTO gists (call_id, at_ms, phone, category, subject, address, pairs) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (call_id) DO UPDATE SET phone = excluded.phone, category = excluded.category,
                 subject = excluded.subject, address = excluded.address, pairs = excluded.pairs",
            values![
                call.as_str(),
                at_ms,
                &gist.phone,
                &gist.category,
                &gist.subject,
                &gist.address,
                pairs,
            ],
        )
        .await?;
    Ok(())
}

impl Store {
    /// The earlier tickets of the last thirty days that `gist` of `call` resembles most.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn resembling(
        &self,
        call: &CallId,
        gist: &TicketFingerprint,
    ) -> Result<Vec<Resemblance>, StoreError> {
        if gist.is_empty() {
            return Ok(Vec::new());
        }
        let gist = kept(gist);
        let since = unix_ms(SystemTime::now() - OPEN_FOR);
        let rows = self
            .db
            .fetch_all(
                "SELECT g.*, d.ticket_id FROM gists g JOIN drafts d USING (call_id) WHERE g.call_id <> $1 AND g.call_id IN (
                     SELECT call_id FROM (SELECT call_id FROM gists WHERE phone = $2 AND at_ms > $5
                         ORDER BY at_ms DESC LIMIT $6) AS of_caller
                     UNION SELECT call_id FROM (SELECT call_id FROM gists WHERE subject = $3 AND at_ms > $5
                         ORDER BY at_ms DESC LIMIT $7) AS of_subject
                     UNION SELECT call_id FROM (SELECT call_id FROM gists WHERE category = $4 AND at_ms > $5
                         ORDER BY at_ms DESC LIMIT $8) AS of_category)",
                values![
                    call.as_str(),
                    &gist.phone,
                    &gist.subject,
                    &gist.category,
                    since,
                    OF_CALLER,
                    OF_SUBJECT,
                    OF_CATEGORY,
                ],
            )
            .await
            .doing("looking for similar tickets")?;
        let found = rows.iter().filter_map(|row| {
            let (score, because) = gist.compare(&gist_of(row))?;
            Some(Resemblance {
                call: CallId::new(&row.get::<String>("call_id")),
                ticket: row.get("ticket_id"),
                score,
                because,
                started_unix_ms: row.get("at_ms"),
            })
        });
        Ok(likest(found.collect()))
    }
}

fn gist_of(row: &Row) -> TicketFingerprint {
    let bytes: Vec<u8> = row.get("pairs");
    let (pairs, _) = bytes.as_chunks::<4>();
    TicketFingerprint {
        phone: row.get("phone"),
        category: row.get("category"),
        subject: row.get("subject"),
        address: row.get("address"),
        pairs: pairs.iter().map(|pair| u32::from_le_bytes(*pair)).collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use super::*;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::at;
    use crate::ticket::desk::{DraftKey, Submission};
    use crate::ticket::{Field, FieldName, FieldValue, TicketDraft};

    fn draft(values: &[(FieldName, FieldValue)]) -> TicketDraft {
        let fields = values.iter().map(|(name, value)| {
            let field = Field {
                value: value.clone(),
                confidence: 0.9,
                evidence: Vec::new(),
            };
            (*name, field)
        });
        TicketDraft {
            fields: fields.collect(),
            ..TicketDraft::default()
        }
    }

    fn ticket(phone: &str, category: &str, subject: &str, summary: &str) -> TicketDraft {
        let text = |text: &str| FieldValue::Text(text.into());
        draft(&[
            (FieldName::ContactPhone, text(phone)),
            (
                FieldName::Category,
                FieldValue::List(vec!["类".into(), category.into()]),
            ),
            (FieldName::Subject, text(subject)),
            (FieldName::Summary, text(summary)),
        ])
    }

    fn submission(call: &str, draft: TicketDraft) -> Submission {
        Submission {
            key: DraftKey {
                call: CallId::new(call),
                revision: 1,
            },
            draft,
            lines: Vec::new(),
        }
    }

    const SAID: &str = "市民在力健健身房办理三千元年卡，上月店铺关门，老板失联，要求退还余额。";

    on_both_engines![a_second_call_on_a_matter_finds_the_first_ticket_and_not_itself];

    async fn a_second_call_on_a_matter_finds_the_first_ticket_and_not_itself(site: Site) {
        let store = Store::open(at(&site.store())).await.unwrap();
        let first = ticket("13800000001", "预付卡", "力健健身房", SAID);
        store
            .outbox()
            .put(&submission("first", first))
            .await
            .unwrap();
        let other = ticket(
            "13700000009",
            "供水",
            "自来水公司",
            "小区停水两天，要求尽快恢复供水。",
        );
        store
            .outbox()
            .put(&submission("other", other))
            .await
            .unwrap();

        let second = ticket("13900000002", "预付卡", "力健健身房", SAID);
        store
            .outbox()
            .put(&submission("second", second.clone()))
            .await
            .unwrap();
        let found = store
            .resembling(&CallId::new("second"), &TicketFingerprint::of(&second))
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].call.as_str(), "first");

        let caller = draft(&[(
            FieldName::ContactPhone,
            FieldValue::Text("13700000009".into()),
        )]);
        let found = store
            .resembling(&CallId::new("third"), &TicketFingerprint::of(&caller))
            .await
            .unwrap();
        assert_eq!(found[0].call.as_str(), "other", "before a word is said");
        let nobody = store
            .resembling(&CallId::new("x"), &TicketFingerprint::default())
            .await
            .unwrap();
        assert!(nobody.is_empty());
        store.close().await;
    }

    /// Among as many tickets as a large hotline takes in a month; `cargo test --release … -- --ignored --nocapture` prints
    /// the times.
    #[tokio::test]
    #[ignore = "a measurement: writes 100,000 tickets"]
    async fn a_look_among_a_hundred_thousand_tickets_takes_milliseconds() {
        let site = Site::of_files();
        let store = Store::open(at(&site.store())).await.unwrap();
        let now = unix_ms(SystemTime::now());
        let mut transaction = store.db.begin().await.unwrap();
        let made = |number: u32| {
            let words: String = (0..120)
                .map(|at| {
                    char::from_u32(0x4e00 + (number * 31 + at * at * 7 + at * number) % 4_000)
                        .unwrap()
                })
                .collect();
            ticket(
                &format!("139{number:08}"),
                &format!("第{}类", number % 60),
                &format!("第{}号商户", number % 9_000),
                &words,
            )
        };
        for number in 0..100_000 {
            let call = CallId::new(&format!("call-{number}"));
            transaction
                .execute(
                    "INSERT INTO drafts (call_id, revision, body) VALUES ($1, 1, '{}')",
                    values![call.as_str()],
                )
                .await
                .unwrap();
            keep(
                &mut transaction,
                &call,
                &TicketFingerprint::of(&made(number)),
                now - i64::from(number) * 20_000,
            )
            .await
            .unwrap();
        }
        transaction.commit().await.unwrap();
        let mut took = Vec::new();
        for number in (0..100_000).step_by(500) {
            let (gist, begun) = (TicketFingerprint::of(&made(number)), Instant::now());
            let found = store.resembling(&CallId::new("new"), &gist).await.unwrap();
            took.push(begun.elapsed());
            assert_eq!(found[0].call.as_str(), format!("call-{number}"));
        }
        took.sort();
        println!(
            "a look among 100,000 tickets: median {:?}, p95 {:?}, worst {:?}",
            took[took.len() / 2],
            took[took.len() * 95 / 100],
            took[took.len() - 1]
        );
        assert!(
            took[took.len() * 95 / 100] < Duration::from_millis(200),
            "{took:?}"
        );
        store.close().await;
    }
}
