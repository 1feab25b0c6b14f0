//! `POST /resume/{action_id}` and its stream: goes on with a run that waited for a human. A run goes on by itself once somebody
//! has said yes, so nobody needs to call this; whoever does gets what comes of it. Never says yes itself.

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use postern_contract::{ActionId, RunId};
use postern_store::runs::Paused;
use serde_json::Value;

use super::{
    Refused,
    addressed::AddressedPause,
    body, caller,
    invoke::{Incoming, respond, run_id},
    sse,
};
use crate::{
    app::App,
    runs::{Answer, Asker, pauses::Resumed},
};

pub(super) async fn plain(
    State(app): State<App>,
    addressed: AddressedPause,
    incoming: Incoming,
) -> Result<Response, Refused> {
    let mut answer = match resume(&app, &addressed, incoming).await? {
        Resumed::Running(_, updates) => {
            let answer = updates.folded().await.ok_or(Refused::NoAnswer)?;
            Answer::clone(&answer)
        }
        Resumed::Before(answer) => answer,
        other => return Err(not_now(other)),
    };
    // The contract's answer to a resumed run has none: it would be the time since the yes.
    if let Some(fields) = answer.body.as_object_mut() {
        fields.remove("duration_ms");
    }
    Ok(respond(answer))
}

pub(super) async fn streamed(
    State(app): State<App>,
    addressed: AddressedPause,
    incoming: Incoming,
) -> Result<Response, Refused> {
    match resume(&app, &addressed, incoming).await? {
        Resumed::Running(run, updates) => Ok(sse::live(&run, updates, app.desk.clock())),
        Resumed::Before(answer) => Ok(sse::afterwards(&answer)),
        other => Err(not_now(other)),
    }
}

fn not_now(resumed: Resumed) -> Refused {
    match resumed {
        Resumed::Failed(answer) => Refused::Resume(answer),
        Resumed::GoesOn => Refused::ResumeInProgress,
        Resumed::Unconsented => Refused::ConsentPending,
        _ => Refused::ApprovalPending,
    }
}

async fn resume(
    app: &App,
    AddressedPause { served, action }: &AddressedPause,
    incoming: Incoming,
) -> Result<Resumed, Refused> {
    let Incoming { headers, body, .. } = incoming;
    // Before anything of the body is read.
    let user = caller::end_user(app, &headers)?;
    let body = body::read(&headers, body, (app.limits(), app.desk.clock())).await?;
    let run = named_run(&headers, &body)?;
    let no_checkpoint = || Refused::NoCheckpoint(action.escape_default().take(80).collect());
    let id: ActionId = action.parse().map_err(|_| no_checkpoint())?;
    let asker = served.asked_by(user.as_deref());
    if let Some(since) = app.desk.since(asker, &run, &id) {
        return Ok(since);
    }
    if !may_resume(app, asker, (&id, &run)).await? {
        return Err(no_checkpoint());
    }
    Ok(app.desk.resume(Some(&served.callee), &id).await?)
}

/// Whether this action put this run aside, and the caller may see that.
async fn may_resume(
    app: &App,
    asker: Asker<'_>,
    (action, run): (&ActionId, &RunId),
) -> Result<bool, Refused> {
    let paused = app.desk.store().paused(action).await.map_err(|error| {
        tracing::error!(%error, "the store failed");
        Refused::Store
    })?;
    Ok(paused.is_some_and(|Paused { run: found, .. }| {
        found.run == *run && asker.sees(&found.agent, found.user.as_deref())
    }))
}

/// The run by the header, or by the body; a body that is no JSON says nothing.
fn named_run(headers: &HeaderMap, body: &[u8]) -> Result<RunId, Refused> {
    if let Some(run) = run_id(headers)? {
        return Ok(run);
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = body.get("run_id").and_then(Value::as_str);
    let run = named.and_then(|named| named.parse().ok());
    run.ok_or(Refused::NoRunId)
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        respond(self)
    }
}
