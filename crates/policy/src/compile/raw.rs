//! What a tool that speaks no HTTP cannot have, and how rules speak of it. Never lets a key stand that would be ignored.

use postern_contract::{
    ToolName,
    config::{self, Permission, Problem, Tls},
};

use crate::{
    authority::{Authority, Scheme},
    index::PolicyIndex,
    rule::Rule,
    tools::{Tool, Tools},
    url::CanonicalUrl,
};

/// What the URL of a tool that speaks no HTTP stands for; `None` where the tool does.
pub(super) fn tool_url<C>(tool: &config::Tool<C>) -> Option<Result<CanonicalUrl, String>> {
    let written = tool.url.split_once("://");
    let place = written.filter(|(scheme, _)| Scheme::of_config(scheme) == Some(Scheme::Tcp));
    match (tool.protocol.is_raw(), place) {
        (true, Some((_, place))) => {
            let authority = Authority::parse(Scheme::Tcp, place);
            Some(authority.map_or_else(
                |why| Err(format!("{why}, and nothing else")),
                |authority| Ok(CanonicalUrl::of_authority(authority)),
            ))
        }
        (true, None) => {
            let message = "what is no HTTP has a host and a port: `tcp://HOST:PORT`";
            Some(Err(message.to_owned()))
        }
        (false, Some(_)) => {
            let message = "only a tool with `protocol = \"tcp\"`, `\"postgres\"` or `\"redis\"` has a URL like this";
            Some(Err(message.to_owned()))
        }
        (false, None) => None,
    }
}

/// What the tool's own table says that nobody could do.
pub(super) fn check_tool<C>(name: &ToolName, tool: &config::Tool<C>, problems: &mut Vec<Problem>) {
    if !tool.protocol.is_raw() {
        return;
    }
    let logs_in = tool.protocol.has_login();
    let timeouts = &tool.timeouts;
    for (key, is_there, why) in [
        (
            "credential",
            tool.credential.is_some() && !logs_in,
            "nothing is added",
        ),
        ("forward_identity", tool.forward_identity, "nothing is told"),
        (
            "capabilities",
            !tool.capabilities.is_empty(),
            "nobody sees which operation is called",
        ),
        ("tls", tool.tls == Tls::Tunnel, "nobody looks inside anyway"),
        (
            "ca",
            tool.ca.is_some() && !logs_in,
            "the gate speaks no TLS",
        ),
        (
            "timeouts",
            [timeouts.first_byte, timeouts.idle, timeouts.total]
                .iter()
                .any(Option::is_some),
            "there are no answers to wait for, only `connect`, and `patience.tunnel` for silence,",
        ),
        ("retries", tool.retries.is_some(), "nothing is sent twice"),
    ] {
        if is_there {
            let message = format!("{why} where no HTTP is spoken: leave it out");
            problems.push(Problem::at(["tools", name.as_str(), key], message));
        }
    }
}

/// Rules that speak of HTTP where there is none, or open connections without HTTP where no tool has them.
pub(super) fn check_rules(tools: &Tools, policies: &[PolicyIndex], problems: &mut Vec<Problem>) {
    for policy in policies {
        for (position, rule) in policy.rules.iter().enumerate() {
            let Some(message) = misfit(tools, rule) else {
                continue;
            };
            let position = position.to_string();
            let path = [
                "policies",
                policy.name.as_str(),
                "rules",
                &position,
                "resource",
            ];
            problems.push(Problem::at(path, message));
        }
    }
}

fn misfit(tools: &Tools, rule: &Rule) -> Option<String> {
    let raw = rule.place().and_then(|(host, port)| {
        let lives_there = |tool: &&Tool| {
            let authority = tool.url.authority();
            authority.host() == host && Some(authority.port()) == port
        };
        tools
            .opaque()
            .filter(|tool| tool.is_raw())
            .find(lives_there)
    });
    match (raw, rule.is_about_raw()) {
        (Some(tool), false) => Some(format!(
            "tool `{}` speaks no HTTP: a rule about it has the resource `tcp://{}`",
            tool.name,
            tool.url.authority()
        )),
        (None, true) if rule.permission != Permission::Deny => Some(
            "no tool that speaks no HTTP has this host and port: only a tool, named in full, is reached so"
                .to_owned(),
        ),
        _ => None,
    }
}
