//! What is learnt allows the calls that passed, and no others.

use postern_policy::{CanonicalUrl, Facts, Route, Verdict};

use super::*;
use crate::policy::book::Book;

const TOOLS: &str = r#"
[tools.crm]
url = "https://crm.example/v1"

[agents.desk]
tools = ["crm"]
policies = ["learned-desk"]

"#;

fn line(method: &str, authority: &str, path: &str, more: &Value) -> Value {
    let mut line = json!({
        "kind": "call", "agent": "desk", "method": method, "authority": authority, "path": path, "model": null,
        "decision": "allowed", "rule": "default", "reason": null,
    });
    for (key, value) in more.as_object().unwrap() {
        line[key] = value.clone();
    }
    line
}

fn log() -> Vec<Value> {
    let crm = "https://crm.example";
    let by_rule = json!({ "decision": "refused", "rule": "never", "reason": "POLICY_DENIED" });
    let watched = json!({ "would_deny": true, "reason": "POLICY_DENIED" });
    let wanting = json!({ "decision": "refused", "reason": "POLICY_DENIED" });
    vec![
        line("GET", crm, "/v1/people/17", &watched),
        line("GET", crm, "/v1/people/18", &watched),
        line(
            "GET",
            crm,
            "/v1/orders/3fa85f64-5717-4562-b3fc-2c963f66afa6/items",
            &watched,
        ),
        line("POST", crm, "/v1/people", &watched),
        line("DELETE", crm, "/v1/people/17", &watched),
        line("DELETE", crm, "/v1/people/19", &by_rule),
        line("PUT", crm, "/v1/people/17", &wanting),
        line(
            "POST",
            "https://model.example",
            "/v1/chat",
            &json!({ "model": "fast" }),
        ),
        line(
            "GET",
            "http://plain.example:8080",
            "/deadbeefdeadbeef01/x",
            &watched,
        ),
        line("CONNECT", "http://db.example:5432", "/", &json!({})),
        json!({ "kind": "started" }),
    ]
}

fn allows(book: &Book, method: &str, url: &str) -> bool {
    let agent = book.agent(None).unwrap();
    let method = method.parse().unwrap();
    let url: CanonicalUrl = url.parse().unwrap();
    let tool = book.rules.route(&url).map(Route::tool);
    let facts = Facts {
        stage: None,
        agent,
        method: &method,
        url: &url,
        tool,
    };
    matches!(book.rules.decide(&facts), Verdict::Allowed(_))
}

fn learn(lines: impl Iterator<Item = Value>) -> Vec<Proposal> {
    let mut seen = Seen::default();
    lines.for_each(|line| seen.take(&line));
    seen.proposals()
}

#[test]
fn what_is_learnt_compiles_and_allows_what_passed_and_nothing_that_was_refused_for_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("postern.toml");
    let rules = in_toml(&learn(log().into_iter()));
    std::fs::write(&config, format!("{TOOLS}{rules}")).unwrap();
    let book = Book::read(&config).unwrap_or_else(|failure| panic!("{failure:?}\n{rules}"));
    let uuid = "00000000-0000-4000-8000-000000000000";
    for (method, url) in [
        ("GET", "https://crm.example/v1/people/17"),
        ("GET", "https://crm.example/v1/people/99"),
        (
            "GET",
            &format!("https://crm.example/v1/orders/{uuid}/items"),
        ),
        ("POST", "https://crm.example/v1/people"),
        ("GET", "http://plain.example:8080/0123456789abcdef/x"),
        ("CONNECT", "http://db.example:5432/"),
    ] {
        assert!(allows(&book, method, url), "{method} {url}\n{rules}");
    }
    for (method, url) in [
        ("DELETE", "https://crm.example/v1/people/17"),
        ("PUT", "https://crm.example/v1/people/17"),
        ("POST", "https://crm.example/v1/people/17"),
        ("GET", "https://crm.example/v1/people"),
        ("GET", "https://crm.example/v1/people/17/notes"),
        ("GET", "https://crm.example/v1/other/17"),
        ("POST", "https://model.example/v1/chat"),
        ("POST", "http://plain.example:8080/0123456789abcdef/x"),
        ("GET", "http://db.example:5432/"),
        ("CONNECT", "http://db.example:5433/"),
    ] {
        assert!(!allows(&book, method, url), "{method} {url}\n{rules}");
    }
    let told = in_json(&learn(log().into_iter()));
    assert_eq!(told["rules"][0]["agent"], "desk");
}

#[test]
fn words_stay_words_and_numbers_become_forms() {
    assert_eq!(form("/v1/people/17"), "/v1/people/*");
    assert_eq!(form("/v1/deadbeef/face"), "/v1/deadbeef/face");
    assert_eq!(form("/"), "/");
    assert_eq!(form("/a*b/"), "/*/");
}
