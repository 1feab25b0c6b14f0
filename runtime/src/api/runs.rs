//! `DELETE /runs/{id}`: ends a run that goes on. Never touches a run of another agent than the one that is addressed, nor
//! one that is for another user.

use axum::{Json, extract::State};
use postern_contract::RunId;
use postern_store::runs::Run;
use serde_json::{Value, json};

use super::{Refused, addressed::AddressedRun};
use crate::{
    app::App,
    runs::{Answer, Asker},
};

/// How often a run is looked for that is neither over nor found to go on.
const ATTEMPTS_MAX: u32 = 4;

/// Answers once the run is over and stored; it may have ended by itself meanwhile.
pub(super) async fn cancel(
    State(app): State<App>,
    addressed: AddressedRun,
) -> Result<Json<Value>, Refused> {
    let (asker, run) = (addressed.asker(), &addressed.run);
    let mut was_there = false;
    // It may be put aside just then, or go on again.
    for _attempt in 0..ATTEMPTS_MAX {
        if let Some(updates) = app.desk.cancel(asker, run) {
            updates.folded().await.ok_or(Refused::NoAnswer)?;
            was_there = true;
        }
        let found = stored(&app, asker, run).await?;
        if let Some(answer) = app.desk.drop_paused(&found).await? {
            return Ok(told(&answer));
        }
        if found.status.is_end() && was_there {
            return Ok(told(&Answer::stored(&found)));
        }
        if found.status.is_end() {
            break;
        }
    }
    Err(Refused::RunEnded(run.clone()))
}

fn told(answer: &Answer) -> Json<Value> {
    let mut told = json!({
        "run_id": answer.run,
        "status": if answer.status == 200 { "COMPLETED" } else { "FAILED" },
    });
    if let Some(code) = answer.body.get("code") {
        told["code"] = code.clone();
    }
    Json(told)
}

/// The asker's run, as the store has it.
pub(super) async fn stored(app: &App, asker: Asker<'_>, run: &RunId) -> Result<Run, Refused> {
    let found = app.desk.store().run(run).await.map_err(|error| {
        tracing::error!(%error, "the store failed");
        Refused::Store
    })?;
    found
        .filter(|found| asker.sees(&found.agent, found.user.as_deref()))
        .ok_or_else(|| Refused::NoSuchRun(run.to_string()))
}
