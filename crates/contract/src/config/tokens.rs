//! `[tools.NAME] tokens` as written: where an agent itself asks for tokens, which stay with the gate. Never holds one.

use serde::Deserialize;

use crate::ToolName;

/// A tool's token endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEndpoints {
    /// Their paths beneath the tool's URL.
    pub endpoints: Vec<String>,
    /// Other tools that the access tokens are for.
    #[serde(default)]
    pub spent_at: Vec<ToolName>,
}
