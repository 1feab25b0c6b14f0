//! Updates of a run as server-sent events, in the shapes of the RunAgents dialect: `data:` and JSON, an `id:` to come back
//! with, a comment when nothing happens, `[DONE]` at the end. Never makes an event up but to say why there are no more.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::stream;
use postern_contract::RunId;
use postern_daemon::Clock;
use serde_json::{Value, json};

use super::invoke::RUN_ID;
use crate::runs::{Answer, Update, Updates};

/// How long a stream is silent at most: callers and what is between see that it lives.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

pub(super) const BEAT: &[u8] = b": still here\n\n";
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// A run's updates as they come.
pub(super) fn live(run: &RunId, updates: Updates, clock: &Clock) -> Response {
    let teller = Teller {
        run: run.clone(),
        updates,
        clock: clock.clone(),
    };
    let events = stream::unfold(Some(teller), |teller| async {
        let mut teller = teller?;
        let (bytes, goes_on) = teller.next().await;
        Some((Ok::<_, Infallible>(bytes), goes_on.then_some(teller)))
    });
    respond(run, Body::from_stream(events))
}

/// A run that ended too long ago for its events, from its answer.
pub(super) fn afterwards(answer: &Answer) -> Response {
    let body = &answer.body;
    let mut text = String::new();
    let mut tell = |event: Value| text.push_str(&format!("data: {event}\n\n"));
    if answer.status == 200 {
        match body.get("approval_required") {
            Some(detail) => tell(json!({
                "type": "approval_required", "tool": detail["tool"], "detail": detail,
            })),
            None => tell(json!({ "type": "content", "delta": body["response"] })),
        }
        let mut done = json!({ "type": "done" });
        for key in [
            "model",
            "tool_calls_made",
            "usage",
            "duration_ms",
            "request_id",
            "run_id",
        ] {
            done[key] = body[key].clone();
        }
        tell(done);
    } else {
        tell(json!({ "type": "error", "message": body["error"], "code": body["code"] }));
    }
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(DONE);
    respond(&answer.run, Body::from(bytes))
}

pub(super) fn respond(run: &RunId, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // The contract's clients read to the end of the connection.
        (header::CONNECTION, "close"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Proxies in between that gather answers are told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(run) = HeaderValue::from_str(run.as_str()) {
        headers.insert(RUN_ID, run);
    }
    response
}

/// Tells one listener one run.
struct Teller {
    run: RunId,
    updates: Updates,
    clock: Clock,
}

impl Teller {
    /// What goes out next, and whether more follows.
    async fn next(&mut self) -> (Bytes, bool) {
        let update = tokio::select! {
            biased;
            update = self.updates.next() => update,
            () = self.clock.after(HEARTBEAT) => return (Bytes::from_static(BEAT), true),
        };
        match update {
            Some(Update::Event { seq, json }) => (self.event(seq, &json), true),
            Some(Update::Ended(_)) => (Bytes::from_static(DONE), false),
            Some(Update::Missed { oldest }) => {
                let why = format!(
                    "this reader is too slow: events before {oldest} are not kept any more"
                );
                (broken(&why, "EVENTS_GONE"), false)
            }
            None => (broken("the run ended without an answer", "INTERNAL"), false),
        }
    }

    fn event(&self, seq: u64, json: &Arc<str>) -> Bytes {
        format!("id: {}:{seq}\ndata: {json}\n\n", self.run).into()
    }
}

/// The end of a stream that is not the run's.
pub(super) fn broken(why: &str, code: &str) -> Bytes {
    let event = json!({ "type": "error", "message": why, "code": code });
    let mut bytes = format!("data: {event}\n\n").into_bytes();
    bytes.extend_from_slice(DONE);
    bytes.into()
}
