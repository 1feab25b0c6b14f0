//! Why a condition cannot be judged, in words an agent can act on. Never repeats what the request says.

use std::fmt;

use crate::{body::Opaque, evidence::Unclear};

/// Why a condition cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The rule is about methods, and the call opens a tunnel.
    MethodInTunnel,
    /// The rule is about paths, and the call opens a tunnel.
    PathInTunnel,
    /// The rule is about what is inside, and the call opens a tunnel.
    InTunnel,
    /// The rule's path and the call's differ only in what they escape.
    Spelling,
    /// The rule names a zone of hosts, and this host is no tool.
    Zone,
    /// A header field that the rule is about.
    Header(Unclear),
    /// A parameter that the rule is about.
    Query(Unclear),
    /// The body that the rule is about.
    Body(Opaque),
    /// The run that the rule is about is not known.
    NoRun,
    /// The user that the rule is about is not known.
    NoUser,
    /// The expression failed.
    Expression,
    /// There is too much for the expression to go through.
    TooMuch,
    /// Several requests in one.
    Batch,
    /// No GraphQL request, or one with a mistake in it.
    NoGraphQl,
    /// Two places could hold the GraphQL request.
    GraphQlTwice,
    /// A GraphQL request by reference, or with members that nobody knows.
    Persisted,
    /// A GraphQL document with several operations.
    SeveralOperations,
    /// A GraphQL request for listed and unlisted fields.
    PartOfFields,
    /// No call in JSON-RPC 2.0.
    NoRpc,
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
            Self::InTunnel => {
                "it is about what a tunnel hides: send the request to the proxy itself, without CONNECT"
            }
            Self::Spelling => {
                "its path differs from yours only in `%` escapes: spell the path as the rule does"
            }
            Self::Zone => {
                "it names hosts by `*`, which opens tools only: a plain host must be named in full"
            }
            Self::Header(Unclear::Hidden) => "it is about header fields, which were not looked at",
            Self::Header(_) => {
                "it is about a header field that is there twice or is no plain text: send it once"
            }
            Self::Query(_) => {
                "it is about a parameter that servers could read differently: send each parameter once, in one case, \
                 without `;`, and a space as `%20`"
            }
            Self::Body(why) => return why.fmt(f),
            Self::NoRun => "it is about the run, and nobody knows to which run this call belongs",
            Self::NoUser => "it is about the user, and nobody knows for which user this call is",
            Self::Expression => "its expression has no answer for this request",
            Self::TooMuch => {
                "its expression goes through lists, and yours are too long: send at most 1,000 items, with short texts"
            }
            Self::Batch => "it is about one call, and this is a batch: send each call as a request of its own",
            Self::NoGraphQl => {
                "it is about GraphQL: send one document without mistakes, by POST as JSON or by GET as `query`"
            }
            Self::GraphQlTwice => {
                "it is about GraphQL, which can stand in the query or in the body: use one of them alone"
            }
            Self::Persisted => {
                "it is about GraphQL: send the document itself as `query`, no hash or id and no members but \
                 operationName, variables and extensions"
            }
            Self::SeveralOperations => "it is about GraphQL, one operation a document: send only that one",
            Self::PartOfFields => {
                "you ask for fields that it lists and for others: ask for each kind in a request of its own"
            }
            Self::NoRpc => {
                "it is about calls in JSON-RPC 2.0: send an object of jsonrpc, id, method and params (with the tool's \
                 name)"
            }
        })
    }
}
