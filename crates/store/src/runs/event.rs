//! Events of a run: what happened, in order, for people and for resuming. Never holds a credential of the gate's, which
//! nobody here is given; what callers, agents, models and tools said is kept as they said it, and nothing in it is masked.

use postern_contract::RunId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use super::{Runs, RunsError, run::require_open};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed},
    word,
};

/// What kind of thing happened: the words of the RunAgents dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// A person, or a program in their place, said something.
    UserMessage,
    /// The agent answered.
    AgentMessage,
    /// A tool was about to be called.
    ToolRequest,
    /// A tool answered.
    ToolResponse,
    /// A tool was called, and the call is over.
    ToolCalled,
    /// The gate asked for a human's yes.
    ApprovalRequired,
    /// The gate asked for the end user's consent.
    ConsentRequired,
    /// A human said yes.
    Approved,
    /// A human said no.
    Rejected,
    /// The run went on after a pause.
    Resumed,
    /// The run was made.
    RunCreated,
    /// The agent was asked.
    InvokeRequested,
    /// The agent gave its answer.
    InvokeCompleted,
    /// The agent gave none.
    InvokeFailed,
    /// The run ended well.
    Completed,
    /// The run ended badly.
    Failed,
}

/// An event to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What kind.
    pub kind: EventType,
    /// Who: `user`, `agent`, `gate`, `posternd`, or an approver's id.
    pub actor: String,
    /// The details.
    pub data: Value,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// An event as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Its run.
    pub run: RunId,
    /// Counts from 1 in each run, without gaps.
    pub seq: i64,
    /// What kind.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Who.
    pub actor: String,
    /// The details.
    pub data: Value,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

impl Runs {
    /// Appends one event and gives its number in the run.
    ///
    /// # Errors
    /// [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed.
    pub async fn append_event(&self, run: &RunId, event: &NewEvent) -> Result<i64, RunsError> {
        self.record(run, std::slice::from_ref(event)).await
    }

    /// Appends several events in one transaction and gives the number of the last one in the run.
    ///
    /// # Errors
    /// [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed; then none was appended.
    pub async fn record(&self, run: &RunId, events: &[NewEvent]) -> Result<i64, RunsError> {
        let mut transaction = self.database.write().await?;
        require_open(&mut transaction, run).await?;
        let last = append(&mut transaction, run, events).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(last)
    }

    /// Events of a run with a number above `after_seq`, oldest first, at most `limit` (and [`crate::ROWS_MAX`]).
    ///
    /// # Errors
    /// The database failed. An unknown run has no events.
    pub async fn events(
        &self,
        run: &RunId,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, RunsError> {
        let rows =
            sqlx::query("SELECT * FROM events WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")
                .bind(run.as_str())
                .bind(after_seq)
                .bind(i64::from(limit.min(ROWS_MAX)))
                .fetch_all(self.database.read())
                .await
                .map_err(failed)?;
        Ok(rows.iter().map(read_event).collect::<Result<_, _>>()?)
    }
}

/// Appends events inside a transaction and gives the number of the last one in the run.
pub(super) async fn append(
    transaction: &mut Transaction<'_, Sqlite>,
    run: &RunId,
    events: &[NewEvent],
) -> Result<i64, DatabaseError> {
    let mut seq: i64 =
        sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM events WHERE run = ?1")
            .bind(run.as_str())
            .fetch_one(&mut **transaction)
            .await
            .map_err(failed)?;
    for event in events {
        seq += 1;
        sqlx::query(
            "INSERT INTO events (run, seq, kind, actor, data, at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(run.as_str())
        .bind(seq)
        .bind(word::to_column(event.kind).map_err(failed)?)
        .bind(&event.actor)
        .bind(event.data.to_string())
        .bind(event.at_ms)
        .execute(&mut **transaction)
        .await
        .map_err(failed)?;
    }
    Ok(seq)
}

fn read_event(row: &SqliteRow) -> Result<StoredEvent, DatabaseError> {
    let columns = Columns(row);
    Ok(StoredEvent {
        run: columns.parsed("run")?,
        seq: columns.integer("seq")?,
        kind: columns.word("kind")?,
        actor: columns.text("actor")?,
        data: columns.json("data")?,
        at_ms: columns.integer("at_ms")?,
    })
}
