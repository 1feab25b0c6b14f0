//! From a program's own lines of JSON to our events, as rules say. Pure, and never fails: what no rule knows is nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{BecomesWritten, RuleWritten, Wrong};

/// The most rules of one map.
const RULES_MAX: usize = 64;

/// Elements of one list that are looked at.
const ELEMENTS_MAX: usize = 256;

/// Rules in order; a line is what every rule that fits says.
#[derive(Debug, Clone)]
pub struct Map {
    rules: Vec<RuleWritten>,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::agents) enum Meaning {
    /// A piece of the answer.
    Content(String),
    /// Something new begins.
    Break,
    /// A tool is used.
    ToolCall {
        tool: String,
        arguments: String,
        id: Option<String>,
    },
    /// What came of it; by its name, or by the call's id.
    ToolResult {
        tool: Option<String>,
        result: String,
        id: Option<String>,
    },
    /// The whole answer.
    Answer(Value),
    /// Nothing more comes.
    Done,
    /// The run has failed.
    Error(String),
}

/// Where a rule's pointer leads, and what must be there.
type Conditions = BTreeMap<String, Value>;

impl Map {
    /// The rules of the config.
    pub(super) fn mean(written: &[RuleWritten]) -> Result<Self, Wrong> {
        if written.len() > RULES_MAX {
            let told = format!("`map` has at most {RULES_MAX} rules");
            return Err(Wrong::at(&["command", "map"], told));
        }
        for (position, rule) in written.iter().enumerate() {
            check(rule, &position.to_string())?;
        }
        Ok(Self {
            rules: written.to_vec(),
        })
    }

    /// Lines that are our events already.
    pub(super) fn of_our_events() -> Self {
        let rule = |kind: &str, becomes, text: Option<&str>| RuleWritten {
            when: BTreeMap::from([("/type".to_owned(), Value::from(kind))]),
            each: None,
            with: BTreeMap::new(),
            becomes,
            text: text.map(str::to_owned),
            tool: Some("/tool".to_owned()),
            id: Some("/id".to_owned()),
        };
        Self {
            rules: vec![
                rule("content", BecomesWritten::Content, Some("/delta")),
                rule("tool_call", BecomesWritten::ToolCall, Some("/arguments")),
                rule("tool_result", BecomesWritten::ToolResult, Some("/result")),
                rule("answer", BecomesWritten::Answer, None),
                rule("done", BecomesWritten::Done, None),
                rule("error", BecomesWritten::Error, Some("/message")),
            ],
        }
    }

    /// What a line means.
    pub(super) fn read(&self, line: &Value) -> Vec<Meaning> {
        let fitting = self.rules.iter().filter(|rule| holds(&rule.when, line));
        let meanings = fitting.flat_map(|rule| {
            let within: Vec<_> = match &rule.each {
                None => vec![line],
                Some(pointer) => {
                    let list = line.pointer(pointer).and_then(Value::as_array);
                    list.into_iter().flatten().take(ELEMENTS_MAX).collect()
                }
            };
            let within = within.into_iter().filter(|part| holds(&rule.with, part));
            within.filter_map(|part| meaning(rule, part))
        });
        meanings.collect()
    }
}

fn check(rule: &RuleWritten, position: &str) -> Result<(), Wrong> {
    let at = |key: &str| ["command", "map", position, key].map(str::to_owned);
    let wrong = |key: &str, told: String| {
        let keys = at(key);
        Err(Wrong::at(&keys.each_ref().map(String::as_str), told))
    };
    let one = [
        ("each", &rule.each),
        ("text", &rule.text),
        ("tool", &rule.tool),
        ("id", &rule.id),
    ];
    let one = one
        .into_iter()
        .filter_map(|(key, pointer)| Some((key, pointer.as_ref()?)));
    let many = [("when", &rule.when), ("with", &rule.with)];
    let many = many
        .into_iter()
        .flat_map(|(key, conditions)| conditions.keys().map(move |pointer| (key, pointer)));
    if let Some((key, pointer)) = one.chain(many).find(|(_, pointer)| !is_pointer(pointer)) {
        return wrong(
            key,
            format!("`{pointer}` is no JSON pointer: say it as `/key/0/key`"),
        );
    }
    let needs = match rule.becomes {
        BecomesWritten::Content | BecomesWritten::Error if rule.text.is_none() => "text",
        BecomesWritten::ToolCall if rule.tool.is_none() => "tool",
        BecomesWritten::ToolResult if rule.tool.is_none() && rule.id.is_none() => "tool",
        _ => return Ok(()),
    };
    wrong("becomes", format!("this needs `{needs} = \"/…\"` too"))
}

fn is_pointer(text: &str) -> bool {
    text.starts_with('/')
}

fn holds(conditions: &Conditions, value: &Value) -> bool {
    let holds = |(pointer, wanted): (&String, &Value)| value.pointer(pointer) == Some(wanted);
    conditions.iter().all(holds)
}

fn meaning(rule: &RuleWritten, part: &Value) -> Option<Meaning> {
    let found = |pointer: &Option<String>| pointer.as_ref().and_then(|at| part.pointer(at));
    let text = || found(&rule.text).and_then(text_of);
    let short = |pointer: &Option<String>| found(pointer).and_then(Value::as_str);
    let (tool, id) = (short(&rule.tool), short(&rule.id));
    let id = id.map(str::to_owned);
    match rule.becomes {
        BecomesWritten::Content => text().map(Meaning::Content),
        BecomesWritten::Break => Some(Meaning::Break),
        BecomesWritten::Done => Some(Meaning::Done),
        BecomesWritten::ToolCall => Some(Meaning::ToolCall {
            tool: tool?.to_owned(),
            arguments: found(&rule.text).map_or_else(String::new, as_arguments),
            id,
        }),
        BecomesWritten::ToolResult => Some(Meaning::ToolResult {
            tool: tool.map(str::to_owned),
            result: text().unwrap_or_default(),
            id,
        }),
        BecomesWritten::Answer => match &rule.text {
            Some(_) => text().map(|text| Meaning::Answer(Value::String(text))),
            None => Some(Meaning::Answer(without_type(part))),
        },
        BecomesWritten::Error => text().map(Meaning::Error),
    }
}

/// A value as text: of a list of parts the texts of those that have one, nothing of what is null.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) if parts.iter().all(|part| part["text"].is_string()) => Some(
            parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect(),
        ),
        other => Some(other.to_string()),
    }
}

/// Arguments are a text of JSON, unless they are text already.
fn as_arguments(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn without_type(part: &Value) -> Value {
    let mut answer = part.clone();
    if let Value::Object(fields) = &mut answer {
        fields.remove("type");
    }
    answer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(value: Value) -> Vec<RuleWritten> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn rules_find_what_a_line_says_and_let_the_rest_be() {
        let map = Map::mean(&rules(json!([
            { "when": { "/type": "assistant" }, "each": "/message/content", "with": { "/type": "tool_use" },
              "becomes": "tool_call", "tool": "/name", "text": "/input", "id": "/id" },
            { "when": { "/type": "assistant" }, "each": "/message/content", "with": { "/type": "text" },
              "becomes": "content", "text": "/text" },
            { "when": { "/type": "user" }, "each": "/parts", "becomes": "tool_result", "id": "/of", "text": "/content" },
            { "when": { "/type": "result", "/ok": false }, "becomes": "error", "text": "/why" },
        ])))
        .unwrap_or_else(|_| panic!());
        let line = json!({ "type": "assistant", "message": { "content": [
            { "type": "text", "text": "I look." }, { "type": "tool_use", "id": "t1", "name": "Read", "input": { "a": 1 } },
        ] } });
        let said = map.read(&line);
        let call = Meaning::ToolCall {
            tool: "Read".into(),
            arguments: "{\"a\":1}".into(),
            id: Some("t1".into()),
        };
        assert_eq!(said, [call, Meaning::Content("I look.".into())]);
        let parts = json!({ "type": "user", "parts": [{ "of": "t1", "content": [{ "text": "x" }, { "text": "y" }] }] });
        let result = Meaning::ToolResult {
            tool: None,
            result: "xy".into(),
            id: Some("t1".into()),
        };
        assert_eq!(map.read(&parts), [result]);
        assert_eq!(map.read(&json!({ "type": "result", "ok": true })), []);
        let failed = json!({ "type": "result", "ok": false, "why": "no" });
        assert_eq!(map.read(&failed), [Meaning::Error("no".into())]);
        for odd in [
            json!(null),
            json!([1]),
            json!("x"),
            json!({ "type": "assistant", "message": 7 }),
        ] {
            assert_eq!(map.read(&odd), [], "{odd}");
        }
    }

    #[test]
    fn rules_that_could_never_say_anything_are_refused() {
        for bad in [
            json!([{ "becomes": "content" }]),
            json!([{ "becomes": "content", "text": "delta" }]),
            json!([{ "becomes": "tool_call", "text": "/x" }]),
            json!([{ "becomes": "break", "when": { "type": "x" } }]),
        ] {
            assert!(Map::mean(&rules(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn our_own_events_are_what_they_say() {
        let map = Map::of_our_events();
        let read = |value: Value| map.read(&value);
        assert_eq!(
            read(json!({ "type": "content", "delta": "a" })),
            [Meaning::Content("a".into())]
        );
        let answer = json!({ "type": "answer", "response": "r", "more": 1 });
        assert_eq!(
            read(answer),
            [Meaning::Answer(json!({ "response": "r", "more": 1 }))]
        );
        assert_eq!(
            read(json!({ "type": "approval_required", "tool": "x" })),
            []
        );
    }
}
