//! The tools that an agent says it uses, each told once with its arguments and once with what came of it. Never keeps more of
//! them than a fixed number.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::agents::command::Meaning;

/// Calls that are known again.
const CALLS_MAX: usize = 256;

/// The longest id and name of a call, in characters.
const WORD_CHARS_MAX: usize = 200;

/// Parts of a call's content that are looked at.
const PARTS_MAX: usize = 256;

/// The last calls, by their ids.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: BTreeMap<String, Call>,
    order: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Call {
    tool: String,
    arguments: String,
    is_told: bool,
    is_over: bool,
}

impl Calls {
    /// What a `tool_call` or `tool_call_update` says that was not said before.
    pub(super) fn hear(&mut self, said: &Value) -> Vec<Meaning> {
        let Some(call) = self.of(said) else {
            return Vec::new();
        };
        call.learn(said);
        let mut meanings = Vec::new();
        let status = said["status"].as_str().unwrap_or_default();
        let begins = !call.arguments.is_empty() || !matches!(status, "" | "pending");
        if begins {
            meanings.extend(call.told());
        }
        if matches!(status, "completed" | "failed") && !call.is_over {
            call.is_over = true;
            meanings.push(Meaning::ToolResult {
                tool: Some(call.tool.clone()),
                result: result(said),
                id: None,
            });
        }
        meanings
    }

    /// A call that the agent asks about: its name, and that it is about to happen if that was not told.
    pub(super) fn asked_about(&mut self, said: &Value) -> (String, Vec<Meaning>) {
        let mut meanings = self.hear(said);
        let Some(call) = self.of(said) else {
            return (String::new(), meanings);
        };
        meanings.extend(call.told());
        (call.tool.clone(), meanings)
    }

    fn of(&mut self, said: &Value) -> Option<&mut Call> {
        let id = said["toolCallId"].as_str()?;
        if id.chars().count() > WORD_CHARS_MAX {
            return None;
        }
        if !self.known.contains_key(id) {
            if self.order.len() >= CALLS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(id.to_owned());
        }
        Some(self.known.entry(id.to_owned()).or_default())
    }
}

impl Call {
    fn learn(&mut self, said: &Value) {
        if self.tool.is_empty() {
            let words = ["name", "title", "kind"].iter();
            let mut words = words.filter_map(|key| said[key].as_str());
            let word = words.find(|word| !word.is_empty()).unwrap_or_default();
            self.tool = word.chars().take(WORD_CHARS_MAX).collect();
        }
        let input = &said["rawInput"];
        if !self.is_told && !input.is_null() && *input != json!({}) {
            self.arguments = text_of(input);
        }
    }

    fn told(&mut self) -> Option<Meaning> {
        let is_first = !std::mem::replace(&mut self.is_told, true);
        is_first.then(|| Meaning::ToolCall {
            tool: self.tool.clone(),
            arguments: std::mem::take(&mut self.arguments),
            id: None,
        })
    }
}

/// What came of a call: what is shown of it, or else what the tool itself put out.
fn result(said: &Value) -> String {
    let parts = said["content"].as_array().into_iter().flatten();
    let shown: Vec<_> = parts.take(PARTS_MAX).filter_map(part).collect();
    match &said["rawOutput"] {
        _ if !shown.is_empty() => shown.join("\n"),
        Value::Null => String::new(),
        output => text_of(output),
    }
}

fn part(part: &Value) -> Option<&str> {
    match part["type"].as_str()? {
        "content" => part["content"]["text"].as_str(),
        "diff" => part["path"].as_str(),
        _ => None,
    }
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_once_it_has_its_arguments_and_its_result_once() {
        let mut calls = Calls::default();
        let update = |status: &str| json!({ "toolCallId": "c1", "status": status });
        let begun = json!({ "toolCallId": "c1", "title": "write", "kind": "edit", "status": "pending", "rawInput": {} });
        assert_eq!(calls.hear(&begun), []);
        let mut going = update("in_progress");
        going["rawInput"] = json!({ "path": "a" });
        let call = Meaning::ToolCall {
            tool: "write".to_owned(),
            arguments: r#"{"path":"a"}"#.to_owned(),
            id: None,
        };
        assert_eq!(calls.hear(&going), [call]);
        assert_eq!(calls.hear(&going), []);
        let mut over = update("completed");
        over["content"] = json!([
            { "type": "content", "content": { "type": "text", "text": "done" } },
            { "type": "diff", "path": "/workspace/a", "newText": "x" }, 7,
        ]);
        let result = Meaning::ToolResult {
            tool: Some("write".to_owned()),
            result: "done\n/workspace/a".to_owned(),
            id: None,
        };
        assert_eq!(calls.hear(&over), [result]);
        assert_eq!(calls.hear(&over), []);
    }

    #[test]
    fn a_call_that_is_asked_about_is_told_before_and_odd_ones_are_nothing() {
        let mut calls = Calls::default();
        let (tool, told) = calls.asked_about(&json!({ "toolCallId": "c1", "title": "rm" }));
        assert_eq!((tool.as_str(), told.len()), ("rm", 1));
        let output = json!({ "toolCallId": "c1", "status": "failed", "rawOutput": { "e": 1 } });
        assert_eq!(calls.hear(&output).len(), 1);
        let long = "x".repeat(WORD_CHARS_MAX + 1);
        for odd in [
            json!(null),
            json!({}),
            json!({ "toolCallId": 7 }),
            json!({ "toolCallId": long, "status": "completed" }),
        ] {
            assert_eq!(calls.hear(&odd), [], "{odd}");
        }
        for number in 0..10_000 {
            drop(calls.hear(&json!({ "toolCallId": number.to_string() })));
        }
        assert_eq!(
            (calls.known.len(), calls.order.len()),
            (CALLS_MAX, CALLS_MAX)
        );
    }
}
