//! `DELETE /runs/{id}`: ends a run that goes on. Never touches a run of another agent than the one that is addressed.

use axum::{
    Json,
    extract::{Path, State},
};
use postern_contract::RunId;
use postern_store::runs::Run;
use serde_json::{Value, json};

use super::Refused;
use crate::app::{App, Served};

pub(super) async fn cancel(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    end(&app, None, &id).await
}

pub(super) async fn cancel_named(
    State(app): State<App>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Refused> {
    end(&app, Some(&name), &id).await
}

/// Answers once the run is over and stored; it may have ended by itself meanwhile.
async fn end(app: &App, name: Option<&str>, id: &str) -> Result<Json<Value>, Refused> {
    let served = app.served(name).ok_or(Refused::NotFound)?;
    let run = parse(id)?;
    let Some(updates) = app.desk.cancel(&served.agent.name, &run) else {
        stored(app, served, &run).await?;
        return Err(Refused::RunEnded(run));
    };
    let answer = updates.folded().await.ok_or(Refused::NoAnswer)?;
    let mut told = json!({
        "run_id": run,
        "status": if answer.status == 200 { "COMPLETED" } else { "FAILED" },
    });
    if let Some(code) = answer.body.get("code") {
        told["code"] = code.clone();
    }
    Ok(Json(told))
}

pub(super) fn parse(id: &str) -> Result<RunId, Refused> {
    id.parse()
        .map_err(|_| Refused::NoSuchRun(id.escape_default().take(80).collect()))
}

/// The agent's run, as the store has it.
pub(super) async fn stored(app: &App, served: &Served, run: &RunId) -> Result<Run, Refused> {
    let found = app.desk.store().run(run).await.map_err(|error| {
        tracing::error!(%error, "the store failed");
        Refused::Store
    })?;
    found
        .filter(|found| found.agent == served.agent.name)
        .ok_or_else(|| Refused::NoSuchRun(run.to_string()))
}
