//! `GET /api/v1/runs…`: runs and their events as the dialect shows them, straight from the store.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use postern_contract::{AgentName, RunId};
use postern_daemon::clock::rfc3339;
use postern_store::runs::{Run, RunFilter, RunStatus, RunsError, StoredEvent};
use serde::Deserialize;
use serde_json::{Value, json};

use super::NAMESPACE;
use crate::{
    api::{
        Refused,
        logs::{self, LogsQuery},
    },
    app::App,
    printed::Follows,
    runs::{Answer, pauses},
};

/// Rows of one answer, unless the caller asks for fewer or more; the store has a bound of its own.
const ROWS_DEFAULT: u32 = 100;

#[derive(Debug, Deserialize)]
pub(super) struct RunsQuery {
    agent_id: Option<AgentName>,
    status: Option<RunStatus>,
    user_id: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    after_seq: Option<i64>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(app): State<App>,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refused> {
    let Query(query) = query.map_err(|rejection| refused(&rejection))?;
    // The dialect: who asks for nothing in particular sees what is running.
    let unfiltered = query.agent_id.is_none() && query.user_id.is_none();
    let status = query
        .status
        .or_else(|| unfiltered.then_some(RunStatus::Running));
    let filter = RunFilter {
        agent: query.agent_id,
        status,
        user: query.user_id,
        held: app.desk.all_held(),
    };
    let limit = query.limit.unwrap_or(ROWS_DEFAULT);
    let runs = app
        .desk
        .store()
        .runs(&filter, limit)
        .await
        .map_err(|error| unread(&error))?;
    let shown = |run: &Run| shown(run, app.desk.held(&run.run).as_deref());
    Ok(Json(runs.iter().map(shown).collect()))
}

pub(super) async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    let run = find(&app, &id).await?;
    let held = app.desk.held(&run.run);
    let mut body = shown(&run, held.as_deref());
    let outcome = run.outcome.or_else(|| Some(held?.to_stored()));
    body["outcome"] = outcome.unwrap_or_default();
    Ok(Json(body))
}

pub(super) async fn events(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refused> {
    let Query(query) = query.map_err(|rejection| refused(&rejection))?;
    let run = find(&app, &id).await?.run;
    let limit = query.limit.unwrap_or(ROWS_DEFAULT);
    let after = query.after_seq.unwrap_or(0);
    let events = app
        .desk
        .store()
        .events(&run, after, limit)
        .await
        .map_err(|error| unread(&error))?;
    Ok(Json(events.iter().map(event).collect()))
}

pub(super) async fn logs(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<LogsQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let run = find(&app, &id).await?;
    logs::of_found(app, (run, Follows::Operator), query).await
}

async fn find(app: &App, id: &str) -> Result<Run, Refused> {
    let absent = || Refused::NoSuchRun(id.escape_default().take(80).collect());
    let run: RunId = id.parse().map_err(|_| absent())?;
    app.desk
        .store()
        .run(&run)
        .await
        .map_err(|error| unread(&error))?
        .ok_or_else(absent)
}

fn refused(rejection: &QueryRejection) -> Refused {
    Refused::Query(rejection.body_text())
}

fn unread(error: &RunsError) -> Refused {
    tracing::error!(%error, "the store failed");
    Refused::Store
}

/// A run; one of which a call waits for a consent, with what is told of that meanwhile.
fn shown(run: &Run, held: Option<&Answer>) -> Value {
    let held = held.filter(|_| run.status == RunStatus::Running);
    let asked = held.and_then(|held| held.body["resume_id"].as_str()?.parse().ok());
    let status = held.map_or(run.status, |_| RunStatus::PausedConsent);
    let outcome = run.outcome.as_ref();
    let blocked = outcome
        .filter(|_| {
            matches!(
                run.status,
                RunStatus::PausedApproval | RunStatus::PausedConsent
            )
        })
        .and_then(pauses::action_of)
        .or(asked);
    json!({
        "id": run.run,
        "conversation_id": "",
        "agent_id": run.agent,
        "agent_uid": "",
        "namespace": NAMESPACE,
        "user_id": run.user.as_deref().unwrap_or_default(),
        "surface_turn_id": "",
        "status": status,
        "blocked_action_id": blocked.map(|action| action.to_string()).unwrap_or_default(),
        "initial_message": run.message,
        "invoke_url": "",
        "created_at": rfc3339(run.created_ms),
        "updated_at": rfc3339(run.updated_ms),
    })
}

fn event(event: &StoredEvent) -> Value {
    let at = rfc3339(event.at_ms);
    json!({
        "event_id": format!("{}:{}", event.run, event.seq),
        "run_id": event.run,
        "seq": event.seq,
        "sequence": event.seq,
        "type": event.kind,
        "actor": event.actor,
        "payload_hash": "",
        "timestamp": at,
        "created_at": at,
        "data": event.data,
    })
}
