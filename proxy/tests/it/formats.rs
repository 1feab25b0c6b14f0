//! The model gateway format by format: what passes unchanged, what is refused in whose words, and what is counted.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    house::{self, House, SECRET, Sandbox, soon},
    upstream::{Answer, Upstream},
};

fn config(provider: &str) -> String {
    let more = r#"
[providers.play]
format = "playground"

[models.bold]
provider = "openai"
upstream = "gpt-5"
allow = ["web_search", "url_inputs", "stored_state"]

[models.toy]
provider = "play"
upstream = "playground"
"#;
    house::models(&format!("http://{provider}"), more)
}

async fn stage(
    answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
) -> (Upstream, House, Sandbox) {
    let upstream = Upstream::start(answer).await;
    let house = House::start(&config(&upstream.address.to_string())).await;
    let sandbox = house.busy_sandbox().await;
    (upstream, house, sandbox)
}

fn typed(kind: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::raw(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

/// What stands behind the head of a request.
fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

const RESPONSE: &str = r#"{"id":"resp_1","object":"response","usage":{"input_tokens":7,"output_tokens":2,"total_tokens":9}}"#;

/// Path, model, the middle of the body, and where it arrives.
const ROUTES: [(&str, &str, &str, &str); 6] = [
    (
        "/v1/chat/completions",
        "gpt",
        r#""messages":[{"role":"user","content":"hi"}]"#,
        "/v1/chat/completions",
    ),
    (
        "/v1/embeddings",
        "gpt",
        r#""input":[[1,2],[3]]"#,
        "/v1/embeddings",
    ),
    (
        "/v1/p/openai/responses",
        "gpt",
        r#""store":false,"input":"hi""#,
        "/v1/responses",
    ),
    (
        "/v1/messages",
        "claude",
        r#""max_tokens":9,"messages":[{"role":"user","content":"hi"}]"#,
        "/v1/messages",
    ),
    (
        "/v1/v1/messages/count_tokens",
        "claude",
        r#""messages":[{"role":"user","content":"hi"}]"#,
        "/v1/messages/count_tokens",
    ),
    (
        "/v1/p/anthropic/v1/messages?beta=true",
        "claude",
        r#""messages":[{"role":"user","content":"hi"}]"#,
        "/v1/messages?beta=true",
    ),
];

#[tokio::test]
async fn every_route_passes_unchanged_but_for_the_models_name_and_the_key() {
    let (upstream, house, sandbox) = stage(|_| typed("application/json", RESPONSE)).await;
    let said = r#""metadata" : {"k":"v"}, "temperature":1.0e0,"user":"\u00e4\/b" }"#;
    for (position, (path, model, rest, target)) in ROUTES.into_iter().enumerate() {
        let body = format!("{{\r\n \"model\" : \"{model}\",\t{rest}, {said}");
        let answer = sandbox.post(path, &body).await;
        assert_eq!((answer.status, &*answer.body), (200, RESPONSE), "{path}");
        let request = &upstream.requests()[position];
        let line = format!("POST {target} HTTP/1.1\r\n");
        assert!(request.starts_with(&line), "{request}");
        let (name, field) = if model == "gpt" {
            ("\"gpt-4o-mini\"", "authorization: Bearer ")
        } else {
            ("\"claude-sonnet-4-5\"", "x-api-key: ")
        };
        let sent = body.replacen(&format!("\"{model}\""), name, 1);
        assert_eq!(body_of(request), sent);
        let key = format!("{field}{SECRET}\r\n");
        assert!(request.contains(&key), "{request}");
        let line = &house.audit()[position];
        assert_eq!(line["model"], model);
        assert_eq!(line["usage"], json!({ "input": 7, "output": 2 }));
    }
}

#[tokio::test]
async fn responses_are_not_kept_by_the_provider_unless_the_config_says_so() {
    let (upstream, _house, sandbox) = stage(|_| typed("application/json", RESPONSE)).await;
    assert_eq!(
        sandbox
            .post("/v1/responses", r#"{"model":"gpt","input":"x"}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        sandbox
            .post("/v1/responses", r#"{"model":"bold","input":"x"}"#)
            .await
            .status,
        200
    );
    let requests = upstream.requests();
    assert_eq!(
        body_of(&requests[0]),
        r#"{"store":false,"model":"gpt-4o-mini","input":"x"}"#
    );
    assert_eq!(body_of(&requests[1]), r#"{"model":"gpt-5","input":"x"}"#);
}

/// The end of a path, what a question has besides its model, and the word that the refusal has.
const ACTING: [(&str, &str, &str); 13] = [
    (
        "responses",
        r#""input":"x","tools":[{"type":"web_search"}]"#,
        "web_search",
    ),
    (
        "responses",
        r#""input":"x","tools":[{"type":"mcp","server_url":"https://mcp.example"}]"#,
        "mcp",
    ),
    (
        "responses",
        r#""input":"x","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]"#,
        "code_execution",
    ),
    (
        "responses",
        r#""input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a.example/?leak"}]}]"#,
        "url_inputs",
    ),
    ("responses", r#""input":"x","store":true"#, "stored_state"),
    (
        "responses",
        r#""input":"x","background":true"#,
        "stored_state",
    ),
    (
        "responses",
        r#""input":"x","previous_response_id":"resp_other""#,
        "previous_response_id",
    ),
    (
        "responses",
        r#""input":"x","conversation":"conv_other""#,
        "conversation",
    ),
    (
        "responses",
        r#""input":"x","tools":[{"type":"brand_new"}]"#,
        "unknown_kinds",
    ),
    (
        "messages",
        r#""messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_fetch_20250910","name":"f"}]"#,
        "web_fetch",
    ),
    (
        "messages",
        r#""messages":[{"role":"user","content":"x"}],"mcp_servers":[{"type":"url","url":"https://mcp.example"}]"#,
        "mcp",
    ),
    (
        "messages",
        r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"url","url":"https://a.example"}}]}]"#,
        "url_inputs",
    ),
    (
        "messages",
        r#""messages":[{"role":"user","content":"x"}],"container":"container_other""#,
        "container",
    ),
];

#[tokio::test]
async fn what_a_provider_would_do_on_its_own_needs_the_configs_word() {
    let (upstream, house, sandbox) = stage(|_| typed("application/json", RESPONSE)).await;
    for (route, rest, word) in ACTING {
        let model = if route == "messages" { "claude" } else { "gpt" };
        let body = format!(r#"{{"model":"{model}",{rest}}}"#);
        let answer = sandbox.post(&format!("/v1/{route}"), &body).await;
        let told = answer.json();
        assert_eq!(
            (answer.status, &told["code"]),
            (403, &json!("CAPABILITY_DENIED")),
            "{body}"
        );
        let message = told["message"].as_str().unwrap();
        assert!(message.contains(word), "{word}: {told}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(house.audit()[0]["reason"], "CAPABILITY_DENIED");
    let image = |url: &str| json!([{ "role": "user", "content": [{ "type": "input_image", "image_url": url }] }]);
    let (search, own) = (
        json!([{ "type": "web_search" }]),
        json!([{ "type": "function", "name": "f" }]),
    );
    for body in [
        json!({ "model": "bold", "input": image("https://a.example"), "tools": search, "store": true }),
        json!({ "model": "gpt", "input": image("data:image/png;base64,AA=="), "tools": own }),
    ] {
        let answer = sandbox.post("/v1/responses", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{body}");
    }
    let kept = r#"{"model":"bold","input":"x","previous_response_id":"resp_other"}"#;
    assert_eq!(sandbox.post("/v1/responses", kept).await.status, 403);
}

#[tokio::test]
async fn refusals_speak_the_routes_language() {
    let (upstream, _house, sandbox) = stage(|_| Answer::ok("{}")).await;
    let openai = sandbox
        .post("/v1/responses", r#"{"model":"none","input":"x"}"#)
        .await
        .json();
    assert_eq!(openai["error"]["type"], "invalid_request_error");
    assert_eq!(
        (&openai["error"]["code"], &openai["code"]),
        (&json!("MODEL_NOT_FOUND"), &json!("MODEL_NOT_FOUND"))
    );
    let hi = r#"{"model":"gpt","messages":[{"role":"user","content":"hi"}]}"#;
    let anthropic = sandbox
        .post("/v1/messages", &hi.replace("gpt", "none"))
        .await
        .json();
    assert_eq!(
        (&anthropic["type"], &anthropic["error"]["type"]),
        (&json!("error"), &json!("not_found_error"))
    );
    assert!(
        anthropic["error"]["message"]
            .as_str()
            .unwrap()
            .contains("gpt, claude, bold, toy"),
        "{anthropic}"
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_route_that_the_model_does_not_speak_is_refused_with_those_that_do() {
    let (upstream, _house, sandbox) = stage(|_| Answer::ok("{}")).await;
    let hi = r#"{"model":"gpt","messages":[{"role":"user","content":"hi"}]}"#;
    for (path, body, wanted) in [
        ("/v1/messages", hi.to_owned(), "is for: claude."),
        (
            "/v1/chat/completions",
            hi.replace("gpt", "claude"),
            "is for: gpt, bold, toy.",
        ),
        (
            "/v1/messages",
            hi.replace("gpt", "toy"),
            "asked by POST /v1/chat/completions",
        ),
    ] {
        let answer = sandbox.post(path, &body).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.json()["message"].as_str().unwrap().contains(wanted),
            "{answer:?}"
        );
    }
    for (path, body) in [
        ("/v1/p/anthropic/chat/completions", hi),
        ("/v1/p/nobody", hi),
        ("/v1/p/../x", hi),
    ] {
        assert_eq!(sandbox.post(path, body).await.status, 404, "{path}");
    }
    assert_eq!(
        sandbox
            .post("/v1/messages?beta=false", &hi.replace("gpt", "claude"))
            .await
            .status,
        400
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn models_are_listed_in_the_words_of_whoever_asks() {
    let (_upstream, _house, sandbox) = stage(|_| Answer::ok("{}")).await;
    let ids = |list: &Value| -> Vec<String> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let openai = sandbox.ask("GET /v1/models", &[]).await.json();
    assert_eq!((&openai["object"], ids(&openai).len()), (&json!("list"), 4));
    let version = "anthropic-version: 2023-06-01";
    let anthropic = sandbox
        .ask("GET /v1/models?limit=20", &[version])
        .await
        .json();
    assert_eq!(
        (&anthropic["has_more"], &anthropic["data"][2]["type"]),
        (&json!(false), &json!("model"))
    );
    let of_one = sandbox
        .ask("GET /v1/p/anthropic/v1/models", &[version])
        .await
        .json();
    assert_eq!(ids(&of_one), ["claude"]);
    let one = sandbox.ask("GET /v1/models/gpt", &[]).await.json();
    assert_eq!(
        (&one["id"], &one["owned_by"]),
        (&json!("gpt"), &json!("openai"))
    );
    let none = sandbox.ask("GET /v1/models/gpt-9", &[version]).await;
    assert_eq!((none.status, &none.json()["type"]), (404, &json!("error")));
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";

/// Bytes as they come, until this text was there.
async fn until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        assert!(
            soon(stream.read_buf(&mut bytes)).await.unwrap() > 0,
            "ended before {text}"
        );
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_stream_passes_event_by_event_and_its_usage_is_counted() {
    let first = "event: message_start\r\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\
                 \"cache_read_input_tokens\":5,\"output_tokens\":1}}}\r\n\r\n: ping\n\n";
    let rest = "event: message_delta\ndata: {\"type\":\"message_delta\",\ndata:  \"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\n\
                data: {\"type\":\"message_stop\"}\n\n";
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let (_upstream, house, sandbox) = stage(move |_| Answer {
        now: format!("{HEAD}{first}").into_bytes(),
        then: Some((Arc::clone(&told), format!("{rest}#close").into_bytes())),
    })
    .await;
    let body = r#"{"model":"claude","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut stream = TcpStream::connect(sandbox.address).await.unwrap();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gate\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The first event is here before the provider says the second.
    let seen = until(&mut stream, ": ping\n\n").await;
    assert!(seen.contains(first), "{seen}");
    go.notify_one();
    let seen = until(&mut stream, "message_stop\"}\n\n").await;
    assert!(seen.contains(rest), "{seen}");
    drop(stream);
    let line = soon(async {
        loop {
            if let Some(line) = house.audit().first() {
                return line.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        line["usage"],
        json!({ "input": 30, "output": 15, "cached": 5 })
    );
}

#[tokio::test]
async fn usage_is_counted_where_it_is_told_and_nothing_breaks_where_it_is_not() {
    let chunk =
        |usage: &str| format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n");
    let answers = [
        (chunk(r#"{"prompt_tokens":3,"completion_tokens":4}"#), json!({ "input": 3, "output": 4 })),
        (chunk("null"), Value::Null),
        ("data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}\r\r".to_owned(), json!({ "input": 8, "output": 1 })),
        ("data: {\"usage\":{{{ \u{0} \n\ndata".to_owned(), Value::Null),
        (String::new(), Value::Null),
    ];
    for (text, usage) in answers {
        let whole = text.clone();
        let (_upstream, house, sandbox) = stage(move |_| typed("text/event-stream", &whole)).await;
        let answer = sandbox
            .post(
                "/v1/chat/completions",
                r#"{"model":"gpt","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
            )
            .await;
        assert!(answer.body.contains(&text), "{answer:?}");
        assert_eq!(house.audit()[0]["usage"], usage, "{text}");
    }
}
