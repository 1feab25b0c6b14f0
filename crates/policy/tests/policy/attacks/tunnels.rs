//! CONNECT to where rules or credentials would be bypassed. Never looks at what a tunnel carries.

use postern_policy::{Authority, CanonicalUrl};

use super::book;
use crate::fixture::{compile, judge, word};

fn tunnel(target: &str) -> String {
    let authority = Authority::parse_connect(target).expect("a target");
    word(&judge(
        &book(),
        "CONNECT",
        &CanonicalUrl::of_authority(authority),
    ))
}

#[test]
fn no_tunnel_to_a_tool() {
    assert_eq!(tunnel("api.stripe.com:443"), "POLICY_DENIED default");
    assert_eq!(tunnel("API.stripe.com.:443"), "POLICY_DENIED default");
    assert_eq!(tunnel("api.example.com:443"), "POLICY_DENIED default");
}

#[test]
fn no_tunnel_past_a_rule_on_paths_or_methods() {
    assert_eq!(tunnel("half.example.org:80"), "UNKNOWN_DESTINATION default");
    assert_eq!(
        tunnel("read.example.org:443"),
        "UNKNOWN_DESTINATION default"
    );
    assert_eq!(
        tunnel("mirror.example.org:443"),
        "POLICY_DENIED no uploads to the mirror"
    );
}

#[test]
fn no_tunnel_to_a_host_with_a_forbidden_path() {
    assert_eq!(
        tunnel("vendor.example.org:443"),
        "POLICY_DENIED not the vendor's admin"
    );
}

#[test]
fn a_tunnel_needs_its_host_and_port_named() {
    assert_eq!(tunnel("db.example.org:5432"), "allow database");
    assert_eq!(tunnel("db.example.org:5433"), "UNKNOWN_DESTINATION default");
    assert_eq!(tunnel("a.zone.example:443"), "UNKNOWN_DESTINATION default");
    assert_eq!(tunnel("nobody.example:443"), "UNKNOWN_DESTINATION default");
}

#[test]
fn a_tunnel_is_judged_whatever_will_be_spoken_in_it() {
    assert_eq!(tunnel("odd.example.org:8443"), "allow odd port");
    assert_eq!(tunnel("api.stripe.com:80"), "UNKNOWN_DESTINATION default");
}

const PINNED: &str = r#"
[tools.pinned]
url = "https://pinned.a.example:8443"
tls = "tunnel"
tags = ["tagged"]

[tools.other]
url = "https://other.example/v1"

[[policies.p.rules]]
name = "all of it"
permission = "allow"
resource = "https://pinned.a.example:8443/*"

[agents.desk]
tools = ["pinned", "other"]
policies = ["p"]
"#;

fn tunnel_by(config: &str, target: &str) -> String {
    let book = compile(config).expect("the config compiles");
    let authority = Authority::parse_connect(target).expect("a target");
    word(&judge(&book, "CONNECT", &book.tunnel_to(authority)))
}

#[test]
fn the_one_exception_is_a_tool_that_says_so_and_its_whole_host_by_name() {
    assert_eq!(
        tunnel_by(PINNED, "pinned.a.example:8443"),
        "allow all of it"
    );
    assert_eq!(
        tunnel_by(PINNED, "other.example:443"),
        "POLICY_DENIED default"
    );
    let not_given = PINNED.replace("tools = [\"pinned\", ", "tools = [");
    assert_eq!(
        tunnel_by(&not_given, "pinned.a.example:8443"),
        "POLICY_DENIED default"
    );
    let zone = PINNED.replace(
        "resource = \"https://pinned.a.example:8443/*\"",
        "resource = \"https://*.a.example:8443/*\"",
    );
    assert_eq!(
        tunnel_by(&zone, "pinned.a.example:8443"),
        "POLICY_DENIED default"
    );
    let tagged = PINNED.replace(
        "resource = \"https://pinned.a.example:8443/*\"",
        "tags = [\"tagged\"]",
    );
    assert_eq!(
        tunnel_by(&tagged, "pinned.a.example:8443"),
        "POLICY_DENIED default"
    );
    // In another scheme it is nobody's, and no tunnel either.
    let book = compile(PINNED).expect("the config compiles");
    let bare = Authority::parse_connect("pinned.a.example:8443").expect("a target");
    let bare = CanonicalUrl::of_authority(bare);
    assert_eq!(
        word(&judge(&book, "CONNECT", &bare)),
        "POLICY_DENIED default"
    );
}

#[test]
fn a_tool_with_tunnels_has_nothing_that_takes_a_look_inside() {
    let wrong = |from: &str, to: &str| {
        assert!(PINNED.contains(from));
        let problems = compile(&PINNED.replacen(from, to, 1))
            .err()
            .unwrap_or_default();
        problems
            .into_iter()
            .map(|problem| problem.path.join("."))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let tls = "tls = \"tunnel\"";
    for (from, to, at) in [
        (
            "https://pinned.a.example:8443\"",
            "http://pinned.a.example:8443\"",
            "tools.pinned.url",
        ),
        (
            "https://pinned.a.example:8443\"",
            "https://pinned.a.example:8443/v1\"",
            "tools.pinned.url",
        ),
        (
            tls,
            "tls = \"tunnel\"\ncredential = 1",
            "tools.pinned.credential",
        ),
        (
            tls,
            "tls = \"tunnel\"\nforward_identity = true",
            "tools.pinned.forward_identity",
        ),
        (
            "tags = [\"tagged\"]",
            "[[tools.pinned.capabilities]]\nname = \"a\"\nmethod = \"GET\"\npath = \"/\"",
            "tools.pinned.capabilities",
        ),
        (":8443/*\"", ":8443/v1/*\"", "policies.p.rules.0.resource"),
        (
            ":8443/*\"",
            ":8443/*\"\noperations = [\"GET\"]",
            "policies.p.rules.0.resource",
        ),
        (
            "https://other.example/v1",
            "https://pinned.a.example:8443/v1",
            "tools.pinned.url",
        ),
    ] {
        assert_eq!(wrong(from, to), at, "{to}");
    }
}
