//! Which version of each agent is installed. Never touches the installed files.

use postern_contract::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use super::{Runs, RunsError};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed},
};

/// An installed agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// Its name.
    pub name: AgentName,
    /// The digest of what was installed, in lower-case hex: the name of its version directory.
    pub version: String,
    /// Where it came from, as the config says it.
    pub source: Value,
    /// When, in milliseconds since 1970 (UTC).
    pub installed_at_ms: i64,
}

impl Runs {
    /// Remembers what is live under an agent's name now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn record_installed(&self, installed: &Installed) -> Result<(), RunsError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO agents (name, version, source, installed_at_ms) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, source = excluded.source, \
             installed_at_ms = excluded.installed_at_ms",
        )
        .bind(installed.name.as_str())
        .bind(&installed.version)
        .bind(installed.source.to_string())
        .bind(installed.installed_at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// What is live under one name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn installed(&self, name: &AgentName) -> Result<Option<Installed>, RunsError> {
        let row = sqlx::query("SELECT * FROM agents WHERE name = ?1")
            .bind(name.as_str())
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        Ok(row.as_ref().map(read_installed).transpose()?)
    }

    /// Everything that is live, by name, at most [`crate::ROWS_MAX`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn all_installed(&self) -> Result<Vec<Installed>, RunsError> {
        let rows = sqlx::query("SELECT * FROM agents ORDER BY name LIMIT ?1")
            .bind(i64::from(ROWS_MAX))
            .fetch_all(self.database.read())
            .await
            .map_err(failed)?;
        Ok(rows.iter().map(read_installed).collect::<Result<_, _>>()?)
    }
}

fn read_installed(row: &SqliteRow) -> Result<Installed, DatabaseError> {
    let columns = Columns(row);
    Ok(Installed {
        name: columns.parsed("name")?,
        version: columns.text("version")?,
        source: columns.json("source")?,
        installed_at_ms: columns.integer("installed_at_ms")?,
    })
}
