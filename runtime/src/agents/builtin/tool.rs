//! One tool call of an agent without code, by the tool's URL at the gate. What the tool answers is data
//! for the model, whatever its status.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use postern_invoke::{Input, RunFacts, ToolRequest};

use super::request_of_run;
use crate::egress::{self, Egress, EgressError};

/// How long a tool may take, to its head and to its end. The gate has limits of its own, and may ask a human first.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// The most of a tool's answer that a model is given, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Calls, and gives what came of it.
pub(super) async fn call(egress: &Egress, request: ToolRequest, facts: &RunFacts) -> Input {
    let call_id = request.call_id.clone();
    match exchange(egress, request, facts).await {
        Ok((status, body)) => Input::ToolReturned {
            call_id,
            status,
            body,
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

async fn exchange(
    egress: &Egress,
    request: ToolRequest,
    facts: &RunFacts,
) -> Result<(u16, String), CallError> {
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
    let body = Full::from(Bytes::from(request.body.unwrap_or_default()));
    let answer = egress.send(head.body(body)?, ANSWER_MAX).await?;
    let status = answer.status().as_u16();
    let body = egress::whole(answer.into_body(), ANSWER_BYTES_MAX, ANSWER_MAX).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
