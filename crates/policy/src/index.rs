//! The rules of one policy, found by host, zone or tag and then by port and path, so that a decision looks only at those
//! that can speak. Never judges: a rule found here may still not hold.

use std::collections::{HashMap, HashSet};

use postern_contract::{
    PolicyName,
    config::{Mode, Permission},
};

use crate::{
    condition::{Call, Condition, Place},
    host::{Host, HostName},
    rule::Rule,
    shelf::Shelf,
};

/// A policy's rules and where to find them.
#[derive(Debug)]
pub(crate) struct PolicyIndex {
    pub(crate) name: PolicyName,
    /// What it does about a call that no rule mentions.
    pub(crate) mode: Mode,
    pub(crate) rules: Vec<Rule>,
    /// Whether any rule is about bodies.
    pub(crate) reads_bodies: bool,
    /// Whether any of them looks at header fields.
    pub(crate) reads_headers: bool,
    /// Whether any rule is about header fields or bodies.
    pub(crate) looks_inside: bool,
    /// Hosts, and names above hosts, that some rule does more than deny about.
    opened: HashSet<Host>,
    opened_zones: HashSet<HostName>,
    by_host: HashMap<Host, Ports>,
    by_zone: HashMap<HostName, Ports>,
    /// Rules without a resource.
    by_tag: HashMap<String, Shelf>,
    /// Rules that nothing above finds; looked at for every call, so that none is ever lost.
    anywhere: Shelf,
}

/// Rules of one host or zone.
#[derive(Debug, Default)]
struct Ports {
    by_port: HashMap<u16, Shelf>,
    every: Shelf,
}

impl PolicyIndex {
    pub(crate) fn new(name: PolicyName, mode: Mode, rules: Vec<Rule>) -> Self {
        let mut index = Self {
            name,
            mode,
            rules: Vec::new(),
            reads_bodies: rules.iter().any(Rule::is_about_the_body),
            reads_headers: rules.iter().any(Rule::is_about_headers),
            looks_inside: rules.iter().any(Rule::looks_inside),
            opened: HashSet::new(),
            opened_zones: HashSet::new(),
            by_host: HashMap::new(),
            by_zone: HashMap::new(),
            by_tag: HashMap::new(),
            anywhere: Shelf::default(),
        };
        for (at, rule) in rules.iter().enumerate() {
            index.enter(at, rule);
            index.open(rule);
        }
        index.rules = rules;
        index
    }

    /// Enters a rule under its host or zone; under its tags only where it has neither.
    fn enter(&mut self, at: usize, rule: &Rule) {
        // Any one condition's ways will do, since all conditions must hold.
        let trails = rule.conditions.iter().map(Condition::trails);
        let trails = trails.max_by_key(Vec::len).unwrap_or_default();
        let mut tags = None;
        for condition in &rule.conditions {
            let ports = match condition.place() {
                Place::Host(host) => self.by_host.entry(host.clone()).or_default(),
                Place::Zone(zone) => self.by_zone.entry(zone.clone()).or_default(),
                Place::Tagged(any_of) => {
                    tags = Some(any_of);
                    continue;
                }
                Place::Anywhere => continue,
            };
            return ports.shelf(condition.port()).enter(at, &trails);
        }
        let Some(tags) = tags else {
            return self.anywhere.enter(at, &trails);
        };
        for tag in tags {
            let shelf = self.by_tag.entry(tag.clone()).or_default();
            shelf.enter(at, &trails);
        }
    }

    /// Notes what a rule could open.
    fn open(&mut self, rule: &Rule) {
        if rule.permission == Permission::Deny {
            return;
        }
        for condition in &rule.conditions {
            match condition.place() {
                Place::Host(host) => {
                    self.opened.insert(host.clone());
                }
                Place::Zone(zone) => {
                    self.opened_zones.insert(zone.clone());
                }
                Place::Tagged(_) | Place::Anywhere => {}
            }
        }
    }

    /// Whether some rule that does more than deny is about a host, by its name or by one above it.
    pub(crate) fn could_open(&self, host: &Host) -> bool {
        let zones = match host {
            Host::Name(name) if !self.opened_zones.is_empty() => Some(name),
            _ => None,
        };
        let mut zones = zones.into_iter().flat_map(HostName::parents);
        self.opened.contains(host) || zones.any(|zone| self.opened_zones.contains(zone))
    }

    /// The rules that may speak about a call; one may come twice.
    pub(crate) fn candidates(&self, call: &Call<'_>) -> impl Iterator<Item = &Rule> {
        let authority = call.facts.url.authority();
        let host = authority.host();
        let name = match host {
            Host::Name(name) if !self.by_zone.is_empty() => Some(name),
            _ => None,
        };
        let zones = name.into_iter().flat_map(HostName::parents);
        let zones = zones.filter_map(|zone| self.by_zone.get(zone));
        let places = self.by_host.get(host).into_iter().chain(zones);
        let placed = places.flat_map(|ports| ports.shelves(authority.port()));
        let tags = call.tool.into_iter().flat_map(|tool| &tool.tags);
        let tagged = tags.filter_map(|tag| self.by_tag.get(tag));
        let mut found = Vec::new();
        for shelf in placed.chain(tagged).chain([&self.anywhere]) {
            // A tunnel hides its paths, so every rule may speak about it.
            if call.facts.method.is_connect() {
                found.extend_from_slice(shelf.all());
            } else {
                shelf.find(&call.unescaped, &mut found);
            }
        }
        found.into_iter().filter_map(|at| self.rules.get(at))
    }
}

impl Ports {
    fn shelf(&mut self, port: Option<u16>) -> &mut Shelf {
        match port {
            Some(port) => self.by_port.entry(port).or_default(),
            None => &mut self.every,
        }
    }

    fn shelves(&self, port: u16) -> impl Iterator<Item = &Shelf> {
        self.by_port.get(&port).into_iter().chain([&self.every])
    }
}
