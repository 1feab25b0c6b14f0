//! A human's answer in the middle of a run, as posternd and the gate speak of it. The gate alone keeps and decides: what
//! posternd hands on is an answer and the key of whoever gives it, which the gate verifies.

use std::time::Duration;

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

/// The longest words of an agent that asks by itself, in bytes.
pub const WORDS_BYTES_MAX: usize = 1024;

/// The most that an agent which asks by itself can show, in bytes of JSON.
pub const DETAIL_BYTES_MAX: usize = 16 * 1024;

/// How long a yes to more than one call holds at most.
pub const GRANT_MAX: Duration = Duration::from_secs(24 * 3600);

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

/// What a yes is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The one call that was shown.
    #[default]
    Once,
    /// Calls of the same run under the same rule, by the same tool, method and path.
    Run,
    /// The same for the same agent and end user, in whichever run, for some time.
    AgentUserTtl,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A rule of the gate, about a call.
    Gate,
    /// The agent by itself. A yes to it lets its run go on, and is none for any rule.
    Agent,
}

/// How an agent that asks by itself waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// Its run goes on meanwhile, and the question ends with it.
    Held,
    /// Its run is put aside.
    Paused,
}

/// What an agent asks a human by itself. posternd knows whose run it is; the words are the agent's and nothing in them is
/// believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its id, fresh.
    pub action: ActionId,
    /// Who asks.
    pub agent: AgentName,
    /// In which run.
    pub run: RunId,
    /// The end user of that run, if posternd named one.
    pub user: Option<String>,
    /// What it says, at most [`WORDS_BYTES_MAX`].
    pub words: String,
    /// What it shows besides, a text of JSON of at most [`DETAIL_BYTES_MAX`].
    pub detail: String,
    /// What becomes of the run meanwhile.
    pub waits: Waits,
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
    /// Who asks. Where the agent does by itself, there is no rule, method, authority or path.
    pub origin: Origin,
    /// What an agent that asks by itself says.
    pub words: Option<String>,
    /// Whether a yes may be for more than this call: the run is known to be what it is, and the path is shown whole.
    pub wider: bool,
    /// What the yes was for.
    pub scope: Scope,
    /// Until when a yes to more than one call holds, unless it was taken back before.
    pub granted_until_ms: Option<i64>,
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

/// What an approver is shown of a call that waits: everything that would be sent, but for what the gate adds. Of what an
/// agent asks by itself: its detail is the body, and there is nothing else.
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

/// Which requests are wanted; an absent part asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Of this agent.
    pub agent: Option<AgentName>,
    /// For this end user.
    pub user: Option<String>,
    /// Of which this became.
    pub status: Option<Status>,
    /// Those that come after this one.
    pub after: Option<ActionId>,
    /// At most so many, and at most [`LISTED_MAX`].
    pub limit: Option<u32>,
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
    /// What a yes is for.
    #[serde(default)]
    pub scope: Scope,
    /// How long a yes to more than one call holds, in milliseconds; at most, and unless said otherwise, [`GRANT_MAX`].
    #[serde(default)]
    pub holds_ms: Option<u64>,
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
    /// It is asked for one call alone, or nobody is named for whom it would hold.
    #[error(
        "a yes to this is for the one call alone: no run or user is known, no tool, or too long a path"
    )]
    TooWide,
    /// There is no yes to be taken back.
    #[error("no yes of it is in force")]
    NotGranted,
    /// The answer cannot be kept, so it does not count.
    #[error("the gate cannot keep the answer now")]
    NotKept,
}
