//! From the config as written to a rulebook. Never guesses what was meant: what cannot be compiled is a problem with
//! the keys that lead to it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use postern_contract::{
    PolicyName, ToolName,
    config::{self, AgentGrants, Document, Permission, Problem},
};

use crate::{
    capability::Capability,
    condition::{Condition, Methods, Resource, Tags},
    index::PolicyIndex,
    pattern::{HostPattern, Pattern},
    rule::Rule,
    rulebook::{Agent, Rulebook},
    tools::{Tool, Tools},
    url::CanonicalUrl,
    verdict::{DEFAULT_RULE, RuleName},
};

/// The longest name of a rule, in bytes.
const RULE_NAME_BYTES_MAX: usize = 128;

pub(crate) fn rulebook<A: AgentGrants, C, S>(
    document: &Document<A, C, S>,
) -> Result<Rulebook, Vec<Problem>> {
    let mut problems = document.problems();
    let tools = tools(&document.tools, &mut problems);
    let mut policies = Vec::with_capacity(document.policies.len());
    let mut positions = BTreeMap::new();
    for (name, written) in &document.policies {
        positions.insert(name, policies.len());
        policies.push(policy(name, written, &mut problems));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let agents = document.agents.iter().map(|(name, grants)| {
        let mut tools = grants.tools().to_vec();
        tools.sort();
        let policies = grants.policies().iter();
        // A missing name was a problem above; here none is missing.
        let policies = policies
            .filter_map(|policy| positions.get(policy).copied())
            .collect();
        (name.clone(), Agent { tools, policies })
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
        let url = match tool_url(&tool.url) {
            Ok(url) => url,
            Err(why) => {
                problems.push(at(why));
                continue;
            }
        };
        let tags = tool.tags.clone();
        if let Err(other) = tools.add(Tool {
            name: name.clone(),
            url,
            tags,
            capabilities,
        }) {
            problems.push(at(format!(
                "tools `{other}` and `{name}` have the same URL, so a call could belong to either: give each its own"
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

fn policy(name: &PolicyName, written: &config::Policy, problems: &mut Vec<Problem>) -> PolicyIndex {
    let mut names = HashSet::new();
    let mut rules = Vec::with_capacity(written.rules.len());
    for (position, rule) in written.rules.iter().enumerate() {
        let position = position.to_string();
        let mut found = Found {
            path: ["policies", name.as_str(), "rules", &position],
            problems,
        };
        if !names.insert(rule.name.as_str()) {
            found.at(
                "name",
                "two rules of this policy have this name: rename one",
            );
        }
        rules.extend(compile_rule(name, rule, &mut found));
    }
    PolicyIndex::new(name.clone(), rules)
}

/// Where the problems of one rule go.
struct Found<'a> {
    path: [&'a str; 4],
    problems: &'a mut Vec<Problem>,
}

impl Found<'_> {
    fn at(&mut self, key: &str, message: impl Into<String>) {
        self.problems
            .push(Problem::at(self.path.into_iter().chain([key]), message));
    }

    fn at_item(&mut self, key: &str, position: usize, message: impl Into<String>) {
        let position = position.to_string();
        let path = self.path.into_iter().chain([key, &position]);
        self.problems.push(Problem::at(path, message));
    }
}

/// The rule, or nothing where its problems were found.
fn compile_rule(
    policy: &PolicyName,
    written: &config::Rule,
    found: &mut Found<'_>,
) -> Option<Rule> {
    if let Err(why) = check_name(&written.name) {
        found.at("name", why);
    }
    let mut conditions = Vec::new();
    if !written.operations.is_empty() {
        match Methods::compile(&written.operations) {
            Ok(methods) => conditions.push(Condition::Method(methods)),
            Err((position, why)) => found.at_item("operations", position, why.to_string()),
        }
    }
    if let Some(text) = &written.resource {
        match resource(text, written.permission) {
            Ok(pattern) => conditions.push(Condition::Resource(Resource(pattern))),
            Err(why) => found.at("resource", why),
        }
    }
    if let Some(position) = written.tags.iter().position(String::is_empty) {
        found.at_item("tags", position, "a tag is a word");
    }
    if !written.tags.is_empty() {
        conditions.push(Condition::Tags(Tags(written.tags.clone())));
    }
    if written.resource.is_none() && written.tags.is_empty() {
        found.at(
            "name",
            "a rule needs a `resource` or `tags`, to say what it is about",
        );
        return None;
    }
    let name = RuleName {
        policy: policy.clone(),
        name: Arc::from(written.name.as_str()),
    };
    Some(Rule {
        name,
        permission: written.permission,
        conditions,
        written: in_words(written),
    })
}

fn check_name(name: &str) -> Result<(), String> {
    if name == DEFAULT_RULE {
        return Err(format!(
            "`{DEFAULT_RULE}` is what refusals say where no rule spoke: use another name"
        ));
    }
    if name.is_empty() || name.len() > RULE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!(
            "a rule's name has 1 to {RULE_NAME_BYTES_MAX} bytes and no control characters"
        ));
    }
    Ok(())
}

fn resource(text: &str, permission: Permission) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).map_err(|why| why.to_string())?;
    match pattern.host() {
        HostPattern::Beneath(zone)
            if permission != Permission::Deny && !zone.as_str().contains('.') =>
        {
            Err(format!(
                "`*.{zone}` is a whole top-level domain: only a rule that denies may be so wide"
            ))
        }
        _ => Ok(pattern),
    }
}

fn in_words(rule: &config::Rule) -> String {
    let methods = if rule.operations.is_empty() {
        "any method".to_owned()
    } else {
        rule.operations.join(" ")
    };
    let resource = rule.resource.as_deref().unwrap_or("any tool");
    if rule.tags.is_empty() {
        return format!("{methods}  {resource}");
    }
    format!("{methods}  {resource}  tagged {}", rule.tags.join(" or "))
}
