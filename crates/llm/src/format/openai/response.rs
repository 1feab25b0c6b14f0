//! A whole chat completion, read from a provider and written for a client. Never believes more of it than it needs.

use serde_json::{Value, json};

use super::{finish_reason, finish_word, read_usage, request::write_tool_call};
use crate::{Completion, ResponseError, ToolCall, completion::TOOL_CALLS_MAX};

/// Reads a whole answer.
///
/// # Errors
/// It is no chat completion.
pub fn read_completion(body: &[u8]) -> Result<Completion, ResponseError> {
    let value: Value =
        serde_json::from_slice(body).map_err(|_| ResponseError::Malformed("it is not JSON"))?;
    let choice = &value["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        return Err(ResponseError::Malformed("it has no choice with a message"));
    }
    let said = message["content"].as_str().or(message["refusal"].as_str());
    Ok(Completion {
        id: text(&value["id"]),
        created_s: value["created"].as_u64().unwrap_or(0),
        model: text(&value["model"]),
        content: said.map(str::to_owned),
        tool_calls: read_tool_calls(&message["tool_calls"])?,
        finish: finish_reason(choice["finish_reason"].as_str().unwrap_or_default()),
        usage: read_usage(&value["usage"]),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read_tool_calls(value: &Value) -> Result<Vec<ToolCall>, ResponseError> {
    let Some(list) = value.as_array() else {
        return Ok(Vec::new());
    };
    if list.len() > TOOL_CALLS_MAX {
        return Err(ResponseError::Malformed("it has too many tool calls"));
    }
    let read = |call: &Value| {
        let arguments = &call["function"]["arguments"];
        Some(ToolCall {
            id: call["id"].as_str()?.to_owned(),
            name: call["function"]["name"].as_str()?.to_owned(),
            // Some providers send the object instead of its text.
            arguments: arguments
                .as_str()
                .map_or_else(|| arguments.to_string(), str::to_owned),
        })
    };
    let calls = list.iter().map(read).collect::<Option<_>>();
    calls.ok_or(ResponseError::Malformed("a tool call has no id or no name"))
}

/// Writes a whole answer as a body.
#[must_use]
pub fn write_completion(completion: &Completion) -> Vec<u8> {
    let mut message = json!({ "role": "assistant", "content": completion.content });
    if !completion.tool_calls.is_empty() {
        message["tool_calls"] = completion.tool_calls.iter().map(write_tool_call).collect();
    }
    let body = json!({
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created_s,
        "model": completion.model,
        "choices": [{
            "index": 0,
            "message": message,
            "finish_reason": finish_word(completion.finish),
        }],
        "usage": completion.usage.unwrap_or_default(),
    });
    body.to_string().into_bytes()
}
