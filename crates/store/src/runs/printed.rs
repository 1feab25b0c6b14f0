//! What the code of a run printed, kept as long as the run is. Never looks into it.

use postern_contract::RunId;
use serde_json::Value;

use super::{Runs, RunsError};
use crate::sqlite::{Columns, failed};

impl Runs {
    /// Keeps what a run printed, in the place of what was kept of it before.
    ///
    /// # Errors
    /// The database failed, or there is no such run.
    pub async fn keep_printed(&self, run: &RunId, lines: &Value) -> Result<(), RunsError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO printed (run, lines) VALUES (?1, ?2) ON CONFLICT (run) DO UPDATE SET lines = excluded.lines",
        )
        .bind(run.as_str())
        .bind(lines.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// What is kept of what a run printed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn printed(&self, run: &RunId) -> Result<Option<Value>, RunsError> {
        let row = sqlx::query("SELECT lines FROM printed WHERE run = ?1")
            .bind(run.as_str())
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        Ok(row.map(|row| Columns(&row).json("lines")).transpose()?)
    }
}
