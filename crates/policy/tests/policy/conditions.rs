//! Every kind of condition through the public surface, as an allow rule and as one that denies. Never random; the laws
//! are in `properties.rs`.

use postern_contract::AgentName;
use postern_policy::{BODY_BYTES_MAX, BodyShown, Evidence, Facts, Heard, Method, Rulebook};

use crate::fixture::{compile, judge, judge_with, url, word};

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

/// A tool, and one rule with the permission and keys given; one that denies stands beside one that allows all.
fn book(permission: &str, keys: &str) -> Rulebook {
    let mut config = String::from(
        "[tools.api]\nurl = \"https://api.example\"\n[agents.desk]\ntools = [\"api\"]\npolicies = [\"p\"]\n\
         [[policies.p.rules]]\nname = \"it\"\n",
    );
    config += &format!("permission = \"{permission}\"\n");
    if !keys.contains("resource") {
        config += "resource = \"https://api.example/*\"\n";
    }
    config += keys;
    if permission != "allow" {
        config += "\n[[policies.p.rules]]\nname = \"rest\"\npermission = \"allow\"\nresource = \"https://api.example/*\"\n";
    }
    compile(&config).expect("the fixture compiles")
}

/// What a condition answers, seen from an allow rule and from one that denies.
fn answer(keys: &str, (method, target): (&str, &str), evidence: &Evidence<'_>) -> &'static str {
    let called = url(&format!("https://api.example{target}"));
    let allow = word(&judge_with(&book("allow", keys), method, &called, evidence));
    let deny = judge_with(&book("deny", keys), method, &called, evidence);
    let asked = word(&judge_with(
        &book("approval_required", keys),
        method,
        &called,
        evidence,
    ));
    let doubt = matches!(&deny, postern_policy::Verdict::Denied(denied) if denied.message().contains("may restrict"));
    match (allow.as_str(), word(&deny).as_str(), asked.as_str()) {
        ("allow it", "POLICY_DENIED it", "ask it") => "yes",
        ("POLICY_DENIED default", "allow rest", "allow rest") => "no",
        ("POLICY_DENIED default", "POLICY_DENIED it", "POLICY_DENIED it") if doubt => "cannot tell",
        (allow, deny, asked) => panic!("{allow}, {deny}, {asked}"),
    }
}

fn body(text: &str) -> Evidence<'_> {
    Evidence::none()
        .with_headers([JSON])
        .with_body(BodyShown::Whole(text.as_bytes()))
}

#[test]
fn paths_by_form() {
    let keys = r#"paths = ["/repos/*/issues", "/gists/**", "/@me/*"]"#;
    for (path, said) in [
        ("/repos/a/issues", "yes"),
        ("/repos/a/b/issues", "no"),
        ("/repos/a/../b/issues", "yes"),
        ("/gists/a/b?x", "yes"),
        ("/gists", "no"),
        ("/%40me/x", "cannot tell"),
        ("/", "no"),
    ] {
        assert_eq!(
            answer(keys, ("GET", path), &Evidence::none()),
            said,
            "{path}"
        );
    }
    let both = r#"resource = "https://api.example/repos/a*"
                  paths = ["/repos/*/issues"]"#;
    assert_eq!(
        answer(both, ("GET", "/repos/ab/issues"), &Evidence::none()),
        "yes"
    );
    assert_eq!(
        answer(both, ("GET", "/repos/b/issues"), &Evidence::none()),
        "no"
    );
}

#[test]
fn every_port_only_to_deny() {
    let config = |permission: &str| {
        format!(
            "[agents.desk]\npolicies = [\"p\"]\n[[policies.p.rules]]\nname = \"ports\"\npermission = \"{permission}\"\n\
             resource = \"https://a.example:*/*\"\n[[policies.p.rules]]\nname = \"one\"\npermission = \"allow\"\n\
             resource = \"https://a.example:8443/*\"\n"
        )
    };
    let denies = compile(&config("deny")).expect("it compiles");
    assert_eq!(
        word(&judge(&denies, "GET", &url("https://a.example:8443/"))),
        "POLICY_DENIED ports"
    );
    for permission in ["allow", "approval_required"] {
        let problems = compile(&config(permission)).expect_err("it is too wide");
        assert!(problems[0].message.contains("every port"), "{problems:?}");
    }
}

#[test]
fn header_fields() {
    let keys = r#"headers = { "x-env" = "prod", "x-trace" = { present = true }, "x-debug" = { present = false } }"#;
    let good = [("X-Env", &b"prod"[..]), ("x-trace", b"1")];
    let with = |more: &[(&'static str, &'static [u8])]| {
        let fields = good.iter().copied().chain(more.iter().copied());
        Evidence::none().with_headers(fields)
    };
    let call = ("GET", "/");
    assert_eq!(answer(keys, call, &with(&[])), "yes");
    assert_eq!(answer(keys, call, &with(&[("x-debug", b"")])), "no");
    assert_eq!(
        answer(keys, call, &with(&[("x-env", b"prod")])),
        "cannot tell"
    );
    assert_eq!(
        answer(keys, call, &with(&[("x_env", b"dev")])),
        "cannot tell"
    );
    assert_eq!(
        answer(keys, call, &Evidence::none().with_headers([good[0]])),
        "no"
    );
    assert_eq!(answer(keys, call, &Evidence::none()), "cannot tell");
    let wrong = [
        ("x-env", &b"Prod"[..]),
        ("x-trace", b"1"),
        ("x-trace", b"2"),
    ];
    assert_eq!(
        answer(keys, call, &Evidence::none().with_headers(wrong)),
        "no"
    );
}

#[test]
fn parameters_of_the_query() {
    let keys = r#"query = { dry_run = "true", page = { present = false } }"#;
    for (target, said) in [
        ("/?dry_run=true", "yes"),
        ("/?a=1&dry_run=tr%75e", "yes"),
        ("/?dry_run=false", "no"),
        ("/", "no"),
        ("/?dry_run=true&page=", "no"),
        ("/?dry_run=true&dry_run=false", "cannot tell"),
        ("/?dry_run=true&dry_run=true", "cannot tell"),
        ("/?dry_run=true&DRY_RUN=false", "cannot tell"),
        ("/?dry_run=true;dry_run=false", "cannot tell"),
    ] {
        assert_eq!(
            answer(keys, ("GET", target), &Evidence::none()),
            said,
            "{target}"
        );
    }
}

#[test]
fn expressions_over_the_body() {
    let keys = r#"when = "body.amount > 10000""#;
    for (text, said) in [
        (r#"{"amount": 10001}"#, "yes"),
        (r#"{"amount": 10000}"#, "no"),
        (r#"{"amount": "10001"}"#, "cannot tell"),
        ("{}", "cannot tell"),
    ] {
        assert_eq!(answer(keys, ("POST", "/"), &body(text)), said, "{text}");
    }
    assert_eq!(
        answer(keys, ("POST", "/"), &Evidence::none()),
        "cannot tell"
    );
    let who = r#"when = "agent == 'desk' && run == 'r1' && user == 'u'""#;
    let known = Evidence::none().with_run("r1").with_user("u");
    assert_eq!(answer(who, ("GET", "/"), &known), "yes");
    assert_eq!(
        answer(who, ("GET", "/"), &Evidence::none().with_run("r1")),
        "cannot tell"
    );
}

#[test]
fn graphql_by_operation_and_root_fields() {
    let keys = r#"graphql = { operations = ["query"], fields = ["viewer", "repository"] }"#;
    for (document, said) in [
        ("{ viewer { login } }", "yes"),
        (
            "query Q { a: viewer { login } repository(name: \\\"x\\\") { id } }",
            "yes",
        ),
        ("{ secrets }", "no"),
        ("mutation { viewer: wipe }", "no"),
        ("{ viewer { login } secrets }", "cannot tell"),
        ("{ viewer: secrets }", "no"),
    ] {
        let text = format!("{{\"query\": \"{document}\", \"variables\": {{}}}}");
        assert_eq!(
            answer(keys, ("POST", "/graphql"), &body(&text)),
            said,
            "{document}"
        );
    }
    let by_get = Evidence::none().with_body(BodyShown::Absent);
    assert_eq!(
        answer(
            keys,
            ("GET", "/graphql?query=%7Bviewer%7Bid%7D%7D"),
            &by_get
        ),
        "yes"
    );
    assert_eq!(
        answer(
            keys,
            ("GET", "/graphql?query=mutation%7Bviewer%7D"),
            &by_get
        ),
        "no"
    );
}

#[test]
fn mcp_by_method_and_tool() {
    let keys = r#"mcp = { methods = ["tools/list", "tools/call"], tools = ["search"] }"#;
    let message = |method: &str, params: &str| {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}")
    };
    for (method, params, said) in [
        ("tools/call", r#"{"name":"search","arguments":{}}"#, "yes"),
        ("tools/call", r#"{"name":"delete"}"#, "no"),
        ("tools/call", "{}", "cannot tell"),
        (
            "tools/call",
            r#"{"name":"search","Name":"delete"}"#,
            "cannot tell",
        ),
        ("tools/list", "{}", "yes"),
        ("resources/read", "{}", "no"),
    ] {
        assert_eq!(
            answer(keys, ("POST", "/mcp"), &body(&message(method, params))),
            said,
            "{method} {params}"
        );
    }
    let only = r#"mcp = { tools = ["search"] }"#;
    assert_eq!(
        answer(only, ("POST", "/mcp"), &body(&message("tools/list", "{}"))),
        "no"
    );
    for odd in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/list","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/list","more":1}"#,
    ] {
        assert_eq!(
            answer(keys, ("POST", "/mcp"), &body(odd)),
            "cannot tell",
            "{odd}"
        );
    }
}

#[test]
fn a_body_is_read_only_where_a_rule_needs_it() {
    let config = r#"
        [agents.desk]
        policies = ["p"]
        [[policies.p.rules]]
        name = "large"
        permission = "deny"
        resource = "https://a.example/pay/*"
        operations = ["POST"]
        query = { live = "1" }
        when = "body.amount > 10000"
        [[policies.p.rules]]
        name = "agents"
        permission = "deny"
        resource = "https://b.example/*"
        when = "agent == 'x'"
    "#;
    let book = compile(config).expect("it compiles");
    let agent: AgentName = "desk".parse().expect("a name");
    for (method, target, needs) in [
        ("POST", "https://a.example/pay/1?live=1", true),
        ("POST", "https://a.example/pay/1", false),
        ("GET", "https://a.example/pay/1?live=1", false),
        ("POST", "https://a.example/list?live=1", false),
        ("POST", "https://a.example:8443/pay/1?live=1", false),
        ("POST", "https://b.example/", false),
        ("CONNECT", "https://a.example/", false),
    ] {
        let (method, called): (Method, _) = (method.parse().expect("a method"), url(target));
        let facts = Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url: &called,
            tool: None,
        };
        assert_eq!(book.needs_body(&facts), needs, "{method} {target}");
    }
}

#[test]
fn a_body_makes_no_difference_to_what_is_refused_anyway() {
    let rule = |name: &str, keys: &str| {
        format!(
            "[[policies.p.rules]]\nname = \"{name}\"\nresource = \"https://a.example/*\"\n{keys}\n"
        )
    };
    let small = rule(
        "small",
        "permission = \"allow\"\nwhen = \"body.amount < 10\"",
    );
    let large = rule(
        "large",
        "permission = \"deny\"\nwhen = \"body.amount > 10\"",
    );
    let open = rule("open", "permission = \"allow\"");
    let shut = rule("shut", "permission = \"deny\"\noperations = [\"POST\"]");
    let told = rule("told", "permission = \"deny\"\nheaders = { x-a = \"1\" }");
    let agent: AgentName = "desk".parse().expect("a name");
    for (rules, hangs) in [
        (vec![&small], true),
        (vec![&large, &open], true),
        (vec![&large], false),
        (vec![&open], false),
        (vec![&small, &open, &shut], false),
        (vec![&small, &told], false),
    ] {
        let rules: String = rules.into_iter().map(String::as_str).collect();
        let config = format!("[agents.desk]\npolicies = [\"p\"]\n{rules}");
        let book = compile(&config).expect("it compiles");
        let (method, called): (Method, _) =
            ("POST".parse().expect("a method"), url("https://a.example/"));
        let facts = Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url: &called,
            tool: None,
        };
        let fields = [("x-a", &b"2"[..]), ("x-a", &b"1"[..])];
        let evidence = Evidence::none().with_headers(fields);
        assert_eq!(book.hangs_on_body(&facts, &evidence), hangs, "{rules}");
    }
}

#[test]
fn a_tunnel_hides_what_conditions_are_about() {
    for keys in [
        "paths = [\"/a\"]",
        "headers = { \"x-a\" = \"1\" }",
        "query = { a = { present = false } }",
        "when = \"host == 'a.example'\"",
        "graphql = {}",
        "mcp = {}",
    ] {
        let rule = |permission: &str| {
            format!(
                "[agents.desk]\npolicies = [\"p\"]\n[[policies.p.rules]]\nname = \"it\"\npermission = \"{permission}\"\n\
                 resource = \"https://a.example/*\"\n{keys}\n"
            )
        };
        let open = "[[policies.p.rules]]\nname = \"open\"\npermission = \"allow\"\nresource = \"https://a.example/*\"\n";
        let called = url("https://a.example/");
        let known = Evidence::none().with_headers([("x-a", &b"1"[..])]);
        let allowing = compile(&rule("allow")).expect("it compiles");
        assert_eq!(
            word(&judge_with(&allowing, "CONNECT", &called, &known)),
            "UNKNOWN_DESTINATION default",
            "{keys}"
        );
        let denying = compile(&(rule("deny") + open)).expect("it compiles");
        assert_eq!(
            word(&judge_with(&denying, "CONNECT", &called, &known)),
            "POLICY_DENIED it",
            "{keys}"
        );
    }
}

#[test]
fn a_trace_tells_what_each_rule_had_to_say() {
    let book = book(
        "deny",
        "operations = [\"POST\"]\nwhen = \"body.amount > 10000\"",
    );
    let (agent, called): (AgentName, _) = (
        "desk".parse().expect("a name"),
        url("https://api.example/pay"),
    );
    let method: Method = "POST".parse().expect("a method");
    let tool = book.route(&called).map(postern_policy::Route::tool);
    let facts = Facts {
        stage: None,
        agent: &agent,
        method: &method,
        url: &called,
        tool,
    };
    let trace = book.trace(&facts, &body("{\"amount\": 1}"));
    let heard: Vec<_> = trace
        .steps
        .iter()
        .map(|step| (step.rule.as_str(), step.heard.clone()))
        .collect();
    assert_eq!(heard, [("it", Heard::Not("when")), ("rest", Heard::Holds)]);
    assert_eq!(
        (trace.rules, trace.needs_body, word(&trace.verdict)),
        (2, true, "allow rest".to_owned())
    );
    let trace = book.trace(&facts, &Evidence::none().with_body(BodyShown::TooLong));
    let Heard::CannotTell(why) = &trace.steps[0].heard else {
        panic!("{:?}", trace.steps)
    };
    assert!(why[0].contains(&BODY_BYTES_MAX.to_string()), "{why:?}");
}

#[test]
fn what_no_condition_can_be() {
    for (keys, at, word) in [
        ("paths = [\"/a*\"]", "0", "whole segment"),
        ("paths = [\"/a\", \"b\"]", "1", "begins with"),
        ("headers = { \"X-Env\" = \"a\" }", "X-Env", "lower case"),
        ("headers = { host = \"a\" }", "host", "gate writes"),
        ("query = { \"\" = \"a\" }", "query", "name"),
        ("when = \"amount > 1\"", "when", "`amount` is not known"),
        ("graphql = { fields = [\"a b\"] }", "graphql", "letters"),
        ("mcp = { tools = [\"\"] }", "mcp", "names"),
    ] {
        let config = format!(
            "[[policies.p.rules]]\nname = \"it\"\npermission = \"deny\"\nresource = \"https://a.example/*\"\n{keys}\n"
        );
        let problems = compile(&config).expect_err("it does not compile");
        assert_eq!(
            problems[0].path.last().map(String::as_str),
            Some(at),
            "{problems:?}"
        );
        assert!(problems[0].message.contains(word), "{problems:?}");
    }
}
