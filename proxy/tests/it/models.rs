//! The model gateway: who may ask what, and what a provider gets to see.

use crate::{
    house::{House, SECRET},
    upstream::{Answer, Upstream},
};

fn config(provider: &str) -> String {
    format!(
        r#"
[secrets.openai]
file = "key"

[providers.openai]
format = "openai"
url = "http://{provider}/v1"
private = true
credential = {{ kind = "bearer", secret = "openai" }}

[providers.play]
format = "playground"

[models.fast]
provider = "openai"
upstream = "gpt-4o-mini"

[models.toy]
provider = "play"
upstream = "playground"

[models.secret]
provider = "openai"
upstream = "gpt-9"

[[policies.none.rules]]
name = "nothing"
permission = "deny"
resource = "https://example.com/*"

[agents.desk]
models = ["fast", "toy"]
policies = ["none"]
"#
    )
}

async fn stage() -> (Upstream, House) {
    let upstream =
        Upstream::start(|_| Answer::ok(r#"{"id":"c1","object":"chat.completion"}"#)).await;
    let house = House::start(&config(&upstream.address.to_string())).await;
    (upstream, house)
}

const HELLO: &str = r#"{"model":"fast","messages":[{"role":"user","content":"hello"}]}"#;

#[tokio::test]
async fn a_chat_goes_to_its_provider_with_the_gates_key_and_the_providers_name() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for path in ["/v1/chat/completions", "/v1", "/v1/v1/chat/completions"] {
        let answer = sandbox.post(path, HELLO).await;
        assert_eq!(
            (answer.status, &answer.json()["id"]),
            (200, &"c1".into()),
            "{path}"
        );
    }
    for request in upstream.requests() {
        assert!(
            request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("authorization: Bearer {SECRET}\r\n")),
            "{request}"
        );
        assert!(request.contains(r#""model":"gpt-4o-mini""#), "{request}");
    }
    let line = &house.audit()[0];
    assert_eq!(
        (&line["model"], &line["tool"], &line["door"]),
        (&"fast".into(), &().into(), &"gateway".into())
    );
}

#[tokio::test]
async fn a_provider_sees_no_header_of_the_agents_but_a_few() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let head = "POST /v1 HTTP/1.1\r\nhost: gate\r\nconnection: close\r\nauthorization: Bearer platform-managed\r\n\
                openai-organization: evil\r\nx-run-id: run_1\r\nuser-agent: test/1\r\n";
    let answer = sandbox
        .send(&format!(
            "{head}content-length: {}\r\n\r\n{HELLO}",
            HELLO.len()
        ))
        .await;
    assert_eq!(answer.status, 200);
    let request = upstream.only();
    assert!(request.contains("user-agent: test/1"), "{request}");
    for word in ["evil", "platform-managed", "run_1"] {
        assert!(!request.contains(word), "{word}: {request}");
    }
}

#[tokio::test]
async fn a_question_that_comes_too_slowly_is_not_waited_for() {
    let upstream = Upstream::start(|_| Answer::ok("{}")).await;
    let config = config(&upstream.address.to_string());
    let house = House::start(&format!("[patience]\nbody = \"200ms\"\n{config}")).await;
    let sandbox = house.busy_sandbox().await;
    let request = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let answer = sandbox.send(request).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("too slowly"), "{answer:?}");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_model_that_is_not_the_agents_is_refused_with_those_that_are() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for model in ["secret", "gpt-4o-mini", "nosuch"] {
        let answer = sandbox.post("/v1", &HELLO.replace("fast", model)).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, &json["code"]),
            (404, &"MODEL_NOT_FOUND".into())
        );
        assert!(
            json["message"].as_str().unwrap().contains("fast, toy"),
            "{json}"
        );
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(house.audit().len(), 3);
}

#[tokio::test]
async fn an_agent_without_a_policy_asks_no_model() {
    let upstream = Upstream::start(|_| Answer::ok("{}")).await;
    let config = config(&upstream.address.to_string()).replace("policies = [\"none\"]\n", "");
    let house = House::start(&config).await;
    let sandbox = house.busy_sandbox().await;
    for model in ["fast", "toy"] {
        let answer = sandbox.post("/v1", &HELLO.replace("fast", model)).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &"POLICY_DENIED".into()),
            "{model}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn what_would_make_the_provider_act_is_refused() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for field in [
        r#""store":true"#,
        r#""previous_response_id":"r1""#,
        r#""tools":[{"type":"web_search"}]"#,
    ] {
        let body = HELLO.replacen('{', &format!("{{{field},"), 1);
        let answer = sandbox.post("/v1/chat/completions", &body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (403, &"CAPABILITY_DENIED".into()),
            "{field}"
        );
    }
    for body in ["", "[]", "{", r#"{"messages":[]}"#] {
        assert_eq!(sandbox.post("/v1", body).await.status, 400, "{body}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_key_twice_in_a_question_is_refused() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    for (from, to) in [
        ("{", r#"{"model":"toy","#),
        ("{", r#"{"\u006dodel":"toy","#),
        ("{", r#"{"Model":"gpt-9","#),
        (r#""role""#, r#""role":"system","role""#),
    ] {
        let answer = sandbox.post("/v1", &HELLO.replacen(from, to, 1)).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &"BAD_REQUEST".into()),
            "{to}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_question_without_bounds_is_refused() {
    let (upstream, house) = stage().await;
    // A little more than the bound: of much more, the gate would close before the last of it is written.
    let body = HELLO.replace("hello", &"a".repeat(16 << 20));
    let answer = house.busy_sandbox().await.post("/v1", &body).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &"TOO_LARGE".into())
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn the_playground_answers_in_the_gate_whole_and_word_by_word() {
    let (upstream, house) = stage().await;
    let sandbox = house.busy_sandbox().await;
    let whole = sandbox.post("/v1", &HELLO.replace("fast", "toy")).await;
    let text = whole.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!text.is_empty());
    let asked = HELLO
        .replace("fast", "toy")
        .replacen('{', r#"{"stream":true,"#, 1);
    let streamed = sandbox.post("/v1", &asked).await;
    assert!(
        streamed.head.contains("text/event-stream"),
        "{}",
        streamed.head
    );
    assert!(
        streamed.body.matches("data: ").count() > 3,
        "{}",
        streamed.body
    );
    assert!(streamed.body.contains("data: [DONE]"), "{}", streamed.body);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(house.audit()[1]["decision"], "allowed");
}

#[tokio::test]
async fn a_model_call_belongs_to_a_run() {
    let (_upstream, house) = stage().await;
    let sandbox = house.sandbox(postern_contract::link::Origin::Sandbox).await;
    let answer = sandbox.post("/v1", &HELLO.replace("fast", "toy")).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (403, &"NO_ACTIVE_RUN".into())
    );
    let models = sandbox.ask("GET /v1/models", &[]).await.json();
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, ["fast", "toy"]);
}
