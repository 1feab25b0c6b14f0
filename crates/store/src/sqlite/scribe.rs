//! Changes that come often: one thread makes them, since a way to SQLite and back for each row costs more than SQLite does, and all
//! that come while a commit is under way share the next one. Never interprets a change, and never lets one that fails undo another.
//!
//! ```text
//! make ─▶ queue ─▶ the thread ─▶ the turn ─▶ BEGIN, SAVEPOINT … RELEASE each, COMMIT ─▶ all are answered
//! ```
//!
//! A commit that need not be [`Kept::Synced`] waits for no disk. The log is brought into the database beside the changes
//! (`log.rs`), not by the one that happens to fill it.

use std::{sync::Arc, thread};

use rusqlite::{Connection, OpenFlags};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc, oneshot},
};

use super::{BUSY_WAIT, Database, DatabaseError, failed, log::Log};

pub(crate) use rusqlite::types::Value;

/// Changes that wait; more wait at their senders.
const QUEUED_MAX: usize = 1024;

/// The most changes of one commit.
const BATCH_MAX: usize = 256;

/// Statements whose translation is kept, by connection.
const STATEMENTS_MAX: usize = 32;

/// What a change has outlived once it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// The end of this process, also a sudden one; perhaps not the machine's.
    Written,
    /// The end of the machine, too: it is on the disk.
    Synced,
}

/// Statements that all happen or none. Each may name any of the values: `?1` is the first.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) statements: &'static [&'static str],
    pub(crate) values: Vec<Value>,
}

/// The whole number that the first row of a change's last statement begins with; `None` where there was no row.
type Made = Result<Option<i64>, DatabaseError>;

enum Job {
    Change(Change, Kept, oneshot::Sender<Made>),
    End(oneshot::Sender<()>),
}

/// Hands changes to the one thread that makes them. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Scribe(mpsc::Sender<Job>);

impl Scribe {
    /// Begins to write.
    pub(crate) async fn start(database: &Database) -> Result<Self, DatabaseError> {
        let desk = Desk {
            quick: connect(database, "NORMAL").map_err(failed)?,
            synced: connect(database, "FULL").map_err(failed)?,
            turn: Arc::clone(&database.turn),
            log: Log::open(database).await.map_err(failed)?,
        };
        let (jobs, queue) = mpsc::channel(QUEUED_MAX);
        let tasks = Handle::current();
        thread::Builder::new()
            .name("scribe".to_owned())
            .spawn(move || desk.work(queue, &tasks))
            .map_err(failed)?;
        Ok(Self(jobs))
    }

    /// Makes a change and gives what it returned, once it is kept.
    pub(crate) async fn make(&self, change: Change, kept: Kept) -> Made {
        let (reply, made) = oneshot::channel();
        let sent = self.0.send(Job::Change(change, kept, reply)).await;
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

/// A connection whose commits are kept as `synchronous` says.
fn connect(database: &Database, synchronous: &str) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database.options.get_filename(), flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

struct Desk {
    /// Its commits wait for no disk.
    quick: Connection,
    /// Its commits do, and what was committed before is on the disk with them: it is one log.
    synced: Connection,
    turn: Arc<Mutex<()>>,
    log: Log,
}

/// Changes that share a commit, in the order they came, and who waits for them.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    replies: Vec<oneshot::Sender<Made>>,
    synced: bool,
    end: Option<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            Job::Change(change, kept, reply) => {
                self.changes.push(change);
                self.replies.push(reply);
                self.synced |= kept == Kept::Synced;
            }
            Job::End(ended) => self.end = Some(ended),
        }
    }

    fn is_full(&self) -> bool {
        self.changes.len() == BATCH_MAX || self.end.is_some()
    }
}

impl Desk {
    fn work(self, mut queue: mpsc::Receiver<Job>, tasks: &Handle) {
        let _tasks = tasks.enter();
        while let Some(first) = queue.blocking_recv() {
            let turn = self.turn.blocking_lock();
            let mut batch = Batch::default();
            batch.add(first);
            while !batch.is_full() {
                let Ok(next) = queue.try_recv() else { break };
                batch.add(next);
            }
            let all = self.commit(&batch);
            drop(turn);
            for (reply, made) in batch.replies.into_iter().zip(all) {
                // Whoever asked may have left; it is made all the same.
                drop(reply.send(made));
            }
            self.log.look();
            if batch.end.is_some() {
                drop(self);
                // Whoever waits for the end learns of it when this is dropped.
                return drop(batch.end);
            }
        }
    }

    /// What each change returned, in their order; where the commit itself failed, that.
    fn commit(&self, batch: &Batch) -> Vec<Made> {
        let connection = if batch.synced {
            &self.synced
        } else {
            &self.quick
        };
        together(connection, &batch.changes).unwrap_or_else(|error| {
            if !connection.is_autocommit() {
                // The next batch must find no transaction open.
                drop(run(connection, "ROLLBACK"));
            }
            let why = error.to_string();
            batch
                .changes
                .iter()
                .map(|_| Err(failed(why.clone())))
                .collect()
        })
    }
}

/// What each change returned; an error where none of them is kept.
fn together(connection: &Connection, changes: &[Change]) -> Result<Vec<Made>, rusqlite::Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    run(connection, "BEGIN IMMEDIATE")?;
    let made = changes.iter().map(|change| one(connection, change));
    let made = made.collect::<Result<_, _>>()?;
    run(connection, "COMMIT")?;
    Ok(made)
}

/// What a change returned, or why it changed nothing. An error where it could not be undone alone: SQLite answers some failures,
/// a full disk among them, by undoing all that its transaction had done.
fn one(connection: &Connection, change: &Change) -> Result<Made, rusqlite::Error> {
    run(connection, "SAVEPOINT change")?;
    let made = change.statements.iter().try_fold(None, |_, statement| {
        first(connection, statement, &change.values)
    });
    match made {
        Err(error) if connection.is_autocommit() => return Err(error),
        Err(_) => run(connection, "ROLLBACK TO change")?,
        Ok(_) => {}
    }
    run(connection, "RELEASE change")?;
    Ok(made.map_err(failed))
}

/// Carries a statement out, and gives what its first row begins with.
fn first(
    connection: &Connection,
    statement: &str,
    values: &[Value],
) -> Result<Option<i64>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(statement)?;
    for (value, index) in values.iter().zip(1..=statement.parameter_count()) {
        statement.raw_bind_parameter(index, value)?;
    }
    let mut rows = statement.raw_query();
    let first = rows.next()?.map(|row| row.get(0)).transpose()?;
    while rows.next()?.is_some() {}
    Ok(first)
}

fn run(connection: &Connection, statement: &str) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(statement)?
        .raw_execute()
        .map(drop)
}

#[cfg(test)]
mod tests;
