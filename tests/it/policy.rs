//! What the gate lets through and what not, by every way out of a sandbox, and what each side sees of the credential.

use postern_testkit::{Answer, Upstream};
use serde_json::{Value, json};

use crate::fixture::{self, KEY, call_tool, order};

#[test]
fn the_tool_sees_the_credential_and_the_agent_never_does() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let sent = json!({
        "do": "fetch", "url": "http://127.127.0.1:4180/tools/shop/items/7?x=1",
        "headers": {"Authorization": "Bearer mine", "X-Api-Key": "mine", "X-Run-ID": "forged", "X-Kept": "yes"},
    });
    let answer = devbox.invoke(&sent.to_string());
    assert_eq!(
        answer.json()["result"]["status"],
        403,
        "a forged run is no run: {answer:?}"
    );
    assert!(tool.requests().is_empty());
    let mut sent = sent;
    sent["headers"].as_object_mut().unwrap().remove("X-Run-ID");
    let answer = devbox.invoke(&sent.to_string());
    assert_eq!(answer.json()["result"]["status"], 200, "{answer:?}");
    assert!(!answer.body.contains(KEY));
    let seen = &tool.wait_for(1)[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("GET", "/base/items/7?x=1")
    );
    assert_eq!(seen.values("authorization"), [format!("Bearer {KEY}")]);
    assert_eq!(seen.values("x-kept"), ["yes"]);
    for dropped in [
        "x-api-key",
        "x-run-id",
        "x-end-user-id",
        "proxy-authorization",
    ] {
        assert!(seen.values(dropped).is_empty(), "{dropped}");
    }
}

#[test]
fn a_refusal_names_its_code_and_its_rule() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let cases = [
        ("DELETE", "/items/7", "POLICY_DENIED", Some("never remove")),
        ("PATCH", "/items/7", "POLICY_DENIED", Some("default")),
        ("GET", "/other", "CAPABILITY_DENIED", None),
        ("PUT", "/items/7", "CAPABILITY_DENIED", None),
    ];
    for (method, path, code, rule) in cases {
        let (status, body) = call_tool(&devbox, method, path);
        assert_eq!(status, 403, "{method} {path}: {body}");
        assert_eq!(body["code"], code, "{method} {path}: {body}");
        if let Some(rule) = rule {
            assert_eq!(body["rule"], rule, "{method} {path}: {body}");
        }
        assert_eq!(body["tool"], "shop", "{body}");
        assert!(
            body["message"].is_string() && body["error"].is_string(),
            "{body}"
        );
    }
    assert!(tool.requests().is_empty(), "nothing was sent");
}

#[test]
fn a_path_that_leaves_the_tool_is_refused_in_every_spelling() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let paths = [
        "/../secret",
        "/items/../../secret",
        "/%2e%2e/secret",
        "/items/%2e%2e/%2e%2e/secret",
        "/items/..%2f..%2fsecret",
        "/items/\\..\\..\\secret",
        "/items/%252e%252e/x",
        "/items//../../../x",
    ];
    for path in paths {
        let request =
            format!("GET /tools/shop{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = order(&devbox, &json!({"do": "raw", "text": request}));
        let line = answer
            .as_str()
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let reached: Vec<_> = tool
            .requests()
            .iter()
            .map(|seen| seen.target.clone())
            .collect();
        assert!(
            reached
                .iter()
                .all(|target| target.starts_with("/base/items/")),
            "{path}: {reached:?}"
        );
        assert!(line.starts_with("HTTP/1.1 "), "{path}: {answer}");
    }
}

#[test]
fn an_absolute_request_line_is_judged_like_the_tools_url() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let ask = |method: &str, url: String| {
        let said = order(&devbox, &fixture::absolute(method, &url));
        said.as_str().unwrap_or_default().to_owned()
    };
    let allowed = ask("GET", format!("{}/base/items/7", tool.url()));
    assert!(allowed.starts_with("HTTP/1.1 200"), "{allowed}");
    assert_eq!(
        tool.wait_for(1)[0].values("authorization"),
        [format!("Bearer {KEY}")]
    );
    let denied = ask("DELETE", format!("{}/base/items/7", tool.url()));
    assert!(
        denied.starts_with("HTTP/1.1 403") && denied.contains("never remove"),
        "{denied}"
    );
    let outside = ask("GET", format!("{}/elsewhere", tool.url()));
    assert!(outside.starts_with("HTTP/1.1 403"), "{outside}");
    let url = "http://nobody.example/";
    let stranger = order(
        &devbox,
        &json!({"do": "fetch", "url": url, "proxied": true}),
    );
    assert_eq!(stranger["status"], 403, "{stranger}");
    let body: Value = serde_json::from_str(stranger["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["code"], "UNKNOWN_DESTINATION");
    assert_eq!(body["rule"], "default");
    assert_eq!(tool.requests().len(), 1);
}

#[test]
fn connect_is_for_allowed_hosts_without_a_credential() {
    let (tool, plain) = (
        fixture::tool(),
        Upstream::start(|_| Answer::json(&json!({"plain": true}))),
    );
    let tunnel = format!(
        "\n[[policies.hands.rules]]\nname = \"tunnel to plain\"\npermission = \"allow\"\nresource = \"http://{}/*\"\n",
        plain.address()
    );
    let config = fixture::config(&tool.url()) + &tunnel;
    let devbox = fixture::files(postern_testkit::Setup::new(&config)).start();
    let connect = |address: &str, then: &str| {
        let text = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n{then}");
        order(&devbox, &json!({"do": "raw", "text": text}))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let at = tool.address();
    let inside =
        format!("DELETE /base/items/7 HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let to_tool = connect(&at.to_string(), &inside);
    assert!(
        to_tool.starts_with("HTTP/1.1 200") && to_tool.contains("never remove"),
        "a tool with a credential is never tunnelled, what comes inside is decided: {to_tool}"
    );
    for stranger in ["nobody.example:443", "127.0.0.1:22", "169.254.169.254:80"] {
        let answer = connect(stranger, "");
        assert!(answer.starts_with("HTTP/1.1 403"), "{stranger}: {answer}");
    }
    assert!(tool.requests().is_empty() && plain.requests().is_empty());
}

#[test]
fn an_agent_without_a_policy_is_denied_everything() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url()).replace("policies = [\"hands\"]", "policies = []");
    let devbox = fixture::files(postern_testkit::Setup::new(&config)).start();
    let (status, body) = call_tool(&devbox, "GET", "/items/7");
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("POLICY_DENIED")),
        "{body}"
    );
    assert_eq!(body["rule"], "default");
    assert!(tool.requests().is_empty());
}

#[test]
fn a_loopback_address_that_is_not_declared_private_is_never_dialled() {
    let tool = fixture::tool();
    let config = fixture::config(&tool.url()).replace("private = true", "private = false");
    let devbox = fixture::files(postern_testkit::Setup::new(&config)).start();
    let (status, body) = call_tool(&devbox, "GET", "/items/7");
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("DESTINATION_BLOCKED")),
        "{body}"
    );
    assert!(tool.requests().is_empty());
}

#[test]
fn an_unreachable_tool_is_an_error_of_its_own() {
    let gone = fixture::tool().url();
    let config = fixture::config(&gone);
    let devbox = fixture::files(postern_testkit::Setup::new(&config)).start();
    let (status, body) = call_tool(&devbox, "GET", "/items/7");
    assert_eq!(
        (status, &body["code"]),
        (502, &json!("UPSTREAM_UNREACHABLE")),
        "{body}"
    );
}

#[test]
fn ambiguous_requests_are_refused() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let head = "GET /tools/shop/items/7 HTTP/1.1\r\nConnection: close\r\n";
    let address = tool.address();
    let cases = [
        format!("{head}Host: a\r\nHost: b\r\n\r\n"),
        format!("{head}Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        format!(
            "GET http://{address}/base/items/7 HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "GET http://good.example@{address}/base/items/7 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        ),
    ];
    for request in cases {
        let answer = order(&devbox, &json!({"do": "raw", "text": request}));
        let line = answer.as_str().unwrap_or_default();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse::<u16>().ok());
        assert!(
            matches!(status, Some(400 | 403 | 421)),
            "{request}: {answer}"
        );
    }
    assert!(tool.requests().is_empty(), "{:?}", tool.requests());
}

#[test]
fn two_framings_at_once_never_reach_a_tool() {
    let tool = fixture::tool();
    let devbox = fixture::setup(&tool).start();
    let head = "POST /tools/shop/items HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    let smuggled = "GET /tools/shop/items/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Content-Length: +4",
    ] {
        let text = format!("{head}{framing}\r\n\r\n0\r\n\r\n{smuggled}");
        let _ = order(&devbox, &json!({"do": "raw", "text": text}));
    }
    for seen in tool.requests() {
        assert_eq!(seen.target, "/base/items", "{seen:?}");
        let framings = [
            seen.values("content-length"),
            seen.values("transfer-encoding"),
        ]
        .concat();
        assert!(framings.len() <= 1 && seen.body.is_empty(), "{seen:?}");
    }
}
