//! What a question would make a provider do, route by route.

mod bytes;

use serde_json::{Value, json};

use super::*;

fn acts(api: Api, body: &Value) -> Vec<(Act, String)> {
    let text = body.to_string();
    let question =
        Question::read(api, text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    question
        .acts()
        .iter()
        .map(|found| (found.act, found.at.clone()))
        .collect()
}

fn base(api: Api) -> Value {
    match api {
        Api::Chat | Api::Messages | Api::CountTokens => {
            json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] })
        }
        Api::Responses | Api::Embeddings => json!({ "model": "m", "input": "hi" }),
    }
}

#[track_caller]
fn with(api: Api, field: &str, value: Value, wanted: Option<Act>) {
    let mut body = base(api);
    body[field] = value;
    let found: Vec<_> = acts(api, &body).into_iter().map(|(act, _)| act).collect();
    assert_eq!(found.first().copied(), wanted, "{api:?} {body}");
}

#[test]
fn tools_that_a_provider_runs() {
    for (kind, act) in [
        ("web_search", Act::WebSearch),
        ("web_search_preview_2025_03_11", Act::WebSearch),
        ("code_interpreter", Act::CodeExecution),
        ("shell", Act::CodeExecution),
        ("file_search", Act::FileSearch),
        ("computer_use_preview", Act::ComputerUse),
        ("mcp", Act::Mcp),
        ("image_generation", Act::ImageGeneration),
        ("something_new", Act::UnknownKinds),
    ] {
        with(
            Api::Responses,
            "tools",
            json!([{ "type": "function", "name": "f" }, { "type": kind }]),
            Some(act),
        );
        with(Api::Chat, "tools", json!([{ "type": kind }]), Some(act));
    }
    for (kind, act) in [
        ("web_search_20250305", Act::WebSearch),
        ("web_fetch_20250910", Act::WebFetch),
        ("code_execution_20250825", Act::CodeExecution),
        ("computer_20250124", Act::ComputerUse),
        ("mcp_toolset", Act::Mcp),
        ("advisor_20260301", Act::UnknownKinds),
    ] {
        with(
            Api::Messages,
            "tools",
            json!([{ "name": "mine", "input_schema": {} }, { "type": kind, "name": "x" }]),
            Some(act),
        );
        with(
            Api::CountTokens,
            "tools",
            json!([{ "type": kind, "name": "x" }]),
            Some(act),
        );
    }
}

#[test]
fn tools_that_the_client_runs() {
    let schema =
        json!({ "type": "object", "properties": { "file_id": { "type": "string" }, "URL": {} } });
    with(
        Api::Chat,
        "tools",
        json!([{ "type": "function", "function": { "name": "f", "parameters": schema } }]),
        None,
    );
    with(
        Api::Responses,
        "tools",
        json!([{ "type": "function", "name": "f", "parameters": schema }, { "type": "apply_patch" },
        { "type": "custom", "name": "g" }, { "type": "shell", "environment": { "type": "local" } },
        { "type": "namespace", "name": "n", "tools": [{ "type": "function", "name": "h" }] }]),
        None,
    );
    with(
        Api::Messages,
        "tools",
        json!([{ "name": "f", "input_schema": schema }, { "type": "custom", "name": "g" },
        { "type": "bash_20250124", "name": "bash" }, { "type": "text_editor_20250728", "name": "edit" }]),
        None,
    );
    with(
        Api::Responses,
        "tools",
        json!([{ "type": "namespace", "name": "n", "tools": [{ "type": "web_search" }] }]),
        Some(Act::WebSearch),
    );
}

#[test]
fn what_would_be_fetched() {
    for url in [
        "https://a.example/x.png",
        "http://169.254.169.254/",
        " data:image/png",
        "DATA:image/png",
        "file:///etc",
        "",
    ] {
        with(
            Api::Chat,
            "messages",
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] }]),
            Some(Act::UrlInputs),
        );
        with(
            Api::Responses,
            "input",
            json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": url }] }]),
            Some(Act::UrlInputs),
        );
        with(
            Api::Responses,
            "input",
            json!([{ "role": "user", "content": [{ "type": "input_file", "file_url": url }] }]),
            Some(Act::UrlInputs),
        );
    }
}

#[test]
fn what_would_be_fetched_for_messages_and_embeddings() {
    let source = json!({ "type": "url", "url": "https://a.example/x.pdf" });
    let document = json!({ "type": "document", "source": source });
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [document] }]),
        Some(Act::UrlInputs),
    );
    let nested = json!({ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "image", "source": source }] });
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [nested] }]),
        Some(Act::UrlInputs),
    );
    let inside = json!({ "type": "document", "source": { "type": "content", "content": [{ "type": "image", "source": source }] } });
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [inside] }]),
        Some(Act::UrlInputs),
    );
    with(
        Api::Chat,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "file", "file": { "file_data": "https://a.example" } }] }]),
        Some(Act::UrlInputs),
    );
    with(
        Api::Embeddings,
        "input",
        json!([{ "image": "https://a.example" }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Embeddings,
        "input",
        json!({ "image_url": "https://a.example" }),
        Some(Act::UnknownKinds),
    );
    let inline = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } }] }]);
    with(Api::Chat, "messages", inline, None);
    let inline = json!([{ "role": "user", "content": [{ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } }] }]);
    with(Api::Messages, "messages", inline, None);
}

#[test]
fn what_a_provider_keeps() {
    for api in [Api::Chat, Api::Responses] {
        with(api, "store", json!(true), Some(Act::StoredState));
        with(api, "store", json!(false), None);
        with(api, "background", json!(true), Some(Act::StoredState));
        for field in ["previous_response_id", "conversation", "prompt"] {
            with(api, field, json!("x_1"), Some(Act::StateIds));
            with(api, field, Value::Null, None);
        }
        with(
            api,
            "conversation",
            json!({ "id": "conv_1" }),
            Some(Act::StateIds),
        );
    }
    for item in [
        json!({ "type": "item_reference", "id": "msg_1" }),
        json!({ "id": "msg_1" }),
        json!({ "type": "reasoning", "id": "rs_1", "summary": [] }),
        json!({ "role": "user", "content": [{ "type": "input_file", "file_id": "file-1" }] }),
        json!({ "type": "function_call_output", "call_id": "c", "output": [{ "type": "input_image", "file_id": "file-1" }] }),
    ] {
        with(Api::Responses, "input", json!([item]), Some(Act::StateIds));
    }
    with(
        Api::Responses,
        "input",
        json!([{ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA" }]),
        None,
    );
}

#[test]
fn what_a_provider_keeps_elsewhere() {
    let tool = json!([{ "type": "code_interpreter", "container": "cntr_1" }]);
    let mut body = base(Api::Responses);
    body["tools"] = tool;
    assert_eq!(acts(Api::Responses, &body).len(), 2);
    with(
        Api::Chat,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "file", "file": { "file_id": "f" } }] }]),
        Some(Act::StateIds),
    );
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "document", "source": { "type": "file", "file_id": "f" } }] }]),
        Some(Act::StateIds),
    );
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "container_upload", "file_id": "f" }] }]),
        Some(Act::StateIds),
    );
    with(
        Api::Messages,
        "container",
        json!("container_1"),
        Some(Act::StateIds),
    );
    with(
        Api::Messages,
        "container",
        json!({ "skills": [{ "type": "custom", "skill_id": "s" }] }),
        Some(Act::CodeExecution),
    );
    with(
        Api::Messages,
        "mcp_servers",
        json!([{ "type": "url", "url": "https://mcp.example" }]),
        Some(Act::Mcp),
    );
    with(Api::Messages, "mcp_servers", json!([]), None);
}

#[test]
fn what_nobody_knows() {
    with(Api::Chat, "brand_new_number", json!(7), None);
    with(Api::Chat, "brand_new_text", json!(""), None);
    with(Api::Chat, "metadata", json!({ "Any Key": "x" }), None);
    with(
        Api::Chat,
        "web_search_options",
        json!({}),
        Some(Act::WebSearch),
    );
    with(
        Api::Chat,
        "enable_search",
        json!(true),
        Some(Act::WebSearch),
    );
    with(Api::Chat, "enable_search", json!(false), None);
    with(
        Api::Chat,
        "plugins",
        json!([{ "id": "web" }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Chat,
        "models",
        json!(["other"]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Messages,
        "fallbacks",
        json!([{ "model": "other" }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Messages,
        "workspace_id",
        json!("w"),
        Some(Act::StateIds),
    );
    with(
        Api::Chat,
        "callback_url",
        json!("https://a.example"),
        Some(Act::UrlInputs),
    );
}

#[test]
fn a_word_or_a_yes_under_a_name_that_nobody_knows_may_be_an_order() {
    for (field, value, wanted) in [
        ("brand_new_text", json!("x"), Act::UnknownKinds),
        ("brand_new_flag", json!(true), Act::UnknownKinds),
        ("api_base", json!("https://a.example"), Act::UrlInputs),
        ("webhook", json!("https://a.example"), Act::UrlInputs),
        ("deferred", json!(true), Act::StoredState),
        ("async", json!(true), Act::StoredState),
        ("preset", json!("p"), Act::StateIds),
    ] {
        for api in [Api::Chat, Api::Responses, Api::Messages, Api::Embeddings] {
            with(api, field, value.clone(), Some(wanted));
        }
    }
}

#[test]
fn what_sdks_have_names_for_passes() {
    for (api, field, value) in [
        (Api::Chat, "parallel_tool_calls", json!(true)),
        (Api::Chat, "logprobs", json!(true)),
        (Api::Chat, "user", json!("https://a.example/ada")),
        (Api::Chat, "reasoning_effort", json!("low")),
        (Api::Chat, "service_tier", json!("auto")),
        (Api::Responses, "prompt_cache_key", json!("k")),
        (Api::Responses, "truncation", json!("auto")),
        (Api::Responses, "safety_identifier", json!("s")),
        (Api::Embeddings, "encoding_format", json!("base64")),
        (Api::Messages, "service_tier", json!("auto")),
        (Api::Messages, "speed", json!("fast")),
    ] {
        with(api, field, value, None);
    }
    let said = json!([{ "role": "assistant", "content": "x", "reasoning_content": "see https://a.example" }]);
    with(Api::Chat, "messages", said, None);
}

#[test]
fn what_a_part_carries_counts_whatever_its_type_says() {
    let url = "https://a.example/x.png";
    for part in [
        json!({ "type": "text", "text": "x", "image_url": { "url": url } }),
        json!({ "type": "text", "text": "x", "file": { "file_data": url } }),
        json!({ "type": "refusal", "refusal": "x", "audio_url": url }),
    ] {
        let said = json!([{ "role": "user", "content": [part] }]);
        with(Api::Chat, "messages", said, Some(Act::UrlInputs));
    }
    let part = json!({ "type": "input_text", "text": "x", "image_url": url });
    let said = json!([{ "role": "user", "content": [part] }]);
    with(Api::Responses, "input", said, Some(Act::UrlInputs));
    let part = json!({ "type": "input_text", "text": "x", "image_url": null });
    let said = json!([{ "role": "user", "content": [part] }]);
    with(Api::Responses, "input", said, None);
}

#[test]
fn reasoning_without_a_word_is_a_reference() {
    for (key, value) in [("encrypted_content", json!("")), ("content", json!([]))] {
        let mut item = json!({ "type": "reasoning", "id": "rs_1", "summary": [] });
        item[key] = value;
        with(Api::Responses, "input", json!([item]), Some(Act::StateIds));
    }
}

#[test]
fn parts_that_nobody_knows() {
    with(
        Api::Chat,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "hologram" }] }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Responses,
        "input",
        json!([{ "type": "hologram" }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "hologram" }] }]),
        Some(Act::UnknownKinds),
    );
    with(
        Api::Messages,
        "messages",
        json!([{ "role": "user", "content": [{ "type": "web_search_tool_result", "content": [] }] }]),
        Some(Act::WebSearch),
    );
}
