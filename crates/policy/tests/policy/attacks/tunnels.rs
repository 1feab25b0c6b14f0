//! Attack 4: CONNECT to where rules or credentials would be bypassed. Never looks at what a tunnel carries.

use postern_policy::{Authority, CanonicalUrl};

use super::book;
use crate::fixture::{judge, word};

fn tunnel(target: &str) -> String {
    let authority = Authority::parse_connect(target).expect("a target");
    word(&judge(
        &book(),
        "CONNECT",
        &CanonicalUrl::of_authority(authority),
    ))
}

#[test]
fn attack_4_no_tunnel_to_a_tool() {
    assert_eq!(tunnel("api.stripe.com:443"), "POLICY_DENIED default");
    assert_eq!(tunnel("API.stripe.com.:443"), "POLICY_DENIED default");
    assert_eq!(tunnel("api.example.com:443"), "POLICY_DENIED default");
}

#[test]
fn attack_4_no_tunnel_past_a_rule_on_paths_or_methods() {
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
fn attack_4_no_tunnel_to_a_host_with_a_forbidden_path() {
    assert_eq!(
        tunnel("vendor.example.org:443"),
        "POLICY_DENIED not the vendor's admin"
    );
}

#[test]
fn attack_4_a_tunnel_needs_its_host_and_port_named() {
    assert_eq!(tunnel("db.example.org:5432"), "allow database");
    assert_eq!(tunnel("db.example.org:5433"), "UNKNOWN_DESTINATION default");
    assert_eq!(tunnel("a.zone.example:443"), "UNKNOWN_DESTINATION default");
    assert_eq!(tunnel("nobody.example:443"), "UNKNOWN_DESTINATION default");
}

#[test]
fn attack_4_a_tunnel_is_judged_whatever_will_be_spoken_in_it() {
    assert_eq!(tunnel("odd.example.org:8443"), "allow odd port");
    assert_eq!(tunnel("api.stripe.com:80"), "UNKNOWN_DESTINATION default");
}
