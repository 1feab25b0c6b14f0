//! Answers of the embedded playground model, whole or word by word. Never leaves the gate.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use postern_contract::RequestId;
use postern_llm::{Chat, openai, playground};

use crate::body::{self, Body};

/// What stands for the playground in rules and in the audit: a name that nobody can own (RFC 2606 section 2).
pub(crate) const URL: &str = "http://playground.invalid/v1/chat/completions";

/// The answer to a chat.
pub(crate) fn answer(chat: &Chat, unix_ms: i64) -> Response<Body> {
    let id = format!("chatcmpl-{}", RequestId::fresh());
    let created_s = u64::try_from(unix_ms / 1_000).unwrap_or_default();
    let (kind, body) = if chat.stream {
        ("text/event-stream", streamed(chat, &id, created_s))
    } else {
        let whole = playground::complete(chat, &id, created_s);
        (
            "application/json",
            body::full(openai::write_completion(&whole)),
        )
    };
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Every piece of the answer is a frame of its own.
fn streamed(chat: &Chat, id: &str, created_s: u64) -> Body {
    let mut writer = openai::ChunkWriter::new(chat.include_usage);
    let deltas = playground::answer(chat, id, created_s);
    let mut events: Vec<String> = deltas
        .iter()
        .filter_map(|delta| writer.write(delta))
        .collect();
    events.push(writer.end());
    let frames = events
        .into_iter()
        .map(|event| Ok(Frame::data(Bytes::from(event))));
    let stream = StreamBody::new(futures_util::stream::iter(frames));
    stream
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
