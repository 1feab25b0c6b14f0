//! One tool call of an agent without code, by the tool's URL at the gate. What the tool answers is data
//! for the model, whatever its status.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use postern_contract::{
    ActionId, Code,
    approval::{ON_APPROVAL_FIELD, PAUSE},
    refusal::DECISION_FIELD,
};
use postern_invoke::{Awaits, Input, RunFacts, ToolRequest};
use serde_json::Value;

use super::request_of_run;
use crate::{
    config::OnApproval,
    egress::{self, Egress, EgressError},
};

/// How long a tool may take, to its head and to its end. The gate has limits of its own, and may ask a human first.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// The most of a tool's answer that a model is given, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Calls, and gives what came of it.
pub(super) async fn call(
    egress: &Egress,
    request: ToolRequest,
    whose: (&RunFacts, OnApproval),
) -> Input {
    let call_id = request.call_id.clone();
    match exchange(egress, request, whose).await {
        Ok(answered) => match paused(&answered) {
            Some((action, awaits, detail)) => Input::ToolPaused {
                call_id,
                action,
                awaits,
                detail,
            },
            None => Input::ToolReturned {
                call_id,
                status: answered.status,
                body: answered.body,
            },
        },
        Err(error) => Input::ToolFailed {
            call_id,
            detail: error.to_string(),
        },
    }
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the call is no HTTP request: {0}")]
    Head(#[from] http::Error),
    #[error(transparent)]
    Egress(#[from] EgressError),
}

/// What came back.
struct Answered {
    status: u16,
    /// What the gate says of a refusal of its own; nothing where a tool has answered.
    decision: Option<HeaderValue>,
    body: String,
}

/// What a human is asked about, or the end user for, if the run is to be paused for that. Only the gate can say so: a tool's body that says the
/// same is data.
fn paused(answered: &Answered) -> Option<(ActionId, Awaits, Value)> {
    let decision = answered.decision.as_ref()?.to_str().ok()?;
    let (awaits, id) = if decision == Code::ApprovalRequired.word() {
        (Awaits::Approval, "action_id")
    } else if decision == Code::ConsentRequired.word() {
        (Awaits::Consent, "resume_id")
    } else {
        return None;
    };
    let detail: Value = serde_json::from_str(&answered.body).ok()?;
    let action = detail.get(id)?.as_str()?.parse().ok()?;
    Some((action, awaits, detail))
}

async fn exchange(
    egress: &Egress,
    request: ToolRequest,
    (facts, on_approval): (&RunFacts, OnApproval),
) -> Result<Answered, CallError> {
    let path = format!("/tools/{}{}", request.tool, request.path);
    let mut head = request_of_run(&request.method, &path, facts)
        .header("x-tool-name", request.tool.as_str())
        .header("x-tool-turn", request.turn);
    // Ids and function names come from a model: what is no header value is left out.
    for (name, value) in [
        ("x-tool-call-id", &request.call_id),
        ("x-tool-function", &request.function),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            head = head.header(name, value);
        }
    }
    if on_approval == OnApproval::Pause {
        head = head.header(ON_APPROVAL_FIELD, PAUSE);
    }
    if let Some(action) = &request.action {
        head = head.header("x-action-id", action.as_str());
    }
    let body = Full::from(Bytes::from(request.body.unwrap_or_default()));
    let answer = egress.send(head.body(body)?, ANSWER_MAX).await?;
    let status = answer.status().as_u16();
    let decision = answer.headers().get(DECISION_FIELD).cloned();
    let body = egress::whole(answer.into_body(), ANSWER_BYTES_MAX, ANSWER_MAX).await?;
    Ok(Answered {
        status,
        decision,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
