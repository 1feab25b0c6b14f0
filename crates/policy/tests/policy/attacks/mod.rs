//! What has broken other gates, line by line: each attack is refused, or brought into the one form that is decided on.
//! Never sends anything.

mod bodies;
mod names;
mod paths;
mod raw;
mod tool_urls;
mod tunnels;

use crate::fixture::compile;
use postern_policy::Rulebook;

const CONFIG: &str = r#"
[tools.stripe]
url = "https://api.stripe.com"

[tools.search]
url = "https://api.example.com/search"

[tools.search-admin]
url = "https://api.example.com/search/admin"

[[policies.p.rules]]
name = "all of stripe"
permission = "allow"
resource = "https://api.stripe.com/*"

[[policies.p.rules]]
name = "no refunds"
permission = "deny"
resource = "https://api.stripe.com/v1/refunds"

[[policies.p.rules]]
name = "no mentions"
permission = "deny"
resource = "https://api.stripe.com/@all/*"

[[policies.p.rules]]
name = "database"
permission = "allow"
resource = "http://db.example.org:5432/*"

[[policies.p.rules]]
name = "half a host"
permission = "allow"
resource = "http://half.example.org/open/*"

[[policies.p.rules]]
name = "reading"
permission = "allow"
resource = "https://read.example.org/*"
operations = ["GET"]

[[policies.p.rules]]
name = "mirror"
permission = "allow"
resource = "https://mirror.example.org/*"

[[policies.p.rules]]
name = "no uploads to the mirror"
permission = "deny"
resource = "https://mirror.example.org/*"
operations = ["PUT"]

[[policies.p.rules]]
name = "vendor"
permission = "allow"
resource = "https://vendor.example.org/*"

[[policies.p.rules]]
name = "not the vendor's admin"
permission = "deny"
resource = "https://vendor.example.org/admin/*"

[[policies.p.rules]]
name = "odd port"
permission = "allow"
resource = "https://odd.example.org:8443/*"

[[policies.p.rules]]
name = "zone"
permission = "allow"
resource = "https://*.zone.example/*"

[agents.desk]
tools = ["stripe", "search", "search-admin"]
policies = ["p"]
"#;

fn book() -> Rulebook {
    compile(CONFIG).expect("the config compiles")
}
