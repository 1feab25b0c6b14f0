//! A yes to more than one call: of a run, or of an agent for a user, for some time. It holds for the same rule, tool, method and path, under
//! the tools, policies and agents that it was given under, and nowhere else. Never widens what was said.

use postern_contract::{
    ActionId, ApproverName,
    approval::{Answer, Approval, GRANT_MAX, Scope, Unanswered, Verdict},
};

use super::{
    asked::Asked,
    waiting::{Approvals, Yes, not_kept, unkept},
};
use crate::refuse::Refused;

impl Approvals {
    /// A yes that covers this call beside others.
    pub(super) async fn granted(&self, asked: &Asked) -> Result<Option<(ActionId, Yes)>, Refused> {
        if !asked.approval.wider {
            return Ok(None);
        }
        let now = self.clock.unix_ms();
        let granted = self
            .store
            .granted(&asked.approval, &asked.bounds, now)
            .await;
        let granted = granted.map_err(unkept)?;
        Ok(granted.map(|(action, by)| (action, Yes::wide(by))))
    }

    /// Takes a yes to more than one call back, for somebody who was verified.
    pub(crate) async fn revoke(
        &self,
        action: &ActionId,
        by: &ApproverName,
    ) -> Result<Approval, Unanswered> {
        let before = self.kept(action).await?;
        let now = self.clock.unix_ms();
        if !self.store.revoke(action, now).await.map_err(not_kept)? {
            return Err(Unanswered::NotGranted);
        }
        tracing::info!(%action, approver = %by, agent = %before.agent, "a yes to more than one call was taken back");
        self.kept(action).await
    }

    /// These tools, policies and agents are in force from now on: what was said under others counts no more, also if they come back.
    pub(crate) async fn keep_terms(&self, terms: &str) {
        let ended = self
            .store
            .end_other_terms(terms, self.clock.unix_ms())
            .await;
        if let Err(error) = ended {
            // They do not fit these terms in any case.
            tracing::error!(%error, "answers to more than one call could not be ended");
        }
    }
}

/// What a yes is for and until when it holds, as far as it may be said of this request.
pub(super) fn scope_of(
    answer: &Answer,
    asked: &Approval,
    now: i64,
) -> Result<(Scope, Option<i64>), Unanswered> {
    if answer.verdict == Verdict::Reject || answer.scope == Scope::Once {
        return Ok((Scope::Once, None));
    }
    let is_known = match answer.scope {
        Scope::Once | Scope::Run => asked.run.is_some(),
        Scope::AgentUserTtl => asked.user.is_some(),
    };
    if !asked.wider || !is_known {
        return Err(Unanswered::TooWide);
    }
    let most = u64::try_from(GRANT_MAX.as_millis()).unwrap_or(u64::MAX);
    let holds = answer.holds_ms.unwrap_or(most).min(most);
    let holds = i64::try_from(holds).unwrap_or(i64::MAX / 2);
    Ok((answer.scope, Some(now.saturating_add(holds))))
}
