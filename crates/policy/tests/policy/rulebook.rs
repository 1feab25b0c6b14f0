//! Decisions by the contract's policy model, what a config is refused for, and how a rulebook reads. Never random; the
//! laws that hold for every rulebook are in `properties.rs`.

use crate::fixture::{compile, judge, judge_for, url, word};
use postern_contract::{AgentName, Code, ToolName};
use postern_policy::{Facts, Method, Rulebook, Verdict};

const CONFIG: &str = r#"
default_agent = "desk"

[tools.stripe]
url = "https://api.stripe.com/v1"
tags = ["financial", "external"]

[[tools.stripe.capabilities]]
name = "list-charges"
method = "GET"
path = "/charges"

[[tools.stripe.capabilities]]
name = "refund"
method = "POST"
path = "/charges/{id}/refund"

[tools.wiki]
url = "http://wiki.internal:8080/"

[tools.vault]
url = "https://vault.internal"

[[policies.support.rules]]
name = "read charges"
permission = "allow"
resource = "https://api.stripe.com/v1/*"
operations = ["GET", "DELETE"]

[[policies.support.rules]]
name = "money needs a human"
permission = "approval_required"
tags = ["financial"]
operations = ["POST", "PUT"]

[[policies.support.rules]]
name = "never delete"
permission = "deny"
tags = ["external"]
operations = ["DELETE"]

[[policies.support.rules]]
name = "wiki"
permission = "allow"
resource = "http://wiki.internal:8080/*"

[[policies.support.rules]]
name = "vault"
permission = "allow"
resource = "https://vault.internal/*"

[[policies.web.rules]]
name = "status page"
permission = "allow"
resource = "https://status.example.com/*"

[[policies.web.rules]]
name = "mirrors"
permission = "allow"
resource = "https://*.mirror.example/*"

[[policies.web.rules]]
name = "not that mirror"
permission = "deny"
resource = "https://*.bad.mirror.example/*"

[agents.desk]
tools = ["wiki", "stripe"]
policies = ["support", "web"]

[agents.bare]
tools = ["wiki"]
"#;

fn book() -> Rulebook {
    compile(CONFIG).expect("the config compiles")
}

fn decided(method: &str, text: &str) -> String {
    word(&judge(&book(), method, &url(text)))
}

#[test]
fn deny_before_approval_before_allow_before_the_default() {
    assert_eq!(
        decided("GET", "https://api.stripe.com/v1/charges?limit=3"),
        "allow read charges"
    );
    assert_eq!(
        decided("POST", "https://api.stripe.com/v1/charges/ch_1/refund"),
        "ask money needs a human"
    );
    assert_eq!(
        decided("DELETE", "https://api.stripe.com/v1/charges"),
        "POLICY_DENIED never delete"
    );
    assert_eq!(
        decided("PATCH", "https://api.stripe.com/v1/charges"),
        "POLICY_DENIED default"
    );
    assert_eq!(decided("GET", "http://wiki.internal:8080/x"), "allow wiki");
}

#[test]
fn an_agent_without_a_policy_is_denied_everything() {
    for text in ["http://wiki.internal:8080/", "https://status.example.com/"] {
        for agent in ["bare", "nobody"] {
            let verdict = judge_for(&book(), agent, "GET", &url(text));
            assert_eq!(word(&verdict), "POLICY_DENIED default", "{agent} {text}");
        }
    }
}

#[test]
fn an_agent_needs_the_tool_besides_the_rule() {
    let Verdict::Denied(denied) = judge(&book(), "GET", &url("https://vault.internal/x")) else {
        panic!("an agent called a tool that it was not given");
    };
    assert_eq!(
        (denied.code(), denied.rule()),
        (Code::PolicyDenied, "default")
    );
    assert!(
        denied.message().contains("`tools` of `[agents.desk]`"),
        "{}",
        denied.message()
    );
}

#[test]
fn a_capability_is_asked_last_and_says_what_there_is() {
    for (method, text) in [
        ("GET", "https://api.stripe.com/v1/customers"),
        ("GET", "https://api.stripe.com/v1/charges/"),
        ("POST", "https://api.stripe.com/v1/charges//refund"),
        ("POST", "https://api.stripe.com/v1/charges/ch_1/refund/x"),
    ] {
        let Verdict::Denied(denied) = judge(&book(), method, &url(text)) else {
            panic!("{method} {text} passed");
        };
        assert_eq!(denied.code(), Code::CapabilityDenied, "{method} {text}");
        let refusal = denied.refusal();
        assert_eq!(refusal.error, "operation not permitted");
        assert!(
            refusal
                .message
                .contains("refund (POST /charges/{id}/refund)"),
            "{}",
            refusal.message
        );
    }
}

#[test]
fn a_plain_host_is_opened_by_its_full_name_only() {
    assert_eq!(
        decided("GET", "https://status.example.com/x"),
        "allow status page"
    );
    assert_eq!(
        decided("GET", "https://other.example.com/x"),
        "UNKNOWN_DESTINATION default"
    );
    assert_eq!(
        decided("GET", "https://a.mirror.example/x"),
        "UNKNOWN_DESTINATION default"
    );
    assert_eq!(
        decided("GET", "https://x.bad.mirror.example/x"),
        "POLICY_DENIED not that mirror"
    );
    let Verdict::Denied(denied) = judge(&book(), "GET", &url("https://a.mirror.example/")) else {
        panic!("a zone opened a plain host");
    };
    assert!(
        denied.message().contains("must be named in full"),
        "{}",
        denied.message()
    );
}

#[test]
fn a_yes_carries_the_rule_the_tool_and_the_call_itself() {
    let called = url("https://api.stripe.com/v1/charges?limit=3");
    let Verdict::Allowed(allowed) = judge(&book(), "GET", &called) else {
        panic!("denied")
    };
    assert_eq!(
        (allowed.rule(), allowed.policy().as_str()),
        ("read charges", "support")
    );
    assert_eq!(allowed.tool().map(ToolName::as_str), Some("stripe"));
    assert_eq!((allowed.method().as_str(), allowed.url()), ("GET", &called));
}

#[test]
fn a_refusal_names_rule_tool_and_what_to_ask_for_but_no_query() {
    let called = url("https://api.stripe.com/v1/charges?key=hunter2");
    let Verdict::Denied(denied) = judge(&book(), "DELETE", &called) else {
        panic!("allowed")
    };
    let refusal = denied.refusal();
    assert_eq!(refusal.code, Code::PolicyDenied);
    assert_eq!(refusal.rule.as_deref(), Some("never delete"));
    assert_eq!(refusal.tool.as_deref(), Some("stripe"));
    assert!(
        refusal
            .message
            .contains("policy `support` denies DELETE https://api.stripe.com/v1/charges.")
    );
    assert!(!refusal.message.contains("hunter2"), "{}", refusal.message);

    let Verdict::ApprovalRequired(pending) = judge(
        &book(),
        "POST",
        &url("https://api.stripe.com/v1/charges/1/refund?key=hunter2"),
    ) else {
        panic!("not asked");
    };
    let refusal = pending.refusal();
    assert_eq!(
        (refusal.code, refusal.error.as_str()),
        (Code::ApprovalRequired, "APPROVAL_REQUIRED")
    );
    assert!(!refusal.message.contains("hunter2"), "{}", refusal.message);
}

#[test]
fn want_of_a_rule_is_told_apart_from_every_other_reason() {
    for (agent, method, text, wanting) in [
        ("desk", "PATCH", "https://api.stripe.com/v1/charges", true),
        ("desk", "GET", "https://nobody.example/", true),
        ("bare", "GET", "https://nobody.example/", false),
        ("desk", "DELETE", "https://api.stripe.com/v1/charges", false),
        ("desk", "GET", "https://api.stripe.com/v1/customers", false),
        ("desk", "GET", "https://vault.internal/", false),
        ("desk", "CONNECT", "https://vault.internal/", false),
    ] {
        let Verdict::Denied(denied) = judge_for(&book(), agent, method, &url(text)) else {
            panic!("{agent} {method} {text} passed");
        };
        assert_eq!(
            denied.is_for_want_of_a_rule(),
            wanting,
            "{agent} {method} {text}"
        );
    }
}

#[test]
fn a_long_url_is_cut_in_a_refusal() {
    let called = url(&format!("https://other.example.com/{}", "a".repeat(4000)));
    let Verdict::Denied(denied) = judge(&book(), "GET", &called) else {
        panic!("allowed")
    };
    assert!(denied.message().len() < 500, "{}", denied.message().len());
}

#[test]
fn a_decision_does_not_trust_the_tool_that_it_is_told() {
    let (book, agent, method) = (book(), "desk".parse::<AgentName>(), "GET".parse::<Method>());
    let (agent, method) = (agent.expect("a name"), method.expect("a method"));
    let (stripe, wiki): (ToolName, ToolName) = (
        "stripe".parse().expect("a name"),
        "wiki".parse().expect("a name"),
    );
    let (charges, status) = (
        url("https://api.stripe.com/v1/charges"),
        url("https://status.example.com/"),
    );
    for (url, tool) in [
        (&charges, None),
        (&charges, Some(&wiki)),
        (&status, Some(&stripe)),
    ] {
        let verdict = book.decide(&Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url,
            tool,
        });
        assert_eq!(word(&verdict), "POLICY_DENIED default", "{url} as {tool:?}");
    }
}

#[test]
fn the_longest_base_owns_a_url_at_a_segment_border() {
    let book = book();
    for (text, owner) in [
        ("https://api.stripe.com/v1", Some("stripe")),
        ("https://api.stripe.com/v1/x", Some("stripe")),
        ("https://api.stripe.com/v10", None),
        ("https://api.stripe.com/", None),
        ("http://api.stripe.com/v1", None),
        ("http://wiki.internal:8080/a", Some("wiki")),
        ("http://wiki.internal/a", None),
    ] {
        let url = url(text);
        assert_eq!(
            book.route(&url).map(|route| route.tool().as_str()),
            owner,
            "{text}"
        );
    }
}

/// The problems of a config as `keys: message`.
fn problems(config: &str) -> Vec<String> {
    let found = compile(config).expect_err("the config has problems");
    found
        .iter()
        .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
        .collect()
}

#[test]
fn problems_of_rules_say_where_they_are() {
    let found = problems(
        r#"
[[policies.p.rules]]
name = "default"
permission = "allow"
resource = "https://a.example/*"

[[policies.p.rules]]
name = "one"
permission = "allow"
resource = "https://api.stripe.com*"

[[policies.p.rules]]
name = "one"
permission = "allow"
resource = "https://*.com/*"
operations = ["GET", "post"]

[[policies.p.rules]]
name = ""
permission = "deny"

[[policies.p.rules]]
name = "tagged"
permission = "deny"
tags = ["a", ""]
"#,
    );
    for beginning in [
        "policies.p.rules.0.name: `default` is what refusals say",
        "policies.p.rules.1.resource: a resource needs a path: `https://api.stripe.com/` is that page alone",
        "policies.p.rules.2.name: two rules",
        "policies.p.rules.2.resource: `*.com` is a whole top-level domain",
        "policies.p.rules.2.operations.1: a method is",
        "policies.p.rules.3.name: a rule's name has",
        "policies.p.rules.3.name: a rule needs a `resource` or `tags`",
        "policies.p.rules.4.tags.1: a tag is a word",
    ] {
        assert!(
            found.iter().any(|text| text.starts_with(beginning)),
            "{beginning}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn problems_of_tools_and_grants_say_where_they_are() {
    let found = problems(
        r#"
[tools.a]
url = "https://api.example.com/v1"

[tools.b]
url = "https://API.example.com:443/v1/"

[tools.c]
url = "ftp://x/"

[tools.d]
url = "https://d.example/?x"

[tools.e]
url = "https://e.example/@all"

[[tools.a.capabilities]]
name = "x"
method = "CONNECT"
path = "/"

[[tools.a.capabilities]]
name = "y"
method = "GET"
path = "/{a}{b}"

[agents.desk]
tools = ["a", "f"]
policies = ["gone"]
"#,
    );
    for beginning in [
        "tools.b.url: tools `a` and `b` have the same URL",
        "tools.c.url: a URL begins with",
        "tools.d.url: a tool's URL has no query",
        "tools.e.url: the base path of a tool",
        "tools.a.capabilities.0.method: a tool is never called by CONNECT",
        "tools.a.capabilities.1.path: a place in a path is a whole segment",
        "agents.desk.tools.1: there is no tool `f`",
        "agents.desk.policies.0: there is no policy `gone`",
    ] {
        assert!(
            found.iter().any(|text| text.starts_with(beginning)),
            "{beginning}\n{found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn a_rulebook_reads_plainly() {
    let expected = r"agent bare
  tool wiki  http://wiki.internal:8080/
  no policy: everything is denied
agent desk
  tool stripe  https://api.stripe.com/v1  tags financial, external
    only  list-charges  GET /charges
    only  refund  POST /charges/{id}/refund
  tool wiki  http://wiki.internal:8080/
  policy support
    deny   DELETE  any tool  tagged external  by rule `never delete`
    ask    POST PUT  any tool  tagged financial  by rule `money needs a human`
    allow  GET DELETE  https://api.stripe.com/v1/*  by rule `read charges`
    allow  any method  http://wiki.internal:8080/*  by rule `wiki`
    allow  any method  https://vault.internal/*  by rule `vault`
  policy web
    deny   any method  https://*.bad.mirror.example/*  by rule `not that mirror`
    allow  any method  https://status.example.com/*  by rule `status page`
    allow  any method  https://*.mirror.example/*  by rule `mirrors`
  everything else is denied";
    assert_eq!(book().describe().join("\n"), expected);
}

#[test]
fn models_are_described_with_what_stands_against_them() {
    let config = r#"
default_agent = "asks"
[providers.play]
format = "playground"
[models.fast]
provider = "play"
upstream = "play"
[policies.none]
[agents.asks]
models = ["fast"]
policies = ["none"]
[agents.bare]
models = ["fast"]
"#;
    let expected = "agent asks
  model fast
  policy none
  everything else is denied
agent bare
  model fast  DENIED: the agent has no policy
  no policy: everything is denied";
    let book = compile(config).expect("the config compiles");
    assert_eq!(book.describe().join("\n"), expected);
}

#[test]
fn an_empty_config_allows_nothing() {
    let book = compile("").expect("an empty config compiles");
    assert_eq!(
        word(&judge(&book, "GET", &url("https://a.example/"))),
        "POLICY_DENIED default"
    );
    assert!(book.describe().is_empty());
}

#[test]
fn a_rulebook_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Rulebook>();
    shared::<Verdict>();
}
