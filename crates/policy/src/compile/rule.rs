//! From the rules of a policy as written to compiled ones. Never drops a condition that it cannot compile: the rule is a
//! problem then.

use std::{collections::HashSet, sync::Arc};

use postern_contract::{
    PolicyName,
    config::{self, Permission, Problem, Wanted},
};

use crate::{
    condition::{Condition, GraphQl, Headers, Mcp, Methods, Paths, Query, Resource, Tags, When},
    expression::Language,
    glob::Glob,
    index::PolicyIndex,
    pattern::{HostPattern, Pattern},
    rule::Rule,
    verdict::{DEFAULT_RULE, RuleName},
};

/// The longest name of a rule, in bytes.
const RULE_NAME_BYTES_MAX: usize = 128;

pub(super) fn policy(
    name: &PolicyName,
    written: &config::Policy,
    language: &Language,
    problems: &mut Vec<Problem>,
) -> PolicyIndex {
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
        rules.extend(compile_rule(name, rule, language, &mut found));
    }
    PolicyIndex::new(name.clone(), written.mode, rules)
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

    fn at_member(&mut self, key: &str, name: &str, message: impl Into<String>) {
        let path = self.path.into_iter().chain([key, name]);
        self.problems.push(Problem::at(path, message));
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
    language: &Language,
    found: &mut Found<'_>,
) -> Option<Rule> {
    if let Err(why) = check_name(&written.name) {
        found.at("name", why);
    }
    let mut conditions = Vec::new();
    about_the_call(written, &mut conditions, found);
    about_the_inside(written, language, &mut conditions, found);
    if written.resource.is_none() && written.tags.is_empty() {
        found.at(
            "name",
            "a rule needs a `resource` or `tags`, to say what it is about",
        );
        return None;
    }
    let name = Arc::new(RuleName {
        policy: policy.clone(),
        name: Arc::from(written.name.as_str()),
    });
    Some(Rule {
        name,
        permission: written.permission,
        conditions,
        written: in_words(written),
    })
}

/// Conditions on method, URL and tool: cheap, so they come first.
fn about_the_call(written: &config::Rule, conditions: &mut Vec<Condition>, found: &mut Found<'_>) {
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
    let mut globs = Vec::with_capacity(written.paths.len());
    for (position, text) in written.paths.iter().enumerate() {
        match Glob::parse(text) {
            Ok(glob) => globs.push(glob),
            Err(why) => found.at_item("paths", position, why.to_string()),
        }
    }
    if !globs.is_empty() {
        conditions.push(Condition::Paths(Paths(globs)));
    }
    if written.query.contains_key("") {
        found.at("query", "a parameter has a name");
    }
    if !written.query.is_empty() {
        conditions.push(Condition::Query(Query(written.query.clone())));
    }
}

/// Conditions on header fields and body, in order of what they cost.
fn about_the_inside(
    written: &config::Rule,
    language: &Language,
    conditions: &mut Vec<Condition>,
    found: &mut Found<'_>,
) {
    match Headers::compile(&written.headers) {
        Ok(_) if written.headers.is_empty() => {}
        Ok(headers) => conditions.push(Condition::Headers(headers)),
        Err((name, why)) => found.at_member("headers", name, why.to_string()),
    }
    if let Some(graphql) = &written.graphql {
        let no_name = |field: &String| {
            field.is_empty() || field.contains(|c: char| c != '_' && !c.is_ascii_alphanumeric())
        };
        if graphql.fields.iter().any(no_name) {
            found.at(
                "graphql",
                "a field of GraphQL is a name of letters, digits and `_`",
            );
        }
        conditions.push(Condition::GraphQl(GraphQl(graphql.clone())));
    }
    if let Some(mcp) = &written.mcp {
        if mcp.methods.iter().chain(&mcp.tools).any(String::is_empty) {
            found.at("mcp", "methods and tools have names");
        }
        conditions.push(Condition::Mcp(Mcp::compile(mcp)));
    }
    if let Some(text) = &written.when {
        match language.compile(text) {
            Ok(expression) => conditions.push(Condition::When(When(expression))),
            Err(why) => found.at("when", why.to_string()),
        }
    }
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
        HostPattern::Exact(_) | HostPattern::Beneath(_)
            if permission != Permission::Deny && pattern.port().is_none() =>
        {
            Err("`:*` is every port: only a rule that denies may be so wide".to_owned())
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
    let mut words = format!("{methods}  {resource}");
    if !rule.tags.is_empty() {
        words += &format!("  tagged {}", rule.tags.join(" or "));
    }
    if !rule.paths.is_empty() {
        words += &format!("  at {}", rule.paths.join(" or "));
    }
    for (kind, all) in [("parameter", &rule.query), ("field", &rule.headers)] {
        for (name, wanted) in all {
            words += &match wanted {
                Wanted::Exactly(text) => format!("  {kind} {name} = {text:?}"),
                Wanted::Presence(wanted) if wanted.present => format!("  with {kind} {name}"),
                Wanted::Presence(_) => format!("  without {kind} {name}"),
            };
        }
    }
    if let Some(graphql) = &rule.graphql {
        let operations = graphql
            .operations
            .iter()
            .map(|kind| format!("{kind:?}").to_lowercase());
        words += &listed(
            "GraphQL",
            &operations.collect::<Vec<_>>(),
            "asking for",
            &graphql.fields,
        );
    }
    if let Some(mcp) = &rule.mcp {
        words += &listed("MCP", &mcp.methods, "with tool", &mcp.tools);
    }
    if let Some(when) = &rule.when {
        words += &format!("  when {when}");
    }
    words
}

fn listed(what: &str, kinds: &[String], joint: &str, names: &[String]) -> String {
    let mut words = format!("  {what}");
    if !kinds.is_empty() {
        words += &format!(" {}", kinds.join(" or "));
    }
    if !names.is_empty() {
        words += &format!(" {joint} {}", names.join(" or "));
    }
    words
}
