//! At which ports an agent's connections may be for something, from the config as written. Never decides about any: a port
//! that is missing here is refused to every program that connects by address.

use std::collections::BTreeSet;

use super::{AgentGrants, Document, Permission, Problem, Stage};
use crate::launch::{CAPTURED_ALWAYS, CAPTURED_PORTS_MAX, KEPT_PORTS};

impl<Agent: AgentGrants, Credential, Source> Document<Agent, Credential, Source> {
    /// The ports of an agent's tools and of the places that rules of its policies may open, and those of `http` and
    /// `https` always. What its install may reach counts for [`super::Install::granted`] alone. Those at which something else answers are left out.
    #[must_use]
    pub fn captured_ports(&self, agent: &impl AgentGrants) -> BTreeSet<u16> {
        let tools = agent.tools().iter().filter_map(|tool| self.tools.get(tool));
        let tools = tools.map(|tool| tool.url.as_str());
        let policies = agent.policies().iter();
        let policies = policies.filter_map(|policy| self.policies.get(policy));
        let rules = policies.flat_map(|policy| &policy.rules);
        let opening = rules.filter(|rule| rule.permission != Permission::Deny);
        let resources = opening.filter_map(|rule| rule.resource.as_deref());
        let named = tools.chain(resources).filter_map(port_of);
        named
            .chain(CAPTURED_ALWAYS)
            .filter(|port| !KEPT_PORTS.contains(port))
            .collect()
    }

    /// Agents and installs with more ports than a sandbox can have.
    pub(super) fn check_ports(&self, found: &mut Vec<Problem>) {
        for (name, agent) in &self.agents {
            let at = ["agents", name.as_str()];
            found.extend(too_many(&at, self.captured_ports(agent).len()));
            for stage in Stage::ALL {
                let ports = self.captured_ports(&agent.install().granted(stage));
                let at = ["agents", name.as_str(), "install", stage.as_str()];
                found.extend(too_many(&at, ports.len()));
            }
        }
    }
}

fn too_many(at: &[&str], ports: usize) -> Option<Problem> {
    let message = format!(
        "the tools and rules here name {ports} ports, 80 and 443 among them: at most {CAPTURED_PORTS_MAX} are possible"
    );
    (ports > CAPTURED_PORTS_MAX).then(|| Problem::at(at.iter().copied(), message))
}

/// The one port of a URL or a rule's resource as written; none where every port is meant, or nothing that makes sense.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let after_host = authority.rsplit_once(']');
    let after_host = after_host.map_or(authority, |(_, rest)| rest);
    let port = match after_host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok()?,
        None if scheme.eq_ignore_ascii_case("http") => 80,
        None if scheme.eq_ignore_ascii_case("https") => 443,
        None => return None,
    };
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Granted;

    const CONFIG: &str = r#"
[tools.db]
url = "https://db.example:8443/v1"
[tools.other]
url = "https://other.example:9443"

[[policies.open.rules]]
name = "allowed"
permission = "allow"
resource = "http://a.example:8080/*"
[[policies.open.rules]]
name = "asked"
permission = "approval_required"
resource = "https://[2001:db8::1]:8444/*"
[[policies.open.rules]]
name = "denied"
permission = "deny"
resource = "https://a.example:9999/*"
[[policies.open.rules]]
name = "denied everywhere"
permission = "deny"
resource = "https://a.example:*/*"
[[policies.open.rules]]
name = "the gate's own"
permission = "allow"
resource = "https://a.example:4180/*"

[agents.desk]
tools = ["db"]
policies = ["open"]
[agents.idle]
"#;

    fn document(text: &str) -> Document<Granted> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_an_agent_may_be_allowed_is_captured_and_nothing_else() {
        let document = document(CONFIG);
        let ports = |agent: &str| -> Vec<u16> {
            let agent = &document.agents[agent];
            document.captured_ports(agent).into_iter().collect()
        };
        assert_eq!(ports("desk"), [80, 443, 8080, 8443, 8444]);
        assert_eq!(ports("idle"), [80, 443]);
    }

    #[test]
    fn a_sandbox_has_so_many_ports_and_no_more() {
        let rules: String = (0..31)
            .map(|at| {
                format!(
                    "[[policies.open.rules]]\nname = \"{at}\"\npermission = \"allow\"\n\
                     resource = \"http://a.example:{}/*\"\n",
                    2000 + at
                )
            })
            .collect();
        let text = format!("{rules}\n[agents.desk]\npolicies = [\"open\"]\n");
        let problems = document(&text).problems();
        assert!(problems[0].message.contains("33 ports"), "{problems:?}");
    }

    #[test]
    fn a_url_has_one_port_or_none() {
        for (url, port) in [
            ("http://a", Some(80)),
            ("HTTPS://a/x:1", Some(443)),
            ("https://*.a:444/*", Some(444)),
            ("https://[::1]/", Some(443)),
            ("https://[::1]:8/", Some(8)),
            ("https://a:*/*", None),
            ("https://a:0/*", None),
            ("https://a:70000/*", None),
            ("tcp://a:5432", Some(5432)),
            ("tcp://a", None),
            ("a:80", None),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }
}
