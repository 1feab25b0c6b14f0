//! From the config as written to a rulebook. Never guesses what was meant: what cannot be compiled is a problem with
//! the keys that lead to it.

mod raw;
mod rule;
mod tunnel;

use std::collections::BTreeMap;

use postern_contract::{
    ToolName,
    config::{self, AgentGrants, Document, Granted, Mode, Problem, Stage, granted_to},
};

use crate::{
    capability::Capability,
    expression::Language,
    holder::Each,
    rulebook::{Agent, Rulebook},
    tools::{Tool, Tools},
    url::CanonicalUrl,
};

pub(crate) fn rulebook<A: AgentGrants, C, S>(
    document: &Document<A, C, S>,
) -> Result<Rulebook, Vec<Problem>> {
    let mut problems = document.problems();
    let tools = tools(&document.tools, &mut problems);
    let mut policies = Vec::with_capacity(document.policies.len());
    let mut positions = BTreeMap::new();
    let language = Language::new();
    for (name, written) in &document.policies {
        positions.insert(name, policies.len());
        policies.push(rule::policy(name, written, &language, &mut problems));
    }
    tunnel::check_rules(&tools, &policies, &mut problems);
    raw::check_rules(&tools, &policies, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let modes: Vec<Mode> = policies.iter().map(|policy| policy.mode).collect();
    let agent = |granted: Granted, stage: Option<Stage>| {
        let policies = granted.policies.iter();
        // A missing name was a problem above; here none is missing.
        let held: Vec<usize> = policies
            .filter_map(|policy| positions.get(policy).copied())
            .collect();
        let mut modes = held.iter().filter_map(|at| modes.get(*at));
        // Nothing is only watched in an install: what no rule allows is denied there.
        let is_agent = stage.is_none() && !held.is_empty();
        let only_watched = is_agent && modes.all(|mode| *mode == Mode::Audit);
        Agent {
            tools: granted.tools.into_iter().collect(),
            models: granted.models,
            policies: held,
            only_watched,
        }
    };
    let agents = document.agents.iter().map(|(name, grants)| {
        let each = Each::of(|stage| agent(granted_to(grants, stage), stage));
        (name.clone(), each)
    });
    Ok(Rulebook {
        agents: agents.collect(),
        policies,
        tools,
    })
}

fn tools<C>(written: &BTreeMap<ToolName, config::Tool<C>>, problems: &mut Vec<Problem>) -> Tools {
    let mut tools = Tools::default();
    for (name, tool) in written {
        let at = |message: String| Problem::at(["tools", name.as_str(), "url"], message);
        let capabilities = capabilities(name, &tool.capabilities, problems);
        let url = match raw::tool_url(tool).unwrap_or_else(|| tool_url(&tool.url)) {
            Ok(url) => url,
            Err(why) => {
                problems.push(at(why));
                continue;
            }
        };
        tunnel::check_tool(name, tool, &url, problems);
        raw::check_tool(name, tool, problems);
        let tags = tool.tags.clone();
        if let Err(other) = tools.add(Tool {
            name: name.clone(),
            url,
            tags,
            tls: tool.tls,
            capabilities,
        }) {
            problems.push(at(format!(
                "tools `{other}` and `{name}` have the same URL, or the same host and port where nobody looks into what goes to \
                 one of them, so a call could belong to either: give each its own"
            )));
        }
    }
    tools
}

fn tool_url(written: &str) -> Result<CanonicalUrl, String> {
    let url = CanonicalUrl::parse(written).map_err(|why| why.to_string())?;
    if url.query().is_some() {
        return Err("a tool's URL has no query: give host, port and base path".to_owned());
    }
    // With any other character a call could spell the path in a second way and pass for no call to the tool.
    let one_spelling =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~');
    if !url.path().as_str().bytes().all(one_spelling) {
        return Err(
            "the base path of a tool has letters, digits, `-`, `.`, `_` and `~` only".to_owned(),
        );
    }
    Ok(url)
}

fn capabilities(
    tool: &ToolName,
    written: &[config::Capability],
    problems: &mut Vec<Problem>,
) -> Vec<Capability> {
    let mut compiled = Vec::with_capacity(written.len());
    for (position, capability) in written.iter().enumerate() {
        match Capability::compile(capability) {
            Ok(capability) => compiled.push(capability),
            Err(why) => problems.push(Problem::at(
                [
                    "tools",
                    tool.as_str(),
                    "capabilities",
                    &position.to_string(),
                    why.key(),
                ],
                why.to_string(),
            )),
        }
    }
    compiled
}
