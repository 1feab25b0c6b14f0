//! The configs that many tests share. Never more than they need.

use std::net::SocketAddr;

/// A config in which `desk` may GET from a tool at this address and nothing else.
pub(crate) fn config(upstream: SocketAddr) -> String {
    format!(
        r#"
[secrets.crm]
file = "key"

[tools.crm]
url = "http://{upstream}/api"
private = true
credential = {{ kind = "bearer", secret = "crm" }}

[tools.told]
url = "http://{upstream}/told"
private = true
forward_identity = true

[tools.keyed]
url = "http://{upstream}/keyed"
private = true
credential = {{ kind = "query", name = "key", secret = "crm" }}

[tools.headed]
url = "http://{upstream}/headed"
private = true
credential = {{ kind = "header", name = "X-Token", prefix = "Token ", secret = "crm" }}

[tools.twofold]
url = "http://{upstream}/twofold"
private = true
credential = [
    {{ kind = "header", name = "X-Token", secret = "crm" }},
    {{ kind = "query", name = "key", secret = "crm" }},
]

[tools.shut]
url = "http://127.0.0.1:9/shut"

[tools.elsewhere]
url = "http://{upstream}/elsewhere"
private = true

[[policies.support.rules]]
name = "read all"
permission = "allow"
resource = "http://{upstream}/*"
operations = ["GET", "HEAD", "POST"]

[[policies.support.rules]]
name = "read the shut one"
permission = "allow"
resource = "http://127.0.0.1:9/*"

[[policies.support.rules]]
name = "nothing is deleted"
permission = "deny"
resource = "http://{upstream}/*"
operations = ["DELETE"]

[[policies.support.rules]]
name = "ask before changing"
permission = "approval_required"
resource = "http://{upstream}/*"
operations = ["PUT"]

[agents.desk]
kind = "python"
tools = ["crm", "told", "keyed", "headed", "twofold", "shut"]
policies = ["support"]
"#
    )
}

/// A config of an agent that has only models: `gpt` and `claude` at this base URL, and those of `more`.
pub(crate) fn models(url: &str, more: &str) -> String {
    let named = more
        .lines()
        .filter_map(|line| line.strip_prefix("[models."));
    let named: String = named
        .map(|rest| format!(", \"{}\"", rest.trim_end_matches(']')))
        .collect();
    format!(
        r#"
[secrets.key]
file = "key"

[providers.openai]
format = "openai"
url = "{url}/v1"
private = true
credential = {{ kind = "bearer", secret = "key" }}

[providers.anthropic]
format = "anthropic"
url = "{url}"
private = true
credential = {{ kind = "header", name = "x-api-key", secret = "key" }}

[models.gpt]
provider = "openai"
upstream = "gpt-4o-mini"

[models.claude]
provider = "anthropic"
upstream = "claude-sonnet-4-5"
{more}
[[policies.none.rules]]
name = "nothing"
permission = "deny"
resource = "https://example.com/*"

[agents.desk]
models = ["gpt", "claude"{named}]
policies = ["none"]
"#
    )
}
