//! What a rule asks of a call: one kind, one file. This file owns the list of kinds and the only match over it. Never
//! weighs rules against each other.

mod graphql;
mod header;
mod mcp;
mod method;
mod path;
mod query;
mod resource;
mod tags;
mod when;
mod why;

use std::{borrow::Cow, cell::OnceCell};

pub(crate) use self::{
    graphql::GraphQl, header::Headers, mcp::Mcp, method::Methods, path::Paths, query::Query,
    resource::Resource, tags::Tags, when::When, why::Why,
};
use crate::{
    body::{self, Opaque},
    decide::Facts,
    evidence::Evidence,
    expression::Inputs,
    graphql::Asked,
    host::{Host, HostName},
    json::Json,
    parameters::Parameters,
    shelf::Step,
    tools::Tool,
};

/// One condition of a rule; a rule holds when all of its conditions do.
#[derive(Debug)]
pub(crate) enum Condition {
    Method(Methods),
    Resource(Resource),
    Tags(Tags),
    Paths(Paths),
    Headers(Headers),
    Query(Query),
    GraphQl(GraphQl),
    Mcp(Mcp),
    When(When),
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

/// A call as conditions see it. What takes work to read is read when the first condition asks, and once.
pub(crate) struct Call<'a> {
    pub(crate) facts: &'a Facts<'a>,
    /// The tool that the URL belongs to.
    pub(crate) tool: Option<&'a Tool>,
    /// The path without its escapes.
    pub(crate) unescaped: Cow<'a, str>,
    pub(crate) evidence: &'a Evidence<'a>,
    pub(crate) inputs: Inputs,
    parameters: OnceCell<Parameters>,
    body: OnceCell<Result<Json, Opaque>>,
    asked: OnceCell<Result<Asked, Why>>,
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

    /// The only port that it can hold for; `None` for any.
    fn port(&self) -> Option<u16> {
        None
    }

    /// The ways to the paths that it can hold for; none for any.
    fn trails(&self) -> Vec<Vec<Step>> {
        Vec::new()
    }

    /// Whether it cannot be judged without the body.
    fn needs_body(&self) -> bool {
        false
    }

    /// Whether it looks at header fields.
    fn reads_headers(&self) -> bool {
        false
    }
}

impl Condition {
    fn kind(&self) -> &dyn Judge {
        match self {
            Self::Method(methods) => methods,
            Self::Resource(resource) => resource,
            Self::Tags(tags) => tags,
            Self::Paths(paths) => paths,
            Self::Headers(headers) => headers,
            Self::Query(query) => query,
            Self::GraphQl(graphql) => graphql,
            Self::Mcp(mcp) => mcp,
            Self::When(when) => when,
        }
    }

    pub(crate) fn judge(&self, call: &Call<'_>) -> Match {
        self.kind().judge(call)
    }

    pub(crate) fn place(&self) -> Place<'_> {
        self.kind().place()
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.kind().port()
    }

    pub(crate) fn trails(&self) -> Vec<Vec<Step>> {
        self.kind().trails()
    }

    pub(crate) fn needs_body(&self) -> bool {
        self.kind().needs_body()
    }

    pub(crate) fn reads_headers(&self) -> bool {
        self.kind().reads_headers()
    }

    /// Whether it looks at header fields or the body.
    pub(crate) fn looks_inside(&self) -> bool {
        matches!(
            self,
            Self::Headers(_) | Self::GraphQl(_) | Self::Mcp(_) | Self::When(_)
        )
    }

    /// Whether what it asks can be said of a tunnel to a whole host.
    pub(crate) fn fits_tunnels(&self) -> bool {
        match self {
            Self::Method(methods) => methods.are_tunnels(),
            Self::Resource(resource) => resource.0.is_whole_host(),
            Self::Tags(_) => true,
            Self::Paths(_)
            | Self::Headers(_)
            | Self::Query(_)
            | Self::GraphQl(_)
            | Self::Mcp(_)
            | Self::When(_) => false,
        }
    }

    /// Whether it is about connections that are no HTTP.
    pub(crate) fn is_about_raw(&self) -> bool {
        matches!(self, Self::Resource(resource) if resource.0.is_raw())
    }

    /// The key that it is written as.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Method(_) => "operations",
            Self::Resource(_) => "resource",
            Self::Tags(_) => "tags",
            Self::Paths(_) => "paths",
            Self::Headers(_) => "headers",
            Self::Query(_) => "query",
            Self::GraphQl(_) => "graphql",
            Self::Mcp(_) => "mcp",
            Self::When(_) => "when",
        }
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        facts: &'a Facts<'a>,
        evidence: &'a Evidence<'a>,
        tool: Option<&'a Tool>,
    ) -> Self {
        Self {
            facts,
            tool,
            unescaped: facts.url.path().unescaped(),
            evidence,
            inputs: Inputs::default(),
            parameters: OnceCell::new(),
            body: OnceCell::new(),
            asked: OnceCell::new(),
        }
    }

    /// The parameters of the query.
    pub(crate) fn parameters(&self) -> &Parameters {
        self.parameters
            .get_or_init(|| Parameters::of(self.facts.url.query()))
    }

    /// The JSON that is sent.
    pub(crate) fn body(&self) -> Result<&Json, Opaque> {
        let body = self.body.get_or_init(|| body::read(self.evidence));
        body.as_ref().map_err(|why| *why)
    }

    /// What a GraphQL request asks for.
    pub(crate) fn asked(&self) -> Result<&Asked, Why> {
        let asked = self.asked.get_or_init(|| graphql::asked(self));
        asked.as_ref().map_err(|why| *why)
    }
}

impl From<bool> for Match {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
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
