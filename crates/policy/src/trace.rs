//! How a decision came about, rule by rule, for people. Never decides by itself: the verdict is the one of `decide`.

use postern_contract::config::Permission;

use crate::{
    condition::{Call, Match},
    decide::{self, Facts},
    evidence::Evidence,
    rule::Rule,
    rulebook::Rulebook,
    verdict::Verdict,
};

/// The path of one call through the rules.
#[derive(Debug)]
pub struct Trace {
    /// The tool that the URL belongs to.
    pub tool: Option<String>,
    /// How many rules the agent's policies hold in all.
    pub rules: usize,
    /// The rules that could speak about the call: those of its host, port and path, or of its tool's tags. Strictest
    /// permission first.
    pub steps: Vec<Step>,
    /// Whether the decision needs the body.
    pub needs_body: bool,
    /// The decision.
    pub verdict: Verdict,
}

/// What one rule had to say.
#[derive(Debug)]
pub struct Step {
    /// The policy that it stands in.
    pub policy: String,
    /// Its name.
    pub rule: String,
    /// What it says where it holds.
    pub permission: Permission,
    /// Its conditions as written.
    pub written: String,
    /// Whether it holds.
    pub heard: Heard,
}

/// Whether a rule holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It does.
    Holds,
    /// It does not; this key of the rule is why.
    Not(&'static str),
    /// It cannot be judged, for these reasons: an allow rule does not hold then, any other refuses.
    CannotTell(Vec<String>),
}

pub(crate) fn trace(book: &Rulebook, facts: &Facts<'_>, evidence: &Evidence<'_>) -> Trace {
    let tool = book.route(facts.url).map(|route| route.tool);
    let call = Call::new(facts, evidence, tool);
    let agent = book.given(facts.holder());
    let policies = agent.into_iter().flat_map(|agent| &agent.policies);
    let policies: Vec<_> = policies.filter_map(|at| book.policies.get(*at)).collect();
    let mut steps: Vec<Step> = Vec::new();
    for rule in policies.iter().flat_map(|policy| policy.candidates(&call)) {
        let is_same =
            |step: &Step| *step.rule == *rule.name.name && step.policy == rule.name.policy.as_str();
        if !steps.iter().any(is_same) {
            steps.push(step(rule, &call));
        }
    }
    steps.sort_by_key(|step| step.permission);
    Trace {
        tool: tool.map(|tool| tool.name.to_string()),
        rules: policies.iter().map(|policy| policy.rules.len()).sum(),
        steps,
        needs_body: decide::needs_body(book, facts),
        verdict: decide::decide(book, facts, evidence),
    }
}

fn step(rule: &Rule, call: &Call<'_>) -> Step {
    Step {
        policy: rule.name.policy.to_string(),
        rule: rule.name.name.to_string(),
        permission: rule.permission,
        written: rule.written.clone(),
        heard: heard(rule, call),
    }
}

fn heard(rule: &Rule, call: &Call<'_>) -> Heard {
    let mut doubts = Vec::new();
    for condition in &rule.conditions {
        match condition.judge(call) {
            Match::Yes => {}
            Match::No => return Heard::Not(condition.key()),
            Match::CannotTell(why) => doubts.push(why.to_string()),
        }
    }
    if let Match::CannotTell(why) = rule.judge_openness(call) {
        doubts.push(why.to_string());
    }
    if doubts.is_empty() {
        Heard::Holds
    } else {
        Heard::CannotTell(doubts)
    }
}
