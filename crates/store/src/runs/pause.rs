//! Runs that wait for somebody: what each needs to go on, kept until it is taken, which happens once. Never interprets a state,
//! and never says whether a run may go on.

use postern_contract::{ActionId, AgentName, RunId};
use serde_json::Value;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    End, NewEvent, Run, RunStatus, Runs, RunsError, event,
    run::{finish, read_run, require_open},
};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed},
    word,
};

/// A run that is about to wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Pause {
    /// What it waits for.
    pub action: ActionId,
    /// Where it stands meanwhile: `PAUSED_APPROVAL` or `PAUSED_CONSENT`.
    pub status: RunStatus,
    /// What it needs to go on.
    pub state: Value,
    /// What the caller gets meanwhile.
    pub outcome: Value,
    /// What happened since the last recorded event.
    pub events: Vec<NewEvent>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// A run that waits, or has waited.
#[derive(Debug, Clone, PartialEq)]
pub struct Paused {
    /// The run as it stands now.
    pub run: Run,
    /// Whether what it needs to go on was taken.
    pub is_taken: bool,
    /// How often it went on for this action and came back without an end.
    pub tries: u32,
}

/// A run that waits, as whoever goes round looking for them finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// What it waits for.
    pub action: ActionId,
    /// Whose it is.
    pub agent: AgentName,
    /// As [`Paused::tries`].
    pub tries: u32,
}

impl Runs {
    /// Pauses a run that goes on: its state, its events and its new status, in one commit.
    ///
    /// # Errors
    /// [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed; then nothing was written.
    pub async fn pause_run(&self, run: &RunId, pause: &Pause) -> Result<(), RunsError> {
        let mut transaction = self.database.write().await?;
        require_open(&mut transaction, run).await?;
        event::append(&mut transaction, run, &pause.events).await?;
        sqlx::query(
            "INSERT INTO checkpoints (run, action_id, state, created_ms) VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(run.as_str())
        .bind(pause.action.as_str())
        .bind(pause.state.to_string())
        .bind(pause.at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        waits(&mut transaction, run, pause).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Puts a run aside again that was taken up for this action, failed on its way and can go on from where it was then: its
    /// state, its events and its status, in one commit.
    ///
    /// # Errors
    /// As [`Runs::pause_run`], and [`RunsError::NotTaken`].
    pub async fn put_back(&self, run: &RunId, pause: &Pause) -> Result<(), RunsError> {
        let mut transaction = self.database.write().await?;
        require_open(&mut transaction, run).await?;
        event::append(&mut transaction, run, &pause.events).await?;
        let back = sqlx::query(
            "UPDATE checkpoints SET state = ?3, claimed_ms = NULL, tries = tries + 1 \
             WHERE run = ?1 AND action_id = ?2 AND claimed_ms IS NOT NULL",
        )
        .bind(run.as_str())
        .bind(pause.action.as_str())
        .bind(pause.state.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        if back.rows_affected() != 1 {
            return Err(RunsError::NotTaken(run.clone()));
        }
        waits(&mut transaction, run, pause).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// The run that an action paused.
    ///
    /// # Errors
    /// The database failed.
    pub async fn paused(&self, action: &ActionId) -> Result<Option<Paused>, RunsError> {
        let row = sqlx::query(
            "SELECT runs.*, checkpoints.claimed_ms, checkpoints.tries FROM checkpoints JOIN runs ON runs.run = checkpoints.run \
             WHERE checkpoints.action_id = ?1",
        )
        .bind(action.as_str())
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Paused {
            run: read_run(&row)?,
            is_taken: Columns(&row).maybe_integer("claimed_ms")?.is_some(),
            tries: tries(&row)?,
        }))
    }

    /// What a run that waits needs to go on, left where it is. `None` if it was taken, or there is no such run.
    ///
    /// # Errors
    /// The database failed.
    pub async fn kept(&self, action: &ActionId) -> Result<Option<Value>, RunsError> {
        let row = sqlx::query(
            "SELECT state FROM checkpoints WHERE action_id = ?1 AND claimed_ms IS NULL",
        )
        .bind(action.as_str())
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Columns(&row).json("state")?))
    }

    /// What the runs of this status wait for now and whose they are, those that wait longest first, at most `limit` (and
    /// [`crate::ROWS_MAX`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn awaited(&self, status: RunStatus, limit: u32) -> Result<Vec<Awaited>, RunsError> {
        let rows = sqlx::query(
            "SELECT checkpoints.action_id, checkpoints.tries, runs.agent FROM checkpoints JOIN runs ON runs.run = checkpoints.run \
             WHERE checkpoints.claimed_ms IS NULL AND runs.status = ?2 \
             ORDER BY checkpoints.created_ms, checkpoints.action_id LIMIT ?1",
        )
        .bind(i64::from(limit.min(ROWS_MAX)))
        .bind(word::to_column(status).map_err(failed)?)
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        let read = |row| {
            let columns = Columns(row);
            Ok(Awaited {
                action: columns.parsed("action_id")?,
                agent: columns.parsed("agent")?,
                tries: tries(row)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Takes what a run needs to go on, so that it goes on once: it is `RUNNING` again, and its state is forgotten. `None` if
    /// it was taken before, or the run waits no longer.
    ///
    /// # Errors
    /// The database failed; then nothing was written.
    pub async fn take_up(
        &self,
        action: &ActionId,
        events: &[NewEvent],
        at_ms: i64,
    ) -> Result<Option<(Run, Value)>, RunsError> {
        let mut transaction = self.database.write().await?;
        let Some((run, state)) = claim(&mut transaction, action, at_ms).await? else {
            return Ok(None);
        };
        sqlx::query(
            "UPDATE runs SET status = 'RUNNING', outcome = NULL, updated_ms = ?2 WHERE run = ?1",
        )
        .bind(run.run.as_str())
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        event::append(&mut transaction, &run.run, events).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Some((run, state)))
    }

    /// Ends a run that waits, in one commit. Tells whether it did: otherwise it waits no longer, and nothing changed.
    ///
    /// # Errors
    /// [`RunsError::NotAnEnd`], or the database failed; then nothing was written.
    pub async fn end_paused(&self, action: &ActionId, end: &End) -> Result<bool, RunsError> {
        let mut transaction = self.database.write().await?;
        let Some((run, _)) = claim(&mut transaction, action, end.at_ms).await? else {
            return Ok(false);
        };
        finish(&mut transaction, &run.run, end).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(true)
    }
}

/// The run waits from now on.
async fn waits(
    connection: &mut SqliteConnection,
    run: &RunId,
    pause: &Pause,
) -> Result<(), RunsError> {
    sqlx::query("UPDATE runs SET status = ?2, outcome = ?3, updated_ms = ?4 WHERE run = ?1")
        .bind(run.as_str())
        .bind(word::to_column(pause.status).map_err(failed)?)
        .bind(pause.outcome.to_string())
        .bind(pause.at_ms)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}

fn tries(row: &SqliteRow) -> Result<u32, DatabaseError> {
    u32::try_from(Columns(row).integer("tries")?).map_err(failed)
}

/// Takes what a run that waits needs to go on, which can be done once.
async fn claim(
    connection: &mut SqliteConnection,
    action: &ActionId,
    at_ms: i64,
) -> Result<Option<(Run, Value)>, RunsError> {
    let row = sqlx::query(
        "SELECT runs.*, checkpoints.state FROM checkpoints JOIN runs ON runs.run = checkpoints.run \
         WHERE checkpoints.action_id = ?1 AND checkpoints.claimed_ms IS NULL \
         AND runs.status IN ('PAUSED_APPROVAL', 'PAUSED_CONSENT')",
    )
    .bind(action.as_str())
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let (run, state) = (read_run(&row)?, Columns(&row).json("state")?);
    sqlx::query("UPDATE checkpoints SET claimed_ms = ?2, state = 'null' WHERE action_id = ?1")
        .bind(action.as_str())
        .bind(at_ms)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    Ok(Some((run, state)))
}
