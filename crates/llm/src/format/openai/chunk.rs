//! A streamed chat completion, one event at a time. Never waits for a second choice: only the first is passed on.

use serde_json::{Value, json};

use super::{finish_reason, finish_word, read_usage};
use crate::{Delta, ResponseError, sse};

/// How much of a provider's error is repeated, in characters.
const ERROR_CHARS_MAX: usize = 200;

/// Reads the data of one streamed event; `[DONE]` gives nothing.
///
/// # Errors
/// It is no chunk, or reports an error.
pub fn read_chunk(data: &str) -> Result<Vec<Delta>, ResponseError> {
    if data == sse::DONE {
        return Ok(Vec::new());
    }
    let value: Value =
        serde_json::from_str(data).map_err(|_| ResponseError::Malformed("a chunk is not JSON"))?;
    if !value.is_object() {
        return Err(ResponseError::Malformed("a chunk is no object"));
    }
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        let message = error["message"]
            .as_str()
            .or(error.as_str())
            .unwrap_or("no reason given");
        return Err(ResponseError::Reported(
            message.chars().take(ERROR_CHARS_MAX).collect(),
        ));
    }
    let mut deltas = Vec::new();
    let (choice, delta) = (&value["choices"][0], &value["choices"][0]["delta"]);
    if delta["role"].is_string() {
        deltas.push(Delta::Start {
            id: text(&value["id"]).unwrap_or_default(),
            created_s: value["created"].as_u64().unwrap_or(0),
            model: text(&value["model"]).unwrap_or_default(),
        });
    }
    let said = delta["content"].as_str().or(delta["refusal"].as_str());
    deltas.extend(
        said.filter(|said| !said.is_empty())
            .map(|said| Delta::Content(said.to_owned())),
    );
    for (position, call) in delta["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        deltas.push(Delta::ToolCall {
            index: call["index"]
                .as_u64()
                .and_then(|i| usize::try_from(i).ok())
                .unwrap_or(position),
            id: text(&call["id"]),
            name: text(&call["function"]["name"]),
            arguments: text(&call["function"]["arguments"]).unwrap_or_default(),
        });
    }
    deltas.extend(
        choice["finish_reason"]
            .as_str()
            .map(|word| Delta::Finish(finish_reason(word))),
    );
    deltas.extend(read_usage(&value["usage"]).map(Delta::Usage));
    Ok(deltas)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Writes a streamed answer: one SSE event for each piece, `[DONE]` at the end.
#[derive(Debug)]
pub struct ChunkWriter {
    include_usage: bool,
    started: bool,
    head: Value,
}

impl ChunkWriter {
    /// A writer; usage goes out only if the client asked for it.
    #[must_use]
    pub fn new(include_usage: bool) -> Self {
        Self {
            include_usage,
            started: false,
            head: json!({ "object": "chat.completion.chunk" }),
        }
    }

    /// The SSE text of one piece (`data: …\n\n`), or nothing if the piece has none.
    #[must_use]
    pub fn write(&mut self, delta: &Delta) -> Option<String> {
        match delta {
            Delta::Start {
                id,
                created_s,
                model,
            } => {
                if std::mem::replace(&mut self.started, true) {
                    return None;
                }
                self.head = json!({
                    "id": id, "object": "chat.completion.chunk", "created": created_s, "model": model,
                });
                Some(self.choice(&json!({ "role": "assistant", "content": "" }), None))
            }
            Delta::Content(text) => Some(self.choice(&json!({ "content": text }), None)),
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                let mut call = json!({ "index": index, "function": { "arguments": arguments } });
                if let Some(id) = id {
                    call["id"] = json!(id);
                    call["type"] = json!("function");
                }
                if let Some(name) = name {
                    call["function"]["name"] = json!(name);
                }
                Some(self.choice(&json!({ "tool_calls": [call] }), None))
            }
            Delta::Finish(reason) => Some(self.choice(&json!({}), Some(finish_word(*reason)))),
            Delta::Usage(usage) => self.include_usage.then(|| {
                let mut chunk = self.head.clone();
                chunk["choices"] = json!([]);
                chunk["usage"] = json!(usage);
                sse::encode(&chunk.to_string())
            }),
        }
    }

    /// The SSE text for a stream that breaks off: clients raise it as an error.
    #[must_use]
    pub fn error(&self, message: &str) -> String {
        let error = json!({ "message": message, "type": "upstream_error" });
        sse::encode(&json!({ "error": error }).to_string())
    }

    /// The SSE text that ends the stream.
    #[must_use]
    pub fn end(&self) -> String {
        sse::encode(sse::DONE)
    }

    fn choice(&self, delta: &Value, finish: Option<&str>) -> String {
        let mut chunk = self.head.clone();
        chunk["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
        sse::encode(&chunk.to_string())
    }
}
