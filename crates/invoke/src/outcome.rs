//! How a run ended, and the plain (not streamed) answer that says so. Never decides how it ends.

use postern_contract::ActionId;
use postern_llm::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    checkpoint::{Awaits, Checkpoint},
    event::Event,
    plan::RunFacts,
};

/// A tool call that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallMade {
    /// The function.
    pub function: String,
    /// HTTP method.
    pub method: String,
    /// The whole URL, as the agent would see it.
    pub url: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whose run it was.
    pub facts: RunFacts,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What came of it.
    pub ending: Ending,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// A builtin agent answered.
    Answered {
        /// What it said, if anything.
        response: Option<String>,
        /// The model that answered, in its own words.
        model: String,
        /// The cost of all model calls together.
        usage: Usage,
        /// What was called.
        tool_calls_made: Vec<CallMade>,
    },
    /// A worker returned; its value is an object with a `response` by now.
    Returned {
        /// The object.
        value: Map<String, Value>,
        /// The agent's model, where the object names none.
        model: String,
    },
    /// It waits for a human, and is not over: the gate asks about a call, or for the end user's consent to it.
    Paused(Box<Pause>),
    /// It failed on its way after a human's yes, at a place from which it can go on again: what was done is not done twice.
    Halted(Box<Halt>),
    /// The run failed.
    Failed(Failure),
}

/// A run that failed where it can go on again.
#[derive(Debug, Clone, PartialEq)]
pub struct Halt {
    /// What a human said yes to, by which it goes on.
    pub action: ActionId,
    /// Why it did not come to its end.
    pub failure: Failure,
    /// What it needs to go on.
    pub checkpoint: Checkpoint,
}

/// A run that waits for a human.
#[derive(Debug, Clone, PartialEq)]
pub struct Pause {
    /// What the human is asked about.
    pub action: ActionId,
    /// The gate's words; the agent's, where it asks by itself.
    pub detail: Value,
    /// What an agent with code says to its caller.
    pub said: Option<String>,
    /// The model that answered last.
    pub model: String,
    /// The cost of all model calls so far.
    pub usage: Usage,
    /// What was called so far.
    pub tool_calls_made: Vec<CallMade>,
    /// What the run needs to go on.
    pub checkpoint: Checkpoint,
}

impl Pause {
    fn is_handlers(&self) -> bool {
        matches!(self.checkpoint, Checkpoint::Handler(_))
    }

    /// What an agent with code costs is in the gate's audit.
    fn usage(&self) -> Value {
        if self.is_handlers() {
            return json!({});
        }
        json!(self.usage)
    }

    /// What the caller is told in words.
    fn response(&self) -> String {
        if self.checkpoint.awaits() == Awaits::Consent {
            return consent_in_words(&self.detail);
        }
        if let Some(said) = &self.said {
            return said.clone();
        }
        let said = self.detail.get("message").and_then(Value::as_str);
        let tool = self.detail.get("tool").and_then(Value::as_str);
        said.map_or_else(
            || {
                format!(
                    "A call of `{}` waits for a human.",
                    tool.unwrap_or("a tool")
                )
            },
            str::to_owned,
        )
    }
}

/// What a caller is told whose end user is asked, while the run goes on and a call of its agent's code waits for that.
#[must_use]
pub fn consent_asked(detail: &Value, facts: &RunFacts, duration_ms: u64) -> Value {
    let mut body = json!({
        "response": consent_in_words(detail),
        "model": "",
        "usage": {},
        "tool_calls_made": [],
        "duration_ms": duration_ms,
        "handler": "user",
        "request_id": facts.request_id,
        "run_id": facts.run,
    });
    say_consent(&mut body, detail);
    body
}

/// What the plain answer says of a consent, in the gate's words.
fn say_consent(body: &mut Value, detail: &Value) {
    for name in ["code", "message", "tool", "authorization_url", "resume_id"] {
        body[name] = detail.get(name).cloned().unwrap_or_default();
    }
    body["consent_required"] = detail.clone();
}

/// What a caller is told whose end user is asked: the gate's words, and where.
pub(crate) fn consent_in_words(detail: &Value) -> String {
    let text = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", text("message"), text("authorization_url"))
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The model's gateway answered with an error.
    #[error("LLM Gateway returned {status}")]
    ModelStatus {
        /// Its status.
        status: u16,
        /// Its body.
        detail: String,
    },
    /// The model's gateway did not answer.
    #[error("LLM Gateway unreachable: {0}")]
    ModelUnreachable(String),
    /// The agent's code failed.
    #[error("{0}")]
    Worker(String),
    /// There was no place for the run where the agent is.
    #[error("the agent cannot be called now: {0}")]
    NoPlace(String),
    /// The agent's code asked for a pause that is not kept: for a consent, of a kind that cannot be called again, or unlike any.
    #[error("the agent asked for a pause, which this version cannot keep")]
    PauseNotKept,
    /// A human cannot be asked what the agent wants to ask.
    #[error("a human cannot be asked now: {0}")]
    NotAsked(String),
    /// A human said no to a call that it waited for.
    #[error("a human said no to a call of the run{}", .0.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    Rejected(Option<String>),
    /// The end user did not consent in time to what a call of it needs.
    #[error("the end user did not grant access in time to what a call of the run needs")]
    NotConsented,
    /// No human answered in time.
    #[error("no human answered in time about a call of the run")]
    Unanswered,
    /// Nobody wanted it any more.
    #[error("the run was cancelled")]
    Cancelled,
    /// The daemon stops.
    #[error("the run was ended with the daemon")]
    Stopping,
    /// It took too long.
    #[error("the run did not end in time")]
    DeadlinePassed,
}

impl Failure {
    /// The HTTP status of a plain answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::ModelStatus { .. } | Self::ModelUnreachable(_) => 502,
            Self::Worker(_) => 500,
            Self::PauseNotKept => 501,
            Self::Cancelled | Self::Rejected(_) | Self::Unanswered | Self::NotConsented => 409,
            Self::Stopping | Self::NoPlace(_) | Self::NotAsked(_) => 503,
            Self::DeadlinePassed => 504,
        }
    }

    fn body(&self) -> Value {
        let mut body = json!({ "error": self.to_string(), "code": self.code() });
        if let Self::ModelStatus { detail, .. } = self {
            body["detail"] = json!(detail);
        }
        body
    }

    fn event(&self) -> Event {
        Event::Error {
            message: self.to_string(),
            code: self.code().to_owned(),
        }
    }

    /// A stable word for the store.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ModelStatus { .. } => "MODEL_FAILED",
            Self::ModelUnreachable(_) => "MODEL_UNREACHABLE",
            Self::Worker(_) => "AGENT_FAILED",
            Self::NoPlace(_) => "AGENT_NOT_READY",
            Self::PauseNotKept => "PAUSE_NOT_KEPT",
            Self::NotAsked(_) => "APPROVAL_NOT_ASKED",
            Self::Rejected(_) => "APPROVAL_REJECTED",
            Self::NotConsented => "CONSENT_TIMEOUT",
            Self::Unanswered => "APPROVAL_TIMEOUT",
            Self::Cancelled => "CANCELLED",
            Self::Stopping => "STOPPING",
            Self::DeadlinePassed => "DEADLINE_PASSED",
        }
    }
}

impl Outcome {
    /// Whether the run ended well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !matches!(self.ending, Ending::Failed(_) | Ending::Halted(_))
    }

    /// The HTTP status of the plain answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match &self.ending {
            Ending::Failed(failure) => failure.http_status(),
            Ending::Halted(halt) => halt.failure.http_status(),
            _ => 200,
        }
    }

    /// The body of the plain answer.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = match &self.ending {
            Ending::Answered {
                response,
                model,
                usage,
                tool_calls_made,
            } => json!({
                "response": response,
                "model": model,
                "usage": usage,
                "tool_calls_made": tool_calls_made,
                "duration_ms": self.duration_ms,
            }),
            Ending::Returned { value, model } => self.returned_body(value, model),
            Ending::Paused(pause) => {
                let mut body = json!({
                    "response": pause.response(),
                    "model": pause.model,
                    "usage": pause.usage(),
                    "tool_calls_made": pause.tool_calls_made,
                    "duration_ms": self.duration_ms,
                });
                match pause.checkpoint.awaits() {
                    Awaits::Approval => body["approval_required"] = pause.detail.clone(),
                    Awaits::Consent => say_consent(&mut body, &pause.detail),
                }
                if pause.is_handlers() {
                    body["handler"] = json!("user");
                }
                body
            }
            Ending::Failed(failure) => failure.body(),
            Ending::Halted(halt) => {
                let mut body = halt.failure.body();
                body["action_id"] = json!(halt.action);
                body
            }
        };
        body["request_id"] = json!(self.facts.request_id);
        body["run_id"] = json!(self.facts.run);
        body
    }

    /// A handler's object: its own keys are kept, missing ones get their defaults, and what only Postern knows is Postern's.
    /// Calls of a handler are in the gate's audit; none is reported here before the gate tells posternd of them.
    fn returned_body(&self, value: &Map<String, Value>, model: &str) -> Value {
        let mut body = json!({ "response": "", "model": model, "usage": {} });
        for (key, kept) in value {
            body[key] = kept.clone();
        }
        body["tool_calls_made"] = json!([]);
        body["duration_ms"] = json!(self.duration_ms);
        body["handler"] = json!("user");
        body
    }

    fn done(&self, model: &str, tool_calls_made: &[CallMade], usage: Value) -> Event {
        Event::Done {
            model: model.to_owned(),
            tool_calls_made: tool_calls_made.to_vec(),
            usage,
            duration_ms: self.duration_ms,
            request_id: self.facts.request_id.clone(),
            run_id: self.facts.run.clone(),
        }
    }

    /// The event that ends the stream.
    #[must_use]
    pub fn last_event(&self) -> Event {
        match &self.ending {
            Ending::Answered {
                model,
                tool_calls_made,
                usage,
                ..
            } => self.done(model, tool_calls_made, json!(usage)),
            Ending::Paused(pause) => self.done(&pause.model, &pause.tool_calls_made, pause.usage()),
            Ending::Returned { value, model } => {
                let named = value.get("model").and_then(Value::as_str);
                let usage = value.get("usage").cloned().unwrap_or_else(|| json!({}));
                self.done(named.unwrap_or(model), &[], usage)
            }
            Ending::Failed(failure) => failure.event(),
            Ending::Halted(halt) => halt.failure.event(),
        }
    }
}
