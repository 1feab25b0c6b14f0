//! `mode = "audit"`: what may pass though no rule mentions it, and what may not. Never softer than a rule or a guard.

use postern_policy::{Evidence, Facts, Route};

use crate::fixture::{compile, url};

const WATCHING: &str = r#"default_agent = "desk"

[tools.crm]
url = "https://crm.example"

[tools.listed]
url = "https://listed.example"

[[tools.listed.capabilities]]
name = "one"
method = "GET"
path = "/one"

[policies.watch]
mode = "audit"

[[policies.watch.rules]]
name = "never"
permission = "deny"
resource = "https://crm.example/never"

[[policies.watch.rules]]
name = "ask"
permission = "approval_required"
resource = "https://crm.example/ask"

[[policies.watch.rules]]
name = "sometimes never"
permission = "deny"
resource = "https://crm.example/sometimes"
when = "body.x == 1"

[policies.strict]

[agents.desk]
tools = ["crm", "listed"]
policies = ["watch"]

[agents.both]
tools = ["crm"]
policies = ["watch", "strict"]

[agents.none]
tools = ["crm"]
"#;

#[test]
fn only_where_all_policies_watch_what_no_rule_mentions_may_pass() {
    let book = compile(WATCHING).expect("it compiles");
    let passes = |agent: &str, method: &str, text: &str| {
        let (agent, method) = (agent.parse().unwrap(), method.parse().unwrap());
        let url = url(text);
        let facts = Facts {
            stage: None,
            agent: &agent,
            method: &method,
            url: &url,
            tool: book.route(&url).map(Route::tool),
        };
        let watched = book.watched(&facts, &Evidence::none());
        watched.is_some_and(|watched| watched.url() == &url && watched.denied().rule() == "default")
    };
    assert!(passes("desk", "POST", "https://crm.example/a"));
    assert!(passes("desk", "GET", "https://unknown.example/"));
    assert!(passes("desk", "GET", "https://listed.example/one"));
    assert!(!passes("desk", "GET", "https://listed.example/two"));
    for path in ["never", "ask", "sometimes"] {
        assert!(!passes(
            "desk",
            "GET",
            &format!("https://crm.example/{path}")
        ));
    }
    assert!(!passes("both", "POST", "https://crm.example/a"));
    assert!(!passes("none", "POST", "https://crm.example/a"));
    assert_eq!(book.in_audit_mode(), ["watch".parse().unwrap()]);
    assert!(book.describe().iter().any(|line| line.contains("PASSES")));
}
