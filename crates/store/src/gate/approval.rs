//! Requests that wait for a human, and what became of them. Holds what a call would send only where the call itself does not
//! wait, and only until somebody has answered; never says who may answer.

use postern_contract::{
    ActionId, AgentName, ApproverName, RunId, ToolName,
    approval::{Approval, Status, Verdict, Whole},
};
use sqlx::sqlite::SqliteRow;

use super::{Gate, GateError};
use crate::{
    ROWS_MAX,
    sqlite::{Columns, DatabaseError, failed},
    word,
};

/// The end of one request's wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<'a> {
    /// Which.
    pub action: &'a ActionId,
    /// Who answered, and what; nobody where it has expired.
    pub by: Option<(&'a ApproverName, Verdict)>,
    /// Why, in their words.
    pub reason: Option<&'a str>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

impl Answered<'_> {
    fn status(&self) -> Status {
        match self.by {
            None => Status::Expired,
            Some((_, Verdict::Approve)) => Status::Approved,
            Some((_, Verdict::Reject)) => Status::Rejected,
        }
    }
}

impl Gate {
    /// Keeps a request that begins to wait.
    ///
    /// # Errors
    /// The database failed, and nothing was kept.
    pub async fn ask(&self, approval: &Approval) -> Result<(), GateError> {
        self.insert(approval, None).await
    }

    /// Keeps a request whose call comes again after the answer, with all that an approver is shown.
    ///
    /// # Errors
    /// As [`Gate::ask`].
    pub async fn ask_and_pause(&self, approval: &Approval, whole: &Whole) -> Result<(), GateError> {
        let whole = serde_json::to_string(whole).map_err(failed)?;
        self.insert(approval, Some(&whole)).await
    }

    async fn insert(&self, approval: &Approval, whole: Option<&str>) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO approvals (action_id, agent, run, end_user, tool, rule, method, authority, path, digest, \
             status, created_ms, expires_ms, paused, whole) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )
        .bind(approval.action.as_str())
        .bind(approval.agent.as_str())
        .bind(approval.run.as_ref().map(RunId::as_str))
        .bind(approval.user.as_deref())
        .bind(approval.tool.as_ref().map(ToolName::as_str))
        .bind(&approval.rule)
        .bind(&approval.method)
        .bind(&approval.authority)
        .bind(&approval.path)
        .bind(&approval.digest)
        .bind(word::to_column(approval.status).map_err(failed)?)
        .bind(approval.created_ms)
        .bind(approval.expires_ms)
        .bind(i64::from(whole.is_some()))
        .bind(whole)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// Keeps what became of a request. Tells whether it was pending; otherwise nothing changed.
    ///
    /// # Errors
    /// The database failed, and nothing was kept.
    pub async fn answer(&self, answered: &Answered<'_>) -> Result<bool, GateError> {
        let mut transaction = self.database.write().await?;
        let done = sqlx::query(
            "UPDATE approvals SET status = ?2, approver = ?3, reason = ?4, answered_ms = ?5, whole = NULL \
             WHERE action_id = ?1 AND status = 'PENDING' AND (paused = 0 OR expires_ms > ?5)",
        )
        .bind(answered.action.as_str())
        .bind(word::to_column(answered.status()).map_err(failed)?)
        .bind(answered.by.map(|(approver, _)| approver.as_str()))
        .bind(answered.reason)
        .bind(answered.at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }

    /// Marks as expired every pending request from before `at_ms` but these: their calls wait no longer. Those whose calls
    /// come again expire by their own time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expire_all_but(&self, waiting: &[ActionId], at_ms: i64) -> Result<(), GateError> {
        let waiting = serde_json::to_string(waiting).map_err(failed)?;
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "UPDATE approvals SET status = 'EXPIRED', answered_ms = ?2 \
             WHERE status = 'PENDING' AND paused = 0 AND created_ms < ?2 \
             AND action_id NOT IN (SELECT value FROM json_each(?1))",
        )
        .bind(waiting)
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        sqlx::query(
            "UPDATE approvals SET status = 'EXPIRED', answered_ms = ?1, whole = NULL \
             WHERE status = 'PENDING' AND paused = 1 AND expires_ms <= ?1",
        )
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }

    /// What an approver is shown of a request that is pending and whose call comes again.
    ///
    /// # Errors
    /// The database failed.
    pub async fn whole(&self, action: &ActionId) -> Result<Option<Whole>, GateError> {
        let row = sqlx::query(
            "SELECT whole FROM approvals WHERE action_id = ?1 AND status = 'PENDING' AND paused = 1",
        )
        .bind(action.as_str())
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let whole = Columns(&row).text("whole")?;
        Ok(Some(serde_json::from_str(&whole).map_err(failed)?))
    }

    /// How many requests are pending at that time whose calls come again: of an agent, and of all together.
    ///
    /// # Errors
    /// The database failed.
    pub async fn paused(&self, agent: &AgentName, at_ms: i64) -> Result<(i64, i64), GateError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS every, COUNT(CASE WHEN agent = ?1 THEN 1 END) AS own \
             FROM approvals WHERE status = 'PENDING' AND paused = 1 AND expires_ms > ?2",
        )
        .bind(agent.as_str())
        .bind(at_ms)
        .fetch_one(self.database.read())
        .await
        .map_err(failed)?;
        let columns = Columns(&row);
        Ok((columns.integer("own")?, columns.integer("every")?))
    }

    /// Uses a yes that is for a call with this digest and has not expired, once. Says whose yes it was; `None` changes nothing.
    ///
    /// # Errors
    /// The database failed; then nothing was written.
    pub async fn redeem(
        &self,
        action: &ActionId,
        digest: &str,
        at_ms: i64,
    ) -> Result<Option<ApproverName>, GateError> {
        let mut transaction = self.database.write().await?;
        let row = sqlx::query(
            "UPDATE approvals SET used_ms = ?3 WHERE action_id = ?1 AND digest = ?2 AND status = 'APPROVED' \
             AND paused = 1 AND used_ms IS NULL AND expires_ms > ?3 RETURNING approver",
        )
        .bind(action.as_str())
        .bind(digest)
        .bind(at_ms)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Columns(&row).maybe_parsed("approver")?)
    }

    /// Requests, those that are pending before the others, newest first, at most `limit` (and [`crate::ROWS_MAX`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn approvals(&self, limit: u32) -> Result<Vec<Approval>, GateError> {
        let rows = sqlx::query(
            "SELECT * FROM approvals ORDER BY status = 'PENDING' DESC, created_ms DESC, action_id DESC LIMIT ?1",
        )
        .bind(i64::from(limit.min(ROWS_MAX)))
        .fetch_all(self.database.read())
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// One request.
    ///
    /// # Errors
    /// The database failed.
    pub async fn approval(&self, action: &ActionId) -> Result<Option<Approval>, GateError> {
        let row = sqlx::query("SELECT * FROM approvals WHERE action_id = ?1")
            .bind(action.as_str())
            .fetch_optional(self.database.read())
            .await
            .map_err(failed)?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Forgets all but the newest so many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_approvals(&self, kept: u32) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "DELETE FROM approvals WHERE status <> 'PENDING' AND action_id NOT IN \
             (SELECT action_id FROM approvals ORDER BY created_ms DESC, action_id DESC LIMIT ?1)",
        )
        .bind(i64::from(kept))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<Approval, DatabaseError> {
    let columns = Columns(row);
    Ok(Approval {
        action: columns.parsed("action_id")?,
        agent: columns.parsed::<AgentName>("agent")?,
        run: columns.maybe_parsed("run")?,
        user: columns.maybe_text("end_user")?,
        tool: columns.maybe_parsed("tool")?,
        rule: columns.text("rule")?,
        method: columns.text("method")?,
        authority: columns.text("authority")?,
        path: columns.text("path")?,
        digest: columns.text("digest")?,
        status: columns.word("status")?,
        approver: columns.maybe_parsed("approver")?,
        reason: columns.maybe_text("reason")?,
        created_ms: columns.integer("created_ms")?,
        answered_ms: columns.maybe_integer("answered_ms")?,
        expires_ms: columns.integer("expires_ms")?,
    })
}
