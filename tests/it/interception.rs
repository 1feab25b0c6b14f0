//! Programs in a sandbox call a tool by its own `https` URL and need no flags for it: they trust the gate's authority, and
//! what they ask is decided and carries the tool's credential like any other call.

use postern_testkit::{Devbox, Setup};
use serde_json::{Value, json};

use crate::fixture::{self, KEY, SecureTool, order};

/// A devbox whose gate trusts the tool's authority.
fn devbox(tool: &SecureTool, ordinary: bool) -> Devbox {
    let setup = Setup::new(&fixture::config(&tool.url()));
    let setup = if ordinary {
        setup
            .as_ordinary_user()
            .flag("--allow-weaker")
            .flag("separate_uid")
    } else {
        setup
    };
    let setup = fixture::files(setup.file("tool-ca.pem", &tool.authority));
    let authority = setup.folder().join("tool-ca.pem");
    let authority = authority.to_str().unwrap().to_owned();
    setup.variable("SSL_CERT_FILE", &authority).start()
}

fn curl(devbox: &Devbox, arguments: &[&str]) -> Value {
    let argv: Vec<&str> = ["curl", "-sS", "-w", " %{http_code} %{http_version}"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    order(devbox, &json!({"do": "run", "argv": argv}))
}

#[test]
fn https_by_a_tools_own_url_needs_no_flags() {
    let tool = SecureTool::start();
    for ordinary in [false, true] {
        let devbox = devbox(&tool, ordinary);
        let url = format!("{}/base/items/7", tool.url());
        let before = tool.heads().len();
        let fetched = order(
            &devbox,
            &json!({"do": "fetch", "url": url, "proxied": true, "headers": {"Authorization": "mine"}}),
        );
        assert_eq!(
            (&fetched["status"], &fetched["body"]),
            (&json!(200), &json!("hello")),
            "{fetched}"
        );
        let old = curl(&devbox, &["--http1.1", &url]);
        assert_eq!(old["out"], "hello 200 1.1", "{old}");
        let new = curl(&devbox, &[&url]);
        assert_eq!(new["out"], "hello 200 2", "{new}");
        let heads = tool.heads();
        assert_eq!(heads.len(), before + 3);
        for head in &heads[before..] {
            assert!(head.starts_with("GET /base/items/7 HTTP/1.1\r\n"), "{head}");
            assert!(head.contains(&format!("authorization: Bearer {KEY}\r\n")));
            assert!(!head.contains("mine"), "{head}");
        }
        // What no rule allows is told inside, in words, and goes nowhere.
        let denied = curl(&devbox, &["-X", "DELETE", &url]);
        assert!(
            denied["out"].to_string().contains("never remove"),
            "{denied}"
        );
        assert_eq!(tool.heads().len(), before + 3);
    }
}

#[test]
fn sandboxes_trust_the_gates_authority_and_never_see_its_key() {
    let tool = SecureTool::start();
    let devbox = devbox(&tool, false);
    let path = "/etc/ssl/certs/ca-certificates.crt";
    let environment = order(&devbox, &json!({"do": "environment"}));
    for name in [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "PIP_CERT",
        "CARGO_HTTP_CAINFO",
        "AWS_CA_BUNDLE",
        "DENO_CERT",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    ] {
        assert_eq!(environment[name], path, "{name}");
    }
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let gate = devbox.state().join("gate");
    let own = read(&gate.join("ca.crt"));
    let own = own.lines().nth(2).unwrap();
    let argv = json!(["grep", "-c", "-F", own, path]);
    let found = order(&devbox, &json!({"do": "run", "argv": argv}));
    assert_eq!(found["out"], "1\n", "{found}");
    let key = read(&gate.join("ca.key"));
    let key = key.lines().nth(1).unwrap();
    let found = order(
        &devbox,
        &json!({"do": "search", "digest": fixture::sha256(key)}),
    );
    assert_eq!(found["found"], json!([]), "{found}");
    let files = order(
        &devbox,
        &json!({"do": "run", "argv": ["grep", "-rl", "PRIVATE KEY", "/etc", "/run"]}),
    );
    assert_eq!(files["out"], "", "{files}");
}
