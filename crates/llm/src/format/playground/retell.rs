//! How the playground says what a tool answered: the essentials of the result, in words. Never hides that a tool failed.

use std::collections::HashMap;

use serde_json::Value;

use crate::{Chat, Role};

/// How many values of a result are told.
const VALUES_MAX: usize = 12;

/// How many fields or entries of one object or list are looked at, the first ones.
const FIELDS_MAX: usize = 32;

/// How deep into a result it looks.
const DEPTH_MAX: usize = 3;

/// The longest value or name that is told whole, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// The results that stand at the end of the conversation, in words; empty if the last message is none.
pub(super) fn last_results(chat: &Chat) -> String {
    let first = chat
        .messages
        .iter()
        .rposition(|message| message.role != Role::Tool)
        .map_or(0, |at| at + 1);
    let results = &chat.messages[first..];
    if results.is_empty() {
        return String::new();
    }
    let called = functions_by_call(chat);
    let told = results.iter().map(|result| {
        let id = result.tool_call_id.as_deref();
        let function = id.and_then(|id| called.get(id)).map_or_else(
            || "the tool".to_owned(),
            |function| format!("`{}`", cut(function)),
        );
        retell(&function, &result.plain_text())
    });
    told.collect::<Vec<_>>().join(" ")
}

/// Which function every call was of; if a call's id stands in many messages, the last counts.
fn functions_by_call(chat: &Chat) -> HashMap<&str, &str> {
    let calls = chat
        .messages
        .iter()
        .flat_map(|message| message.tool_calls.iter().rev());
    calls
        .map(|call| (call.id.as_str(), call.name.as_str()))
        .collect()
}

fn retell(function: &str, result: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(result) else {
        return format!("Answer of {function}: {}.", cut(result.trim()));
    };
    let mut told = Vec::new();
    gather("", &value, DEPTH_MAX, &mut told);
    let essentials = if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join(", ")
    };
    if value.get("error").is_some_and(|error| !error.is_null()) {
        return format!("{function} failed: {essentials}.");
    }
    format!("Answer of {function}: {essentials}.")
}

/// Collects `name: value` for every plain value, in the order they stand in.
fn gather(name: &str, value: &Value, depth: usize, told: &mut Vec<String>) {
    if told.len() >= VALUES_MAX {
        return;
    }
    let labelled = |text: &str| {
        if name.is_empty() {
            text.to_owned()
        } else {
            format!("{name}: {text}")
        }
    };
    match value {
        Value::Object(fields) if depth > 0 => {
            for (key, inner) in fields.iter().take(FIELDS_MAX) {
                let key = cut(key);
                let path = if name.is_empty() {
                    key
                } else {
                    format!("{name} {key}")
                };
                gather(&path, inner, depth - 1, told);
            }
        }
        Value::Array(list) if depth > 0 => {
            told.push(labelled(&format!("{} in all", list.len())));
            for inner in list.iter().take(FIELDS_MAX) {
                gather(name, inner, depth - 1, told);
            }
        }
        Value::Object(_) | Value::Array(_) => told.push(labelled("…")),
        Value::String(text) => told.push(labelled(&cut(text))),
        Value::Null => told.push(labelled("none")),
        plain => told.push(labelled(&plain.to_string())),
    }
}

fn cut(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(VALUE_CHARS_MAX) else {
        return text.to_owned();
    };
    format!("{}…", &text[..end])
}
