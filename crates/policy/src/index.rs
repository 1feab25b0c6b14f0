//! The rules of one policy, found by host, zone or tag, so that a decision looks only at those that can speak. Never
//! judges: a rule found here may still not hold.

use std::collections::HashMap;

use postern_contract::PolicyName;

use crate::{
    condition::{Call, Place},
    host::{Host, HostName},
    rule::Rule,
};

/// A policy's rules and where to find them.
#[derive(Debug)]
pub(crate) struct PolicyIndex {
    pub(crate) name: PolicyName,
    pub(crate) rules: Vec<Rule>,
    by_host: HashMap<Host, Vec<usize>>,
    by_zone: HashMap<HostName, Vec<usize>>,
    /// Rules without a resource.
    by_tag: HashMap<String, Vec<usize>>,
    /// Rules that nothing above finds; looked at for every call, so that none is ever lost.
    anywhere: Vec<usize>,
}

impl PolicyIndex {
    pub(crate) fn new(name: PolicyName, rules: Vec<Rule>) -> Self {
        let mut index = Self {
            name,
            rules: Vec::new(),
            by_host: HashMap::new(),
            by_zone: HashMap::new(),
            by_tag: HashMap::new(),
            anywhere: Vec::new(),
        };
        for (at, rule) in rules.iter().enumerate() {
            index.enter(at, rule);
        }
        index.rules = rules;
        index
    }

    /// Enters a rule under its host or zone; under its tags only where it has neither.
    fn enter(&mut self, at: usize, rule: &Rule) {
        let mut tags = None;
        for condition in &rule.conditions {
            match condition.place() {
                Place::Host(host) => return self.by_host.entry(host.clone()).or_default().push(at),
                Place::Zone(zone) => return self.by_zone.entry(zone.clone()).or_default().push(at),
                Place::Tagged(any_of) => tags = Some(any_of),
                Place::Anywhere => {}
            }
        }
        let Some(tags) = tags else {
            return self.anywhere.push(at);
        };
        for tag in tags {
            self.by_tag.entry(tag.clone()).or_default().push(at);
        }
    }

    /// The rules that may speak about a call; one may come twice.
    pub(crate) fn candidates<'a>(&'a self, call: &'a Call<'a>) -> impl Iterator<Item = &'a Rule> {
        let host = call.facts.url.authority().host();
        let name = match host {
            Host::Name(name) if !self.by_zone.is_empty() => Some(name),
            _ => None,
        };
        let zones = name.into_iter().flat_map(HostName::parents);
        let tags = call.tool.into_iter().flat_map(|tool| &tool.tags);
        self.by_host
            .get(host)
            .into_iter()
            .chain(zones.filter_map(|zone| self.by_zone.get(zone)))
            .chain(tags.filter_map(|tag| self.by_tag.get(tag)))
            .chain([&self.anywhere])
            .flatten()
            .filter_map(|at| self.rules.get(*at))
    }
}
