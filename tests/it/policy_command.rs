//! `postern policy`: one call's path through the rules, and a table of expected decisions. Never starts a daemon.

use std::process::{Command, Output};

use postern_testkit::{Setup, binaries};
use serde_json::{Value, json};

const CONFIG: &str = r#"
[tools.shop]
url = "https://shop.example/base"

[[policies.desk.rules]]
name = "orders"
permission = "allow"
resource = "https://shop.example/base/*"

[[policies.desk.rules]]
name = "large refunds"
permission = "approval_required"
resource = "https://shop.example/base/*"
paths = ["/base/orders/*/refund"]
operations = ["POST"]
when = "body.amount > 10000"

[[policies.desk.rules]]
name = "never in production"
permission = "deny"
resource = "https://shop.example/base/*"
headers = { "x-env" = "prod" }

[agents.desk]
kind = "builtin"
tools = ["shop"]
policies = ["desk"]
"#;

const CASES: &str = r#"
config = "postern.toml"

[[cases]]
name = "reading"
method = "GET"
url = "https://shop.example/base/orders"
expect = "allow"
rule = "orders"

[[cases]]
name = "a large refund"
method = "POST"
url = "/tools/shop/orders/7/refund"
body = '{"amount": 20000}'
expect = "ask"

[[cases]]
name = "a refund without its amount"
agent = "desk"
method = "POST"
url = "/tools/shop/orders/7/refund"
body = '{}'
expect = "deny"
rule = "large refunds"

[[cases]]
name = "production"
method = "GET"
url = "https://shop.example/base/orders"
headers = { X-Env = "prod" }
expect = "deny"
"#;

fn setup() -> Setup {
    let setup = Setup::new(CONFIG).file("cases.toml", CASES);
    setup.file("refund.json", "{\"amount\": 20000}")
}

fn postern(setup: &Setup, args: &[&str]) -> Output {
    let mut command = Command::new(binaries::postern());
    command.arg("policy").args(args).current_dir(setup.folder());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn explain_shows_the_path_and_the_verdict() {
    let setup = setup();
    let call = [
        "explain",
        "POST",
        "/tools/shop/orders/7/refund",
        "--config",
        "postern.toml",
        "--body",
        "refund.json",
    ];
    let output = postern(&setup, &call);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in [
        "`large refunds` of `desk`: holds",
        "does not hold: `headers`",
        "verdict  ask, by rule `large refunds`",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = postern(
        &setup,
        &[
            &call[..],
            &["--json", "--agent", "desk", "--header", "X-Env: prod"],
        ]
        .concat(),
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (told["verdict"].as_str(), told["rule"].as_str()),
        (Some("deny"), Some("never in production"))
    );
    assert_eq!(
        (told["tool"].as_str(), told["needs_body"].as_bool()),
        (Some("shop"), Some(true))
    );
    let output = postern(
        &setup,
        &[
            "explain",
            "GET",
            "https://shop.example/base/x",
            "--config",
            "postern.toml",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_sandbox_that_installs_is_judged_by_its_own_policies() {
    let config = format!(
        "{CONFIG}\n[policies.fetching]\nrules = [{{ name = \"fetch\", permission = \"allow\", resource = \"https://shop.example/*\" }}]\n\
         [agents.desk.install]\ntools = [\"shop\"]\nfetch = [\"fetching\"]\nsetup = [\"fetching\"]\n"
    );
    let cases = "config = \"postern.toml\"\n".to_owned()
        + &[
            ("", "GET", "https://shop.example/other", "deny"),
            ("fetch", "GET", "https://shop.example/other", "allow"),
            ("fetch", "POST", "https://shop.example/base/x", "allow"),
            ("setup", "GET", "https://shop.example/base/x", "allow"),
            ("setup", "POST", "https://shop.example/base/x", "deny"),
            ("setup", "CONNECT", "shop.example:443", "look inside"),
            ("setup", "CONNECT", "other.example:443", "deny"),
        ]
        .map(|(stage, method, url, expected)| {
            let stage = match stage {
                "" => String::new(),
                stage => format!("stage = \"{stage}\"\n"),
            };
            format!(
                "[[cases]]\nname = \"{method} {url}\"\n{stage}method = \"{method}\"\nurl = \"{url}\"\nexpect = \"{expected}\"\n"
            )
        })
        .concat();
    let setup = Setup::new(&config).file("cases.toml", &cases);
    let output = postern(&setup, &["test", "cases.toml"]);
    let text = said(&output);
    assert!(text.contains("7 of 7 as expected"), "{text}");
    let call = ["explain", "POST", "https://shop.example/base/x"];
    let asked = ["--config", "postern.toml", "--stage", "setup"];
    let output = postern(&setup, &[&call[..], &asked[..]].concat());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("desk, its install's setup"), "{text}");
    let asked = ["--config", "postern.toml", "--stage", "odd"];
    let output = postern(&setup, &[&call[..], &asked[..]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("`fetch` or `setup`"), "{told}");
}

#[test]
fn a_table_of_decisions_is_met_or_not() {
    let setup = setup();
    let output = postern(&setup, &["test", "cases.toml"]);
    let text = said(&output);
    assert!(
        output.status.success() && text.contains("4 of 4 as expected"),
        "{text}"
    );
    let wrong = CASES.replacen("\"allow\"", "\"deny\"", 1);
    let setup = setup.file("wrong.toml", &wrong);
    let output = postern(&setup, &["test", "--json", "wrong.toml"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (told["ok"].as_bool(), told["missed"].as_u64()),
        (Some(false), Some(1)),
        "{told}"
    );
    assert_eq!(told["cases"][0]["found"]["verdict"], "allow");
}

#[test]
fn a_tunnel_to_a_tool_is_looked_into_and_one_to_a_stranger_is_not() {
    let setup = setup().file(
        "tunnels.toml",
        "config = \"postern.toml\"\n[[cases]]\nname = \"the tool\"\nmethod = \"CONNECT\"\nurl = \"shop.example:443\"\n\
         expect = \"look inside\"\n",
    );
    let ask = |url| {
        postern(
            &setup,
            &["explain", "CONNECT", url, "--config", "postern.toml"],
        )
    };
    for url in ["shop.example:443", "https://shop.example/"] {
        let output = ask(url);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        assert!(text.contains("verdict  look inside"), "{text}");
        assert!(text.contains("ask about the request inside"), "{text}");
    }
    let output = ask("stranger.example:443");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("verdict  deny"));
    assert!(postern(&setup, &["test", "tunnels.toml"]).status.success());
}

#[test]
fn learn_reads_what_was_put_aside_too_and_stops_at_what_is_no_log() {
    let line = |path: &str| {
        let line = json!({
            "kind": "call", "agent": "desk", "method": "GET", "authority": "https://a.example", "path": path,
            "model": null, "decision": "allowed", "rule": "default", "reason": null,
        });
        format!("{line}\n")
    };
    let setup = setup()
        .file("audit-1-1.jsonl", line("/old"))
        .file("audit.jsonl", line("/new") + "{\"kind\": \"ca\n")
        .file("none.jsonl", "");
    let learnt = postern(&setup, &["learn", "audit.jsonl"]);
    let text = said(&learnt);
    assert!(learnt.status.success(), "{text}");
    assert!(
        text.contains("\"/old\"") && text.contains("\"/new\""),
        "{text}"
    );
    assert!(said(&postern(&setup, &["learn", "none.jsonl"])).starts_with("# Nothing"));

    let setup = setup.file(
        "audit.jsonl",
        [line("/new").as_bytes(), b"\xff\xfe\n"].concat(),
    );
    let output = postern(&setup, &["learn", "audit.jsonl"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("audit.jsonl:2:"), "{complaint}");
    assert!(said(&output).is_empty());
}

#[test]
fn what_cannot_be_asked_is_2_and_says_where() {
    let setup = setup().file("broken.toml", CONFIG.replace("body.amount", "amount"));
    for (args, word) in [
        (
            &[
                "explain",
                "GET",
                "https://shop.example/",
                "--config",
                "broken.toml",
            ][..],
            "broken.toml:",
        ),
        (
            &["explain", "GET", "shop.example", "--config", "postern.toml"],
            "shop.example",
        ),
        (
            &[
                "explain",
                "get",
                "https://shop.example/",
                "--config",
                "postern.toml",
            ],
            "upper-case",
        ),
        (
            &[
                "explain",
                "GET",
                "https://shop.example/",
                "--config",
                "postern.toml",
                "--agent",
                "x",
            ],
            "desk",
        ),
        (&["explain", "GET", "https://shop.example/"], "--config"),
        (&["test", "missing.toml"], "missing.toml"),
        (&["test", "postern.toml"], "postern.toml:"),
    ] {
        let output = postern(&setup, args);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {complaint}");
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
    for question in ["explain", "test"] {
        let help = said(&postern(&setup, &[question, "--help"]));
        assert!(
            help.contains(&format!("Example:\n  postern policy {question}")),
            "{help}"
        );
    }
}
