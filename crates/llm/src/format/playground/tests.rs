//! The playground helps, calls the right tool with the right arguments, and always answers the same.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Function, ToolCall};

fn orders() -> Vec<Function> {
    let function = |name: &str, description: &str, parameters: Value| Function {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters,
        strict: None,
    };
    vec![
        function(
            "orders__get-order",
            "Looks up one order by its number",
            json!({ "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] }),
        ),
        function(
            "calc__add",
            "Adds two numbers",
            json!({ "type": "object", "required": ["a", "b"],
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } } }),
        ),
        function(
            "notes__create",
            "Writes a note",
            json!({ "type": "object", "required": ["title"], "properties": {
                "title": { "type": "string" }, "color": { "enum": ["red", "blue"] } } }),
        ),
    ]
}

fn chat(tools: Vec<Function>, asked: &str) -> Chat {
    let messages = vec![
        Message::text(Role::System, "Be kind."),
        Message::text(Role::User, asked),
    ];
    Chat {
        model: "playground".to_owned(),
        messages,
        tools,
        ..Chat::default()
    }
}

fn call(asked: &str) -> (String, Value) {
    let completion = complete(&chat(orders(), asked), "id", 0);
    assert_eq!(
        completion.finish,
        FinishReason::ToolCalls,
        "{asked}: {:?}",
        completion.content
    );
    let call = &completion.tool_calls[0];
    (
        call.name.clone(),
        serde_json::from_str(&call.arguments).unwrap(),
    )
}

fn said(chat: &Chat) -> String {
    complete(chat, "id", 0).content.unwrap()
}

#[test]
fn the_function_whose_words_are_asked_for_is_called() {
    let order = |id: &str| ("orders__get-order".to_owned(), json!({ "id": id }));
    assert_eq!(call("Where is order 1042?"), order("1042"));
    assert_eq!(call("what about my orders, #77 please"), order("77"));
    assert_eq!(call("order id: ORD-9"), order("ORD-9"));
    assert_eq!(
        call("Please add 2 and -3.5"),
        ("calc__add".to_owned(), json!({ "a": 2, "b": -3.5 }))
    );
    let note = json!({ "title": "buy milk", "color": "blue" });
    assert_eq!(
        call("create a blue note \"buy milk\""),
        ("notes__create".to_owned(), note)
    );
}

#[test]
fn what_is_missing_is_asked_for_and_nothing_is_made_up() {
    let text = said(&chat(orders(), "Where is my order?"));
    assert!(
        text.contains("`orders__get-order`") && text.contains("id"),
        "{text}"
    );
}

#[test]
fn other_messages_call_nothing() {
    for asked in [
        "hello",
        "get me the list of what you can do",
        "12 34",
        "",
        "Who are you?",
    ] {
        let completion = complete(&chat(orders(), asked), "id", 0);
        assert_eq!(completion.tool_calls, [], "{asked}");
        assert!(completion.content.unwrap().contains("`calc__add`"));
    }
    let mut refused = chat(orders(), "order 1042");
    refused.tool_choice = Some(ToolChoice::None);
    assert!(said(&refused).contains("order 1042"));
}

#[test]
fn it_says_what_it_is() {
    for asked in ["hi", "who are you?", "explain the moon"] {
        let text = said(&chat(vec![], asked));
        assert!(
            text.contains("playground model") && text.contains("not a language model"),
            "{text}"
        );
    }
}

#[test]
fn a_tools_result_is_told_in_words() {
    let mut chat = chat(orders(), "Where is order 1042?");
    let asked = ToolCall {
        id: "c1".to_owned(),
        name: "orders__get-order".to_owned(),
        arguments: "{\"id\":\"1042\"}".to_owned(),
    };
    chat.messages.push(Message::assistant(None, vec![asked]));
    let result = r#"{"id":1042,"status":"shipped","items":[{"sku":"A1"}],"eta":null}"#;
    chat.messages.push(Message::tool_result("c1", result));
    let text = said(&chat);
    for essential in [
        "`orders__get-order`",
        "status: shipped",
        "id: 1042",
        "A1",
        "eta: none",
    ] {
        assert!(text.contains(essential), "{essential}: {text}");
    }
    chat.messages.pop();
    chat.messages.push(Message::tool_result(
        "c1",
        r#"{"error":"HTTP 403","detail":"no rule allows it"}"#,
    ));
    let text = said(&chat);
    assert!(
        text.contains("failed") && text.contains("no rule allows it"),
        "{text}"
    );
}

#[test]
fn a_second_question_is_a_second_call_with_an_id_of_its_own() {
    let mut chat = chat(orders(), "order 1");
    let first = complete(&chat, "id", 0).tool_calls;
    chat.messages.push(Message::assistant(None, first.clone()));
    chat.messages.push(Message::tool_result(&first[0].id, "{}"));
    chat.messages
        .push(Message::text(Role::User, "and order 2?"));
    let second = complete(&chat, "id", 0).tool_calls;
    assert_ne!(first[0].id, second[0].id);
    assert_eq!(second[0].arguments, r#"{"id":"2"}"#);
}

#[test]
fn it_streams_word_by_word_and_counts_words() {
    let chat = chat(vec![], "hello there");
    let deltas = answer(&chat, "chatcmpl-1", 7);
    let pieces: Vec<&str> = deltas
        .iter()
        .filter_map(|delta| {
            if let Delta::Content(text) = delta {
                Some(text.as_str())
            } else {
                None
            }
        })
        .collect();
    assert!(
        pieces.len() > 5
            && pieces
                .iter()
                .all(|piece| piece.trim_end().split(' ').count() == 1)
    );
    let usage = complete(&chat, "", 0).usage.unwrap();
    assert_eq!(usage.prompt_tokens, 4);
    assert_eq!(usage.completion_tokens, pieces.len() as u64);
    assert_eq!(
        usage.total_tokens,
        usage.prompt_tokens + usage.completion_tokens
    );
    assert!(matches!(&deltas[0], Delta::Start { id, created_s: 7, .. } if id == "chatcmpl-1"));
}

#[test]
fn bounds_on_the_answer_are_kept() {
    let mut short = chat(vec![], "hello");
    short.max_tokens = Some(2);
    let completion = complete(&short, "", 0);
    assert_eq!(completion.finish, FinishReason::Length);
    assert_eq!(completion.content.unwrap().split_whitespace().count(), 2);
    let mut stopped = chat(vec![], "hello");
    stopped.stop = vec![String::new(), "playground".to_owned()];
    assert_eq!(said(&stopped), "Hello! I am the ");
}

proptest! {
    #[test]
    fn any_message_gets_the_same_answer_twice(asked in "(?s).{0,200}", schema in "[a-z:\",{}\\[\\]]{0,40}") {
        let mut tools = orders();
        tools[0].parameters = serde_json::from_str(&schema).unwrap_or(Value::Null);
        let chat = chat(tools, &asked);
        let first = answer(&chat, "id", 1);
        prop_assert_eq!(&first, &answer(&chat, "id", 1));
        let whole = complete(&chat, "id", 1);
        prop_assert!(whole.content.is_some() == whole.tool_calls.is_empty());
    }

    #[test]
    fn any_tool_result_is_told(result in "(?s).{0,200}") {
        let mut chat = chat(orders(), "order 1");
        chat.messages.push(Message::tool_result("unknown", result));
        prop_assert!(!said(&chat).is_empty());
    }
}
