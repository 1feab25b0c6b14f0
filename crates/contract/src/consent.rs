//! An end user's consent in the middle of a run, as posternd and the gate speak of it. The gate alone keeps it, and the token that
//! comes of it never leaves the gate.

use serde::{Deserialize, Serialize};

use crate::{ActionId, AgentName, ToolName};

/// The most of one list.
pub const LISTED_MAX: u32 = 64;

/// What became of a consent that a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Consented {
    /// The gate has asked nobody for it.
    Unknown,
    /// The end user has not gone through with it.
    Pending,
    /// The gate has a token of theirs.
    Given,
    /// They did not in time, or nobody needs it any more.
    Expired,
}

/// What an end user has consented to, as long as the gate keeps a token of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The consent's id.
    pub id: ActionId,
    /// Who may act.
    pub agent: AgentName,
    /// For whom.
    pub user: String,
    /// What it may use.
    pub tool: ToolName,
    /// Since when, in milliseconds since 1970 (UTC).
    pub since_ms: i64,
    /// Until when; none where the token is renewed.
    pub expires_ms: Option<i64>,
}

/// Which of these are wanted; an absent part asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Of this agent.
    pub agent: Option<AgentName>,
    /// Of this end user.
    pub user: Option<String>,
    /// To this tool.
    pub tool: Option<ToolName>,
    /// Those that come after this one.
    pub after: Option<ActionId>,
    /// At most so many, and at most [`LISTED_MAX`].
    pub limit: Option<u32>,
}
