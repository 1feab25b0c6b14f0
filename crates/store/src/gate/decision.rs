//! What the gate decided about each call. Never holds a body, a query, a header or a credential's value.

use postern_contract::{AgentName, Code, RequestId, RunId, SandboxId};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{Gate, GateError};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed},
    word,
};

/// How a call was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It went out.
    Allowed,
    /// It waits for a human.
    ApprovalRequired,
    /// It was refused.
    Denied,
}

/// One call and its judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The gate's id of the request.
    pub id: RequestId,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Where the call came from.
    pub sandbox: SandboxId,
    /// Whose call.
    pub agent: AgentName,
    /// For which run, if one is believed.
    pub run: Option<RunId>,
    /// The tool or model, if one was found.
    pub tool: Option<String>,
    /// The judgement.
    pub ruling: Ruling,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The refusal's code.
    pub code: Option<Code>,
    /// HTTP method.
    pub method: String,
    /// Canonical scheme, host and port.
    pub authority: String,
    /// Canonical path, without the query.
    pub path: String,
    /// What the upstream answered, or what the gate answered in its place.
    pub status: Option<u16>,
    /// The name of the credential that was added, never its value.
    pub credential: Option<String>,
}

/// Which decisions are wanted; an absent part asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// About this agent's calls.
    pub agent: Option<AgentName>,
    /// About this run's calls.
    pub run: Option<RunId>,
    /// Judged so.
    pub ruling: Option<Ruling>,
}

impl Gate {
    /// Keeps decisions, all in one commit.
    ///
    /// # Errors
    /// The database failed; then none was kept.
    pub async fn record_decisions(&self, decisions: &[Decision]) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        for decision in decisions {
            insert(&mut transaction, decision).await?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Forgets all but the newest so many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_decisions(&self, kept: u32) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "DELETE FROM decisions WHERE number <= (SELECT MAX(number) FROM decisions) - ?1",
        )
        .bind(i64::from(kept))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Decisions that fit, newest first, at most `limit` (and [`crate::ROWS_MAX`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn decisions(
        &self,
        filter: &DecisionFilter,
        limit: u32,
    ) -> Result<Vec<Decision>, GateError> {
        let rows = sqlx::query(
            "SELECT * FROM decisions WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR run = ?2) \
             AND (?3 IS NULL OR ruling = ?3) ORDER BY number DESC LIMIT ?4",
        )
        .bind(filter.agent.as_ref().map(AgentName::as_str))
        .bind(filter.run.as_ref().map(RunId::as_str))
        .bind(
            filter
                .ruling
                .map(word::to_column)
                .transpose()
                .map_err(failed)?,
        )
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(read_decision).collect::<Result<_, _>>()?)
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    decision: &Decision,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO decisions (id, at_ms, sandbox, agent, run, tool, ruling, rule, code, method, \
         authority, path, status, credential) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )
    .bind(decision.id.as_str())
    .bind(decision.at_ms)
    .bind(decision.sandbox.as_str())
    .bind(decision.agent.as_str())
    .bind(decision.run.as_ref().map(RunId::as_str))
    .bind(decision.tool.as_deref())
    .bind(word::to_column(decision.ruling).map_err(failed)?)
    .bind(decision.rule.as_deref())
    .bind(decision.code.map(Code::word))
    .bind(&decision.method)
    .bind(&decision.authority)
    .bind(&decision.path)
    .bind(decision.status)
    .bind(decision.credential.as_deref())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(())
}

fn read_decision(row: &SqliteRow) -> Result<Decision, DatabaseError> {
    let columns = Columns(row);
    Ok(Decision {
        id: columns.parsed("id")?,
        at_ms: columns.integer("at_ms")?,
        sandbox: columns.parsed("sandbox")?,
        agent: columns.parsed("agent")?,
        run: columns.maybe_parsed("run")?,
        tool: columns.maybe_text("tool")?,
        ruling: columns.word("ruling")?,
        rule: columns.maybe_text("rule")?,
        code: columns.maybe_word("code")?,
        method: columns.text("method")?,
        authority: columns.text("authority")?,
        path: columns.text("path")?,
        status: columns
            .maybe_integer("status")?
            .map(u16::try_from)
            .transpose()
            .map_err(failed)?,
        credential: columns.maybe_text("credential")?,
    })
}
