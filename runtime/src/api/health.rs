//! Probes: `/` and `/healthz` say that the daemon lives, `/readyz` whether calls can be answered, part by part,
//! `/startupz` whether the start is over. Never asks anybody anything: what they say is known already.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use postern_contract::{
    ModelName,
    config::Role,
    link::{GateStatus, Sighting},
};
use postern_daemon::clock::rfc3339;
use serde_json::{Map, Value, json};

use super::Refused;
use crate::{
    agents::Readiness,
    app::{App, GateView, Served},
    checks::Found,
    config::Agent,
};

pub(super) async fn alive(State(app): State<App>) -> Response {
    match app.served(None) {
        Some(served) => alive_body(&served.agent).into_response(),
        None => alive_empty().into_response(),
    }
}

/// A devbox without agents is alive all the same.
pub(super) fn alive_empty() -> Json<Value> {
    Json(json!({ "status": "ok", "agent": "", "model": "", "tools": 0, "user_code": false }))
}

pub(super) async fn alive_named(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refused> {
    app.served(Some(&name))
        .map(|served| alive_body(&served.agent))
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
pub(super) fn alive_body(agent: &Agent) -> Json<Value> {
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
    let (gate, found) = (app.gate(), app.checks());
    let stopping = app.desk.is_stopping();
    let mut all_ready = gate.trouble().is_none() && found.store.is_none() && !stopping;
    let mut parts = Map::new();
    for served in agents {
        let readiness = served.readiness();
        let is_there = !found.missing.contains(&served.agent.name);
        all_ready &= matches!(readiness, Readiness::Ready { .. }) && is_there;
        let mut part = agent_part(served, &readiness);
        add_parts(&mut part, (served, &readiness), (&gate, is_there));
        parts.insert(served.agent.name.to_string(), part);
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
        "parts": { "gate": gate_part(&gate), "stores": stores_part(&found), "agents": parts },
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

/// Its files and its worker, where it has such, and its models.
fn add_parts(
    part: &mut Value,
    (served, readiness): (&Served, &Readiness),
    (gate, is_there): (&GateView, bool),
) {
    let kind = &served.agent.kind;
    if kind.source().is_some() {
        part["installed"] = installed_part(is_there);
    }
    if kind.has_code() {
        part["worker"] = match readiness {
            Readiness::Ready { .. } => json!({ "status": "up" }),
            Readiness::Starting => json!({ "status": "starting" }),
            Readiness::NotReady { why } => json!({ "status": "down", "why": why }),
        };
    }
    part["models"] = models_part(served, gate);
}

fn installed_part(is_there: bool) -> Value {
    if is_there {
        return json!({ "status": "ready" });
    }
    json!({ "status": "not ready", "why": "its installed files are gone" })
}

/// The gate's own store is among the gate's troubles.
fn stores_part(found: &Found) -> Value {
    match &found.store {
        None => json!({ "runs": { "status": "writable" } }),
        Some(why) => json!({ "runs": { "status": "not writable", "why": why } }),
    }
}

/// What the agent's models were last heard to say. A provider that is away makes nobody unready: other runs need no model, and
/// only the next question tells that it is back.
fn models_part(served: &Served, gate: &GateView) -> Value {
    let sighted = match gate {
        GateView::Reachable(status) => status.models.as_slice(),
        GateView::Unreachable(_) => &[],
    };
    let of = |name: &ModelName| sighted.iter().find(|sighting| sighting.model == *name);
    let models = served.agent.models.iter();
    models
        .map(|model| (model.name.to_string(), model_part(of(&model.name))))
        .collect::<Map<_, _>>()
        .into()
}

fn model_part(sighting: Option<&Sighting>) -> Value {
    let Some(sighting) = sighting else {
        return json!({ "status": "not asked yet" });
    };
    let mut part = match sighting.unreached {
        None => json!({ "status": "reachable" }),
        Some((why, since)) => {
            json!({ "status": "unreachable", "why": why, "since": rfc3339(since) })
        }
    };
    if let Some(at) = sighting.answered_ms {
        part["answered_at"] = json!(rfc3339(at));
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
