//! A `SQLite` file that this program owns: created when missing, recognised when not, migrated when old; one connection
//! that writes, a few that read.

pub(super) mod schema;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::database::{Result, Row, Schema, Value};

use crate::recording::make_private_folder;

/// How long a statement waits for another process (say, the command line beside the server) to release the file.
const BUSY: Duration = Duration::from_secs(5);
/// Readers beside the one writer; `SQLite` in WAL mode lets them work while it writes.
const READERS: u32 = 4;

/// The file's lock from the start, so that nothing in the transaction finds the file busy.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(super) const NOW_MS: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// An open file: one connection that writes, a few that read. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct File {
    options: Arc<SqliteConnectOptions>,
    /// Absent until it is needed: after a failure it is opened anew.
    write: Arc<Mutex<Option<SqliteConnection>>>,
    read: SqlitePool,
}

/// The right to write, and the connection for it, which is closed unless it is put back.
pub(super) struct Writer {
    pub connection: SqliteConnection,
    place: OwnedMutexGuard<Option<SqliteConnection>>,
}

impl Writer {
    pub fn put_back(mut self) {
        *self.place = Some(self.connection);
    }
}

impl File {
    /// Opens `path`, creating its folder and the file (readable by this user only) where they are missing.
    pub async fn open(path: &Path, schema: &Schema) -> std::result::Result<Self, OpenError> {
        create(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            // Every commit reaches the disk before it is reported: an accepted draft survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let fault = |fault: Fault| fault.at(path, schema);
        prepare(&options, schema).await.map_err(fault)?;
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let write = options
            .connect()
            .await
            .map_err(|error| fault(error.into()))?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(BUSY * 2)
            .connect_with(options.clone())
            .await
            .map_err(|error| fault(error.into()))?;
        Ok(Self {
            options: Arc::new(options),
            write: Arc::new(Mutex::new(Some(write))),
            read,
        })
    }

    /// Waits for its turn to write.
    pub async fn writer(&self) -> Result<Writer> {
        let turn = tokio::time::timeout(BUSY * 2, self.write.clone().lock_owned()).await;
        let mut place = turn.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Writer { connection, place })
    }

    pub async fn reader(&self) -> Result<PoolConnection<Sqlite>> {
        self.read.acquire().await
    }

    pub async fn close(&self) {
        self.read.close().await;
        if let Some(connection) = self.write.lock().await.take() {
            // What was committed is on disk; a failure to tidy up changes nothing about that.
            let _ = connection.close().await;
        }
    }
}

pub(super) async fn fetch_all(
    connection: &mut SqliteConnection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    let rows = bound(sql, values).fetch_all(connection).await?;
    Ok(rows.into_iter().map(Row::Sqlite).collect())
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: &str,
    values: Vec<Value>,
) -> Result<u64> {
    let done = bound(sql, values).execute(connection).await?;
    Ok(done.rows_affected())
}

fn bound(sql: &str, values: Vec<Value>) -> Query<'_, Sqlite, SqliteArguments<'_>> {
    let mut query = sqlx::query(sql);
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Int(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
            Value::Bytes(bytes) => query.bind(bytes),
        };
    }
    query
}

/// Why a file could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The folder or the file cannot be created.
    Create {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file may not be written.
    ReadOnly {
        /// Which.
        path: PathBuf,
    },
    /// The file is something else, or damaged.
    NotADatabase {
        /// Which.
        path: PathBuf,
    },
    /// A database of another program, or of another kind.
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it should have been.
        what: &'static str,
    },
    /// A later version of this program has written it.
    Newer {
        /// Which.
        path: PathBuf,
        /// The file's schema version.
        found: usize,
        /// The last version that this program knows.
        known: usize,
    },
    /// Any other fault.
    Sqlite {
        /// Which.
        path: PathBuf,
        /// What `SQLite` says.
        source: sqlx::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { path, source } => write!(
                f,
                "cannot create '{}': {source}; choose a folder that this user may write to",
                path.display()
            ),
            Self::ReadOnly { path } => {
                write!(
                    f,
                    "'{}' is read-only; give this user write permission to it and its folder",
                    path.display()
                )
            }
            Self::NotADatabase { path } => write!(
                f,
                "'{}' is not a database, or is damaged; move it away or restore it from a backup",
                path.display()
            ),
            Self::Foreign { path, what } => {
                write!(
                    f,
                    "'{}' is a database, but not {what}; name another file",
                    path.display()
                )
            }
            Self::Newer { path, found, known } => write!(
                f,
                "'{}' has schema version {found}, and this program knows versions up to {known}; \
                 start the newer program that wrote it, or restore a backup",
                path.display()
            ),
            Self::Sqlite { path, source } => {
                write!(f, "cannot open '{}': {source}", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create { source, .. } => Some(source),
            Self::Sqlite { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn create(path: &Path) -> std::result::Result<(), OpenError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        make_private_folder(folder).map_err(|source| OpenError::Create {
            path: folder.to_owned(),
            source,
        })?;
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(OpenError::NotADatabase {
                path: path.to_owned(),
            });
        }
        Ok(found) if found.permissions().readonly() => {
            return Err(OpenError::ReadOnly {
                path: path.to_owned(),
            });
        }
        Ok(_) => return Ok(()),
        Err(_) => {}
    }
    let mut new = fs::OpenOptions::new();
    new.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    match new.open(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(OpenError::Create {
            path: path.to_owned(),
            source,
        }),
    }
}

enum Fault {
    Foreign,
    Newer(usize),
    Sqlite(sqlx::Error),
}

impl From<sqlx::Error> for Fault {
    fn from(source: sqlx::Error) -> Self {
        Self::Sqlite(source)
    }
}

impl Fault {
    fn at(self, path: &Path, schema: &Schema) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Foreign => OpenError::Foreign {
                path,
                what: schema.what,
            },
            Self::Newer(found) => OpenError::Newer {
                path,
                found,
                known: schema.sqlite.len(),
            },
            Self::Sqlite(source) => match primary_code(&source) {
                // SQLITE_READONLY
                Some(8) => OpenError::ReadOnly { path },
                // SQLITE_CORRUPT, SQLITE_NOTADB
                Some(11 | 26) => OpenError::NotADatabase { path },
                _ => OpenError::Sqlite { path, source },
            },
        }
    }
}

/// `SQLite`'s primary result code (<https://www.sqlite.org/rescode.html>): the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Checks whose file it is and brings it to the newest schema, before anything (not even WAL mode) is changed in it.
async fn prepare(
    options: &SqliteConnectOptions,
    schema: &Schema,
) -> std::result::Result<(), Fault> {
    let mut connection = options.connect().await?;
    let migrated = migrate(&mut connection, schema).await;
    let closed = connection.close().await;
    migrated?;
    Ok(closed?)
}

async fn migrate(
    connection: &mut SqliteConnection,
    schema: &Schema,
) -> std::result::Result<(), Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let id: i32 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *transaction)
        .await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *transaction)
        .await?;
    let empty = id == 0 && version == 0 && objects == 0;
    if !empty && id != schema.application_id {
        return Err(Fault::Foreign);
    }
    let done = usize::try_from(version).map_err(|_| Fault::Foreign)?;
    let Some(pending) = schema.sqlite.get(done..) else {
        return Err(Fault::Newer(done));
    };
    if pending.is_empty() {
        return Ok(());
    }
    for migration in pending {
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
    }
    // Pragmas take no parameters; both numbers are this program's own.
    let stamp = format!(
        "PRAGMA application_id = {}; PRAGMA user_version = {}",
        schema.application_id,
        schema.sqlite.len()
    );
    sqlx::raw_sql(&stamp).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: Schema = Schema {
        name: "test",
        application_id: 77,
        what: "a test file",
        postgres: &[],
        sqlite: &["CREATE TABLE a(x INTEGER); INSERT INTO a VALUES (5);"],
    };
    const TWO: Schema = Schema {
        name: "test",
        application_id: 77,
        what: "a test file",
        postgres: &[],
        sqlite: &[
            "CREATE TABLE a(x INTEGER); INSERT INTO a VALUES (5);",
            "ALTER TABLE a ADD COLUMN y INTEGER",
        ],
    };

    async fn open(path: &Path, schema: &Schema) -> std::result::Result<File, OpenError> {
        File::open(path, schema).await
    }

    async fn sentence(path: &Path, schema: &Schema) -> String {
        open(path, schema).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_missing_file_is_created_with_its_folder_and_an_old_one_is_migrated_with_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.db");
        open(&path, &ONE).await.unwrap().close().await;
        let database = open(&path, &TWO).await.unwrap();
        let row: (i64, Option<i64>) = sqlx::query_as("SELECT x, y FROM a")
            .fetch_one(&database.read)
            .await
            .unwrap();
        assert_eq!(row, (5, None));
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &fs::metadata(&path).unwrap().permissions(),
            );
            assert_eq!(mode & 0o077, 0, "others may read it");
        }
    }

    #[tokio::test]
    async fn a_newer_file_is_refused_with_both_versions_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        open(&path, &TWO).await.unwrap().close().await;
        let said = sentence(&path, &ONE).await;
        assert!(
            said.contains("schema version 2") && said.contains("up to 1"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let content = "just some notes, long enough to be a header ".repeat(40);
        fs::write(&path, &content).unwrap();
        let said = sentence(&path, &ONE).await;
        assert!(said.contains("is not a database"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert!(
            sentence(folder.path(), &ONE)
                .await
                .contains("is not a database")
        );
    }

    #[tokio::test]
    async fn a_database_of_another_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        let other = Schema {
            application_id: 78,
            ..ONE
        };
        open(&path, &other).await.unwrap().close().await;
        assert!(sentence(&path, &ONE).await.contains("not a test file"));
    }

    #[tokio::test]
    async fn a_read_only_file_and_an_impossible_folder_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        open(&path, &ONE).await.unwrap().close().await;
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(sentence(&path, &ONE).await.contains("is read-only"));
        let below_a_file = path.join("below/file.db");
        assert!(
            sentence(&below_a_file, &ONE)
                .await
                .contains("cannot create")
        );
    }
}
