//! From the config as written to a rulebook. Never guesses what was meant: what cannot be compiled is a problem with
//! the keys that lead to it.

mod raw;
mod rule;
mod tunnel;

use std::collections::BTreeMap;

use postern_contract::{
    ToolName,
    config::{self, AgentGrants, Document, Mode, Problem},
};

use crate::{
    capability::Capability,
    expression::Language,
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
    let agents = document.agents.iter().map(|(name, grants)| {
        let tools = grants.tools().iter().cloned().collect();
        let policies = grants.policies().iter();
        // A missing name was a problem above; here none is missing.
        let held: Vec<usize> = policies
            .filter_map(|policy| positions.get(policy).copied())
            .collect();
        let mut modes = held.iter().filter_map(|at| modes.get(*at));
        let only_watched = !held.is_empty() && modes.all(|mode| *mode == Mode::Audit);
        let agent = Agent {
            tools,
            models: grants.models().to_vec(),
            policies: held,
            only_watched,
        };
        (name.clone(), agent)
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
