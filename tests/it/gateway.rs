//! The LLM gateway as an agent's client sees it: the embedded model, a real provider, and what is not to be had.

use postern_testkit::{Setup, model};
use serde_json::{Value, json};

use crate::fixture::{self, order};

fn chat(url: &str, body: &Value) -> Value {
    json!({
        "do": "fetch", "method": "POST", "url": url, "body": body.to_string(),
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer platform-managed"},
    })
}

fn body_of(result: &Value) -> Value {
    serde_json::from_str(result["body"].as_str().unwrap_or_default()).unwrap_or_default()
}

#[test]
fn the_playground_answers_alike_each_time_and_streams() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let mut asked =
        json!({"model": "fast", "messages": [{"role": "user", "content": "What is a postern?"}]});
    let url = "http://127.127.0.1:4180/v1/chat/completions";
    let (first, second) = (
        order(&devbox, &chat(url, &asked)),
        order(&devbox, &chat(url, &asked)),
    );
    assert_eq!(first["status"], 200, "{first}");
    let text = &body_of(&first)["choices"][0]["message"]["content"];
    assert!(
        text.as_str().is_some_and(|text| !text.is_empty()),
        "{first}"
    );
    assert_eq!(text, &body_of(&second)["choices"][0]["message"]["content"]);
    asked["stream"] = json!(true);
    let streamed = order(&devbox, &chat(url, &asked));
    let body = streamed["body"].as_str().unwrap();
    assert!(body.trim_end().ends_with("data: [DONE]"), "{body}");
    let words: String = body
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(Some(words.as_str()), text.as_str(), "word by word the same");
    assert!(body.matches("data: ").count() > 4, "{body}");
    for path in ["/v1", "/v1/chat/completions"] {
        let url = format!("http://127.127.0.1:4180{path}");
        asked["stream"] = json!(false);
        assert_eq!(order(&devbox, &chat(&url, &asked))["status"], 200, "{path}");
    }
}

#[test]
fn a_provider_gets_its_own_credential_and_its_own_name_of_the_model() {
    let (tool, model) = (fixture::tool(), model::start());
    let config = fixture::config(&tool.url())
        .replace("provider = \"playground\"", "provider = \"real\"")
        .replace("upstream = \"playground\"", "upstream = \"big-model-1\"")
        + &format!(
            "\n[secrets.model]\nfile = \"secrets/model.key\"\n[providers.real]\nformat = \"openai\"\nurl = \"{}/v1\"\n\
             credential = {{ kind = \"bearer\", secret = \"model\" }}\nprivate = true\n",
            model.url()
        );
    let setup = fixture::files(Setup::new(&config));
    let devbox = setup
        .secret(
            "secrets/model.key",
            "another-key-that-stays-outside-0123456789",
        )
        .start();
    let asked = json!({"model": "fast", "messages": [{"role": "user", "content": "hi"}]});
    let url = "http://127.127.0.1:4180/v1/chat/completions";
    let result = order(&devbox, &chat(url, &asked));
    assert_eq!(
        body_of(&result)["choices"][0]["message"]["content"],
        "You said: hi",
        "{result}"
    );
    let seen = &model.wait_for(1)[0];
    assert_eq!(seen.target, "/v1/chat/completions");
    assert_eq!(
        seen.values("authorization"),
        ["Bearer another-key-that-stays-outside-0123456789"]
    );
    let sent: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(sent["model"], "big-model-1");
    let mut streamed = asked;
    streamed["stream"] = json!(true);
    let result = order(&devbox, &chat(url, &streamed));
    assert!(
        result["body"].as_str().unwrap().contains("[DONE]"),
        "{result}"
    );
}

#[test]
fn what_is_no_model_or_no_request_is_said_so() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let url = "http://127.127.0.1:4180/v1/chat/completions";
    let unknown = json!({"model": "other", "messages": [{"role": "user", "content": "hi"}]});
    let result = order(&devbox, &chat(url, &unknown));
    assert_eq!(
        (&result["status"], &body_of(&result)["code"]),
        (&json!(404), &json!("MODEL_NOT_FOUND")),
        "{result}"
    );
    let duplicate = "{\"model\":\"fast\",\"model\":\"other\",\"messages\":[]}";
    let twice = json!({"do": "fetch", "method": "POST", "url": url, "body": duplicate});
    assert_eq!(order(&devbox, &twice)["status"], 400);
    for url in [
        "http://127.127.0.1:4180/nope",
        "http://127.127.0.1:4180/v2/chat/completions",
    ] {
        let result = order(&devbox, &json!({"do": "fetch", "url": url}));
        assert_eq!(result["status"], 404, "{url}: {result}");
    }
    for url in [
        "http://127.127.0.1:4180/healthz",
        "http://127.127.0.1:4180/v1/healthz",
    ] {
        assert_eq!(
            order(&devbox, &json!({"do": "fetch", "url": url}))["status"],
            200,
            "{url}"
        );
    }
}
