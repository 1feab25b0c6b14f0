//! Which hosts an agent could come to call, as far as the host alone can tell. Never a decision.

use crate::fixture::compile;

#[test]
fn a_host_could_be_opened_by_a_tool_or_a_rule_that_is_about_it() {
    let book = compile(
        r#"
        default_agent = "desk"
        [tools.crm]
        url = "https://crm.example:8443/v1"
        [tools.other]
        url = "https://other.example"
        [[policies.open.rules]]
        name = "read"
        permission = "allow"
        resource = "https://api.example/v1/*"
        operations = ["GET"]
        [[policies.open.rules]]
        name = "zone"
        permission = "approval_required"
        resource = "https://*.zone.example/*"
        [[policies.open.rules]]
        name = "no"
        permission = "deny"
        resource = "https://denied.example/*"
        [policies.watching]
        mode = "audit"
        [agents.desk]
        tools = ["crm"]
        policies = ["open"]
        [agents.bare]
        tools = ["crm"]
        [agents.watched]
        policies = ["watching"]
        "#,
    )
    .unwrap();
    let could = |agent: &str, host: &str| {
        book.could_open(
            postern_policy::Holder::agent(&agent.parse().unwrap()),
            &host.parse().unwrap(),
        )
    };
    for host in [
        "crm.example",
        "API.example.",
        "a.zone.example",
        "a.b.zone.example",
    ] {
        assert!(could("desk", host), "{host}");
    }
    for host in [
        "other.example",
        "zone.example",
        "denied.example",
        "example",
        "192.0.2.1",
    ] {
        assert!(!could("desk", host), "{host}");
    }
    assert!(!could("bare", "crm.example") && !could("nobody", "crm.example"));
    assert!(could("watched", "anybody.example"));
}
