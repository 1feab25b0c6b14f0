//! `[policies.NAME]` as written. Never matches anything: `postern_policy` compiles and decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A list of rules; their order means nothing, see [`Permission`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whether what no rule mentions is denied, or passes and is written down.
    #[serde(default)]
    pub mode: Mode,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// What a policy does about a call that none of its agent's rules mentions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Denies it.
    #[default]
    Enforce,
    /// Lets it pass without a credential and writes down that it would have been denied, where all policies of the agent
    /// say so. A rule that denies or asks a human, and everything else that refuses, holds as ever.
    Audit,
}

/// One rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What refusals and the audit call it.
    pub name: String,
    /// What it says.
    pub permission: Permission,
    /// A URL, or one that ends in `*` for everything that begins so. Absent: any tool that has one of the tags. A rule
    /// that denies may say `:*` for every port.
    pub resource: Option<String>,
    /// The rule holds only for paths of one of these forms, from the host's root: `*` is one segment, a final `**` any
    /// rest. Empty asks for none.
    #[serde(default)]
    pub paths: Vec<String>,
    /// HTTP methods in upper case; empty means all.
    #[serde(default)]
    pub operations: Vec<String>,
    /// The rule holds only for tools with at least one of these; empty asks for none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What header fields must say, by lower-case name. A field sent twice cannot be judged.
    #[serde(default)]
    pub headers: BTreeMap<String, Wanted>,
    /// What parameters of the query must say, by name. A parameter sent twice cannot be judged.
    #[serde(default)]
    pub query: BTreeMap<String, Wanted>,
    /// An expression in CEL that must be true, over `method`, `host`, `path` (without escapes), `query`, `headers`,
    /// `agent`, `run`, `user` and `body` (JSON).
    pub when: Option<String>,
    /// What a GraphQL request must ask for.
    pub graphql: Option<GraphQl>,
    /// What a JSON-RPC or MCP message must call.
    pub mcp: Option<Mcp>,
}

/// What a header field or a parameter must say: `"prod"`, or `{ present = true }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a text such as `\"prod\"`, `{ present = true }` or `{ present = false }`"
)]
pub enum Wanted {
    /// Exactly this.
    Exactly(String),
    /// Anything, or nothing at all.
    Presence(Presence),
}

/// Whether something must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// `true`: it is there, whatever it says. `false`: it is not.
    pub present: bool,
}

/// `graphql = { operations = ["query"], fields = ["viewer"] }`. A request that asks for listed and unlisted fields at
/// once cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphQl {
    /// Kinds of operation; empty means all.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Fields at the root, by name and not by alias; empty means all.
    #[serde(default)]
    pub fields: Vec<String>,
}

/// A kind of GraphQL operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Reads.
    Query,
    /// Changes.
    Mutation,
    /// Listens.
    Subscription,
}

/// `mcp = { methods = ["tools/call"], tools = ["search"] }`. A batch cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// Methods of JSON-RPC; empty means all, or `tools/call` alone where `tools` are named.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Tools that `tools/call` may name; empty means all.
    #[serde(default)]
    pub tools: Vec<String>,
}

/// What a rule says. Among the rules that match, the first of this list wins; where none matches, the call is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Never.
    Deny,
    /// Only after a human said yes.
    ApprovalRequired,
    /// Yes.
    Allow,
}
