//! What shares a sandbox, and how many stand ready: which settings make sense together. Never starts one.

use std::time::Duration;

use postern_contract::{
    AgentName, ToolName,
    config::{Document, Permission},
};

use super::{AgentWritten, Isolation, Wrong};
use crate::agents::KindName;

/// Sandboxes that are up before anybody asks, unless the config says otherwise.
pub(super) const POOL_DEFAULT: usize = 2;

/// The most that the config may say: all agents together have as many sandboxes as the launcher has uids.
const POOL_MAX: usize = 64;

/// End users with a sandbox at the same time, unless the config says otherwise.
pub(super) const USERS_DEFAULT: usize = 16;

/// The most that the config may say.
const USERS_MAX: usize = 128;

/// How long a user's sandbox stands unused, unless the config says otherwise.
pub(super) const IDLE_DEFAULT: Duration = Duration::from_secs(600);

/// The longest that the config may say.
const IDLE_MAX: Duration = Duration::from_secs(24 * 3600);

/// All that does not go together.
pub(super) fn check(written: &AgentWritten) -> Vec<Wrong> {
    let sandbox = &written.sandbox;
    let narrow = written.isolation() != Isolation::Agent;
    let of_users = written.isolation() == Isolation::User;
    let mut wrong = Vec::new();
    if narrow && written.kind == KindName::Builtin {
        let told = "a `builtin` agent has no sandbox: leave `isolation` out";
        wrong.push(Wrong::at(&["isolation"], told));
    }
    let unused = [
        (
            "pool",
            sandbox.pool.is_some() && !narrow,
            "\"run\"` or `\"user\"",
        ),
        ("users", sandbox.users.is_some() && !of_users, "\"user\""),
        ("idle", sandbox.idle.is_some() && !of_users, "\"user\""),
    ];
    for (key, _, isolation) in unused.iter().filter(|(_, is_unused, _)| *is_unused) {
        let told =
            format!("`{key}` belongs to `isolation = {isolation}`: say that too, or leave it out");
        wrong.push(Wrong::at(&["sandbox", key], told));
    }
    let bounds = [
        ("pool", sandbox.pool, 0..=POOL_MAX),
        ("users", sandbox.users, 1..=USERS_MAX),
    ];
    for (key, said, fits) in bounds {
        if said.is_some_and(|said| !fits.contains(&said)) {
            let told = format!("say a number from {} to {}", fits.start(), fits.end());
            wrong.push(Wrong::at(&["sandbox", key], told));
        }
    }
    if sandbox.idle.is_some_and(|period| period.0 > IDLE_MAX) {
        wrong.push(Wrong::at(&["sandbox", "idle"], "say at most `24h`"));
    }
    wrong
}

/// What of an agent's config relies on its runs being told apart, where they share a sandbox.
pub(super) fn warnings<Credential, Source>(
    name: &AgentName,
    written: &AgentWritten,
    document: &Document<AgentWritten, Credential, Source>,
) -> Vec<String> {
    if written.isolation() != Isolation::Agent || written.kind == KindName::Builtin {
        return Vec::new();
    }
    let tools = &document.tools;
    let told = |tool: &&ToolName| tools.get(*tool).is_some_and(|tool| tool.forward_identity);
    let told = written.tools.iter().filter(told);
    let told = told.map(|tool| {
        format!(
            "the runs of agent `{name}` share a sandbox, so tool `{tool}` (`forward_identity`) is told neither run nor user; \
             `isolation = \"user\"` or `\"run\"` gives each its own"
        )
    });
    let policies = &document.policies;
    let rules = written
        .policies
        .iter()
        .filter_map(|name| policies.get(name));
    let asks = rules.flat_map(|policy| &policy.rules);
    let asks = asks.filter(|rule| rule.permission == Permission::ApprovalRequired);
    let asks = asks.map(|rule| {
        format!(
            "the runs of agent `{name}` share a sandbox, so whoever is asked because of rule `{}` is not told for whom, and of \
             the run what the agent says; `isolation = \"user\"` or `\"run\"` gives each its own",
            rule.name
        )
    });
    told.chain(asks).collect()
}
