//! One question to the model, by the gateway that every agent uses: whole or piece by piece, as the question asks. Never
//! knows a provider.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use postern_invoke::{Input, RunFacts};
use postern_llm::{Assembly, Chat, Completion, Delta, completion::ANSWER_BYTES_MAX, openai, sse};
use tokio::sync::mpsc;

use super::request_of_run;
use crate::egress::{self, Egress, EgressError};

/// How long the model may take, to its head and to its end.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// How long a streamed answer may pause.
const PIECE_MAX: Duration = Duration::from_secs(60);

/// The largest event of a streamed answer, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// The most of an error's body that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 64 * 1024;

/// Asks, passes pieces on as they come, and gives the end of it.
pub(super) async fn ask(
    egress: &Egress,
    chat: &Chat,
    facts: &RunFacts,
    inputs: &mpsc::Sender<Input>,
) -> Input {
    match exchange(egress, chat, facts, inputs).await {
        Ok(input) => input,
        Err(detail) => Input::ModelFailed {
            status: None,
            detail,
        },
    }
}

async fn exchange(
    egress: &Egress,
    chat: &Chat,
    facts: &RunFacts,
    inputs: &mpsc::Sender<Input>,
) -> Result<Input, String> {
    let body = Full::from(Bytes::from(openai::write_request(chat)));
    let request = request_of_run("POST", "/v1/chat/completions", facts)
        .body(body)
        .map_err(|error| error.to_string())?;
    let answer = egress
        .send(request, ANSWER_MAX)
        .await
        .map_err(|error| told(&error))?;
    let status = answer.status().as_u16();
    if status != 200 {
        let body = egress::whole(answer.into_body(), DETAIL_BYTES_MAX, ANSWER_MAX).await;
        let detail = body
            .map(|body| String::from_utf8_lossy(&body).into_owned())
            .unwrap_or_default();
        return Ok(Input::ModelFailed {
            status: Some(status),
            detail,
        });
    }
    let completion = if is_stream(&answer) {
        gathered(answer.into_body(), inputs).await?
    } else {
        let body = egress::whole(answer.into_body(), ANSWER_BYTES_MAX, ANSWER_MAX)
            .await
            .map_err(|error| told(&error))?;
        openai::read_completion(&body).map_err(|error| error.to_string())?
    };
    Ok(Input::ModelReplied(completion))
}

fn told(error: &EgressError) -> String {
    error.to_string()
}

fn is_stream(answer: &Response<Incoming>) -> bool {
    let kind = answer
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

async fn gathered(mut body: Incoming, inputs: &mpsc::Sender<Input>) -> Result<Completion, String> {
    let mut decoder = sse::Decoder::new(EVENT_BYTES_MAX);
    let mut assembly = Assembly::new();
    loop {
        let piece = tokio::time::timeout(PIECE_MAX, body.frame());
        let piece = piece
            .await
            .map_err(|_| EgressError::Slow(PIECE_MAX).to_string())?;
        let Some(frame) = piece else { break };
        let frame = frame.map_err(|error| error.to_string())?;
        let Some(bytes) = frame.data_ref() else {
            continue;
        };
        for event in decoder.push(bytes).map_err(|error| error.to_string())? {
            take_in(&event.data, &mut assembly, inputs).await?;
        }
    }
    if assembly.is_finished() {
        return Ok(assembly.into_completion());
    }
    Err("the model's answer broke off".to_owned())
}

async fn take_in(
    data: &str,
    assembly: &mut Assembly,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), String> {
    for delta in openai::read_chunk(data).map_err(|error| error.to_string())? {
        assembly.add(&delta);
        if let Delta::Content(text) = delta
            && !text.is_empty()
        {
            drop(inputs.send(Input::ModelSaid(text)).await);
        }
    }
    Ok(())
}
