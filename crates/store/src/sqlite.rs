//! How both stores open their SQLite file: private, durable, up to date. The only place that names SQLite; a PostgreSQL
//! sibling would stand beside it. Never knows a table.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{
    ConnectOptions, Row, SqlitePool,
    migrate::Migrator,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use tokio::sync::Mutex;

pub(crate) use self::transaction::Transaction;
use crate::word;

mod log;
pub(crate) mod scribe;
mod transaction;

/// How long a statement waits for another process that holds the file.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// How long a call waits for a connection before it fails.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);

/// How long a connection that only reads is kept for the next reader.
const READER_IDLE: Duration = Duration::from_secs(60);

/// How many readers there are at once.
const READERS_MAX: u32 = 3;

/// How much room beside the database [`Database::touch`] wants to find, in bytes.
const ROOM_BYTES: usize = 64 << 10;

/// The mode of the database and of the files beside it (SQLite gives those the mode of the database).
const FILE_MODE: u32 = 0o600;

/// The database failed underneath a store.
#[derive(Debug, thiserror::Error)]
#[error("the database failed: {0}")]
pub struct DatabaseError(Box<dyn std::error::Error + Send + Sync>);

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be made or made private.
    #[error("cannot make {path}: {source}", path = .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no database, or another process keeps it.
    #[error("cannot open {path}: {source}", path = .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the database says.
        source: DatabaseError,
    },
    /// Its tables cannot be brought up to date.
    #[error("cannot bring the tables of {path} up to date: {source}", path = .path.display())]
    Tables {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: DatabaseError,
    },
}

/// What SQLite says, without its type.
pub(crate) fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DatabaseError {
    DatabaseError(error.into())
}

/// One SQLite file: writes go one after the other, reads beside them.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    options: SqliteConnectOptions,
    /// One connection, whose commits are on the disk when they return.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Whoever holds it writes; SQLite itself would make the others poll for it.
    turn: Arc<Mutex<()>>,
}

impl Database {
    /// Opens the file, makes it first if need be, and runs the migrations that it lacks.
    pub(crate) async fn open(path: &Path, tables: &Migrator) -> Result<Self, OpenError> {
        make_private(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_WAIT)
            .disable_statement_logging();
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .acquire_timeout(ACQUIRE_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(|e| OpenError::Open {
                path: path.to_owned(),
                source: failed(e),
            })?;
        tables.run(&writer).await.map_err(|e| OpenError::Tables {
            path: path.to_owned(),
            source: failed(e),
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_WAIT)
            .idle_timeout(READER_IDLE)
            .connect_lazy_with(options.clone().read_only(true));
        Ok(Self {
            options,
            writer,
            readers,
            turn: Arc::default(),
        })
    }

    /// Begins a transaction that may write. Dropped without `commit`, it changes nothing.
    pub(crate) async fn write(&self) -> Result<Transaction, DatabaseError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        Ok(Transaction::new(begun.map_err(failed)?, turn))
    }

    /// Whether anything can be written: there is room on the disk for a little more (the log beside the database may have room of
    /// its own for a while, on a disk that is full), and a transaction that changes nothing is on it when this returns.
    pub(crate) async fn touch(&self) -> Result<(), DatabaseError> {
        let beside = self.options.get_filename().with_extension("room");
        let room = tokio::task::spawn_blocking(move || take_room(&beside)).await;
        room.map_err(failed)?.map_err(failed)?;
        let mut transaction = self.write().await?;
        sqlx::query("PRAGMA user_version = 1")
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Where questions are asked.
    pub(crate) fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Waits for what is under way and closes the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Takes some room on the disk, and gives it back.
fn take_room(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)?;
    let taken = file
        .write_all(&[b'.'; ROOM_BYTES])
        .and_then(|()| file.sync_data());
    fs::remove_file(path)?;
    taken
}

/// Makes the file if it is not there, and takes it from everybody but its owner.
fn make_private(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(FILE_MODE))
}

/// The columns of one row as finished types. A column that is not what it should be is a failure of the database.
pub(crate) struct Columns<'r>(pub(crate) &'r SqliteRow);

impl Columns<'_> {
    pub(crate) fn text(&self, column: &str) -> Result<String, DatabaseError> {
        self.0.try_get(column).map_err(failed)
    }

    pub(crate) fn maybe_text(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        self.0.try_get(column).map_err(failed)
    }

    pub(crate) fn integer(&self, column: &str) -> Result<i64, DatabaseError> {
        self.0.try_get(column).map_err(failed)
    }

    pub(crate) fn maybe_integer(&self, column: &str) -> Result<Option<i64>, DatabaseError> {
        self.0.try_get(column).map_err(failed)
    }

    pub(crate) fn parsed<T>(&self, column: &str) -> Result<T, DatabaseError>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.text(column)?.parse().map_err(failed)
    }

    pub(crate) fn maybe_parsed<T>(&self, column: &str) -> Result<Option<T>, DatabaseError>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.maybe_text(column)?
            .map(|text| text.parse())
            .transpose()
            .map_err(failed)
    }

    pub(crate) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, DatabaseError> {
        word::from_column(self.text(column)?).map_err(failed)
    }

    pub(crate) fn maybe_word<T: DeserializeOwned>(
        &self,
        column: &str,
    ) -> Result<Option<T>, DatabaseError> {
        self.maybe_text(column)?
            .map(word::from_column)
            .transpose()
            .map_err(failed)
    }

    pub(crate) fn json(&self, column: &str) -> Result<Value, DatabaseError> {
        serde_json::from_str(&self.text(column)?).map_err(failed)
    }

    pub(crate) fn maybe_json(&self, column: &str) -> Result<Option<Value>, DatabaseError> {
        self.maybe_text(column)?
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests;
