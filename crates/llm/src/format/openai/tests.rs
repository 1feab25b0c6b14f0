//! Bodies in and out; what is not understood or would make a provider act stays here.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Assembly, Content, Message, Part, RequestError, Role, ToolCall, ToolChoice, sse};

fn read(body: &Value) -> Result<Chat, RequestError> {
    read_request(body.to_string().as_bytes())
}

fn with(field: &str, value: &Value) -> Result<Chat, RequestError> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body[field] = value.clone();
    read(&body)
}

fn whole_request() -> Value {
    json!({
        "model": "fast",
        "messages": [
            { "role": "system", "content": "Be kind." },
            { "role": "user", "name": "ann", "content": [
                { "type": "text", "text": "What is this?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==", "detail": "low" } },
            ] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{\"a\":1}" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "a cat" },
        ],
        "tools": [{ "type": "function", "function": {
            "name": "look", "description": "Looks", "parameters": { "type": "object" }, "strict": true,
        } }],
        "tool_choice": "auto",
        "temperature": 0.5,
        "max_tokens": 10,
        "stop": ["END"],
        "stream": true,
        "stream_options": { "include_usage": true },
        "top_p": 0.9,
        "response_format": { "type": "json_object" },
    })
}

#[test]
fn a_whole_request_goes_through_unchanged() {
    let chat = read(&whole_request()).unwrap();
    assert_eq!(chat.messages[1].plain_text(), "What is this?");
    assert!(
        matches!(&chat.messages[1].content, Some(Content::Parts(p)) if matches!(p[1], Part::Image { .. }))
    );
    assert_eq!(chat.messages[2].tool_calls[0].arguments, "{\"a\":1}");
    assert!(chat.stream && chat.include_usage);
    let written: Value = serde_json::from_slice(&write_request(&chat)).unwrap();
    assert_eq!(written, whole_request());
}

#[test]
fn the_contracts_words_for_what_is_missing() {
    let error = |body: &Value| read(body).unwrap_err().to_string();
    assert_eq!(error(&json!({ "messages": [] })), "model is required");
    assert_eq!(error(&json!({ "model": "" })), "model is required");
    assert_eq!(
        error(&json!({ "model": "m", "messages": [] })),
        "messages is required"
    );
    assert_eq!(error(&json!([1])), "the body must be a JSON object");
    assert_eq!(
        read_request(b"{x").unwrap_err().to_string(),
        "invalid JSON body"
    );
    let twice = br#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#;
    assert_eq!(
        read_request(twice),
        Err(RequestError::DuplicateKey("content".to_owned()))
    );
}

#[test]
fn what_would_make_the_provider_act_is_refused_by_name() {
    for (field, value) in [
        ("store", json!(true)),
        ("background", json!(true)),
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("web_search_options", json!({})),
        ("mcp_servers", json!([])),
        ("tools", json!([{ "type": "web_search" }])),
        (
            "tools",
            json!([{ "type": "mcp", "server_url": "https://evil.example" }]),
        ),
    ] {
        let error = with(field, &value).unwrap_err();
        assert!(
            matches!(&error, RequestError::ProviderActs(at) if at.starts_with(field)),
            "{error}"
        );
    }
    for url in [
        "https://a.example/x.png",
        "http://169.254.169.254/",
        " data:image/png",
        "DATA:image/png",
        "file:///etc",
        "",
    ] {
        let part = json!({ "type": "image_url", "image_url": { "url": url } });
        let error = with("messages", &json!([{ "role": "user", "content": [part] }])).unwrap_err();
        assert_eq!(
            error,
            RequestError::ProviderActs("messages[0].content[0].image_url".to_owned())
        );
    }
    assert!(with("store", &json!(false)).is_ok());
    assert!(with("previous_response_id", &Value::Null).is_ok());
}

#[test]
fn unknown_and_wrong_fields_are_refused() {
    for (field, value) in [
        ("messages", json!("hi")),
        ("messages", json!([1])),
        ("messages", json!([{ "role": "robot", "content": "x" }])),
        ("messages", json!([{ "role": "user", "content": null }])),
        ("messages", json!([{ "role": "user", "content": 7 }])),
        (
            "messages",
            json!([{ "role": "user", "content": [{ "type": "file", "file": { "file_id": "f" } }] }]),
        ),
        ("messages", json!([{ "role": "tool", "content": "x" }])),
        (
            "messages",
            json!([{ "role": "assistant", "tool_calls": [{ "id": 1 }] }]),
        ),
        ("model", json!(7)),
        ("temperature", json!("hot")),
        ("max_tokens", json!(-1)),
        ("n", json!(2)),
        ("stop", json!([1])),
        ("stream", json!("yes")),
        ("tools", json!([{ "type": "function", "function": {} }])),
        ("tool_choice", json!({ "type": "allowed_tools" })),
        ("tool_choice", json!("sometimes")),
    ] {
        let error = with(field, &value).unwrap_err();
        assert!(
            matches!(&error, RequestError::Field { field: at, .. } if at.starts_with(field)),
            "{error}"
        );
    }
    assert_eq!(
        with("frobnicate", &json!(1)),
        Err(RequestError::UnknownField("frobnicate".to_owned()))
    );
    let choice = with(
        "tool_choice",
        &json!({ "type": "function", "function": { "name": "f" } }),
    );
    assert_eq!(
        choice.unwrap().tool_choice,
        Some(ToolChoice::Function("f".to_owned()))
    );
}

fn whole_answer() -> Completion {
    Completion {
        id: "chatcmpl-1".to_owned(),
        created_s: 7,
        model: "gpt".to_owned(),
        content: Some("Hello you".to_owned()),
        tool_calls: vec![ToolCall {
            id: "c1".into(),
            name: "f".into(),
            arguments: "{\"a\": 1}".into(),
        }],
        finish: FinishReason::ToolCalls,
        usage: Some(Usage {
            prompt_tokens: 3,
            completion_tokens: 4,
            total_tokens: 7,
        }),
    }
}

#[test]
fn an_answer_comes_back_whole() {
    assert_eq!(
        read_completion(&write_completion(&whole_answer())).unwrap(),
        whole_answer()
    );
    let bare = br#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"odd"}],"usage":{"prompt_tokens":2}}"#;
    let bare = read_completion(bare).unwrap();
    assert_eq!(bare.content.as_deref(), Some("no"));
    assert_eq!(bare.usage.unwrap().total_tokens, 2);
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"choices":[{"message":{"tool_calls":[{}]}}]}"#,
    ] {
        assert!(read_completion(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn a_streamed_answer_comes_back_whole() {
    let deltas = [
        Delta::Start {
            id: "chatcmpl-1".into(),
            created_s: 7,
            model: "gpt".into(),
        },
        Delta::Content("Hello ".into()),
        Delta::Content("you".into()),
        Delta::ToolCall {
            index: 0,
            id: Some("c1".into()),
            name: Some("f".into()),
            arguments: "{\"a\"".into(),
        },
        Delta::ToolCall {
            index: 0,
            id: None,
            name: None,
            arguments: ": 1}".into(),
        },
        Delta::Finish(FinishReason::ToolCalls),
        Delta::Usage(whole_answer().usage.unwrap()),
    ];
    let mut writer = ChunkWriter::new(true);
    let mut wire: String = deltas
        .iter()
        .filter_map(|delta| writer.write(delta))
        .collect();
    wire.push_str(&writer.end());
    let mut assembly = Assembly::new();
    let mut seen = Vec::new();
    for event in sse::Decoder::new(1 << 16).push(wire.as_bytes()).unwrap() {
        seen.extend(read_chunk(&event.data).unwrap());
    }
    assert_eq!(seen, deltas);
    seen.iter().for_each(|delta| assembly.add(delta));
    assert!(assembly.is_finished());
    assert_eq!(assembly.into_completion(), whole_answer());
    assert!(wire.ends_with("data: [DONE]\n\n"));
    assert_eq!(ChunkWriter::new(false).write(&deltas[6]), None);
}

#[test]
fn an_error_inside_a_stream_is_one() {
    let error = ChunkWriter::new(false).error("provider request failed");
    let data = sse::Decoder::new(1 << 10)
        .push(error.as_bytes())
        .unwrap()
        .remove(0)
        .data;
    assert_eq!(
        read_chunk(&data),
        Err(ResponseError::Reported(
            "provider request failed".to_owned()
        ))
    );
    assert!(read_chunk("{").is_err());
    assert!(read_chunk("7").is_err());
}

#[test]
fn a_hostile_stream_cannot_fill_the_memory() {
    let mut assembly = Assembly::new();
    let call = |index: usize| {
        format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index},"id":"x"}}]}}}}]}}"#)
    };
    for index in [0, usize::MAX, 1_000_000_000] {
        for delta in read_chunk(&call(index)).unwrap() {
            assembly.add(&delta);
        }
    }
    assembly.add(&Delta::Finish(FinishReason::Stop));
    let whole = assembly.into_completion();
    assert_eq!(whole.tool_calls.len(), 1);
    assert_eq!(whole.finish, FinishReason::Length);
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
        let _ = read_request(&bytes);
        let _ = read_request(text.as_bytes());
        let _ = read_completion(text.as_bytes());
        let _ = read_chunk(&text);
    }

    #[test]
    fn what_was_read_is_what_is_written(content in "(?s).{0,50}", role in prop::sample::select(vec!["system", "user", "developer"])) {
        let body = json!({ "model": "m", "messages": [{ "role": role, "content": content }] });
        let chat = read(&body).unwrap();
        prop_assert_eq!(&chat.messages, &[Message::text(Role::from_word(role).unwrap(), content)]);
        prop_assert_eq!(serde_json::from_slice::<Value>(&write_request(&chat)).unwrap(), body);
    }
}
