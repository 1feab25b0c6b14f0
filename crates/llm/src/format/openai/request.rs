//! The body of a chat completion request, read and written. Reading knows every field it lets through: what it does not know
//! does not leave, and what would make the provider act is named.

use serde_json::{Map, Value, json};

use crate::{
    Chat, Content, Function, Message, Part, RequestError, Role, ToolCall, ToolChoice,
    json::refuse_duplicate_keys,
};

/// Settings that change how an answer reads and nothing else; passed on as they came.
const HARMLESS: [&str; 17] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "min_p",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
];

/// Fields by which a provider would fetch, run or remember something.
const PROVIDER_ACTS: [&str; 11] = [
    "background",
    "container",
    "conversation",
    "mcp_servers",
    "metadata",
    "plugins",
    "previous_response_id",
    "prompt",
    "prompt_cache_retention",
    "store",
    "web_search_options",
];

/// Reads a client's body. Duplicate keys, unknown fields and everything that would make the provider act are refused.
///
/// # Errors
/// See [`RequestError`]; all are 400.
pub fn read_request(body: &[u8]) -> Result<Chat, RequestError> {
    refuse_duplicate_keys(body)?;
    let Value::Object(fields) = serde_json::from_slice(body).map_err(|_| RequestError::NotJson)?
    else {
        return Err(RequestError::NotAnObject);
    };
    let mut chat = Chat {
        model: read_model(&fields)?,
        ..Chat::default()
    };
    match fields.get("messages") {
        None | Some(Value::Null) => return Err(RequestError::MessagesRequired),
        Some(Value::Array(list)) if list.is_empty() => return Err(RequestError::MessagesRequired),
        Some(Value::Array(list)) => {
            for (position, message) in list.iter().enumerate() {
                chat.messages
                    .push(read_message(message, &format!("messages[{position}]"))?);
            }
        }
        Some(_) => return Err(wrong("messages", "must be a list")),
    }
    for (name, value) in fields {
        read_field(&mut chat, &name, value)?;
    }
    Ok(chat)
}

fn wrong(field: impl Into<String>, why: &'static str) -> RequestError {
    RequestError::Field {
        field: field.into(),
        why,
    }
}

fn read_model(fields: &Map<String, Value>) -> Result<String, RequestError> {
    match fields.get("model") {
        None | Some(Value::Null) => Err(RequestError::ModelRequired),
        Some(Value::String(name)) if name.is_empty() => Err(RequestError::ModelRequired),
        Some(Value::String(name)) => Ok(name.clone()),
        Some(_) => Err(wrong("model", "must be a text")),
    }
}

/// One field beside model and messages. A null is as good as nothing.
fn read_field(chat: &mut Chat, name: &str, value: Value) -> Result<(), RequestError> {
    if value.is_null() {
        return Ok(());
    }
    let count = |value: &Value| value.as_u64().ok_or(wrong(name, "must be a whole number"));
    match name {
        "model" | "messages" => {}
        "tools" => chat.tools = read_tools(&value)?,
        "tool_choice" => chat.tool_choice = Some(read_tool_choice(&value)?),
        "temperature" => {
            chat.temperature = Some(value.as_f64().ok_or(wrong(name, "must be a number"))?);
        }
        "max_tokens" => chat.max_tokens = Some(count(&value)?),
        "max_completion_tokens" => chat.max_completion_tokens = Some(count(&value)?),
        "stop" => chat.stop = read_stop(value)?,
        "stream" => {
            chat.stream = value
                .as_bool()
                .ok_or(wrong(name, "must be true or false"))?;
        }
        "stream_options" => {
            chat.include_usage = value.get("include_usage").and_then(Value::as_bool) == Some(true);
        }
        "n" if value == json!(1) => {}
        "n" => return Err(wrong(name, "must be 1")),
        "store" | "background" if value == json!(false) => {}
        _ if PROVIDER_ACTS.contains(&name) => {
            return Err(RequestError::ProviderActs(name.to_owned()));
        }
        _ if HARMLESS.contains(&name) => {
            chat.extra.insert(name.to_owned(), value);
        }
        _ => {
            let shown = name.escape_debug().take(64).collect();
            return Err(RequestError::UnknownField(shown));
        }
    }
    Ok(())
}

fn read_stop(value: Value) -> Result<Vec<String>, RequestError> {
    match value {
        Value::String(text) => Ok(vec![text]),
        list => serde_json::from_value(list)
            .map_err(|_| wrong("stop", "must be a text or a list of texts")),
    }
}

fn read_tools(value: &Value) -> Result<Vec<Function>, RequestError> {
    let list = value.as_array().ok_or(wrong("tools", "must be a list"))?;
    let mut functions = Vec::with_capacity(list.len());
    for (position, tool) in list.iter().enumerate() {
        let at = format!("tools[{position}]");
        if tool.get("type").and_then(Value::as_str) != Some("function") {
            return Err(RequestError::ProviderActs(at));
        }
        let function = &tool["function"];
        let Some(name) = function["name"].as_str().filter(|name| !name.is_empty()) else {
            return Err(wrong(at, "must have a function with a name"));
        };
        functions.push(Function {
            name: name.to_owned(),
            description: function["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            parameters: match &function["parameters"] {
                Value::Null => json!({ "type": "object", "properties": {} }),
                schema => schema.clone(),
            },
            strict: function["strict"].as_bool(),
        });
    }
    Ok(functions)
}

fn read_tool_choice(value: &Value) -> Result<ToolChoice, RequestError> {
    let function = value["function"]["name"].as_str();
    match (value.as_str(), value["type"].as_str(), function) {
        (Some("auto"), ..) => Ok(ToolChoice::Auto),
        (Some("none"), ..) => Ok(ToolChoice::None),
        (Some("required"), ..) => Ok(ToolChoice::Required),
        (None, Some("function"), Some(name)) => Ok(ToolChoice::Function(name.to_owned())),
        _ => Err(wrong(
            "tool_choice",
            "must be auto, none, required or a function",
        )),
    }
}

fn read_message(value: &Value, at: &str) -> Result<Message, RequestError> {
    let role = value["role"]
        .as_str()
        .and_then(Role::from_word)
        .ok_or_else(|| {
            wrong(
                format!("{at}.role"),
                "must be system, developer, user, assistant or tool",
            )
        })?;
    if !value["function_call"].is_null() {
        return Err(wrong(
            format!("{at}.function_call"),
            "is no longer known: use tool_calls",
        ));
    }
    let message = Message {
        role,
        content: read_content(&value["content"], &format!("{at}.content"))?,
        name: value["name"].as_str().map(str::to_owned),
        tool_calls: read_tool_calls(&value["tool_calls"], &format!("{at}.tool_calls"))?,
        tool_call_id: value["tool_call_id"].as_str().map(str::to_owned),
    };
    if role == Role::Tool && message.tool_call_id.is_none() {
        return Err(wrong(
            format!("{at}.tool_call_id"),
            "is required in a tool's message",
        ));
    }
    if role != Role::Assistant && message.content.is_none() {
        return Err(wrong(format!("{at}.content"), "is required"));
    }
    Ok(message)
}

fn read_content(value: &Value, at: &str) -> Result<Option<Content>, RequestError> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Content::Text(text.clone()))),
        Value::Array(list) => {
            let parts = list
                .iter()
                .enumerate()
                .map(|(i, part)| read_part(part, &format!("{at}[{i}]")));
            Ok(Some(Content::Parts(parts.collect::<Result<_, _>>()?)))
        }
        _ => Err(wrong(at, "must be a text or a list of parts")),
    }
}

fn read_part(value: &Value, at: &str) -> Result<Part, RequestError> {
    let text = |key: &str| value[key].as_str().map(|text| Part::Text(text.to_owned()));
    match value["type"].as_str() {
        Some("text") => text("text").ok_or_else(|| wrong(at, "must have a text")),
        Some("refusal") => text("refusal").ok_or_else(|| wrong(at, "must have a refusal")),
        Some("image_url") => {
            let image = &value["image_url"];
            let url = image.as_str().or(image["url"].as_str()).unwrap_or_default();
            if !url.starts_with("data:image/") {
                return Err(RequestError::ProviderActs(format!("{at}.image_url")));
            }
            let detail = image["detail"].as_str().map(str::to_owned);
            Ok(Part::Image {
                data_url: url.to_owned(),
                detail,
            })
        }
        _ => Err(wrong(
            at,
            "must be a text or an image; other parts are not passed on",
        )),
    }
}

fn read_tool_calls(value: &Value, at: &str) -> Result<Vec<ToolCall>, RequestError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let list = value
        .as_array()
        .ok_or_else(|| wrong(at, "must be a list"))?;
    let read = |call: &Value| {
        Some(ToolCall {
            id: call["id"].as_str()?.to_owned(),
            name: call["function"]["name"].as_str()?.to_owned(),
            arguments: call["function"]["arguments"].as_str()?.to_owned(),
        })
    };
    let calls = list.iter().map(read).collect::<Option<_>>();
    calls.ok_or_else(|| {
        wrong(
            at,
            "must have an id and a function with name and arguments, all texts",
        )
    })
}

/// Writes a question as a body. A streamed answer is always asked to end with its usage: somebody has to count.
#[must_use]
pub fn write_request(chat: &Chat) -> Vec<u8> {
    let mut body = chat.extra.clone();
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    put("model", json!(chat.model));
    put(
        "messages",
        chat.messages.iter().map(write_message).collect(),
    );
    if !chat.tools.is_empty() {
        put("tools", chat.tools.iter().map(write_tool).collect());
    }
    if let Some(choice) = &chat.tool_choice {
        put("tool_choice", write_tool_choice(choice));
    }
    if let Some(temperature) = chat.temperature {
        put("temperature", json!(temperature));
    }
    if let Some(tokens) = chat.max_tokens {
        put("max_tokens", json!(tokens));
    }
    if let Some(tokens) = chat.max_completion_tokens {
        put("max_completion_tokens", json!(tokens));
    }
    if !chat.stop.is_empty() {
        put("stop", json!(chat.stop));
    }
    if chat.stream {
        put("stream", json!(true));
        put("stream_options", json!({ "include_usage": true }));
    }
    Value::Object(body).to_string().into_bytes()
}

fn write_message(message: &Message) -> Value {
    let content = match &message.content {
        None => Value::Null,
        Some(Content::Text(text)) => json!(text),
        Some(Content::Parts(parts)) => parts.iter().map(write_part).collect(),
    };
    let mut value = json!({ "role": message.role.word(), "content": content });
    if let Some(name) = &message.name {
        value["name"] = json!(name);
    }
    if !message.tool_calls.is_empty() {
        value["tool_calls"] = message.tool_calls.iter().map(write_tool_call).collect();
    }
    if let Some(id) = &message.tool_call_id {
        value["tool_call_id"] = json!(id);
    }
    value
}

fn write_part(part: &Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Image {
            data_url,
            detail: None,
        } => {
            json!({ "type": "image_url", "image_url": { "url": data_url } })
        }
        Part::Image {
            data_url,
            detail: Some(detail),
        } => {
            json!({ "type": "image_url", "image_url": { "url": data_url, "detail": detail } })
        }
    }
}

/// A tool call as it stands in messages and answers.
pub(super) fn write_tool_call(call: &ToolCall) -> Value {
    let function = json!({ "name": call.name, "arguments": call.arguments });
    json!({ "id": call.id, "type": "function", "function": function })
}

fn write_tool(function: &Function) -> Value {
    let mut inner = json!({ "name": function.name, "parameters": function.parameters });
    if !function.description.is_empty() {
        inner["description"] = json!(function.description);
    }
    if let Some(strict) = function.strict {
        inner["strict"] = json!(strict);
    }
    json!({ "type": "function", "function": inner })
}

fn write_tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}
