//! How Postern says no: one shape for every refusal, with a stable code that an agent can act on. Never carries a
//! secret or an internal path.

use serde::{Deserialize, Serialize};

use crate::{ActionId, RunId};

/// The header field that says which [`Code`] a refusal has: the gate's own mark, which no upstream's answer carries.
pub const DECISION_FIELD: &str = "x-postern-decision";

/// Stable words for what went wrong; new ones are added, none is ever renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No rule allows the call, or one denies it.
    PolicyDenied,
    /// A human must say yes first.
    ApprovalRequired,
    /// A human said no.
    ApprovalRejected,
    /// No human answered in time.
    ApprovalTimeout,
    /// The end user must grant access first.
    ConsentRequired,
    /// The end user said no.
    ConsentRejected,
    /// The end user did not consent in time.
    ConsentTimeout,
    /// The tool's own list of capabilities does not hold this call.
    CapabilityDenied,
    /// The budget is spent.
    BudgetExceeded,
    /// Too many calls; try again later.
    RateLimited,
    /// The address is one the gate never dials.
    DestinationBlocked,
    /// No tool or model stands for this destination.
    UnknownDestination,
    /// The request is ambiguous, malformed or says two things at once.
    BadRequest,
    /// The request names another host than the connection it came on.
    Misdirected,
    /// The body or head is larger than allowed.
    TooLarge,
    /// The model is not one this agent may use.
    ModelNotFound,
    /// The upstream could not be reached.
    UpstreamUnreachable,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream could not be reached several times in a row, and is not tried for a while.
    CircuitOpen,
    /// An effect may or may not have happened.
    OutcomeUnknown,
    /// The gate itself cannot do its work now: the audit, the store or a secret is not to be had.
    GateUnavailable,
    /// The call belongs to no run that is active in this sandbox.
    NoActiveRun,
    /// A stand-in for a credential was on its way to where that credential does not belong.
    DummyMisplaced,
    /// What stands for a token that the gate keeps stands for none any more.
    TokenUnknown,
    /// A token endpoint answered with what the gate cannot keep for itself.
    TokenUnsealed,
}

impl Code {
    /// The HTTP status that goes with the code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::PolicyDenied
            | Self::ApprovalRequired
            | Self::ApprovalRejected
            | Self::ApprovalTimeout
            | Self::ConsentRequired
            | Self::ConsentRejected
            | Self::ConsentTimeout
            | Self::CapabilityDenied
            | Self::DestinationBlocked
            | Self::UnknownDestination
            | Self::NoActiveRun
            | Self::DummyMisplaced => 403,
            Self::BudgetExceeded | Self::RateLimited => 429,
            Self::BadRequest => 400,
            Self::TokenUnknown => 401,
            Self::Misdirected => 421,
            Self::TooLarge => 413,
            Self::ModelNotFound => 404,
            Self::UpstreamUnreachable | Self::TokenUnsealed => 502,
            Self::UpstreamTimeout => 504,
            Self::OutcomeUnknown => 409,
            Self::CircuitOpen | Self::GateUnavailable => 503,
        }
    }

    /// The code as it stands on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PolicyDenied => "POLICY_DENIED",
            Self::ApprovalRequired => "APPROVAL_REQUIRED",
            Self::ApprovalRejected => "APPROVAL_REJECTED",
            Self::ApprovalTimeout => "APPROVAL_TIMEOUT",
            Self::ConsentRequired => "CONSENT_REQUIRED",
            Self::ConsentRejected => "CONSENT_REJECTED",
            Self::ConsentTimeout => "CONSENT_TIMEOUT",
            Self::CapabilityDenied => "CAPABILITY_DENIED",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
            Self::RateLimited => "RATE_LIMITED",
            Self::DestinationBlocked => "DESTINATION_BLOCKED",
            Self::UnknownDestination => "UNKNOWN_DESTINATION",
            Self::BadRequest => "BAD_REQUEST",
            Self::Misdirected => "MISDIRECTED",
            Self::TooLarge => "TOO_LARGE",
            Self::ModelNotFound => "MODEL_NOT_FOUND",
            Self::UpstreamUnreachable => "UPSTREAM_UNREACHABLE",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::CircuitOpen => "CIRCUIT_OPEN",
            Self::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Self::GateUnavailable => "GATE_UNAVAILABLE",
            Self::NoActiveRun => "NO_ACTIVE_RUN",
            Self::DummyMisplaced => "DUMMY_MISPLACED",
            Self::TokenUnknown => "TOKEN_UNKNOWN",
            Self::TokenUnsealed => "TOKEN_UNSEALED",
        }
    }
}

/// The body of a refusal, as JSON on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A short text for people and for clients that read `error` alone.
    pub error: String,
    /// The stable word.
    pub code: Code,
    /// The rule that decided, or `default` where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The tool or model that the call was for, where one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What a human is asked about meanwhile, where the call may come again after a yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_id: Option<ActionId>,
    /// The run that waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Where the end user says yes, where the call may come again after that: a page of the gate's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// By what the run that waits for that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_id: Option<ActionId>,
    /// Why, and what to do next.
    pub message: String,
}

impl Refusal {
    /// A refusal with its short text and the longer message.
    #[must_use]
    pub fn new(code: Code, error: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            code,
            rule: None,
            tool: None,
            action_id: None,
            run_id: None,
            authorization_url: None,
            resume_id: None,
            message: message.into(),
        }
    }

    /// Names what a human is asked about, and the run that waits for it.
    #[must_use]
    pub fn waits_for(mut self, action: ActionId, run: Option<RunId>) -> Self {
        self.action_id = Some(action);
        self.run_id = run;
        self
    }

    /// Says where the end user is asked, and by what the run goes on.
    #[must_use]
    pub fn needs_consent(mut self, at: String, (resume, run): (ActionId, RunId)) -> Self {
        self.authorization_url = Some(at);
        self.resume_id = Some(resume);
        self.run_id = Some(run);
        self
    }

    /// Names the rule that decided.
    #[must_use]
    pub fn by_rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Names the tool the call was for.
    #[must_use]
    pub fn for_tool(mut self, tool: impl Into<String>) -> Self {
        self.tool = Some(tool.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_what_serde_writes() {
        for code in [
            Code::PolicyDenied,
            Code::CapabilityDenied,
            Code::NoActiveRun,
            Code::ConsentRejected,
            Code::ConsentTimeout,
            Code::DummyMisplaced,
            Code::TokenUnknown,
            Code::TokenUnsealed,
            Code::TooLarge,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.word());
        }
    }
}
