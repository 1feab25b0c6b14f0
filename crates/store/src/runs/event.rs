//! Events of a run: what happened, in order, for people and for resuming. Never holds a credential of the gate's, which
//! nobody here is given; what callers, agents, models and tools said is kept as they said it, and nothing in it is masked.

use postern_contract::RunId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{Kept, Runs, RunsError};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed, scribe::Change},
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
        let change = Change {
            statements: &[APPEND_IF_OPEN, LAST_OF_OPEN],
            values: vec![run.as_str().to_owned().into(), written(events)?.into()],
        };
        match self.scribe.make(change, Kept::Synced).await? {
            Some(last) => Ok(last),
            None => Err(self.not_open(run).await),
        }
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

/// Appends the events of a JSON array (`?2`) to a run (`?1`) that goes on or waits.
pub(super) const APPEND_IF_OPEN: &str = "INSERT INTO events (run, seq, kind, actor, data, at_ms) \
     SELECT ?1, last.seq + 1 + new.key, new.value ->> 'kind', new.value ->> 'actor', new.value ->> 'data', new.value ->> 'at_ms' \
     FROM json_each(?2) AS new, (SELECT COALESCE(MAX(seq), 0) AS seq FROM events WHERE run = ?1) AS last \
     WHERE EXISTS (SELECT 1 FROM runs WHERE run = ?1 AND status NOT IN ('COMPLETED', 'FAILED'))";

/// The number of the last event of a run (`?1`) that goes on or waits.
const LAST_OF_OPEN: &str = "SELECT (SELECT COALESCE(MAX(seq), 0) FROM events WHERE run = ?1) AS seq FROM runs \
     WHERE run = ?1 AND status NOT IN ('COMPLETED', 'FAILED')";

/// Events as [`APPEND_IF_OPEN`] takes them.
pub(super) fn written<'a>(
    events: impl IntoIterator<Item = &'a NewEvent>,
) -> Result<String, DatabaseError> {
    let written = events.into_iter().map(|event| Written {
        kind: event.kind,
        actor: &event.actor,
        data: event.data.to_string(),
        at_ms: event.at_ms,
    });
    serde_json::to_string(&written.collect::<Vec<_>>()).map_err(failed)
}

#[derive(Serialize)]
struct Written<'a> {
    kind: EventType,
    actor: &'a str,
    data: String,
    at_ms: i64,
}

/// Appends events to an open run inside a transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    run: &RunId,
    events: &[NewEvent],
) -> Result<(), DatabaseError> {
    let appended = sqlx::query(APPEND_IF_OPEN)
        .bind(run.as_str())
        .bind(written(events)?)
        .execute(&mut *connection);
    appended.await.map(drop).map_err(failed)
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
