//! The write-ahead log of a database that changes often: brought into the database whenever it has become long, on a connection
//! of its own. Writers wait only for the last piece. Never loses anything: what is in the log is kept already.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::sync::Mutex;

use super::Database;

/// How long the log may become before it is brought into the database, in bytes; and by how much more before that is tried again
/// where a reader was in the way.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// How long writers wait for readers of the log, so that it can begin anew.
const READERS_WAIT: Duration = Duration::from_millis(500);

/// One database's log.
pub(super) struct Log {
    connection: Arc<Mutex<SqliteConnection>>,
    turn: Arc<Mutex<()>>,
    file: PathBuf,
    /// From which length on something is to be done.
    limit: Arc<AtomicU64>,
    is_tended: Arc<AtomicBool>,
}

impl Log {
    /// From now on no commit brings the log into the database by itself.
    pub(super) async fn open(database: &Database) -> Result<Self, sqlx::Error> {
        let connection = database.options.clone().busy_timeout(READERS_WAIT);
        sqlx::query("PRAGMA wal_autocheckpoint = 0")
            .execute(&database.writer)
            .await?;
        let mut file = database.options.get_filename().as_os_str().to_owned();
        file.push("-wal");
        Ok(Self {
            connection: Arc::new(Mutex::new(connection.connect().await?)),
            turn: Arc::clone(&database.turn),
            file: file.into(),
            limit: Arc::new(AtomicU64::new(BYTES_MAX)),
            is_tended: Arc::default(),
        })
    }

    /// Looks whether the log has become long; returns at once.
    pub(super) fn look(&self) {
        let bytes = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        if bytes < self.limit.load(Ordering::Acquire) || self.is_tended.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let (connection, turn) = (Arc::clone(&self.connection), Arc::clone(&self.turn));
        let (limit, is_tended) = (Arc::clone(&self.limit), Arc::clone(&self.is_tended));
        tokio::spawn(async move {
            let is_empty = tend(&mut *connection.lock().await, &turn).await;
            if let Err(error) = &is_empty {
                tracing::warn!(%error, "the log of changes could not be brought into the database; it grows");
            }
            let from = if is_empty.unwrap_or(false) { 0 } else { bytes };
            limit.store(from + BYTES_MAX, Ordering::Release);
            is_tended.store(false, Ordering::Release);
        });
    }
}

/// Whether the log is empty now.
async fn tend(connection: &mut SqliteConnection, turn: &Mutex<()>) -> Result<bool, sqlx::Error> {
    // Nearly all of it, beside whoever writes.
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(&mut *connection)
        .await?;
    // What came meanwhile, while nobody writes.
    let _turn = turn.lock().await;
    let told = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
    let is_busy: i64 = told.fetch_one(connection).await?.try_get(0)?;
    Ok(is_busy == 0)
}
