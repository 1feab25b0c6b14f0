//! `/api/v1/consents…`: what end users have consented to, and how it is taken back. The gate keeps it, with the tokens, of which
//! nothing is told here.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use postern_contract::{
    ActionId, AgentName, ToolName,
    consent::{Granted, Wanted},
};
use postern_daemon::clock::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Office, approvals::told};
use crate::api::Refused;

/// Which are asked for.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    agent_id: Option<AgentName>,
    tool_id: Option<ToolName>,
    user_id: Option<String>,
    after: Option<ActionId>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(office): State<Office>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refused> {
    let key = office.asker(&headers)?;
    let Query(query) = query.map_err(|rejection| Refused::Query(rejection.body_text()))?;
    let wanted = Wanted {
        agent: query.agent_id,
        tool: query.tool_id,
        user: query.user_id,
        after: query.after,
        limit: query.limit,
    };
    let all = told(office.link.consents(wanted, key).await)?;
    Ok(Json(all.iter().map(shown).collect()))
}

pub(super) async fn remove(
    State(office): State<Office>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    let key = office.asker(&headers)?;
    let id: ActionId = id.parse().map_err(|_| Refused::NoSuchRequest)?;
    told(office.link.take_back(id.clone(), key).await)?;
    Ok(Json(json!({ "id": id, "removed": true })))
}

fn shown(granted: &Granted) -> Value {
    json!({
        "id": granted.id,
        "tool_id": granted.tool,
        "agent_id": granted.agent,
        "user_id": granted.user,
        "since": rfc3339(granted.since_ms),
        "expires_at": granted.expires_ms.map(rfc3339),
    })
}
