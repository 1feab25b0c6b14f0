//! `[policies.NAME]` as written. Never matches anything: `postern_policy` compiles and decides.

use serde::{Deserialize, Serialize};

/// A list of rules; their order means nothing, see [`Permission`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What refusals and the audit call it.
    pub name: String,
    /// What it says.
    pub permission: Permission,
    /// A URL, or one that ends in `*` for everything that begins so. Absent: any tool that has one of the tags.
    pub resource: Option<String>,
    /// HTTP methods in upper case; empty means all.
    #[serde(default)]
    pub operations: Vec<String>,
    /// The rule holds only for tools with at least one of these; empty asks for none.
    #[serde(default)]
    pub tags: Vec<String>,
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
