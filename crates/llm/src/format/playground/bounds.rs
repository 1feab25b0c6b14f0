//! However large a request is, the playground looks at a bounded part of it; what it did not look at never becomes a guess.

use std::fmt::Write as _;

use serde_json::{Map, json};

use super::*;
use crate::{Function, ToolCall};

fn function(name: &str, properties: Value, required: Value) -> Function {
    Function {
        name: name.to_owned(),
        description: String::new(),
        parameters: [("properties", properties), ("required", required)]
            .into_iter()
            .collect(),
        strict: None,
    }
}

fn asked(tools: Vec<Function>, text: &str) -> Completion {
    let chat = Chat {
        messages: vec![Message::text(Role::User, text)],
        tools,
        ..Chat::default()
    };
    complete(&chat, "id", 0)
}

/// So many properties of a type, named `p00000`, `p00001` and so on.
fn properties(count: usize, schema: &Value) -> Map<String, Value> {
    (0..count)
        .map(|n| (format!("p{n:05}"), schema.clone()))
        .collect()
}

fn names(properties: &Map<String, Value>) -> Value {
    properties.keys().cloned().collect()
}

fn numbers(count: usize) -> String {
    (0..count).fold("fill".to_owned(), |mut text, n| {
        let _ = write!(text, " {n}");
        text
    })
}

fn arguments(completion: &Completion) -> Map<String, Value> {
    serde_json::from_str(&completion.tool_calls[0].arguments).unwrap()
}

#[test]
fn only_the_first_functions_are_looked_at() {
    let wanted = |before: usize| {
        let mut tools: Vec<_> = (0..before)
            .map(|n| function(&format!("other{n}"), json!({}), json!([])))
            .collect();
        tools.push(function("moon", json!({}), json!([])));
        asked(tools, "moon").tool_calls.len()
    };
    assert_eq!((wanted(127), wanted(128)), (1, 0));
}

#[test]
fn only_the_first_words_of_a_message_and_of_a_function_are_looked_at() {
    let heard = |before: usize| {
        let text = "word ".repeat(before) + "moon";
        asked(vec![function("moon", json!({}), json!([]))], &text)
            .tool_calls
            .len()
    };
    assert_eq!((heard(499), heard(500)), (1, 0));
    let described = |before: usize| {
        let mut tool = function("x", json!({}), json!([]));
        tool.description = "word ".repeat(before) + "moon landing";
        asked(vec![tool], "moon landing").tool_calls.len()
    };
    assert_eq!((described(248), described(249)), (1, 0));
}

#[test]
fn only_some_properties_are_filled_and_the_required_ones_first() {
    let mut many = properties(10_000, &json!({ "type": "integer" }));
    many.insert("z".to_owned(), json!({ "type": "integer" }));
    let completion = asked(
        vec![function("fill", many.into(), json!(["z"]))],
        &numbers(200),
    );
    let arguments = arguments(&completion);
    assert_eq!(arguments.len(), 64);
    assert_eq!(arguments["z"], 0);
    assert_eq!(arguments["p00062"], 63);
}

#[test]
fn a_required_property_that_was_not_looked_at_is_missing() {
    let called = |count: usize| {
        let many = properties(count, &json!({ "type": "integer" }));
        let required = names(&many);
        asked(vec![function("fill", many.into(), required)], &numbers(200))
    };
    assert_eq!(arguments(&called(64)).len(), 64);
    let text = called(65).content.unwrap();
    assert!(text.contains("I need: p00064."), "{text}");
}

#[test]
fn a_body_full_of_required_properties_is_asked_for_a_few() {
    let many = properties(100_000, &json!({}));
    let required = names(&many);
    let text = asked(vec![function("fill", many.into(), required)], "fill")
        .content
        .unwrap();
    let named: Vec<_> = text.match_indices("p0000").collect();
    assert_eq!(named.len(), 8 + 1, "{text}");
}

#[test]
fn only_the_first_values_of_an_enum_are_compared_and_no_long_text() {
    let called = |before: usize, text: &str| {
        let mut allowed: Vec<_> = (0..before).map(|n| format!("v{n}")).collect();
        allowed.push(text.to_owned());
        let tool = function("fill", json!({ "a": { "enum": allowed } }), json!(["a"]));
        asked(vec![tool], &format!("fill {text}")).tool_calls.len()
    };
    assert_eq!((called(63, "red"), called(64, "red")), (1, 0));
    let long = |bytes: usize| called(0, &"r".repeat(bytes));
    assert_eq!((long(128), long(129)), (1, 0));
}

#[test]
fn a_long_message_does_not_become_an_argument() {
    let called = |bytes: usize| {
        let schema = json!({ "text": { "type": "string" } });
        let tool = function("echo", schema, json!(["text"]));
        let text = format!("echo {}", "x".repeat(bytes - 5));
        asked(vec![tool], &text).tool_calls.len()
    };
    assert_eq!((called(64 * 1024), called(64 * 1024 + 1)), (1, 0));
}

#[test]
fn a_number_too_long_for_one_is_a_mark() {
    let called = |digits: usize| {
        let tool = function("fill", json!({ "a": { "type": "number" } }), json!(["a"]));
        asked(vec![tool], &format!("fill {}", "7".repeat(digits)))
            .tool_calls
            .len()
    };
    assert_eq!((called(32), called(33)), (1, 0));
}

#[test]
fn only_the_first_stop_texts_are_looked_for() {
    let said = |before: usize| {
        let mut chat = Chat {
            messages: vec![Message::text(Role::User, "hello")],
            stop: vec!["nowhere".to_owned(); before],
            ..Chat::default()
        };
        chat.stop.push("I am".to_owned());
        complete(&chat, "", 0).content.unwrap()
    };
    assert_eq!(said(15), "Hello! ");
    assert!(said(16).contains("I am"));
}

#[test]
fn a_result_with_large_names_is_told_in_short() {
    let long = "k".repeat(1_000);
    let empty: Map<_, _> = (0..31).map(|n| (format!("a{n:02}"), json!({}))).collect();
    let told = |more: &[&str]| {
        let mut fields = empty.clone();
        for name in more {
            fields.insert((*name).to_owned(), json!("seen"));
        }
        let call = ToolCall {
            id: "c1".to_owned(),
            name: long.clone(),
            arguments: String::new(),
        };
        let result = json!({ long.as_str(): fields }).to_string();
        let messages = vec![
            Message::assistant(None, vec![call]),
            Message::tool_result("c1", result),
        ];
        let chat = Chat {
            messages,
            ..Chat::default()
        };
        complete(&chat, "", 0).content.unwrap()
    };
    let text = told(&["b", "c"]);
    assert!(
        text.contains("… b: seen") && !text.contains("… c"),
        "{text}"
    );
    assert!(text.chars().count() < 500, "{text}");
}
