//! One way to speak to either engine. A statement is one text with `$1` parameters, which both understand; what the
//! engines do differently stands in [`sqlite`] and [`postgres`].
//!
//! A connection on which something failed inside a transaction is closed and never used again: the engine may have
//! rolled back by itself (`SQLite` does when the disk is full), and what the driver believes of it is worth nothing.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};

use super::location::Location;
use super::{postgres, sqlite};

pub(crate) type Result<T> = std::result::Result<T, sqlx::Error>;

/// What a set of tables looks like on each engine.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Its name in a server's table of versions.
    pub name: &'static str,
    /// Written into a file's header, so that no other program's database is taken for ours.
    pub application_id: i32,
    /// What it is, for messages.
    pub what: &'static str,
    /// Statement batches; a database's version says how many of them it has seen. Append only.
    pub sqlite: &'static [&'static str],
    /// The same for a server; the two lists have nothing to do with each other but where they lead.
    pub postgres: &'static [&'static str],
}

/// Why records could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A file.
    Sqlite(sqlite::OpenError),
    /// A server's database.
    Postgres(postgres::OpenError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Postgres(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sqlite(error) => Some(error),
            Self::Postgres(error) => Some(error),
        }
    }
}

/// Since when nothing can be written, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The first failure since the last success.
    pub since: SystemTime,
    /// What the engine said last.
    pub reason: String,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let for_s = self.since.elapsed().unwrap_or_default().as_secs();
        write!(f, "nothing can be written for {for_s} s: {}", self.reason)
    }
}

/// 1 while nothing can be written, by what the records are of.
const FAILING: &str = "xinqiao_records_failing";

/// How writing has gone lately.
#[derive(Debug)]
struct Health {
    failing: Mutex<Option<Failing>>,
    gauge: metrics::Gauge,
}

impl Health {
    fn new(schema: &Schema) -> Self {
        metrics::describe_gauge!(FAILING, "1 while the records cannot be written");
        let gauge = metrics::gauge!(FAILING, "records" => schema.name);
        gauge.set(0.0);
        Self {
            failing: Mutex::default(),
            gauge,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        // Nothing panics under the lock.
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &sqlx::Error) {
        let mut state = self.lock();
        let since = state
            .as_ref()
            .map_or_else(SystemTime::now, |failing| failing.since);
        *state = Some(Failing {
            since,
            reason: error.to_string(),
        });
        self.gauge.set(1.0);
    }

    fn succeeded(&self) {
        *self.lock() = None;
        self.gauge.set(0.0);
    }
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(sqlite::File),
    Postgres(postgres::Server),
}

/// An open database; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    engine: Engine,
    health: Arc<Health>,
}

impl Database {
    /// Opens what is at `location`, makes it where it is missing, and brings it to the newest schema.
    pub async fn open(
        location: &Location,
        schema: &Schema,
    ) -> std::result::Result<Self, OpenError> {
        let engine = match location {
            Location::Sqlite(path) => {
                let file = sqlite::File::open(path, schema).await;
                Engine::Sqlite(file.map_err(OpenError::Sqlite)?)
            }
            Location::Postgres(address) => {
                let server = postgres::Server::open(address, schema).await;
                Engine::Postgres(server.map_err(OpenError::Postgres)?)
            }
        };
        Ok(Self {
            engine,
            health: Arc::new(Health::new(schema)),
        })
    }

    /// Whether other processes may write into it as well as this one does.
    pub const fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// The database's own clock, in milliseconds since 1970, as an expression.
    pub const fn now_ms(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite(_) => sqlite::NOW_MS,
            Engine::Postgres(_) => postgres::NOW_MS,
        }
    }

    /// What a `SELECT` ends with that must find the rows as they will still be when the transaction writes them.
    pub const fn for_update(&self) -> &'static str {
        match self.engine {
            // A writing transaction has the whole file.
            Engine::Sqlite(_) => "",
            Engine::Postgres(_) => postgres::FOR_UPDATE,
        }
    }

    /// A query after which `column` goes on counting behind its highest number, where that is not so by itself.
    pub fn renumber(&self, table: &str, column: &str) -> Option<String> {
        match self.engine {
            Engine::Sqlite(_) => None,
            Engine::Postgres(_) => Some(postgres::renumber(table, column)),
        }
    }

    /// Since when nothing can be written, if so; cheap.
    pub fn failing(&self) -> Option<Failing> {
        self.health.lock().clone()
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<Transaction> {
        let begun = async {
            Ok(match &self.engine {
                Engine::Sqlite(file) => Connection::Sqlite(file.writer().await?),
                Engine::Postgres(server) => Connection::Postgres(server.acquire().await?),
            })
        };
        let connection = begun.await.inspect_err(|error| self.health.failed(error))?;
        let begin = match &connection {
            Connection::Sqlite(_) => sqlite::BEGIN,
            Connection::Postgres(_) => postgres::BEGIN,
        };
        let mut transaction = Transaction {
            connection: Some(connection),
            health: self.health.clone(),
        };
        transaction.execute(begin, Vec::new()).await?;
        Ok(transaction)
    }

    /// One statement that writes; how many rows it met.
    pub async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let met = transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(met)
    }

    /// What a query finds outside of any transaction.
    pub async fn fetch_all(&self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        match &self.engine {
            Engine::Sqlite(file) => {
                sqlite::fetch_all(&mut *file.reader().await?, sql, values).await
            }
            Engine::Postgres(server) => {
                let mut connection = server.acquire().await?;
                let found = postgres::fetch_all(&mut connection, sql, values).await;
                if found.is_err() {
                    // A late answer to this query must not be taken for one to the next.
                    drop(connection.detach());
                }
                found
            }
        }
    }

    /// The first row that a query finds.
    pub async fn fetch_first(&self, sql: &str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Waits for running statements and closes the connections.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(file) => file.close().await,
            Engine::Postgres(server) => server.close().await,
        }
    }
}

enum Connection {
    Sqlite(sqlite::Writer),
    Postgres(PoolConnection<Postgres>),
}

/// A transaction that writes. One that is dropped, or in which a statement failed, has changed nothing.
pub(crate) struct Transaction {
    /// Gone once something failed.
    connection: Option<Connection>,
    health: Arc<Health>,
}

impl Transaction {
    /// Runs a statement; how many rows it met.
    pub async fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<u64> {
        let done = match self.connection.as_mut() {
            Some(Connection::Sqlite(writer)) => {
                sqlite::execute(&mut writer.connection, sql, values).await
            }
            Some(Connection::Postgres(connection)) => {
                postgres::execute(connection, sql, values).await
            }
            None => Err(failed_before()),
        };
        self.checked(done)
    }

    /// What a query finds, or a statement with `RETURNING` returns.
    pub async fn fetch_all(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        let done = match self.connection.as_mut() {
            Some(Connection::Sqlite(writer)) => {
                sqlite::fetch_all(&mut writer.connection, sql, values).await
            }
            Some(Connection::Postgres(connection)) => {
                postgres::fetch_all(connection, sql, values).await
            }
            None => Err(failed_before()),
        };
        self.checked(done)
    }

    /// The first row of it.
    pub async fn fetch_first(&mut self, sql: &str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Inserts rows that are not there yet, many at a time: each statement costs a server's answer.
    pub async fn insert_new(&mut self, into: &str, mut rows: Vec<Vec<Value>>) -> Result<()> {
        /// Powers of two, so that there are few texts to prepare.
        const MOST: usize = 64;
        while !rows.is_empty() {
            let count = 1 << rows.len().min(MOST).ilog2();
            let rest = rows.split_off(count);
            let mut place = 0;
            let tuples: Vec<String> = rows
                .iter()
                .map(|row| {
                    let places = row.iter().map(|_| {
                        place += 1;
                        format!("${place}")
                    });
                    format!("({})", places.collect::<Vec<_>>().join(", "))
                })
                .collect();
            let sql = format!(
                "INSERT INTO {into} VALUES {} ON CONFLICT DO NOTHING",
                tuples.join(", ")
            );
            self.execute(&sql, rows.into_iter().flatten().collect())
                .await?;
            rows = rest;
        }
        Ok(())
    }

    /// Lets no other transaction that does the same into `table` before this one ends.
    pub async fn lock(&mut self, table: &str) -> Result<()> {
        if matches!(self.connection, Some(Connection::Postgres(_))) {
            self.execute(&postgres::lock(table), Vec::new()).await?;
        }
        Ok(())
    }

    /// Makes it last; on disk when this returns.
    pub async fn commit(mut self) -> Result<()> {
        self.execute("COMMIT", Vec::new()).await?;
        self.keep();
        self.health.succeeded();
        Ok(())
    }

    /// Ends it without a change, in good order.
    pub async fn rollback(mut self) -> Result<()> {
        self.execute("ROLLBACK", Vec::new()).await?;
        self.keep();
        Ok(())
    }

    fn checked<T>(&mut self, done: Result<T>) -> Result<T> {
        done.inspect_err(|error| {
            self.health.failed(error);
            self.give_up();
        })
    }

    /// Returns the connection to where it came from.
    fn keep(&mut self) {
        match self.connection.take() {
            Some(Connection::Sqlite(writer)) => writer.put_back(),
            // The pool takes it as it is dropped.
            Some(Connection::Postgres(_)) | None => {}
        }
    }

    /// Closes the connection.
    fn give_up(&mut self) {
        match self.connection.take() {
            Some(Connection::Postgres(connection)) => drop(connection.detach()),
            // A writer that is not put back is closed.
            Some(Connection::Sqlite(_)) | None => {}
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.give_up();
    }
}

fn failed_before() -> sqlx::Error {
    sqlx::Error::Protocol("an earlier statement of the transaction has failed".to_owned())
}

/// A parameter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Text(Option<String>),
    Int(Option<i64>),
    Flag(bool),
    Bytes(Vec<u8>),
}

impl Value {
    /// A text as a server can hold it: zero bytes, which a peer may send, are the one character that it cannot.
    pub fn storable(text: &str) -> Cow<'_, str> {
        if text.contains('\0') {
            text.replace('\0', "\u{fffd}").into()
        } else {
            text.into()
        }
    }
}

/// As much of a text as an index of a server takes: what is compared for being the same, a peer may have sent.
pub(crate) fn indexable(text: &str) -> &str {
    /// Of the 2,704 bytes of an index entry, room for two texts.
    const MOST: usize = 1_000;
    &text[..text.floor_char_boundary(MOST)]
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<Option<&String>> for Value {
    fn from(text: Option<&String>) -> Self {
        Self::Text(text.cloned())
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(Some(number.into()))
    }
}

/// Positions and revisions stay below 2⁶³.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// The parameters of a statement: `values![call, revision]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::database::Value::from($value)),*] };
}
pub(crate) use values;

/// A row of either engine.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column can be read as.
pub(crate) trait Column:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Row {
    /// A column by its name; numbers are `i64`, whatever their size.
    pub fn get<T: Column>(&self, column: &str) -> T {
        match self {
            Self::Sqlite(row) => row.get(column),
            Self::Postgres(row) => row.get(column),
        }
    }

    /// The first column, of a query for one value.
    pub fn first<T: Column>(&self) -> T {
        match self {
            Self::Sqlite(row) => row.get(0),
            Self::Postgres(row) => row.get(0),
        }
    }
}
