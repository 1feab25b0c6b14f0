//! What each route does, asks for and answers. Never knows where a route is.

use serde_json::{Value, json};

use super::{operation::Operation, schemas::RUN_ID};

/// Statuses of what comes before a run begins, where none does.
const UNBEGUN: [u16; 8] = [400, 401, 404, 408, 409, 413, 429, 503];

/// Statuses with which a run ends that did not end well.
const ENDED: [u16; 5] = [409, 500, 501, 502, 504];

pub(super) fn document() -> Operation {
    Operation::new("get", "openapi", "This document").answering(200, "Document")
}

pub(in crate::api) fn alive(id: &'static str) -> Operation {
    Operation::new("get", id, "Says that posternd lives").answering(200, "Alive")
}

pub(in crate::api) fn ready() -> Operation {
    Operation::new(
        "get",
        "readyz",
        "Says whether the gate and the agents can serve, part by part",
    )
    .answering(200, "Readiness")
    .answering(503, "Readiness")
}

pub(in crate::api) fn started() -> Operation {
    Operation::new(
        "get",
        "startupz",
        "Says whether every agent has been started, well or badly",
    )
    .answering(200, "Started")
    .answering(503, "Started")
}

pub(in crate::api) fn invoke() -> Operation {
    of_a_call("invoke", "Asks the agent and waits for its answer")
        .answering(200, "Answer")
        .refusing(&ENDED)
}

pub(in crate::api) fn invoke_stream() -> Operation {
    of_a_call(
        "invoke_stream",
        "Asks the agent and tells its answer as it comes",
    )
    .with(last_event_id())
    .streaming()
    .refusing(&[410, 500])
}

fn of_a_call(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("post", id, summary)
        .with(header(
            "X-Run-ID",
            "A name for the run.",
            &format!("^$|{RUN_ID}"),
        ))
        .with(header(
            "Idempotency-Key",
            "A second call with the same one makes no second run.",
            "^[!-~]([ -~]{0,253}[!-~])?$",
        ))
        .with(end_user())
        .reading("Invocation", true)
        .refusing(&UNBEGUN)
}

pub(in crate::api) fn resume() -> Operation {
    of_a_resumption("resume", "Tells what came of a run that waited for a human")
        .answering(200, "Answer")
        .refusing(&ENDED)
}

pub(in crate::api) fn resume_stream() -> Operation {
    of_a_resumption("resume_stream", "The same, as it comes")
        .streaming()
        .refusing(&ENDED)
}

fn of_a_resumption(id: &'static str, summary: &'static str) -> Operation {
    Operation::new("post", id, summary)
        .with(path("action", "What the run waited for: its `action_id`."))
        .with(header("X-Run-ID", "The run.", &format!("^$|{RUN_ID}")))
        .with(end_user())
        .reading("Resumption", false)
        .refusing(&UNBEGUN)
}

pub(in crate::api) fn cancel() -> Operation {
    Operation::new("delete", "cancel", "Ends a run that goes on or waits")
        .with(path("id", "The run."))
        .with(end_user())
        .answering(200, "Cancelled")
        .refusing(&[400, 401, 404, 409, 500, 503])
}

pub(in crate::api) fn pick_up() -> Operation {
    Operation::new(
        "get",
        "run_stream",
        "Tells a run from its beginning, or after an event",
    )
    .with(path("id", "The run."))
    .with(last_event_id())
    .with(end_user())
    .streaming()
    .refusing(&[400, 401, 404, 410, 503])
}

pub(in crate::api) fn logs() -> Operation {
    Operation::new(
        "get",
        "run_logs",
        "What the code of a run printed, the last of it",
    )
    .with(path("id", "The run."))
    .with(json!({
        "name": "follow", "in": "query", "schema": { "type": "boolean" },
        "description": "Tell lines as server-sent events as they come, until the run goes on no more.",
    }))
    .with(end_user())
    .answering(200, "Logs")
    .telling("LineEvent")
    .refusing(&[400, 401, 404, 429, 503])
}

fn path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": { "type": "string", "minLength": 1 },
    })
}

fn header(name: &str, description: &str, pattern: &str) -> Value {
    json!({
        "name": name, "in": "header", "description": description,
        "schema": { "type": "string", "pattern": pattern },
    })
}

fn last_event_id() -> Value {
    let run = RUN_ID.trim_end_matches('$');
    let description = "The `id` of the last event that was heard: the stream goes on after it.";
    header(
        "Last-Event-ID",
        description,
        &format!("^$|{run}:[0-9]{{1,19}}$"),
    )
}

fn end_user() -> Value {
    json!({
        "name": "X-End-User-Id", "in": "header", "schema": { "type": "string" },
        "description": "The end user that the call is for, 1 to 255 visible ASCII characters; ignored without the callers' key.",
    })
}
