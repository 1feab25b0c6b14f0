//! A model server as far as the gate uses one: chat completions, responses and embeddings as OpenAI has them, messages as
//! Anthropic has them, whole and streamed. Never clever: it repeats what it was asked.

use serde_json::{Value, json};

use crate::{Answer, Recorded, Upstream};

/// Starts a server whose every answer is `You said: ` and the last message.
#[must_use]
pub fn start() -> Upstream {
    Upstream::start(respond)
}

fn respond(request: &Recorded) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.target.split('?').next().unwrap_or_default();
    let route = path.rsplit("/v1").next().unwrap_or_default();
    let answer: fn(&Value) -> Answer = match (request.method.as_str(), route) {
        ("POST", "/chat/completions") => chat,
        ("POST", "/responses") => responses,
        ("POST", "/embeddings") => embeddings,
        ("POST", "/messages") => messages,
        ("POST", "/messages/count_tokens") => |_| Answer::json(&json!({"input_tokens": 3})),
        _ => return Answer::json(&json!({"error": {"message": "no such route"}})).with_status(404),
    };
    answer(&body)
}

/// What is said back: the last text of the conversation.
fn said(conversation: &Value) -> String {
    let last = conversation.as_array().and_then(|list| list.last());
    let content = last.map_or(conversation, |message| &message["content"]);
    let part = content.as_array().and_then(|parts| parts.last());
    let text = part.map_or(content, |part| &part["text"]);
    format!("You said: {}", text.as_str().unwrap_or("nothing"))
}

fn events(events: &[(&str, Value)]) -> Answer {
    let lines = events.iter().map(|(name, data)| {
        if name.is_empty() {
            format!("data: {data}\n\n")
        } else {
            format!("event: {name}\ndata: {data}\n\n")
        }
    });
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Answer {
        status: 200,
        headers,
        body: lines.collect::<String>().into_bytes(),
        hold: None,
    }
}

fn chat(body: &Value) -> Answer {
    let text = said(&body["messages"]);
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
    if body["stream"] != true {
        return Answer::json(&json!({
            "id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": usage,
        }));
    }
    let chunk = |delta: Value, finish: Value| {
        let value = json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        ("", value)
    };
    let mut all = vec![chunk(json!({"role": "assistant"}), Value::Null)];
    all.extend(
        text.split_inclusive(' ')
            .map(|word| chunk(json!({"content": word}), Value::Null)),
    );
    all.push(chunk(json!({}), json!("stop")));
    if body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!({}), Value::Null);
        last.1["choices"] = json!([]);
        last.1["usage"] = usage;
        all.push(last);
    }
    let mut answer = events(&all);
    answer.body.extend_from_slice(b"data: [DONE]\n\n");
    answer
}

fn responses(body: &Value) -> Answer {
    let text = said(&body["input"]);
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let item = |content: Value, status: &str| json!({"id": "msg_fake", "type": "message", "role": "assistant", "status": status, "content": content});
    let response = |output: Value, status: &str, usage: Value| {
        json!({
            "id": "resp_fake", "object": "response", "created_at": 1, "status": status, "model": body["model"],
            "output": output, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "usage": usage,
        })
    };
    let usage = json!({
        "input_tokens": 3, "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8,
    });
    let whole = response(
        json!([item(json!([part]), "completed")]),
        "completed",
        usage,
    );
    if body["stream"] != true {
        return Answer::json(&whole);
    }
    let at = json!({"item_id": "msg_fake", "output_index": 0, "content_index": 0});
    let event = |number: usize, kind: &'static str, more: Value| {
        let mut data = json!({"type": kind, "sequence_number": number});
        if let (Value::Object(data), Value::Object(at), Value::Object(more)) =
            (&mut data, at.clone(), more)
        {
            data.extend(at);
            data.extend(more);
        }
        (kind, data)
    };
    let begun = response(json!([]), "in_progress", Value::Null);
    let empty = json!({"type": "output_text", "text": "", "annotations": []});
    events(&[
        event(0, "response.created", json!({"response": begun})),
        event(
            1,
            "response.output_item.added",
            json!({"item": item(json!([]), "in_progress")}),
        ),
        event(2, "response.content_part.added", json!({"part": empty})),
        event(
            3,
            "response.output_text.delta",
            json!({"delta": text, "logprobs": []}),
        ),
        event(
            4,
            "response.output_text.done",
            json!({"text": text, "logprobs": []}),
        ),
        event(5, "response.content_part.done", json!({"part": part})),
        event(
            6,
            "response.output_item.done",
            json!({"item": item(json!([part]), "completed")}),
        ),
        event(7, "response.completed", json!({"response": whole})),
    ])
}

fn embeddings(body: &Value) -> Answer {
    Answer::json(&json!({
        "object": "list", "model": body["model"], "usage": {"prompt_tokens": 2, "total_tokens": 2},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
    }))
}

fn messages(body: &Value) -> Answer {
    let text = said(&body["messages"]);
    let message = |content: Value, stop: Value, output: u64| {
        json!({
            "id": "msg_fake", "type": "message", "role": "assistant", "model": body["model"], "content": content,
            "stop_reason": stop, "stop_sequence": null,
            "usage": {"input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": output},
        })
    };
    let block = json!({"type": "text", "text": text});
    if body["stream"] != true {
        return Answer::json(&message(json!([block]), json!("end_turn"), 5));
    }
    let begun = message(json!([]), Value::Null, 1);
    let empty = json!({"type": "text", "text": ""});
    let end = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events(&[
        (
            "message_start",
            json!({"type": "message_start", "message": begun}),
        ),
        (
            "content_block_start",
            json!({"type": "content_block_start", "index": 0, "content_block": empty}),
        ),
        ("ping", json!({"type": "ping"})),
        (
            "content_block_delta",
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        ),
        (
            "content_block_stop",
            json!({"type": "content_block_stop", "index": 0}),
        ),
        (
            "message_delta",
            json!({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}}),
        ),
        ("message_stop", json!({"type": "message_stop"})),
    ])
}
