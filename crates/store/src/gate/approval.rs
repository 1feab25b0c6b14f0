//! Requests that wait for a human, and what became of them. Holds what a call would send only where the call itself does not
//! wait, and only until somebody has answered; never says who may answer.

use postern_contract::{
    ActionId, AgentName, ApproverName, RunId, ToolName,
    approval::{Approval, Scope, Status, Verdict, Wanted, Whole},
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
    /// What a yes is for, and until when one to more than one call holds, in milliseconds since 1970 (UTC).
    pub scope: (Scope, Option<i64>),
    /// Why, in their words.
    pub reason: Option<&'a str>,
    /// When, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
}

/// What a yes to more than one call is bound to, beside what an approver is shown of the call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The whole path; nothing where a yes can be for the one call alone.
    pub pattern: Option<String>,
    /// A digest of the tools, rules and agents that were in force.
    pub terms: String,
}

/// How many requests are pending that no call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Together.
    pub all: i64,
    /// Of the same agent.
    pub of_agent: i64,
    /// Of the same agent and its same end user; none where there is no user.
    pub of_user: i64,
    /// Of the same run.
    pub of_run: i64,
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
    pub async fn ask(&self, approval: &Approval, bounds: &Bounds) -> Result<(), GateError> {
        self.insert((approval, bounds), None).await
    }

    /// Keeps a request whose call comes again after the answer, with all that an approver is shown.
    ///
    /// # Errors
    /// As [`Gate::ask`].
    pub async fn ask_and_pause(
        &self,
        approval: &Approval,
        bounds: &Bounds,
        whole: &Whole,
    ) -> Result<(), GateError> {
        let whole = serde_json::to_string(whole).map_err(failed)?;
        self.insert((approval, bounds), Some(&whole)).await
    }

    async fn insert(
        &self,
        (approval, bounds): (&Approval, &Bounds),
        whole: Option<&str>,
    ) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO approvals (action_id, agent, run, end_user, tool, rule, method, authority, path, digest, \
             status, created_ms, expires_ms, paused, whole, origin, words, pattern, terms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
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
        .bind(word::to_column(approval.origin).map_err(failed)?)
        .bind(approval.words.as_deref())
        .bind(bounds.pattern.as_deref())
        .bind(&bounds.terms)
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
            "UPDATE approvals SET status = ?2, approver = ?3, reason = ?4, answered_ms = ?5, whole = NULL, scope = ?6, \
             granted_until_ms = ?7 WHERE action_id = ?1 AND status = 'PENDING' AND (paused = 0 OR expires_ms > ?5)",
        )
        .bind(answered.action.as_str())
        .bind(word::to_column(answered.status()).map_err(failed)?)
        .bind(answered.by.map(|(approver, _)| approver.as_str()))
        .bind(answered.reason)
        .bind(answered.at_ms)
        .bind(word::to_column(answered.scope.0).map_err(failed)?)
        .bind(answered.scope.1)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }

    /// A yes that covers a call like this one: of the same agent and tool, under the same rule and terms, by the same method to the
    /// same path, and of the same run or for the same user. Says to which request it was given and by whom.
    ///
    /// # Errors
    /// The database failed.
    pub async fn granted(
        &self,
        call: &Approval,
        bounds: &Bounds,
        at_ms: i64,
    ) -> Result<Option<(ActionId, ApproverName)>, GateError> {
        let row = sqlx::query(
            "SELECT action_id, approver FROM approvals WHERE status = 'APPROVED' AND origin = 'gate' \
             AND granted_until_ms > ?1 AND agent = ?2 AND tool = ?3 AND rule = ?4 AND method = ?5 AND authority = ?6 \
             AND pattern = ?7 AND terms = ?8 AND ((scope = 'run' AND run = ?9) \
             OR (scope = 'agent_user_ttl' AND end_user = ?10)) ORDER BY granted_until_ms DESC, action_id LIMIT 1",
        )
        .bind(at_ms)
        .bind(call.agent.as_str())
        .bind(call.tool.as_ref().map(ToolName::as_str))
        .bind(&call.rule)
        .bind(&call.method)
        .bind(&call.authority)
        .bind(bounds.pattern.as_deref())
        .bind(&bounds.terms)
        .bind(call.run.as_ref().map(RunId::as_str))
        .bind(call.user.as_deref())
        .fetch_optional(self.database.read())
        .await
        .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns(&row);
        Ok(Some((
            columns.parsed("action_id")?,
            columns.parsed("approver")?,
        )))
    }

    /// Takes a yes to more than one call back. Tells whether it was in force; otherwise nothing changed.
    ///
    /// # Errors
    /// The database failed, and nothing changed.
    pub async fn revoke(&self, action: &ActionId, at_ms: i64) -> Result<bool, GateError> {
        let mut transaction = self.database.write().await?;
        let done = sqlx::query(
            "UPDATE approvals SET granted_until_ms = ?2 WHERE action_id = ?1 AND granted_until_ms > ?2",
        )
        .bind(action.as_str())
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }

    /// Ends every yes to more than one call that was given under other terms than these.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end_other_terms(&self, terms: &str, at_ms: i64) -> Result<(), GateError> {
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "UPDATE approvals SET granted_until_ms = ?2 WHERE granted_until_ms > ?2 AND terms <> ?1",
        )
        .bind(terms)
        .bind(at_ms)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
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

    /// How many requests are pending at that time that no call waits for, as far as they are like this one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn pending_like(&self, one: &Approval, at_ms: i64) -> Result<Pending, GateError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS every, COUNT(CASE WHEN agent = ?1 THEN 1 END) AS of_agent, \
             COUNT(CASE WHEN agent = ?1 AND end_user = ?2 THEN 1 END) AS of_user, \
             COUNT(CASE WHEN run = ?3 THEN 1 END) AS of_run \
             FROM approvals WHERE status = 'PENDING' AND paused = 1 AND expires_ms > ?4",
        )
        .bind(one.agent.as_str())
        .bind(one.user.as_deref())
        .bind(one.run.as_ref().map(RunId::as_str))
        .bind(at_ms)
        .fetch_one(self.database.read())
        .await
        .map_err(failed)?;
        let columns = Columns(&row);
        Ok(Pending {
            all: columns.integer("every")?,
            of_agent: columns.integer("of_agent")?,
            of_user: columns.integer("of_user")?,
            of_run: columns.integer("of_run")?,
        })
    }

    /// Uses a yes that is for a call with this digest and has not expired, once. None that an agent asked for by itself is one. Says whose yes it was; `None` changes nothing.
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
             AND origin = 'gate' AND paused = 1 AND used_ms IS NULL AND expires_ms > ?3 RETURNING approver",
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

    /// Requests, those that are pending before the others, newest first, at most `limit` (and [`crate::ROWS_MAX`]). After one that
    /// there is not there are none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn approvals(&self, wanted: &Wanted, limit: u32) -> Result<Vec<Approval>, GateError> {
        let status = wanted.status.map(word::to_column).transpose();
        let rows = sqlx::query(
            "SELECT * FROM approvals WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR end_user = ?2) \
             AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR (status = 'PENDING', created_ms, action_id) < \
             (SELECT status = 'PENDING', created_ms, action_id FROM approvals WHERE action_id = ?4)) \
             ORDER BY status = 'PENDING' DESC, created_ms DESC, action_id DESC LIMIT ?5",
        )
        .bind(wanted.agent.as_ref().map(AgentName::as_str))
        .bind(wanted.user.as_deref())
        .bind(status.map_err(failed)?)
        .bind(wanted.after.as_ref().map(ActionId::as_str))
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
        wider: columns.maybe_text("pattern")?.is_some(),
        scope: columns.word("scope")?,
        granted_until_ms: columns.maybe_integer("granted_until_ms")?,
        origin: columns.word("origin")?,
        words: columns.maybe_text("words")?,
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
