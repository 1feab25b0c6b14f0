//! What an agent's own server answered, as ours: a stream of events or one JSON value. Never more of it than a run may say, and
//! never what only the gate knows.

use http::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use postern_invoke::Input;
use postern_llm::sse::{self, DONE};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::ask::NoAnswer;
use crate::{
    agents::{
        command::{Heard, OUTPUT_BYTES_MAX, Output},
        values,
    },
    output::printable,
};

/// The largest answer that is no stream, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// What is read of an answer that says what went wrong, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// The longest event of a stream, in bytes.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Events by which a server asks for a pause, and the key of an answer that does.
const PAUSES: [&str; 2] = ["approval_required", "consent_required"];

/// The answer's value; pieces on the way go to `inputs`.
pub(super) async fn read(
    answer: Response<Incoming>,
    inputs: &mpsc::Sender<Input>,
) -> Result<Value, NoAnswer> {
    let status = answer.status();
    if !status.is_success() {
        let body = whole(answer.into_body(), ERROR_BYTES_MAX).await;
        let said = body.map(|body| error_of(&body)).unwrap_or_default();
        return Err(NoAnswer::Status { status, said });
    }
    let kind = answer.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_owned();
    if kind.starts_with("text/event-stream") {
        return stream(answer.into_body(), inputs).await;
    }
    let body = whole(answer.into_body(), ANSWER_BYTES_MAX).await?;
    match values::read(&body) {
        Ok(value) => Ok(value),
        Err(_) if kind.starts_with("text/plain") => {
            Ok(Value::String(String::from_utf8_lossy(&body).into_owned()))
        }
        Err(error) => Err(NoAnswer::Odd(format!("is no JSON: {error}"))),
    }
}

async fn whole(body: Incoming, bytes_max: usize) -> Result<Vec<u8>, NoAnswer> {
    let collected = Limited::new(body, bytes_max).collect().await;
    let collected = collected.map_err(|error| NoAnswer::Odd(format!("was not read: {error}")))?;
    Ok(collected.to_bytes().to_vec())
}

/// What a server says went wrong: its `error`, or the text itself.
fn error_of(body: &[u8]) -> String {
    let value = values::read(body).ok();
    let error = value.as_ref().and_then(|value| value["error"].as_str());
    match error {
        Some(error) => printable(error),
        None => printable(&String::from_utf8_lossy(body)),
    }
}

async fn stream(mut body: Incoming, inputs: &mpsc::Sender<Input>) -> Result<Value, NoAnswer> {
    let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
    let mut output = Output::of_our_events();
    let odd = |told: String| NoAnswer::Odd(told);
    let mut left = OUTPUT_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            // What it has ended with stands, however its connection ends.
            Err(_) if output.is_over() => break,
            frame => frame?,
        };
        let Some(bytes) = frame.data_ref() else {
            continue;
        };
        // Also of what is no event: comments and empty lines.
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| odd(format!("is over {OUTPUT_BYTES_MAX} bytes")))?;
        for event in decoder
            .push(bytes)
            .map_err(|error| odd(error.to_string()))?
        {
            if event.data == DONE {
                return output.answer().map_err(NoAnswer::Said);
            }
            if let Some(pause) = pause(&event.data) {
                return Ok(pause);
            }
            let line = event.data.replace('\n', " ") + "\n";
            let heard = output.read(line.as_bytes());
            tell(heard.map_err(|error| odd(error.to_string()))?, inputs).await;
            if output.is_over() {
                return output.answer().map_err(NoAnswer::Said);
            }
        }
        // A server that answers without end has the daemon no longer than others.
        tokio::task::yield_now().await;
    }
    if output.is_over() {
        return output.answer().map_err(NoAnswer::Said);
    }
    Err(odd("broke off".to_owned()))
}

async fn tell(heard: Vec<Heard>, inputs: &mpsc::Sender<Input>) {
    for heard in heard {
        match heard {
            // A run takes its inputs whatever its callers do, so this waits for nobody outside.
            Heard::Said(event) => drop(inputs.send(Input::WorkerSaid(event)).await),
            Heard::Stray(line) => {
                tracing::debug!(target: "agent", "not understood: {}", printable(&line));
            }
        }
    }
}

/// An answer that asks for a pause, made of an event that does; whether it is kept is for the run to say.
fn pause(data: &str) -> Option<Value> {
    if !PAUSES.iter().any(|pause| data.contains(pause)) {
        return None;
    }
    let event = values::read(data.as_bytes()).ok()?;
    let kind = PAUSES.iter().find(|pause| event["type"] == **pause)?;
    // An event without details asks for a pause all the same.
    let detail = event.get("detail").filter(|detail| !detail.is_null());
    let detail = detail.filter(|detail| **detail != json!({}));
    let mut answer = json!({ *kind: detail.unwrap_or(&event) });
    if let Some(state) = event.get("resume") {
        answer["resume"] = state.clone();
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_asks_for_a_pause_is_an_answer_that_does() {
        let event = r#"{"type":"approval_required","tool":"x","detail":{"action_id":"a"}}"#;
        assert_eq!(
            pause(event),
            Some(json!({ "approval_required": { "action_id": "a" } }))
        );
        assert_eq!(
            pause(r#"{"type":"content","delta":"approval_required"}"#),
            None
        );
        let event = r#"{"type":"approval_required","detail":{"tool":"x"},"resume":{"order":7}}"#;
        assert_eq!(pause(event).unwrap()["resume"], json!({ "order": 7 }));
        assert_eq!(pause("approval_required"), None);
        for bare in [
            r#"{"type":"approval_required"}"#,
            r#"{"type":"approval_required","detail":{}}"#,
        ] {
            let kept = pause(bare).unwrap();
            assert_eq!(kept["approval_required"]["type"], "approval_required");
        }
    }

    #[test]
    fn an_error_is_what_the_server_says() {
        assert_eq!(error_of(br#"{"error":"no money"}"#), "no money");
        assert_eq!(error_of(b"<p>\x1b oops"), "<p>\\u{1b} oops");
    }
}
