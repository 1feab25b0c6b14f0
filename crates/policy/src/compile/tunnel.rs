//! What a tool with `tls = "tunnel"` cannot have: whatever takes a look inside. Never softens the exception: what would
//! be ignored is a problem.

use postern_contract::{
    ToolName,
    config::{self, Problem, Tls},
};

use crate::{authority::Scheme, index::PolicyIndex, tools::Tools, url::CanonicalUrl};

/// What the tool's own table says that nobody could do.
pub(super) fn check_tool<C>(
    name: &ToolName,
    tool: &config::Tool<C>,
    url: &CanonicalUrl,
    problems: &mut Vec<Problem>,
) {
    // Of what is no HTTP the key says nothing, which is a problem of its own.
    if tool.tls != Tls::Tunnel || tool.protocol.is_raw() {
        return;
    }
    let mut at = |key: &str, message: &str| {
        problems.push(Problem::at(["tools", name.as_str(), key], message));
    };
    if url.authority().scheme() != Scheme::Https || !url.path().as_base().is_empty() {
        let message = "with `tls = \"tunnel\"` nobody sees a path: give `https://HOST` or `https://HOST:PORT` alone";
        at("url", message);
    }
    if tool.credential.is_some() {
        at(
            "credential",
            "with `tls = \"tunnel\"` nothing can be added to a call: leave it out",
        );
    }
    if tool.forward_identity {
        at(
            "forward_identity",
            "with `tls = \"tunnel\"` nothing can be told to the tool: leave it out",
        );
    }
    if !tool.capabilities.is_empty() {
        at(
            "capabilities",
            "with `tls = \"tunnel\"` nobody sees which operation is called: leave them out",
        );
    }
}

/// Rules that ask something of such a tool's host that nobody could see.
pub(super) fn check_rules(tools: &Tools, policies: &[PolicyIndex], problems: &mut Vec<Problem>) {
    let opaque: Vec<_> = tools.opaque().collect();
    for policy in policies.iter().filter(|_| !opaque.is_empty()) {
        for (position, rule) in policy.rules.iter().enumerate() {
            let Some((host, port)) = rule.place() else {
                continue;
            };
            let about = opaque.iter().find(|tool| {
                let authority = tool.url.authority();
                authority.host() == host && port.is_none_or(|port| port == authority.port())
            });
            if let Some(tool) = about
                && !rule.is_about_whole_hosts()
            {
                let position = position.to_string();
                let path = [
                    "policies",
                    policy.name.as_str(),
                    "rules",
                    &position,
                    "resource",
                ];
                let message = format!(
                    "tool `{}` {}, so nobody sees what is asked there: a rule about it is for the whole host and every \
                     method",
                    tool.name,
                    if tool.is_raw() {
                        "speaks no HTTP"
                    } else {
                        "has `tls = \"tunnel\"`"
                    },
                );
                problems.push(Problem::at(path, message));
            }
        }
    }
}
