//! Changes that come often: each is one text of SQL, which costs one way to SQLite and back, and all that come while a commit
//! is under way share the next one. Never interprets a change, and never lets one that fails undo another.
//!
//! ```text
//! make ─▶ queue ─▶ the turn ─▶ SAVEPOINT … RELEASE                      one alone is its own transaction
//!                              BEGIN, SAVEPOINT … RELEASE each, COMMIT  several share one ─▶ all are answered
//! ```
//!
//! A commit that need not be [`Kept::Synced`] waits for no disk. The log is brought into the database beside the changes
//! (`log.rs`), not by the one that happens to fill it.

use std::sync::Arc;

use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection, SqlitePool,
    query::Query,
    sqlite::{Sqlite, SqliteArguments, SqliteRow, SqliteSynchronous},
};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Database, DatabaseError, failed, log::Log};

/// Changes that wait; more wait at their senders.
const QUEUED_MAX: usize = 1024;

/// The most changes of one commit.
const BATCH_MAX: usize = 256;

/// What a change has outlived once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// The end of this process, also a sudden one; perhaps not the machine's.
    Written,
    /// The end of the machine, too: it is on the disk.
    Synced,
}

/// Makes one change out of statements, which all happen or none. What they return is what the change gives.
macro_rules! change {
    ($($statement:expr),+ $(,)?) => {
        concat!("SAVEPOINT change; ", $($statement, "; ",)+ "RELEASE change")
    };
}
pub(crate) use change;

/// What undoes a change that failed halfway.
const UNDO: &str = "ROLLBACK TO change; RELEASE change";

/// A text of [`change!`] with what belongs into it.
pub(crate) type Text = Query<'static, Sqlite, SqliteArguments>;

type Rows = Result<Vec<SqliteRow>, DatabaseError>;

enum Job {
    Change(Text, Kept, oneshot::Sender<Rows>),
    End(oneshot::Sender<()>),
}

/// Hands changes to the one task that makes them. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Scribe(mpsc::Sender<Job>);

impl Scribe {
    /// Begins to write.
    pub(crate) async fn start(database: &Database) -> Result<Self, DatabaseError> {
        let quick = database.options.clone();
        let quick = quick
            .synchronous(SqliteSynchronous::Normal)
            .pragma("wal_autocheckpoint", "0");
        let desk = Desk {
            quick: quick.connect().await.map_err(failed)?,
            synced: database.writer.clone(),
            turn: Arc::clone(&database.turn),
            log: Log::open(database).await.map_err(failed)?,
        };
        let (jobs, queue) = mpsc::channel(QUEUED_MAX);
        tokio::spawn(desk.work(queue));
        Ok(Self(jobs))
    }

    /// Makes a change and gives what it returned, once it is kept.
    pub(crate) async fn make(&self, text: Text, kept: Kept) -> Rows {
        let (reply, made) = oneshot::channel();
        let sent = self.0.send(Job::Change(text, kept, reply)).await;
        sent.map_err(|_| closed())?;
        made.await.map_err(|_| closed())?
    }

    /// Returns when all that came before is made. What comes after fails.
    pub(crate) async fn end(&self) {
        let (reply, ended) = oneshot::channel();
        if self.0.send(Job::End(reply)).await.is_ok() {
            drop(ended.await);
        }
    }
}

fn closed() -> DatabaseError {
    failed("it is closed")
}

struct Desk {
    /// Its commits wait for no disk.
    quick: SqliteConnection,
    /// Its commits do, and what was committed before is on the disk with them: it is one log.
    synced: SqlitePool,
    turn: Arc<Mutex<()>>,
    log: Log,
}

/// Changes that share a commit, in the order they came, and who waits for them.
#[derive(Default)]
struct Batch {
    texts: Vec<Text>,
    replies: Vec<oneshot::Sender<Rows>>,
    synced: bool,
    end: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            Job::Change(text, kept, reply) => {
                self.texts.push(text);
                self.replies.push(reply);
                self.synced |= kept == Kept::Synced;
            }
            Job::End(ended) => self.end = Some(ended),
        }
    }

    fn is_full(&self) -> bool {
        self.texts.len() == BATCH_MAX || self.end.is_some()
    }
}

impl Desk {
    async fn work(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            while !batch.is_full() {
                let Ok(next) = queue.try_recv() else { break };
                batch.add(next);
            }
            let all = self.commit(batch.texts, batch.synced).await;
            for (reply, rows) in batch.replies.into_iter().zip(all) {
                // Whoever asked may have left; it is made all the same.
                drop(reply.send(rows));
            }
            self.log.look();
            if batch.end.is_some() {
                drop(self.quick.close().await);
                // Whoever waits for the end learns of it when this is dropped.
                return drop(batch.end);
            }
        }
    }

    /// What each change returned, in their order; where the commit itself failed, that.
    async fn commit(&mut self, texts: Vec<Text>, synced: bool) -> Vec<Rows> {
        let count = texts.len();
        let _turn = self.turn.lock().await;
        let made = if synced {
            match self.synced.acquire().await {
                Ok(mut connection) => together(&mut connection, texts).await,
                Err(error) => Err(error),
            }
        } else {
            together(&mut self.quick, texts).await
        };
        made.unwrap_or_else(|error| {
            let why = error.to_string();
            (0..count).map(|_| Err(failed(why.clone()))).collect()
        })
    }
}

/// What each change returned; an error where none of them is kept.
async fn together(
    connection: &mut SqliteConnection,
    mut texts: Vec<Text>,
) -> Result<Vec<Rows>, sqlx::Error> {
    if texts.len() == 1
        && let Some(text) = texts.pop()
    {
        return match one(connection, text).await {
            Ok(rows) => Ok(vec![rows]),
            Err(error) => Err(error),
        };
    }
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    let made = within(connection, texts).await;
    if made.is_err() {
        // The next batch must find no transaction open. Fails where the failure itself has ended it.
        drop(sqlx::query("ROLLBACK").execute(&mut *connection).await);
    }
    made
}

async fn within(
    connection: &mut SqliteConnection,
    texts: Vec<Text>,
) -> Result<Vec<Rows>, sqlx::Error> {
    let mut made = Vec::with_capacity(texts.len());
    for text in texts {
        made.push(one(connection, text).await?);
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(made)
}

/// What a change returned, or why it changed nothing. An error where it could not be undone alone: SQLite answers some failures,
/// a full disk among them, by undoing all that its transaction had done.
async fn one(connection: &mut SqliteConnection, text: Text) -> Result<Rows, sqlx::Error> {
    match text.fetch_all(&mut *connection).await {
        Ok(rows) => Ok(Ok(rows)),
        Err(error) => match sqlx::query(UNDO).execute(connection).await {
            Ok(_) => Ok(Err(failed(error))),
            Err(_) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
