//! `[agents.NAME.acp]` as written. Never says what it means: that is the kind's.

use serde::Deserialize;

/// `[agents.NAME.acp]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpWritten {
    /// The agent and its arguments.
    #[serde(default)]
    pub argv: Vec<String>,
    /// What becomes of what it asks permission for.
    pub permissions: Option<Permissions>,
}

/// What becomes of what an agent asks permission for. None of it changes what the gate lets it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permissions {
    /// A human is asked.
    Ask,
    /// It is told yes.
    Allow,
    /// It is told no.
    Reject,
}
