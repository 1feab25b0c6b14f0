//! A model server in the OpenAI format, as far as the gate uses it: plain and streamed chat completions. Never clever:
//! it repeats what it was asked.

use serde_json::{Value, json};

use crate::{Answer, Recorded, Upstream};

/// Starts a server whose every answer is `You said: ` and the last message.
#[must_use]
pub fn start() -> Upstream {
    Upstream::start(respond)
}

fn respond(request: &Recorded) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if request.method != "POST" || !request.target.ends_with("/chat/completions") {
        return Answer::json(&json!({"error": {"message": "no such route"}})).with_status(404);
    }
    let last = body["messages"].as_array().and_then(|list| list.last());
    let asked = last
        .and_then(|message| message["content"].as_str())
        .unwrap_or("nothing");
    let text = format!("You said: {asked}");
    if body["stream"] == true {
        return stream(&body["model"], &text);
    }
    Answer::json(&json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }))
}

fn stream(model: &Value, text: &str) -> Answer {
    let chunk = |delta: Value, finish: Value| {
        let value = json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        format!("data: {value}\n\n")
    };
    let mut events = chunk(json!({"role": "assistant"}), Value::Null);
    for word in text.split_inclusive(' ') {
        events += &chunk(json!({"content": word}), Value::Null);
    }
    events += &chunk(json!({}), json!("stop"));
    events += "data: [DONE]\n\n";
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Answer {
        status: 200,
        headers,
        body: events.into_bytes(),
        hold: None,
    }
}
