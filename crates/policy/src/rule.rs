//! One compiled rule. Never knows of any other rule.

use std::sync::Arc;

use postern_contract::config::Permission;

use crate::{
    condition::{Call, Condition, Match, Place, Why},
    host::Host,
    verdict::RuleName,
};

/// A rule: when all conditions hold, its permission is what it says.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Arc<RuleName>,
    pub(crate) permission: Permission,
    pub(crate) conditions: Vec<Condition>,
    /// The rule's conditions as written, for people.
    pub(crate) written: String,
}

impl Rule {
    /// Whether the rule speaks about a call.
    pub(crate) fn judge(&self, call: &Call<'_>) -> Match {
        let all = self
            .conditions
            .iter()
            .fold(Match::Yes, |so_far, condition| {
                so_far.and(|| condition.judge(call))
            });
        all.and(|| self.judge_openness(call))
    }

    /// Whether the rule may speak about a call and cannot without the body.
    pub(crate) fn needs_body(&self, call: &Call<'_>) -> bool {
        self.is_about_the_body() && self.judge(call) != Match::No
    }

    /// Whether any of its conditions looks at the body.
    pub(crate) fn is_about_the_body(&self) -> bool {
        self.conditions.iter().any(Condition::needs_body)
    }

    /// Whether any of its conditions looks at header fields.
    pub(crate) fn is_about_headers(&self) -> bool {
        self.conditions.iter().any(Condition::reads_headers)
    }

    /// Whether any of its conditions looks at more than method, URL and tool.
    pub(crate) fn looks_inside(&self) -> bool {
        self.conditions.iter().any(Condition::looks_inside)
    }

    /// Whether all that it asks can be said of a tunnel to one whole host.
    pub(crate) fn is_about_whole_hosts(&self) -> bool {
        self.conditions.iter().all(Condition::fits_tunnels)
    }

    /// Whether it is about connections that are no HTTP.
    pub(crate) fn is_about_raw(&self) -> bool {
        self.conditions.iter().any(Condition::is_about_raw)
    }

    /// The one host and port that its resource names, if it names one.
    pub(crate) fn place(&self) -> Option<(&Host, Option<u16>)> {
        self.conditions
            .iter()
            .find_map(|condition| match condition.place() {
                Place::Host(host) => Some((host, condition.port())),
                _ => None,
            })
    }

    /// An allow rule opens a host that is no tool, and a tunnel to anybody, only by the full name.
    pub(crate) fn judge_openness(&self, call: &Call<'_>) -> Match {
        let is_unlisted = call.tool.is_none() || call.facts.method.is_connect();
        let opens = self.permission == Permission::Allow && is_unlisted;
        if opens && !self.names_one_host() {
            Match::CannotTell(Why::Zone)
        } else {
            Match::Yes
        }
    }

    fn names_one_host(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| matches!(condition.place(), Place::Host(_)))
    }
}
