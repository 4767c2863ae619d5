//! Records moved from one place to another, of the same engine or not.
//!
//! A page at a time, rows that differ are written and rows that are not in the source go, so a copy that was broken off
//! is taken up by doing it again, and one that is done changes nothing. In the end both sides are read whole and compared
//! by counts and digests. What is copied into is marked with the source's number until a run begins in it: no copy goes
//! over records that are lived in, or that came from elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::database::{Database, Row, Value, values};
use super::{Doing, Store, StoreError};

/// Rows read and compared at a time.
const PAGE: u32 = 500;

/// How a column is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Int,
    Flag,
    Bytes,
}

/// A table that is copied: its columns, first those that tell its rows apart.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: &'static str,
    /// How many of the columns are the key.
    pub key: usize,
    pub columns: &'static [(&'static str, Kind)],
    /// A column whose numbers the database gives, and must go on giving behind those that are copied.
    pub numbered: Option<&'static str>,
}

use Kind::{Bytes, Flag, Int, Text};

/// The gateway's tables, those that others refer to first. Which node has a row, and for how long, is not copied: no
/// node outlives the move.
const TABLES: &[Table] = &[
    Table {
        name: "calls",
        key: 1,
        columns: &[
            ("call_id", Text),
            ("operator", Text),
            ("called", Text),
            ("caller_number", Text),
            ("started_ms", Int),
            ("answered_ms", Int),
            ("duration_us", Int),
            ("end_reason", Text),
            ("trunk", Text),
            ("diverted_from", Text),
            ("user_to_user", Text),
        ],
        numbered: None,
    },
    Table {
        name: "events",
        key: 1,
        columns: &[("position", Int), ("call_id", Text), ("body", Text)],
        numbered: None,
    },
    Table {
        name: "drafts",
        key: 1,
        columns: &[
            ("call_id", Text),
            ("revision", Int),
            ("closed", Flag),
            ("ticket_id", Text),
            ("body", Text),
        ],
        numbered: None,
    },
    Table {
        name: "outbox",
        key: 3,
        columns: &[
            ("lane", Int),
            ("call_id", Text),
            ("kind", Int),
            ("revision", Int),
            ("parked", Flag),
            ("due_ms", Int),
            ("attempts", Int),
            ("code", Text),
            ("reason", Text),
            ("since_ms", Int),
        ],
        numbered: None,
    },
    Table {
        name: "gists",
        key: 1,
        columns: &[
            ("call_id", Text),
            ("at_ms", Int),
            ("phone", Text),
            ("category", Text),
            ("subject", Text),
            ("address", Text),
            ("pairs", Bytes),
        ],
        numbered: None,
    },
    Table {
        name: "places",
        key: 1,
        columns: &[
            ("rowid", Int),
            ("extension", Text),
            ("body", Text),
            ("until_ms", Int),
        ],
        numbered: Some("rowid"),
    },
    Table {
        name: "recordings",
        key: 1,
        columns: &[
            ("call_id", Text),
            ("rowid", Int),
            ("file", Text),
            ("state", Text),
            ("duration_us", Int),
            ("lost_us", Int),
        ],
        numbered: Some("rowid"),
    },
    Table {
        name: "audit",
        key: 1,
        columns: &[
            ("id", Text),
            ("at_ms", Int),
            ("call_id", Text),
            ("actor_name", Text),
            ("actor", Text),
            ("command", Text),
            ("detail", Text),
            ("number", Int),
            ("hash", Text),
        ],
        numbered: None,
    },
    Table {
        name: "audit_anchor",
        key: 1,
        columns: &[("number", Int), ("hash", Text)],
        numbered: None,
    },
    // Sessions are not copied: everybody signs in anew.
    Table {
        name: "users",
        key: 1,
        columns: &[
            ("name", Text),
            ("version", Int),
            ("identity", Text),
            ("body", Text),
        ],
        numbered: None,
    },
];

/// What both sides hold of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Which.
    pub table: &'static str,
    /// Rows.
    pub rows: u64,
    /// SHA-256 over all of them, in the order of their keys.
    pub digest: String,
}

/// Why records were not copied.
#[derive(Debug)]
pub enum CopyError {
    /// One of the two could not be read or written; what was copied stays, and doing it again goes on.
    Store(StoreError),
    /// Source and target are the same records.
    Same,
    /// The target holds records that did not come from this source, or a gateway has run on it.
    Foreign {
        /// A table that is not empty.
        table: &'static str,
    },
    /// The two differ at the end: the source has changed meanwhile.
    Differs {
        /// Where.
        table: &'static str,
        /// Rows of the source.
        from: u64,
        /// Rows of the target.
        to: u64,
    },
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Same => {
                f.write_str("source and target are the same records; name another target")
            }
            Self::Foreign { table } => write!(
                f,
                "the target holds records of its own (table {table}) that are not a copy of this source; \
                 name an empty database or a new file"
            ),
            Self::Differs { table, from, to } => write!(
                f,
                "table {table} has {from} rows in the source and {to} in the target, or other ones: the source has \
                 changed meanwhile; stop its gateway and copy again, which goes on where this ended"
            ),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Same | Self::Foreign { .. } | Self::Differs { .. } => None,
        }
    }
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Store {
    /// Copies everything into `to`, which must be empty, or hold an earlier copy of these records on which no gateway has
    /// run yet. The gateway of these records should be stopped.
    ///
    /// # Errors
    /// [`CopyError`]; doing it again goes on where it ended.
    pub async fn copy_to(&self, to: &Self) -> Result<Vec<Copied>, CopyError> {
        const DOING: &str = "copying positions";
        let copied = copy(&self.db, &to.db, TABLES).await?;
        let last = self
            .db
            .fetch_first("SELECT max(first_position) AS last FROM nodes", values![])
            .await
            .doing(DOING)?;
        let last: Option<i64> = last.and_then(|row| row.get("last"));
        if let Some(last) = last {
            // Positions that the source may have given out stay its own.
            let sql =
                "INSERT INTO nodes (first_position, beat_ms) VALUES ($1, 0) ON CONFLICT DO NOTHING";
            to.db.execute(sql, values![last]).await.doing(DOING)?;
        }
        Ok(copied)
    }
}

/// Copies `tables`; both sides have the table `site`.
pub(crate) async fn copy(
    from: &Database,
    to: &Database,
    tables: &'static [Table],
) -> Result<Vec<Copied>, CopyError> {
    claim(from, to, tables).await?;
    for table in tables {
        copy_table(from, to, table).await?;
    }
    let mut copied = Vec::new();
    for table in tables {
        let (source, target) = (digest(from, table).await?, digest(to, table).await?);
        if source != target {
            return Err(CopyError::Differs {
                table: table.name,
                from: source.rows,
                to: target.rows,
            });
        }
        copied.push(source);
    }
    Ok(copied)
}

/// Marks the target as a copy of the source, if it may become one.
async fn claim(from: &Database, to: &Database, tables: &'static [Table]) -> Result<(), CopyError> {
    const DOING: &str = "looking at what is to be copied";
    const SITE: &str = "SELECT id, copied_from FROM site";
    let text = |row: Option<&Row>, column| row.and_then(|row| row.get::<Option<String>>(column));
    let source = from.fetch_first(SITE, values![]).await.doing(DOING)?;
    let source = text(source.as_ref(), "id");
    let mut transaction = to.begin().await.doing(DOING)?;
    let target = transaction
        .fetch_first(SITE, values![])
        .await
        .doing(DOING)?;
    if source == text(target.as_ref(), "id") {
        return Err(CopyError::Same);
    }
    if source != text(target.as_ref(), "copied_from") {
        for table in tables {
            let any = format!("SELECT 1 FROM {} LIMIT 1", table.name);
            if transaction
                .fetch_first(&any, values![])
                .await
                .doing(DOING)?
                .is_some()
            {
                return Err(CopyError::Foreign { table: table.name });
            }
        }
        transaction
            .execute("UPDATE site SET copied_from = $1", values![source])
            .await
            .doing(DOING)?;
    }
    Ok(transaction.commit().await.doing(DOING)?)
}

type Key = Vec<Value>;

async fn copy_table(
    from: &Database,
    to: &Database,
    table: &'static Table,
) -> Result<(), StoreError> {
    const DOING: &str = "copying records";
    let mut after: Option<Key> = None;
    loop {
        let page = read(from, table, after.as_ref(), None).await.doing(DOING)?;
        let full = page.len() == PAGE as usize;
        let up_to = page.keys().next_back().filter(|_| full).cloned();
        let mut held = BTreeMap::new();
        // The target may hold more rows than the source in this stretch.
        let mut held_after = after.clone();
        loop {
            let more = read(to, table, held_after.as_ref(), up_to.as_ref())
                .await
                .doing(DOING)?;
            let full = more.len() == PAGE as usize;
            held_after = more.keys().next_back().cloned();
            held.extend(more);
            if !full {
                break;
            }
        }
        if page != held {
            let mut transaction = to.begin().await.doing(DOING)?;
            for key in held.keys().filter(|key| !page.contains_key(*key)) {
                transaction
                    .execute(&table.delete(), key.clone())
                    .await
                    .doing(DOING)?;
            }
            for (key, row) in &page {
                if held.get(key) != Some(row) {
                    transaction
                        .execute(&table.upsert(), row.clone())
                        .await
                        .doing(DOING)?;
                }
            }
            if let Some(column) = table.numbered
                && let Some(renumber) = to.renumber(table.name, column)
            {
                transaction
                    .fetch_all(&renumber, values![])
                    .await
                    .doing(DOING)?;
            }
            transaction.commit().await.doing(DOING)?;
        }
        if up_to.is_none() {
            return Ok(());
        }
        after = up_to;
    }
}

/// Rows with `after` < key ≤ `up_to`, at most a page.
async fn read(
    db: &Database,
    table: &Table,
    after: Option<&Key>,
    up_to: Option<&Key>,
) -> super::database::Result<BTreeMap<Key, Vec<Value>>> {
    let key = table.key_columns();
    let mut parameters = values![PAGE];
    let mut conditions = Vec::new();
    for (bound, compares) in [(after, ">"), (up_to, "<=")] {
        if let Some(bound) = bound {
            let first = parameters.len() + 1;
            let places: Vec<String> = (first..first + bound.len())
                .map(|place| format!("${place}"))
                .collect();
            conditions.push(format!("({key}) {compares} ({})", places.join(", ")));
            parameters.extend(bound.iter().cloned());
        }
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!("WHERE {}", conditions.join(" AND "))
    };
    let sql = format!(
        "SELECT {} FROM {} {condition} ORDER BY {key} LIMIT $1",
        table.all_columns(),
        table.name
    );
    let rows = db.fetch_all(&sql, parameters).await?;
    Ok(rows
        .iter()
        .map(|row| table.values_of(row))
        .map(|row| (row[..table.key].to_vec(), row))
        .collect())
}

async fn digest(db: &Database, table: &'static Table) -> Result<Copied, StoreError> {
    let (mut rows, mut hash, mut after) = (0, Sha256::new(), None);
    loop {
        let page = read(db, table, after.as_ref(), None)
            .await
            .doing("verifying what was copied")?;
        rows += page.len() as u64;
        for value in page.values().flatten() {
            value.feed(&mut hash);
        }
        if page.len() < PAGE as usize {
            break;
        }
        after = page.keys().next_back().cloned();
    }
    let digest = hash.finalize();
    Ok(Copied {
        table: table.name,
        rows,
        digest: digest
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")),
    })
}

impl Table {
    fn key_columns(&self) -> String {
        names(&self.columns[..self.key])
    }

    fn all_columns(&self) -> String {
        names(self.columns)
    }

    fn upsert(&self) -> String {
        let places: Vec<String> = (1..=self.columns.len())
            .map(|place| format!("${place}"))
            .collect();
        let changes: Vec<String> = self.columns[self.key..]
            .iter()
            .map(|(name, _)| format!("{name} = excluded.{name}"))
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}",
            self.name,
            self.all_columns(),
            places.join(", "),
            self.key_columns(),
            changes.join(", ")
        )
    }

    fn delete(&self) -> String {
        let places: Vec<String> = (1..=self.key).map(|place| format!("${place}")).collect();
        format!(
            "DELETE FROM {} WHERE ({}) = ({})",
            self.name,
            self.key_columns(),
            places.join(", ")
        )
    }

    fn values_of(&self, row: &Row) -> Vec<Value> {
        self.columns
            .iter()
            .map(|(name, kind)| match kind {
                Text => {
                    let text: Option<String> = row.get(name);
                    Value::Text(text.map(|text| Value::storable(&text).into_owned()))
                }
                Int => Value::Int(row.get(name)),
                Flag => Value::Flag(row.get(name)),
                Bytes => Value::Bytes(row.get(name)),
            })
            .collect()
    }
}

fn names(columns: &[(&str, Kind)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Value {
    /// The same bytes for the same value, and no two rows the same bytes.
    fn feed(&self, hash: &mut Sha256) {
        let mut piece = |tag: u8, bytes: &[u8]| {
            hash.update([tag]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        match self {
            Self::Text(None) | Self::Int(None) => piece(0, &[]),
            Self::Text(Some(text)) => piece(1, text.as_bytes()),
            Self::Int(Some(number)) => piece(2, &number.to_le_bytes()),
            Self::Flag(flag) => piece(3, &[u8::from(*flag)]),
            Self::Bytes(bytes) => piece(4, bytes),
        }
    }
}
