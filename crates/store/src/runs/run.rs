//! Runs: begun once, ended once, looked up. Never interprets a message or an outcome.

use std::path::Path;

use postern_contract::{AgentName, RequestId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Executor, Sqlite, Transaction, migrate::Migrator, sqlite::SqliteRow};

use super::{EventType, NewEvent, Runs, RunsError, event};
use crate::{
    OpenError, ROWS_MAX,
    sqlite::{Columns, Database, DatabaseError, failed},
    word,
};

/// The code of a run whose daemon was killed under it.
pub const INTERRUPTED: &str = "INTERRUPTED";

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// The agent works.
    Running,
    /// It waits for a human's yes.
    PausedApproval,
    /// It waits for the end user's consent.
    PausedConsent,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
}

/// A run to be begun.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its id, fresh or the caller's.
    pub run: RunId,
    /// Whose it is.
    pub agent: AgentName,
    /// The end user, if the caller was allowed to name one.
    pub user: Option<String>,
    /// The request that began it.
    pub request_id: RequestId,
    /// What the agent was asked, as it came.
    pub message: Value,
    /// The caller's `Idempotency-Key`, one run for each agent and end user.
    pub idempotency_key: Option<String>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// What came of beginning a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is new, and its `USER_MESSAGE` is event 1.
    Fresh,
    /// The idempotency key was used before, by this run; nothing was written.
    Earlier(Box<Run>),
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// [`RunStatus::Completed`] or [`RunStatus::Failed`]; a pause is no end.
    pub status: RunStatus,
    /// What the caller got.
    pub outcome: Value,
    /// What happened since the last recorded event; written in the same commit, before the end itself.
    pub events: Vec<NewEvent>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub run: RunId,
    /// Whose it is.
    pub agent: AgentName,
    /// The end user.
    pub user: Option<String>,
    /// The request that began it.
    pub request_id: RequestId,
    /// What the agent was asked.
    pub message: Value,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// What the caller got, once it ended.
    pub outcome: Option<Value>,
    /// When it began, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When its status last changed, in milliseconds since 1970 (UTC).
    pub updated_ms: i64,
}

/// Which runs are wanted; an absent part asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this agent.
    pub agent: Option<AgentName>,
    /// In this status.
    pub status: Option<RunStatus>,
    /// Of this end user.
    pub user: Option<String>,
}

impl RunStatus {
    /// Whether a run in this status is over.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl Runs {
    /// Opens the database, making it (mode 0600) and bringing its tables up to date if need be.
    ///
    /// # Errors
    /// The file cannot be made or opened, is no database of ours, or is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        static TABLES: Migrator = sqlx::migrate!("migrations/runs");
        Ok(Self {
            database: Database::open(path, &TABLES).await?,
        })
    }

    /// Waits for what is under way and closes the file; for an orderly end of the daemon.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Marks every run that a killed daemon left `RUNNING` as `FAILED` (code [`INTERRUPTED`]) and says how many. To be
    /// called once, at start, before the first run.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sweep_interrupted(&self, at_ms: i64) -> Result<u64, RunsError> {
        let outcome =
            json!({ "error": "the daemon ended while the run was going on", "code": INTERRUPTED });
        let outcome = outcome.to_string();
        let mut transaction = self.database.write().await?;
        let last_events = "INSERT INTO events (run, seq, kind, actor, data, at_ms) \
             SELECT run, 1 + COALESCE((SELECT MAX(seq) FROM events WHERE events.run = runs.run), 0), \
                    'FAILED', 'posternd', ?1, ?2 FROM runs WHERE status = 'RUNNING'";
        sqlx::query(last_events)
            .bind(&outcome)
            .bind(at_ms)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        let marks = "UPDATE runs SET status = 'FAILED', outcome = ?1, updated_ms = ?2 WHERE status = 'RUNNING'";
        let marked = sqlx::query(marks)
            .bind(&outcome)
            .bind(at_ms)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(marked.rows_affected())
    }

    /// Begins a run and records its message as the run's first event.
    ///
    /// # Errors
    /// [`RunsError::RunTaken`], or the database failed; then nothing was written.
    pub async fn begin_run(&self, new: &NewRun) -> Result<Begun, RunsError> {
        let mut transaction = self.database.write().await?;
        if let Some(key) = &new.idempotency_key {
            let begun = (&new.agent, new.user.as_deref(), key.as_str());
            if let Some(run) = by_key(&mut *transaction, begun).await? {
                return Ok(Begun::Earlier(Box::new(run)));
            }
        }
        insert(&mut transaction, new).await?;
        let said = NewEvent {
            kind: EventType::UserMessage,
            actor: new.user.clone().unwrap_or_else(|| "user".to_owned()),
            data: json!({ "message": new.message }),
            at_ms: new.at_ms,
        };
        event::append(&mut transaction, &new.run, &[said]).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Begun::Fresh)
    }

    /// The run that an agent's user (nobody: `None`) began with an idempotency key.
    ///
    /// # Errors
    /// The database failed.
    pub async fn run_by_key(
        &self,
        agent: &AgentName,
        user: Option<&str>,
        key: &str,
    ) -> Result<Option<Run>, RunsError> {
        Ok(by_key(self.database.read(), (agent, user, key)).await?)
    }

    /// Ends a run: appends the last events and a final `COMPLETED` or `FAILED`, and keeps the outcome, in one commit.
    ///
    /// # Errors
    /// [`RunsError::NotAnEnd`], [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed; then nothing was
    /// written.
    pub async fn finish_run(&self, run: &RunId, end: &End) -> Result<(), RunsError> {
        last_event(end.status)?;
        let mut transaction = self.database.write().await?;
        require_open(&mut transaction, run).await?;
        finish(&mut transaction, run, end).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// One run, if it exists.
    ///
    /// # Errors
    /// The database failed.
    pub async fn run(&self, run: &RunId) -> Result<Option<Run>, RunsError> {
        let row = sqlx::query("SELECT * FROM runs WHERE run = ?1")
            .bind(run.as_str())
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        Ok(row.as_ref().map(read_run).transpose()?)
    }

    /// Runs that fit, newest first, at most `limit` (and [`crate::ROWS_MAX`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn runs(&self, filter: &RunFilter, limit: u32) -> Result<Vec<Run>, RunsError> {
        let rows = sqlx::query(
            "SELECT * FROM runs WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR status = ?2) \
             AND (?3 IS NULL OR end_user = ?3) ORDER BY created_ms DESC, run DESC LIMIT ?4",
        )
        .bind(filter.agent.as_ref().map(AgentName::as_str))
        .bind(
            filter
                .status
                .map(word::to_column)
                .transpose()
                .map_err(failed)?,
        )
        .bind(filter.user.as_deref())
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(read_run).collect::<Result<_, _>>()?)
    }
}

fn last_event(status: RunStatus) -> Result<EventType, RunsError> {
    match status {
        RunStatus::Completed => Ok(EventType::Completed),
        RunStatus::Failed => Ok(EventType::Failed),
        status => Err(RunsError::NotAnEnd(status)),
    }
}

/// Writes a run's last events and its end.
pub(super) async fn finish(
    transaction: &mut Transaction<'_, Sqlite>,
    run: &RunId,
    end: &End,
) -> Result<(), RunsError> {
    let last = last_event(end.status)?;
    event::append(transaction, run, &end.events).await?;
    let last = NewEvent {
        kind: last,
        actor: "posternd".to_owned(),
        data: end.outcome.clone(),
        at_ms: end.at_ms,
    };
    event::append(transaction, run, &[last]).await?;
    sqlx::query("UPDATE runs SET status = ?2, outcome = ?3, updated_ms = ?4 WHERE run = ?1")
        .bind(run.as_str())
        .bind(word::to_column(end.status).map_err(failed)?)
        .bind(end.outcome.to_string())
        .bind(end.at_ms)
        .execute(&mut **transaction)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Writes the row, unless its id is taken.
async fn insert(transaction: &mut Transaction<'_, Sqlite>, new: &NewRun) -> Result<(), RunsError> {
    let inserted = sqlx::query(
        "INSERT INTO runs (run, agent, end_user, request_id, message, idempotency_key, status, \
         created_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'RUNNING', ?7, ?7) \
         ON CONFLICT (run) DO NOTHING",
    )
    .bind(new.run.as_str())
    .bind(new.agent.as_str())
    .bind(new.user.as_deref())
    .bind(new.request_id.as_str())
    .bind(new.message.to_string())
    .bind(new.idempotency_key.as_deref())
    .bind(new.at_ms)
    .execute(&mut **transaction)
    .await
    .map_err(failed)?;
    match inserted.rows_affected() {
        0 => Err(RunsError::RunTaken(new.run.clone())),
        _ => Ok(()),
    }
}

/// The run exists and is not over.
pub(super) async fn require_open(
    transaction: &mut Transaction<'_, Sqlite>,
    run: &RunId,
) -> Result<(), RunsError> {
    let row = sqlx::query("SELECT status FROM runs WHERE run = ?1")
        .bind(run.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(failed)?
        .ok_or_else(|| RunsError::NoSuchRun(run.clone()))?;
    if Columns(&row).word::<RunStatus>("status")?.is_end() {
        return Err(RunsError::Ended(run.clone()));
    }
    Ok(())
}

async fn by_key(
    database: impl Executor<'_, Database = Sqlite>,
    (agent, user, key): (&AgentName, Option<&str>, &str),
) -> Result<Option<Run>, DatabaseError> {
    let found = sqlx::query(
        "SELECT * FROM runs WHERE agent = ?1 AND COALESCE(end_user, '') = ?2 AND idempotency_key = ?3",
    )
    .bind(agent.as_str())
    .bind(user.unwrap_or_default())
    .bind(key)
    .fetch_optional(database)
    .await
    .map_err(failed)?;
    found.as_ref().map(read_run).transpose()
}

pub(super) fn read_run(row: &SqliteRow) -> Result<Run, DatabaseError> {
    let columns = Columns(row);
    Ok(Run {
        run: columns.parsed("run")?,
        agent: columns.parsed("agent")?,
        user: columns.maybe_text("end_user")?,
        request_id: columns.parsed("request_id")?,
        message: columns.json("message")?,
        idempotency_key: columns.maybe_text("idempotency_key")?,
        status: columns.word("status")?,
        outcome: columns.maybe_json("outcome")?,
        created_ms: columns.integer("created_ms")?,
        updated_ms: columns.integer("updated_ms")?,
    })
}
