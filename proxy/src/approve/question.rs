//! What an agent asks a human by itself, in words of its own. It is kept, shown and answered beside what rules ask, as the
//! agent's. Never a yes to a call: its digest is over other things than a call's, and no look-up for a call finds it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_contract::approval::{
    Approval, DETAIL_BYTES_MAX, Origin, Question, Scope, Status, Unanswered, WORDS_BYTES_MAX,
    Waits, Whole,
};
use postern_store::gate::Bounds;

use super::{asked::hashed, waiting::Approvals};
use crate::refuse::Refused;

/// What the digest begins with; no call's begins so.
const DIGEST_VERSION: &str = "postern question 1";

impl Approvals {
    /// Writes down what an agent asks, before anybody can see it. The same again changes nothing. The error is for posternd.
    pub(crate) async fn question(
        &self,
        question: Question,
        wait: Duration,
    ) -> Result<Approval, String> {
        if question.words.len() > WORDS_BYTES_MAX || question.detail.len() > DETAIL_BYTES_MAX {
            return Err(format!(
                "an agent asks with at most {WORDS_BYTES_MAX} bytes of words and {} KiB of detail",
                DETAIL_BYTES_MAX >> 10
            ));
        }
        let now = self.clock.unix_ms();
        let whole = Whole {
            url: String::new(),
            headers: Vec::new(),
            body_base64: STANDARD.encode(&question.detail),
        };
        let approval = approval(question, now, wait);
        match self.kept(&approval.action).await {
            Ok(before) if before.digest == approval.digest => return Ok(before),
            Ok(_) => return Err("there is another request of this id".to_owned()),
            Err(Unanswered::Unknown) => {}
            Err(error) => return Err(error.to_string()),
        }
        let refused = |refused: Refused| refused.refusal().message.clone();
        self.require_room(&approval).await.map_err(refused)?;
        let kept = self
            .store
            .ask_and_pause(&approval, &Bounds::default(), &whole)
            .await;
        self.tidied(kept).await.map_err(refused)?;
        tracing::info!(
            action = %approval.action, agent = %approval.agent, run = approval.run.as_ref().map(tracing::field::display),
            "an agent asks a human by itself"
        );
        Ok(approval)
    }
}

fn approval(question: Question, now: i64, wait: Duration) -> Approval {
    let Question {
        action,
        agent,
        run,
        user,
        words,
        detail,
        waits,
    } = question;
    let waits = match waits {
        Waits::Held => "held",
        Waits::Paused => "paused",
    };
    let parts = [
        DIGEST_VERSION,
        action.as_str(),
        agent.as_str(),
        run.as_str(),
        user.as_deref().unwrap_or(""),
        waits,
        &words,
        &detail,
    ];
    let digest = hashed(parts.map(str::as_bytes));
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX / 2);
    Approval {
        action,
        agent,
        run: Some(run),
        user,
        tool: None,
        origin: Origin::Agent,
        words: Some(words),
        wider: false,
        scope: Scope::Once,
        granted_until_ms: None,
        rule: String::new(),
        method: String::new(),
        authority: String::new(),
        path: String::new(),
        digest,
        status: Status::Pending,
        approver: None,
        reason: None,
        created_ms: now,
        answered_ms: None,
        expires_ms: now.saturating_add(wait),
    }
}
