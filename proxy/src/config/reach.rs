//! Which places the config speaks of: where tools and providers live, and which hosts a policy may open. Never decides:
//! it tells where looking into a CONNECT makes sense, and what it misses is refused.

use std::collections::BTreeMap;

use postern_contract::{
    PolicyName,
    config::{Document, Granted, Permission, Policy, Problem, Rule, Stage, Tls, granted_to},
};
use postern_policy::{Authority, Holder, Host, Scheme};

use super::Written;
use crate::book::{Homes, Places, place};

/// What the gate does with a CONNECT of an agent to this place, besides what the rules say of the tunnel itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doorway {
    /// A tool or a provider lives there, so no tunnel to it is opaque.
    pub is_home: bool,
    /// Some request inside might be allowed, so the gate looks into the tunnel instead of refusing it.
    pub may_look: bool,
}

/// What a CONNECT to a place meets, by a config as it is written: for commands that judge without a gate.
#[must_use]
pub fn doorway<Credential, Source>(
    document: &Document<Granted, Credential, Source>,
    holder: Holder<'_>,
    authority: &Authority,
) -> Doorway {
    let (homes, place) = (homes(document), place(authority));
    let held = document.agents.get(holder.agent);
    let held = held.map(|agent| granted_to(agent, holder.stage).policies);
    let is_opaque = holder.stage == Some(Stage::Setup) && opaque(document).contains(&place);
    Doorway {
        is_home: homes.tools.contains(&place) || homes.providers.contains(&place),
        may_look: held.is_some_and(|held| {
            let is_named = || named(&document.policies, &held).contains(&place) && !is_opaque;
            !held.is_empty() && (homes.tools.contains(&place) || is_named())
        }),
    }
}

/// Where tools and providers live.
pub(super) fn homes<Agent, Credential, Source>(
    document: &Document<Agent, Credential, Source>,
) -> Homes {
    // A tunnel to a tool is nobody's to look into, if its config says so; what is no HTTP has no place here.
    let tools = document.tools.values();
    let tools = tools.filter(|tool| tool.tls == Tls::Intercept);
    let tools = tools.map(|tool| tool.url.as_str());
    let providers = document.providers.values();
    let providers = providers.filter_map(|provider| provider.url.as_deref());
    Homes {
        tools: tools.filter_map(place_of).collect(),
        providers: providers.filter_map(place_of).collect(),
    }
}

/// Where tools live that nobody looks into. A setup has no connection there.
pub(super) fn opaque<Agent, Credential, Source>(
    document: &Document<Agent, Credential, Source>,
) -> Places {
    let tools = document.tools.values().filter_map(|tool| match tool.tls {
        Tls::Tunnel => place_of(&tool.url).or_else(|| raw_place_of(&tool.url)),
        Tls::Intercept => raw_place_of(&tool.url),
    });
    tools.collect()
}

/// Tools that nobody looks into and that are where a provider lives: a provider's host is never tunnelled to.
pub(super) fn tunnels_to_providers(document: &Written) -> Vec<Problem> {
    let providers = homes(document).providers;
    let opaque = document.tools.iter().filter_map(|(name, tool)| {
        let key = match (tool.tls, raw_place_of(&tool.url)) {
            (_, Some(place)) => (place, "url"),
            (Tls::Tunnel, None) => (place_of(&tool.url)?, "tls"),
            (Tls::Intercept, None) => return None,
        };
        Some((name, key))
    });
    let message = "a model provider lives there, and nobody looks into what goes to this tool";
    opaque
        .filter(|(_, (place, _))| providers.contains(place))
        .map(|(name, (_, key))| Problem::at(["tools", name.as_str(), key], message))
        .collect()
}

/// Hosts that rules of these policies name in full and may open; a zone opens tools only.
pub(super) fn named(policies: &BTreeMap<PolicyName, Policy>, held: &[PolicyName]) -> Places {
    let rules = held.iter().filter_map(|name| policies.get(name));
    let opening = rules
        .flat_map(|policy| &policy.rules)
        .filter(|rule| rule.permission != Permission::Deny);
    opening.filter_map(resource).filter_map(place_of).collect()
}

fn resource(rule: &Rule) -> Option<&str> {
    rule.resource.as_deref()
}

fn place_of(url: &str) -> Option<(Host, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme: Scheme = scheme.parse().ok()?;
    let authority = rest.split('/').next()?;
    Authority::parse(scheme, authority)
        .ok()
        .map(|authority| place(&authority))
}

/// Where a tool is that speaks no HTTP.
fn raw_place_of(url: &str) -> Option<(Host, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = Scheme::of_config(scheme).filter(|scheme| *scheme == Scheme::Tcp)?;
    let authority = Authority::parse(scheme, rest).ok()?;
    Some(place(&authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_in_full_and_a_port() {
        let at = |url| place_of(url).map(|(host, port)| format!("{host}:{port}"));
        assert_eq!(at("https://A.b./v1/*").as_deref(), Some("a.b:443"));
        assert_eq!(at("http://a.b").as_deref(), Some("a.b:80"));
        assert_eq!(at("http://a.b:81/x").as_deref(), Some("a.b:81"));
        assert_eq!(at("https://*.a.b/*"), None);
        assert_eq!(at("a.b/*"), None);
        // Nothing is looked into there.
        assert_eq!(at("tcp://a.b:5432"), None);
    }
}
