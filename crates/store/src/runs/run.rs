//! Runs: begun once, ended once, looked up. Never interprets a message or an outcome.

use std::path::Path;

use postern_contract::{AgentName, RequestId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{SqliteConnection, migrate::Migrator, sqlite::SqliteRow};

use super::{EventType, Kept, NewEvent, Runs, RunsError, event};
use crate::{
    OpenError, ROWS_MAX,
    sqlite::{
        Columns, Database, DatabaseError, failed,
        scribe::{Change, Scribe},
    },
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
    /// [`Kept::Synced`] for a run that somebody can ask for again by its key, who must get the same answer.
    pub kept: Kept,
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
    /// Runs that count as `PAUSED_CONSENT` while they are `RUNNING`: a call of theirs waits.
    pub held: Vec<RunId>,
}

impl NewRun {
    /// What its beginning and its end outlive before they are told: whoever asks again by its key must get the same answer.
    #[must_use]
    pub fn kept(&self) -> Kept {
        match self.idempotency_key {
            Some(_) => Kept::Synced,
            None => Kept::Written,
        }
    }
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
        let database = Database::open(path, &TABLES).await?;
        let scribe = Scribe::start(&database).await;
        let scribe = scribe.map_err(|source| OpenError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { database, scribe })
    }

    /// Writes next to nothing, on the disk when this returns: whether a run could be kept now.
    ///
    /// # Errors
    /// None could: the disk is full, gone, or read-only.
    pub async fn touch(&self) -> Result<(), RunsError> {
        Ok(self.database.touch().await?)
    }

    /// Waits for what is under way and closes the file; for an orderly end of the daemon.
    pub async fn close(&self) {
        self.scribe.end().await;
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
        if self.scribe.make(insert(new), new.kept()).await?.is_some() {
            return Ok(Begun::Fresh);
        }
        let key = new.idempotency_key.as_deref();
        let earlier = match key {
            Some(key) => {
                self.run_by_key(&new.agent, new.user.as_deref(), key)
                    .await?
            }
            None => None,
        };
        match earlier {
            Some(run) => Ok(Begun::Earlier(Box::new(run))),
            None => Err(RunsError::RunTaken(new.run.clone())),
        }
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
        let found = sqlx::query(
            "SELECT * FROM runs WHERE agent = ?1 AND COALESCE(end_user, '') = ?2 AND idempotency_key = ?3",
        )
        .bind(agent.as_str())
        .bind(user.unwrap_or_default())
        .bind(key)
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        Ok(found.as_ref().map(read_run).transpose()?)
    }

    /// Ends a run: appends the last events and a final `COMPLETED` or `FAILED`, and keeps the outcome, in one commit.
    ///
    /// # Errors
    /// [`RunsError::NotAnEnd`], [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed; then nothing was
    /// written.
    pub async fn finish_run(&self, run: &RunId, end: &End) -> Result<(), RunsError> {
        last_event(end.status)?;
        match self.scribe.make(end_of(run, end)?, end.kept).await? {
            Some(_) => Ok(()),
            None => Err(self.not_open(run).await),
        }
    }

    /// Why nothing can be added to a run.
    pub(super) async fn not_open(&self, run: &RunId) -> RunsError {
        match self.run(run).await {
            Ok(Some(_)) => RunsError::Ended(run.clone()),
            Ok(None) => RunsError::NoSuchRun(run.clone()),
            Err(error) => error,
        }
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
            "SELECT * FROM runs WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR ?2 = CASE \
             WHEN status = 'RUNNING' AND run IN (SELECT value FROM json_each(?5)) THEN 'PAUSED_CONSENT' \
             ELSE status END) \
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
        .bind(serde_json::json!(filter.held).to_string())
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

/// Ends a run (`?1`) that goes on or waits; a row where it does.
const END_IF_OPEN: &str = "UPDATE runs SET status = ?3, outcome = ?4, updated_ms = ?5 \
     WHERE run = ?1 AND status NOT IN ('COMPLETED', 'FAILED') RETURNING 1";

/// A run's last events and its end.
fn end_of(run: &RunId, end: &End) -> Result<Change, RunsError> {
    Ok(Change {
        statements: &[event::APPEND_IF_OPEN, END_IF_OPEN],
        values: vec![
            run.as_str().to_owned().into(),
            last_events(end)?.into(),
            status(end)?.into(),
            end.outcome.to_string().into(),
            end.at_ms.into(),
        ],
    })
}

/// The same inside a transaction.
pub(super) async fn finish(
    connection: &mut SqliteConnection,
    run: &RunId,
    end: &End,
) -> Result<(), RunsError> {
    for statement in [event::APPEND_IF_OPEN, END_IF_OPEN] {
        sqlx::query(statement)
            .bind(run.as_str())
            .bind(last_events(end)?)
            .bind(status(end)?)
            .bind(end.outcome.to_string())
            .bind(end.at_ms)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// As [`event::APPEND_IF_OPEN`] takes them.
fn last_events(end: &End) -> Result<String, RunsError> {
    let last = NewEvent {
        kind: last_event(end.status)?,
        actor: "posternd".to_owned(),
        data: end.outcome.clone(),
        at_ms: end.at_ms,
    };
    Ok(event::written(end.events.iter().chain([&last]))?)
}

fn status(end: &End) -> Result<String, RunsError> {
    Ok(word::to_column(end.status).map_err(failed)?)
}

/// A run and its first event; a row unless its id or its key is taken.
fn insert(new: &NewRun) -> Change {
    let actor = new.user.clone().unwrap_or_else(|| "user".to_owned());
    Change {
        statements: &[
            "INSERT INTO runs (run, agent, end_user, request_id, message, idempotency_key, status, created_ms, updated_ms) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, 'RUNNING', ?7, ?7 WHERE NOT EXISTS (SELECT 1 FROM runs \
             WHERE agent = ?2 AND COALESCE(end_user, '') = COALESCE(?3, '') AND idempotency_key = ?6) \
             ON CONFLICT (run) DO NOTHING",
            "INSERT INTO events (run, seq, kind, actor, data, at_ms) \
             SELECT ?1, 1, 'USER_MESSAGE', ?8, ?9, ?7 WHERE changes() > 0 RETURNING seq",
        ],
        values: vec![
            new.run.as_str().to_owned().into(),
            new.agent.as_str().to_owned().into(),
            new.user.clone().into(),
            new.request_id.as_str().to_owned().into(),
            new.message.to_string().into(),
            new.idempotency_key.clone().into(),
            new.at_ms.into(),
            actor.into(),
            json!({ "message": new.message }).to_string().into(),
        ],
    }
}

/// The run exists and is not over.
pub(super) async fn require_open(
    connection: &mut SqliteConnection,
    run: &RunId,
) -> Result<(), RunsError> {
    let row = sqlx::query("SELECT status FROM runs WHERE run = ?1")
        .bind(run.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?
        .ok_or_else(|| RunsError::NoSuchRun(run.clone()))?;
    if Columns(&row).word::<RunStatus>("status")?.is_end() {
        return Err(RunsError::Ended(run.clone()));
    }
    Ok(())
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
