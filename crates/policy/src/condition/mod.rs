//! What a rule asks of a call: one kind, one file. This file owns the list of kinds and the only match over it. Never
//! weighs rules against each other.

mod method;
mod resource;
mod tags;

use std::{borrow::Cow, fmt};

pub(crate) use self::{method::Methods, resource::Resource, tags::Tags};
use crate::{
    decide::Facts,
    host::{Host, HostName},
    tools::Tool,
};

/// One condition of a rule; a rule holds when all of its conditions do.
#[derive(Debug)]
pub(crate) enum Condition {
    Method(Methods),
    Resource(Resource),
    Tags(Tags),
}

/// What a condition answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// It holds.
    Yes,
    /// It does not hold.
    No,
    /// It cannot be judged. Never a reason to let a call pass: an allow rule does not hold then, any other does.
    CannotTell(Why),
}

/// Why a condition cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The rule is about methods, and the call opens a tunnel.
    MethodInTunnel,
    /// The rule is about paths, and the call opens a tunnel.
    PathInTunnel,
    /// The rule's path and the call's differ only in what they escape.
    Spelling,
    /// The rule names a zone of hosts, and this host is no tool.
    Zone,
}

/// A call as conditions see it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) facts: &'a Facts<'a>,
    /// The tool that the URL belongs to.
    pub(crate) tool: Option<&'a Tool>,
    /// The path without its escapes.
    pub(crate) unescaped: Cow<'a, str>,
}

/// The only calls that a condition can hold for, as far as an index can look them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// Calls to one host.
    Host(&'a Host),
    /// Calls to hosts beneath a name.
    Zone(&'a HostName),
    /// Calls to tools with one of these tags.
    Tagged(&'a [String]),
    /// Any calls.
    Anywhere,
}

/// What every kind of condition does.
trait Judge {
    /// Whether the condition holds.
    fn judge(&self, call: &Call<'_>) -> Match;

    /// Where it can hold at all.
    fn place(&self) -> Place<'_> {
        Place::Anywhere
    }
}

impl Condition {
    fn kind(&self) -> &dyn Judge {
        match self {
            Self::Method(methods) => methods,
            Self::Resource(resource) => resource,
            Self::Tags(tags) => tags,
        }
    }

    pub(crate) fn judge(&self, call: &Call<'_>) -> Match {
        self.kind().judge(call)
    }

    pub(crate) fn place(&self) -> Place<'_> {
        self.kind().place()
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>, tool: Option<&'a Tool>) -> Self {
        Self {
            facts,
            tool,
            unescaped: facts.url.path().unescaped(),
        }
    }
}

impl Match {
    /// Both: a sure no wins, then a doubt.
    pub(crate) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Yes => other(),
            Self::CannotTell(why) => match other() {
                Self::No => Self::No,
                Self::Yes | Self::CannotTell(_) => Self::CannotTell(why),
            },
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MethodInTunnel => {
                "it is about methods, which a tunnel hides: send the request to the proxy itself, without CONNECT"
            }
            Self::PathInTunnel => {
                "it is about paths, which a tunnel hides: send the request to the proxy itself, without CONNECT"
            }
            Self::Spelling => {
                "its path differs from yours only in `%` escapes: spell the path as the rule does"
            }
            Self::Zone => {
                "it names hosts by `*`, which opens tools only: a plain host must be named in full"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_is_never_a_yes_and_never_hides_a_no() {
        let doubt = Match::CannotTell(Why::Spelling);
        for (one, other, both) in [
            (Match::Yes, Match::Yes, Match::Yes),
            (Match::Yes, Match::No, Match::No),
            (Match::No, Match::Yes, Match::No),
            (doubt, Match::Yes, doubt),
            (Match::Yes, doubt, doubt),
            (doubt, Match::No, Match::No),
            (Match::No, doubt, Match::No),
        ] {
            assert_eq!(one.and(|| other), both, "{one:?} and {other:?}");
        }
    }
}
