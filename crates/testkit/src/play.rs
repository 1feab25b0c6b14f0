//! A model server that plays a part, so that a real coding agent has something to do: it says texts and uses the agent's own
//! tools, as the test says, in Anthropic's Messages, OpenAI's Responses and Chat Completions, streamed piece by piece.

use serde_json::{Value, json};

use crate::{Answer, Latch, Recorded, Upstream};

/// What the model does next.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Says a text, a word at a time, and has ended.
    Say(String),
    /// Uses a tool of the agent's.
    Use {
        /// Which.
        tool: String,
        /// Its arguments.
        input: Value,
    },
    /// Says nothing until the latch is open.
    Wait(Latch),
}

/// How far a conversation has come.
#[derive(Debug)]
pub struct Scene {
    /// Everything that was asked, as text.
    pub asked: String,
    /// Names of the tools that the agent offers.
    pub tools: Vec<String>,
    /// How many of its tools' results the agent has sent.
    pub results: usize,
}

/// Starts a server that does what the play says at each scene. Questions that offer no tools are beside the play: they are
/// answered with a word.
#[must_use]
pub fn start(play: impl Fn(&Scene) -> Turn + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |request| respond(request, &play))
}

fn respond(request: &Recorded, play: &impl Fn(&Scene) -> Turn) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.target.split('?').next().unwrap_or_default();
    let tell = match (request.method.as_str(), path.rsplit("/v1").next()) {
        ("POST", Some("/messages")) => messages,
        ("POST", Some("/responses")) => responses,
        ("POST", Some("/chat/completions")) => chat,
        ("POST", Some("/messages/count_tokens")) => {
            return Answer::json(&json!({"input_tokens": 3}));
        }
        _ => return Answer::json(&json!({"error": {"message": "no such route"}})).with_status(404),
    };
    let scene = scene(&body);
    let turn = if scene.tools.is_empty() {
        Turn::Say("beside".to_owned())
    } else {
        play(&scene)
    };
    match turn {
        Turn::Wait(latch) => tell(&body, &Turn::Say("late".to_owned())).held_by(&latch),
        turn => tell(&body, &turn),
    }
}

fn scene(body: &Value) -> Scene {
    let said = body.get("messages").or_else(|| body.get("input"));
    let said = said.cloned().unwrap_or_default();
    let asked = said.to_string();
    let marks = [
        "\"type\":\"tool_result\"",
        "\"type\":\"function_call_output\"",
        "\"role\":\"tool\"",
    ];
    let results = marks.iter().map(|mark| asked.matches(mark).count()).sum();
    let tools = body["tools"].as_array().into_iter().flatten();
    let name = |tool: &Value| {
        let name = tool["name"].as_str();
        Some(
            name.or_else(|| tool["function"]["name"].as_str())?
                .to_owned(),
        )
    };
    Scene {
        tools: tools.filter_map(name).collect(),
        asked,
        results,
    }
}

fn events(events: Vec<(&str, Value)>) -> Answer {
    let line = |(name, data): (&str, Value)| match name {
        "" => format!("data: {data}\n\n"),
        name => format!("event: {name}\ndata: {data}\n\n"),
    };
    let body: String = events.into_iter().map(line).collect();
    let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
    Answer {
        status: 200,
        headers,
        body: body.into_bytes(),
        hold: None,
    }
}

/// Pieces of a text, so that it must be put together again.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', ','])
}

fn messages(body: &Value, turn: &Turn) -> Answer {
    let (block, deltas, stop) = match turn {
        Turn::Use { tool, input } => {
            let input = input.to_string();
            let deltas: Vec<_> = pieces(&input)
                .map(|piece| json!({"type": "input_json_delta", "partial_json": piece}))
                .collect();
            let block = json!({"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}});
            (block, deltas, "tool_use")
        }
        Turn::Say(text) => {
            let deltas = pieces(text).map(|piece| json!({"type": "text_delta", "text": piece}));
            (
                json!({"type": "text", "text": ""}),
                deltas.collect(),
                "end_turn",
            )
        }
        Turn::Wait(_) => return Answer::json(&json!({})),
    };
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1},
    });
    let mut told = vec![
        ("message_start", json!({"message": message})),
        (
            "content_block_start",
            json!({"index": 0, "content_block": block}),
        ),
        ("ping", json!({})),
    ];
    let deltas = deltas.into_iter();
    told.extend(deltas.map(|delta| ("content_block_delta", json!({"index": 0, "delta": delta}))));
    let end = json!({"delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {"output_tokens": 5}});
    told.push(("content_block_stop", json!({"index": 0})));
    told.push(("message_delta", end));
    told.push(("message_stop", json!({})));
    events(typed(told))
}

/// Each event says its own name again.
fn typed(mut told: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    for (name, data) in &mut told {
        data["type"] = json!(name);
    }
    told
}

fn responses(body: &Value, turn: &Turn) -> Answer {
    let whole = |status: &str| {
        json!({
            "id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": status, "output": [],
            "usage": {
                "input_tokens": 3, "output_tokens": 5, "total_tokens": 8,
                "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
            },
        })
    };
    let mut told = vec![(
        "response.created",
        json!({"response": whole("in_progress")}),
    )];
    let item = match turn {
        Turn::Use { tool, input } => json!({
            "type": "function_call", "id": "f1", "call_id": "c1", "name": tool, "arguments": input.to_string(),
            "status": "completed",
        }),
        Turn::Say(text) => {
            let begun = json!({"type": "message", "id": "m1", "role": "assistant", "content": []});
            told.push((
                "response.output_item.added",
                json!({"output_index": 0, "item": begun}),
            ));
            let at = |piece: &str| json!({"item_id": "m1", "output_index": 0, "content_index": 0, "delta": piece});
            told.extend(pieces(text).map(|piece| ("response.output_text.delta", at(piece))));
            let part = json!({"type": "output_text", "text": text, "annotations": []});
            json!({"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]})
        }
        Turn::Wait(_) => return Answer::json(&json!({})),
    };
    told.push((
        "response.output_item.done",
        json!({"output_index": 0, "item": item}),
    ));
    told.push((
        "response.completed",
        json!({"response": whole("completed")}),
    ));
    events(typed(told))
}

fn chat(body: &Value, turn: &Turn) -> Answer {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice],
        });
        ("", chunk)
    };
    let mut told = vec![chunk(json!({"role": "assistant"}), Value::Null)];
    let finish = match turn {
        Turn::Use { tool, input } => {
            let function = json!({"name": tool, "arguments": input.to_string()});
            let call = json!({"index": 0, "id": "c1", "type": "function", "function": function});
            told.push(chunk(json!({"tool_calls": [call]}), Value::Null));
            "tool_calls"
        }
        Turn::Say(text) => {
            let said = pieces(text).map(|piece| chunk(json!({"content": piece}), Value::Null));
            told.extend(said);
            "stop"
        }
        Turn::Wait(_) => return Answer::json(&json!({})),
    };
    told.push(chunk(json!({}), json!(finish)));
    events(told)
}
