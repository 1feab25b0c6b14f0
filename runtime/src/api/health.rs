//! Probes: `/` and `/healthz` say that the daemon lives, `/readyz` whether calls can be answered, part by part,
//! `/startupz` whether the start is over. Never asks
//! anybody anything: what they say is known already.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use postern_contract::{config::Role, link::GateStatus};
use serde_json::{Map, Value, json};

use super::Refused;
use crate::{
    agents::Readiness,
    app::{App, GateView, Served},
};

pub(super) async fn alive(State(app): State<App>) -> Response {
    match app.served(None) {
        Some(served) => alive_body(served).into_response(),
        // A devbox without agents is alive all the same.
        None => Json(
            json!({ "status": "ok", "agent": "", "model": "", "tools": 0, "user_code": false }),
        )
        .into_response(),
    }
}

pub(super) async fn alive_named(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    app.served(Some(&name))
        .map(alive_body)
        .ok_or(Refused::NotFound)
}

/// Whether all that begins with the daemon has begun; it may have ended badly.
pub(super) async fn started(State(app): State<App>) -> Response {
    let begins = |served: &&Served| served.readiness() == Readiness::Starting;
    let starting: Vec<_> = app
        .agents()
        .values()
        .filter(begins)
        .map(|served| &served.agent.name)
        .collect();
    if starting.is_empty() {
        return Json(json!({ "status": "started" })).into_response();
    }
    let body = json!({ "status": "starting", "agents": starting });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

pub(super) async fn ready(State(app): State<App>) -> Response {
    ready_answer(&app, app.agents().values())
}

pub(super) async fn ready_named(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let served = app.served(Some(&name)).ok_or(Refused::NotFound)?;
    Ok(ready_answer(&app, std::iter::once(served)))
}

/// The five keys of the contract, and no more.
fn alive_body(served: &Served) -> Json<Value> {
    let agent = &served.agent;
    let model = agent
        .model_for(Role::Chat)
        .map(|model| model.name.to_string());
    Json(json!({
        "status": "ok",
        "agent": agent.name,
        "model": model.unwrap_or_default(),
        "tools": agent.functions().count(),
        "user_code": agent.kind.has_code(),
    }))
}

fn ready_answer<'a>(app: &App, agents: impl Iterator<Item = &'a Served>) -> Response {
    let gate = app.gate();
    let stopping = app.desk.is_stopping();
    let mut all_ready = gate.trouble().is_none() && !stopping;
    let mut parts = Map::new();
    for served in agents {
        let readiness = served.readiness();
        all_ready &= matches!(readiness, Readiness::Ready { .. });
        parts.insert(
            served.agent.name.to_string(),
            agent_part(served, &readiness),
        );
    }
    let (code, status) = if all_ready {
        (StatusCode::OK, "ready")
    } else if stopping {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let body = json!({
        "status": status,
        "llm_gateway": gate.trouble().unwrap_or_else(|| "reachable".to_owned()),
        "parts": { "gate": gate_part(&gate), "agents": parts },
    });
    (code, Json(body)).into_response()
}

fn agent_part(served: &Served, readiness: &Readiness) -> Value {
    let mut part = match readiness {
        Readiness::Ready { sandbox: None } => json!({ "status": "ready" }),
        Readiness::Ready {
            sandbox: Some(sandbox),
        } => json!({ "status": "ready", "sandbox": sandbox }),
        Readiness::Starting => json!({ "status": "starting" }),
        Readiness::NotReady { why } => json!({ "status": "not ready", "why": why }),
    };
    let weakened = served.callee.host.weakened();
    if !weakened.is_empty() {
        part["weakened"] = json!(weakened);
    }
    part
}

fn gate_part(gate: &GateView) -> Value {
    match gate {
        GateView::Reachable(status) => {
            let mut part = json!({
                "status": if status.troubles.is_empty() { "ready" } else { "not ready" },
                "policy_generation": status.policy_generation,
                "troubles": status.troubles,
                "config": config_part(status),
                "weakened": status.weakened,
            });
            if !status.audit_mode.is_empty() {
                part["audit_mode"] = json!(status.audit_mode);
            }
            part
        }
        GateView::Unreachable(why) => json!({ "status": "not ready", "why": why }),
    }
}

/// A config that is not wholly in force makes nobody unready: the last good one is.
fn config_part(status: &GateStatus) -> Value {
    if status.config_troubles.is_empty() {
        return json!({ "status": "in force" });
    }
    json!({ "status": "last good in force", "why": status.config_troubles })
}
