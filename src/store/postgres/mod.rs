//! PostgreSQL: connections, errors as sentences, migrations that several nodes may begin at once.

pub(super) mod schema;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Executor, Postgres};

use super::database::{Result, Row, Schema, Value};
use super::location::Address;

/// Connections at most: writers wait for the disk, readers for pages.
const CONNECTIONS: u32 = 10;
/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(5);
/// What the server is told to give up after, and what is waited for its answer at most: a network that has gone away
/// answers nothing at all.
const SERVER_LIMITS: &str = "SET statement_timeout = '8s'; SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '15s'; SET client_min_messages = warning";
const ANSWER: Duration = Duration::from_secs(10);
/// Migrations may rewrite tables.
const MIGRATION: Duration = Duration::from_mins(10);
/// A commit must have reached the disk before it is reported; what is stronger than that stays.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";
/// Held while tables are made or changed; the number spells `XqSc`.
const MIGRATING: &str = "SELECT pg_advisory_xact_lock(1483821923)";

pub(super) const BEGIN: &str = "BEGIN";
pub(super) const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
pub(super) const FOR_UPDATE: &str = " FOR UPDATE";

pub(super) fn lock(table: &str) -> String {
    format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
}

pub(super) fn renumber(table: &str, column: &str) -> String {
    format!(
        "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false) FROM {table}"
    )
}

/// Why a server's database could not be opened.
#[derive(Debug)]
pub struct OpenError {
    /// Its address, which holds no password.
    pub url: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a server's database.
#[derive(Debug)]
pub enum Fault {
    /// The password's file cannot be read.
    PasswordFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no server, or it does not answer.
    Unreachable(sqlx::Error),
    /// It does not let this user in.
    Refused(sqlx::Error),
    /// It has no such database.
    NoDatabase,
    /// This user may not make tables.
    NotAllowed(sqlx::Error),
    /// Tables of these names are there already, and no version beside them.
    Foreign {
        /// What they should have been.
        what: &'static str,
    },
    /// A later version of this program has written it.
    Newer {
        /// The database's schema version.
        found: i64,
        /// The last version that this program knows.
        known: usize,
    },
    /// Any other fault.
    Server(sqlx::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.url;
        match &self.fault {
            Fault::PasswordFile { file, source } => write!(
                f,
                "the password of '{url}' cannot be read from {} ({source}); name a file that this user may read",
                file.display()
            ),
            Fault::Unreachable(source) => write!(
                f,
                "the server of '{url}' cannot be reached: {source}; start it, or name another one"
            ),
            Fault::Refused(source) => write!(
                f,
                "the server of '{url}' lets this user not in: {source}; \
                 give the password by password_file or PGPASSWORD, or allow the user in pg_hba.conf"
            ),
            Fault::NoDatabase => write!(
                f,
                "the server of '{url}' has no such database; make it with `createdb`, or name another one"
            ),
            Fault::NotAllowed(source) => write!(
                f,
                "'{url}': {source}; make the user the database's owner, or grant it CREATE on the schema"
            ),
            Fault::Foreign { what } => write!(
                f,
                "'{url}' has tables of another program, and is not {what}; name a database of its own"
            ),
            Fault::Newer { found, known } => write!(
                f,
                "'{url}' has schema version {found}, and this program knows versions up to {known}; \
                 start the newer program that wrote it, or restore a backup"
            ),
            Fault::Server(source) => write!(f, "cannot open '{url}': {source}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::PasswordFile { source, .. } => Some(source),
            Fault::Unreachable(source)
            | Fault::Refused(source)
            | Fault::NotAllowed(source)
            | Fault::Server(source) => Some(source),
            Fault::NoDatabase | Fault::Foreign { .. } | Fault::Newer { .. } => None,
        }
    }
}

impl From<sqlx::Error> for Fault {
    /// By PostgreSQL's error codes, its appendix A.
    fn from(source: sqlx::Error) -> Self {
        let code = source
            .as_database_error()
            .and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        match (&source, code.as_deref()) {
            (_, Some("28P01" | "28000")) => Self::Refused(source),
            (_, Some("3D000")) => Self::NoDatabase,
            (_, Some("42501")) => Self::NotAllowed(source),
            // Starting up, shutting down, too many connections.
            (_, Some("57P03" | "57P01" | "53300")) => Self::Unreachable(source),
            (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut, _) => {
                Self::Unreachable(source)
            }
            _ => Self::Server(source),
        }
    }
}

/// An open database of a server; clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pool: PgPool,
}

impl Server {
    pub async fn open(address: &Address, schema: &Schema) -> std::result::Result<Self, OpenError> {
        let fault = |fault| OpenError {
            url: address.url.clone(),
            fault,
        };
        let options = options(address).map_err(fault)?;
        let migrated = tokio::time::timeout(MIGRATION, prepare(&options, schema)).await;
        migrated
            .unwrap_or_else(|_| Err(Fault::Unreachable(silent())))
            .map_err(fault)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(SERVER_LIMITS)).await?;
                    connection.execute(DURABLE).await?;
                    Ok(())
                })
            })
            .connect_with(options);
        let pool = pool.await.map_err(|error| fault(error.into()))?;
        Ok(Self { pool })
    }

    /// A connection that has just answered.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        answered(self.pool.acquire()).await
    }

    pub async fn close(&self) {
        // A server that does not answer cannot stop the exit.
        let _ = tokio::time::timeout(ANSWER, self.pool.close()).await;
    }
}

fn options(address: &Address) -> std::result::Result<PgConnectOptions, Fault> {
    let mut options = PgConnectOptions::from_str(&address.url)?
        .application_name("xinqiao")
        .disable_statement_logging();
    if let Some(file) = &address.password_file {
        let password = std::fs::read_to_string(file).map_err(|source| Fault::PasswordFile {
            file: file.clone(),
            source,
        })?;
        options = options.password(password.trim_end_matches(['\n', '\r']));
    }
    Ok(options)
}

async fn prepare(options: &PgConnectOptions, schema: &Schema) -> std::result::Result<(), Fault> {
    let mut connection = answered(options.connect()).await?;
    migrate(&mut connection, schema).await?;
    Ok(connection.close().await?)
}

/// Brings the tables to the newest schema; of several nodes that begin at once, one does it and the others wait.
async fn migrate(connection: &mut PgConnection, schema: &Schema) -> std::result::Result<(), Fault> {
    let mut transaction = connection.begin().await?;
    sqlx::query(MIGRATING).execute(&mut *transaction).await?;
    sqlx::raw_sql(
        "SET LOCAL client_min_messages = warning;
         CREATE TABLE IF NOT EXISTS xinqiao_schema (name TEXT PRIMARY KEY, version BIGINT NOT NULL)",
    )
    .execute(&mut *transaction)
    .await?;
    let found: Option<i64> =
        sqlx::query_scalar("SELECT version FROM xinqiao_schema WHERE name = $1")
            .bind(schema.name)
            .fetch_optional(&mut *transaction)
            .await?;
    let done = found.unwrap_or(0);
    let known = schema.postgres.len();
    let pending = usize::try_from(done)
        .ok()
        .and_then(|done| schema.postgres.get(done..))
        .ok_or(Fault::Newer { found: done, known })?;
    for migration in pending {
        let made = sqlx::raw_sql(migration).execute(&mut *transaction).await;
        made.map_err(|error| match error.as_database_error() {
            // A table or index of this name is there.
            Some(database) if database.code().as_deref() == Some("42P07") => {
                Fault::Foreign { what: schema.what }
            }
            _ => error.into(),
        })?;
    }
    if !pending.is_empty() {
        sqlx::query(
            "INSERT INTO xinqiao_schema VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        )
        .bind(schema.name)
        .bind(known as i64)
        .execute(&mut *transaction)
        .await?;
    }
    Ok(transaction.commit().await?)
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the database server does not answer",
    ))
}

async fn answered<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

pub(super) async fn fetch_all(
    connection: &mut PgConnection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    let rows = answered(bound(sql, values).fetch_all(connection)).await?;
    Ok(rows.into_iter().map(Row::Postgres).collect())
}

pub(super) async fn execute(
    connection: &mut PgConnection,
    sql: &str,
    values: Vec<Value>,
) -> Result<u64> {
    let done = answered(bound(sql, values).execute(connection)).await?;
    Ok(done.rows_affected())
}

fn bound(sql: &str, values: Vec<Value>) -> Query<'_, Postgres, PgArguments> {
    let mut query = sqlx::query(sql);
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text.map(|text| Value::storable(&text).into_owned())),
            Value::Int(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}
