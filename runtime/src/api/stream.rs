//! `POST /invoke/stream` and `GET /runs/{id}/stream`: the same runs as `/invoke`, told as they go on, and picked up again where
//! a connection broke. Never tells anything that the plain answer would not be folded from.

use axum::{extract::State, http::HeaderMap, response::Response};
use postern_contract::RunId;

use super::{
    Refused,
    addressed::{Addressed, AddressedRun},
    caller,
    invoke::{Incoming, ask},
    runs, sse,
};
use crate::{
    app::App,
    runs::{Asker, Begun, Found},
};

/// Where a client that reconnects says what it has heard last.
const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn invoke(
    State(app): State<App>,
    Addressed(served): Addressed,
    incoming: Incoming,
) -> Result<Response, Refused> {
    if let Some((run, heard)) = last_event_id(&incoming.headers)? {
        let user = caller::end_user(&app, &incoming.headers)?;
        return go_on(&app, served.asked_by(user.as_deref()), &run, heard).await;
    }
    let ask = ask(&app, incoming).await?;
    let user = ask.facts.user.clone();
    match app.desk.begin(&served.callee, ask).await? {
        Begun::Running(run, updates) => Ok(sse::live(&run, updates, app.desk.clock())),
        Begun::Before(answer) => {
            let asker = served.asked_by(user.as_deref());
            match app.desk.find(asker, &answer.run, 0) {
                Found::Updates(updates) => Ok(sse::live(&answer.run, updates, app.desk.clock())),
                Found::Gone | Found::Unknown => Ok(sse::afterwards(&answer)),
            }
        }
    }
}

pub(super) async fn pick_up(
    State(app): State<App>,
    addressed: AddressedRun,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let run = &addressed.run;
    let heard = match last_event_id(&headers)? {
        Some((named, heard)) if named == *run => heard,
        Some(_) => return Err(not_an_event()),
        None => 0,
    };
    go_on(&app, addressed.asker(), run, heard).await
}

async fn go_on(app: &App, asker: Asker<'_>, run: &RunId, heard: u64) -> Result<Response, Refused> {
    match app.desk.find(asker, run, heard) {
        Found::Updates(updates) => Ok(sse::live(run, updates, app.desk.clock())),
        Found::Gone => Err(Refused::EventsGone(run.clone())),
        Found::Unknown => {
            runs::stored(app, asker, run).await?;
            Err(Refused::EventsGone(run.clone()))
        }
    }
}

/// The run and the number of its event that were heard last. An empty header says nothing.
fn last_event_id(headers: &HeaderMap) -> Result<Option<(RunId, u64)>, Refused> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| not_an_event())?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text
        .rsplit_once(':')
        .and_then(|(run, seq)| Some((run.parse().ok()?, seq.parse().ok()?)));
    parsed.map(Some).ok_or_else(not_an_event)
}

fn not_an_event() -> Refused {
    Refused::Header {
        header: "Last-Event-ID",
        why: "is the `id` of an event of this run, as the stream gave it",
    }
}
