//! A rulebook in plain lines, for `postern check`. Never says what a secret or credential is.

use postern_contract::config::{Mode, Permission, Stage, Tls};

use crate::{
    rule::Rule,
    rulebook::{Agent, Rulebook},
};

pub(crate) fn lines(book: &Rulebook) -> Vec<String> {
    let mut out = Vec::new();
    for (name, each) in &book.agents {
        let agent = each.get(None);
        out.push(format!("agent {name}"));
        tools(book, agent, &mut out);
        models(agent, &mut out);
        policies(book, agent, &mut out);
        for stage in Stage::ALL {
            let given = each.get(Some(stage));
            if given.tools.is_empty() && given.policies.is_empty() {
                continue;
            }
            out.push(format!("{} of agent {name}", stage.as_str()));
            tools(book, given, &mut out);
            policies(book, given, &mut out);
        }
    }
    out
}

fn tools(book: &Rulebook, agent: &Agent, out: &mut Vec<String>) {
    let mut given: Vec<_> = agent.tools.iter().collect();
    given.sort();
    for tool in given.into_iter().filter_map(|name| book.tools.get(name)) {
        let tags = if tool.tags.is_empty() {
            String::new()
        } else {
            format!("  tags {}", tool.tags.join(", "))
        };
        let tunnel = match tool.tls {
            _ if tool.is_raw() => "  NO HTTP: anything behind this host and port",
            Tls::Intercept => "",
            Tls::Tunnel => "  TUNNEL: anything behind this front end",
        };
        out.push(format!("  tool {}  {}{tags}{tunnel}", tool.name, tool.url));
        for can in &tool.capabilities {
            out.push(format!(
                "    only  {}  {} {}",
                can.name, can.method, can.path
            ));
        }
    }
}

/// A model needs no rule, but some policy, and rules that deny or ask hold for its provider too.
fn models(agent: &Agent, out: &mut Vec<String>) {
    let usable = if agent.policies.is_empty() {
        "  DENIED: the agent has no policy"
    } else {
        ""
    };
    let listed = agent.models.iter();
    out.extend(listed.map(|name| format!("  model {name}{usable}")));
}

fn policies(book: &Rulebook, agent: &Agent, out: &mut Vec<String>) {
    if agent.policies.is_empty() {
        out.push("  no policy: everything is denied".to_owned());
        return;
    }
    for policy in agent
        .policies
        .iter()
        .filter_map(|at| book.policies.get(*at))
    {
        out.push(match policy.mode {
            Mode::Enforce => format!("  policy {}", policy.name),
            Mode::Audit => format!("  policy {}  AUDIT MODE", policy.name),
        });
        let mut rules: Vec<&Rule> = policy.rules.iter().collect();
        rules.sort_by_key(|rule| rule.permission);
        out.extend(rules.into_iter().map(line));
    }
    out.push(if agent.only_watched {
        "  everything else PASSES without a credential and is written down (audit mode)".to_owned()
    } else {
        "  everything else is denied".to_owned()
    });
}

fn line(rule: &Rule) -> String {
    let permission = match rule.permission {
        Permission::Deny => "deny ",
        Permission::ApprovalRequired => "ask  ",
        Permission::Allow => "allow",
    };
    format!(
        "    {permission}  {}  by rule `{}`",
        rule.written, rule.name.name
    )
}
