//! What agents report of their runs, as the gate passes it to posternd, and what the gate says of those runs itself: over a socket of its own for each sandbox, which posternd
//! makes and hands over with the sandbox's listeners ([`crate::link::ListenerKind::Reports`]). Never carries a credential, and
//! nothing in a report is believed but that it came out of that sandbox while the run was active there.
//!
//! ```text
//! gate ── Report{seq, run, about} ──▶ posternd     SOCK_SEQPACKET, one packet a message
//!      ◀── Reported{re, outcome} ────              in any order
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ActionId, Refusal, RunId};

/// The largest report, in bytes of JSON.
pub const REPORT_BYTES_MAX: usize = 96 << 10;

/// One report, or a question for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Repeated by the answer.
    pub seq: u64,
    /// A run that is active in the sandbox.
    pub run: RunId,
    /// What it is about.
    pub about: About,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum About {
    /// A tool was called, in the agent's words.
    ToolResult(Value),
    /// What the agent needs to go on after this action.
    Checkpoint {
        /// The action, as the agent names it.
        action: ActionId,
        /// What it needs.
        state: Value,
    },
    /// What it said it needs.
    Wanted {
        /// After which action.
        action: ActionId,
    },
    /// The gate's own: a call waits for the end user's consent. These are its words, with where the user is asked.
    ConsentAsked(Box<Refusal>),
    /// The gate's own: no call waits for this consent any more.
    ConsentOver {
        /// Which consent.
        action: ActionId,
    },
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// The report's number.
    pub re: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is kept.
    Kept,
    /// What was asked for.
    Found(Value),
    /// There is no such thing.
    Absent,
    /// The run has reported as much as it may.
    Enough,
    /// It could not be kept.
    Failed,
}
