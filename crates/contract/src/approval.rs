//! A human's answer in the middle of a run, as posternd and the gate speak of it. The gate alone keeps and decides: what
//! posternd hands on is an answer and the key of whoever gives it, which the gate verifies.

use serde::{Deserialize, Serialize};

use crate::{ActionId, AgentName, ApproverName, RunId, ToolName};

/// The most requests of one list.
pub const LISTED_MAX: u32 = 64;

/// The longest reason that is kept with an answer, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// The longest body that can be approved, in bytes: all of it is shown.
pub const APPROVABLE_BYTES_MAX: usize = 48 * 1024;

/// The header field by which posternd says, on a listener of its own and nowhere else, what becomes of a run where a human is
/// asked.
pub const ON_APPROVAL_FIELD: &str = "x-postern-on-approval";

/// Its value where the run is paused, and the call comes again after the answer.
pub const PAUSE: &str = "pause";

/// The shortest key of an approver, in bytes.
pub const APPROVER_KEY_BYTES_MIN: usize = 16;

/// What becomes of a request, and what is said of it until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Nobody has answered, and the call waits.
    Pending,
    /// Somebody said yes; the call went out, if it still could.
    Approved,
    /// Somebody said no.
    Rejected,
    /// Nobody answered in time, or the call did not wait any longer.
    Expired,
}

/// A request to be asked about, as it is kept: without its query, header fields and body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its id.
    pub action: ActionId,
    /// Whose call it is.
    pub agent: AgentName,
    /// For which run, if one is believed.
    pub run: Option<RunId>,
    /// The end user of that run, if the runtime named one.
    pub user: Option<String>,
    /// The tool, if it is for one.
    pub tool: Option<ToolName>,
    /// The rule that asks.
    pub rule: String,
    /// HTTP method.
    pub method: String,
    /// Canonical scheme, host and port.
    pub authority: String,
    /// Canonical path, cut where it is long.
    pub path: String,
    /// SHA-256, in hexadecimal, over everything that would be sent and whose it is.
    pub digest: String,
    /// What became of it.
    pub status: Status,
    /// Who answered.
    pub approver: Option<ApproverName>,
    /// Why, in the approver's words.
    pub reason: Option<String>,
    /// When it was asked, in milliseconds since 1970 (UTC).
    pub created_ms: i64,
    /// When it was answered.
    pub answered_ms: Option<i64>,
    /// Until when the call waits.
    pub expires_ms: i64,
}

/// What an approver is shown of a call that waits: everything that would be sent, but for what the gate adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// The canonical URL with its query.
    pub url: String,
    /// Header fields in order; a value that is no text has its other bytes replaced.
    pub headers: Vec<(String, String)>,
    /// The body in base64.
    pub body_base64: String,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The call may go out, once, as it was shown.
    Approve,
    /// It may not.
    Reject,
}

/// What somebody says to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Yes or no.
    pub verdict: Verdict,
    /// Why; cut after [`REASON_BYTES_MAX`].
    pub reason: Option<String>,
    /// The digest of what was read, for who wants to be sure.
    pub digest: Option<String>,
}

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unanswered {
    /// The key is no approver's.
    #[error("this is no approver's key")]
    NoApprover,
    /// There is no such request.
    #[error("there is no such request")]
    Unknown,
    /// It was answered, or its call waits no longer.
    #[error("it was answered, or its call waits no longer")]
    NotPending,
    /// What was read is not what would be sent.
    #[error("payload_hash mismatch")]
    OtherPayload,
    /// The answer cannot be kept, so it does not count.
    #[error("the gate cannot keep the answer now")]
    NotKept,
}
