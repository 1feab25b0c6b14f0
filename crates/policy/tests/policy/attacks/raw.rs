//! Tools that speak no HTTP: host and port are all that there is to judge. Never looks at what a connection carries.

use postern_policy::{Authority, CanonicalUrl};

use crate::fixture::{compile, judge, word};

const DATABASE: &str = r#"
[tools.db]
url = "tcp://db.example:5432"
protocol = "tcp"
tags = ["data"]

[tools.site]
url = "https://site.example"

[[policies.p.rules]]
name = "the database"
permission = "allow"
resource = "tcp://db.example:5432"

[agents.desk]
tools = ["db", "site"]
policies = ["p"]
"#;

fn connection(config: &str, target: &str) -> String {
    let book = compile(config).expect("the config compiles");
    let authority = Authority::parse_connect(target).expect("a target");
    word(&judge(&book, "CONNECT", &book.tunnel_to(authority)))
}

#[test]
fn a_connection_without_http_is_for_a_tool_by_host_and_port_and_for_nobody_else() {
    assert_eq!(
        connection(DATABASE, "db.example:5432"),
        "allow the database"
    );
    for other in ["db.example:5433", "other.example:5432"] {
        assert_eq!(connection(DATABASE, other), "UNKNOWN_DESTINATION default");
    }
    let by_name = DATABASE.replace(
        "resource = \"tcp://db.example:5432\"",
        "resource = \"tcp://db.example:5432\"\noperations = [\"CONNECT\"]",
    );
    assert_eq!(
        connection(&by_name, "db.example:5432"),
        "allow the database"
    );
    let not_given = DATABASE.replace("tools = [\"db\", ", "tools = [");
    assert_eq!(
        connection(&not_given, "db.example:5432"),
        "POLICY_DENIED default"
    );
    // Words are too wide for what nobody looks into.
    let tagged = DATABASE.replace("resource = \"tcp://db.example:5432\"", "tags = [\"data\"]");
    assert_eq!(
        connection(&tagged, "db.example:5432"),
        "POLICY_DENIED default"
    );
}

#[test]
fn rules_that_deny_may_be_wide() {
    for resource in [
        "tcp://db.example:5432",
        "tcp://db.example:*",
        "tcp://*.example:*",
        "https://db.example:*/*",
        "https://*.example:5432/*",
    ] {
        let denied = format!(
            "{DATABASE}\n[[policies.p.rules]]\nname = \"never\"\npermission = \"deny\"\nresource = \"{resource}\"\n"
        );
        assert_eq!(
            connection(&denied, "db.example:5432"),
            "POLICY_DENIED never",
            "{resource}"
        );
    }
}

#[test]
fn what_speaks_no_http_is_sent_no_request() {
    let book = compile(DATABASE).expect("the config compiles");
    let authority = Authority::parse_connect("db.example:5432").expect("a target");
    let url = book.tunnel_to(authority);
    assert_eq!(url.to_string(), "tcp://db.example:5432/");
    for method in ["GET", "POST", "OPTIONS"] {
        assert_eq!(word(&judge(&book, method, &url)), "POLICY_DENIED default");
    }
    // No request can even name it.
    assert!(CanonicalUrl::parse("tcp://db.example:5432/").is_err());
    let host = "db.example".parse().expect("a host");
    assert!(book.raw_at(&host, 5432).is_some());
    assert!(book.raw_at(&host, 443).is_none());
    assert!(
        book.raw_at(&"site.example".parse().expect("a host"), 443)
            .is_none()
    );
}

const URL: &str = "tcp://db.example:5432\"\nprotocol";
const PROTOCOL: &str = "protocol = \"tcp\"";
const RESOURCE: &str = "resource = \"tcp://db.example:5432\"";

/// What is written instead of what, and where that is a mistake.
const MISTAKES: [(&str, &str, &str); 20] = [
    (URL, "https://db.example:5432\"\nprotocol", "tools.db.url"),
    (URL, "tcp://db.example\"\nprotocol", "tools.db.url"),
    (URL, "tcp://db.example:5432/x\"\nprotocol", "tools.db.url"),
    (URL, "tcp://me@db.example:5432\"\nprotocol", "tools.db.url"),
    (PROTOCOL, "", "tools.db.url"),
    (
        PROTOCOL,
        "protocol = \"tcp\"\ncredential = 1",
        "tools.db.credential",
    ),
    (
        PROTOCOL,
        "protocol = \"tcp\"\nforward_identity = true",
        "tools.db.forward_identity",
    ),
    (
        PROTOCOL,
        "protocol = \"tcp\"\ntls = \"tunnel\"",
        "tools.db.tls",
    ),
    (PROTOCOL, "protocol = \"tcp\"\nca = \"x\"", "tools.db.ca"),
    (
        PROTOCOL,
        "protocol = \"tcp\"\nretries = 1",
        "tools.db.retries",
    ),
    (
        PROTOCOL,
        "protocol = \"tcp\"\ntimeouts = { idle = \"1s\" }",
        "tools.db.timeouts",
    ),
    (
        "tags = [\"data\"]",
        "[[tools.db.capabilities]]\nname = \"a\"\nmethod = \"GET\"\npath = \"/\"",
        "tools.db.capabilities",
    ),
    (
        RESOURCE,
        "resource = \"tcp://db.example:5432/*\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"tcp://db.example\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"tcp://db.example:*\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"https://db.example:5432/*\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"tcp://site.example:443\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"tcp://*.example:5432\"",
        "policies.p.rules.0.resource",
    ),
    (
        RESOURCE,
        "resource = \"tcp://db.example:5432\"\noperations = [\"GET\"]",
        "policies.p.rules.0.resource",
    ),
    (
        "https://site.example",
        "https://db.example:5432",
        "tools.site.url",
    ),
];

#[test]
fn a_tool_without_http_has_nothing_that_takes_a_look_inside() {
    let wrong = |from: &str, to: &str| {
        assert!(DATABASE.contains(from));
        let problems = compile(&DATABASE.replacen(from, to, 1));
        let problems = problems.err().unwrap_or_default();
        let paths = problems.into_iter().map(|problem| problem.path.join("."));
        paths.collect::<Vec<_>>().join(" ")
    };
    for (from, to, at) in MISTAKES {
        assert!(wrong(from, to).starts_with(at), "{to}: {}", wrong(from, to));
    }
}
