//! What agents say that they need to go on, kept with their runs. Never interpreted, and never what a run of ours goes on by.

use postern_contract::{ActionId, RunId};
use serde_json::Value;

use super::{Runs, RunsError, run::require_open};
use crate::sqlite::{Columns, failed};

/// The most of one run.
const REPORTED_CHECKPOINTS_MAX: u32 = 8;

impl Runs {
    /// Keeps what a run that is not over says it needs after an action; said again, the last counts. Whether there was room.
    ///
    /// # Errors
    /// [`RunsError::NoSuchRun`], [`RunsError::Ended`], or the database failed.
    pub async fn keep_reported(
        &self,
        run: &RunId,
        (action, state): (&ActionId, &Value),
        at_ms: i64,
    ) -> Result<bool, RunsError> {
        let mut transaction = self.database.write().await?;
        require_open(&mut transaction, run).await?;
        let kept = sqlx::query(
            "INSERT INTO reported_checkpoints (run, action_id, state, at_ms) SELECT ?1, ?2, ?3, ?4 \
             WHERE (SELECT COUNT(*) FROM reported_checkpoints WHERE run = ?1 AND action_id <> ?2) < ?5 \
             ON CONFLICT (run, action_id) DO UPDATE SET state = ?3, at_ms = ?4",
        )
        .bind(run.as_str())
        .bind(action.as_str())
        .bind(state.to_string())
        .bind(at_ms)
        .bind(REPORTED_CHECKPOINTS_MAX)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(kept.rows_affected() == 1)
    }

    /// What a run said it needs after an action.
    ///
    /// # Errors
    /// The database failed.
    pub async fn reported(
        &self,
        run: &RunId,
        action: &ActionId,
    ) -> Result<Option<Value>, RunsError> {
        let row =
            sqlx::query("SELECT state FROM reported_checkpoints WHERE run = ?1 AND action_id = ?2")
                .bind(run.as_str())
                .bind(action.as_str())
                .fetch_optional(self.database.read())
                .await
                .map_err(failed)?;
        let state = row.map(|row| Columns(&row).json("state")).transpose()?;
        Ok(state)
    }
}
