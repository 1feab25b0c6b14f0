//! How the playground says what a tool answered: the essentials of the result, in words. Never hides that a tool failed.

use serde_json::Value;

use crate::{Chat, Message, Role};

/// How many values of a result are told.
const VALUES_MAX: usize = 12;

/// How deep into a result it looks.
const DEPTH_MAX: usize = 3;

/// The longest value that is told whole, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// The results that stand at the end of the conversation, in words; empty if the last message is none.
pub(super) fn last_results(chat: &Chat) -> String {
    let first = chat
        .messages
        .iter()
        .rposition(|message| message.role != Role::Tool)
        .map_or(0, |at| at + 1);
    let told = chat.messages[first..]
        .iter()
        .map(|result| retell(&function_of(chat, result), &result.plain_text()));
    told.collect::<Vec<_>>().join(" ")
}

/// Which function a result answers.
fn function_of(chat: &Chat, result: &Message) -> String {
    let calls = chat
        .messages
        .iter()
        .rev()
        .flat_map(|message| &message.tool_calls);
    let call = calls
        .into_iter()
        .find(|call| Some(&call.id) == result.tool_call_id.as_ref());
    call.map_or_else(|| "the tool".to_owned(), |call| format!("`{}`", call.name))
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
            for (key, inner) in fields {
                let path = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name} {key}")
                };
                gather(&path, inner, depth - 1, told);
            }
        }
        Value::Array(list) if depth > 0 => {
            told.push(labelled(&format!("{} in all", list.len())));
            for inner in list {
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
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(VALUE_CHARS_MAX).collect();
    short.push('…');
    short
}
