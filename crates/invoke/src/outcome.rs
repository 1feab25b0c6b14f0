//! How a run ended, and the plain (not streamed) answer that says so. Never decides how it ends.

use postern_llm::Usage;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{event::Event, plan::RunFacts};

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
    /// The run failed.
    Failed(Failure),
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
    /// The agent's code asked for a pause, which is not kept yet.
    #[error("the agent asked for a pause, which this version cannot keep")]
    PauseNotKept,
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
            Self::Cancelled => 409,
            Self::Stopping | Self::NoPlace(_) => 503,
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

    /// A stable word for the store.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ModelStatus { .. } => "MODEL_FAILED",
            Self::ModelUnreachable(_) => "MODEL_UNREACHABLE",
            Self::Worker(_) => "AGENT_FAILED",
            Self::NoPlace(_) => "AGENT_NOT_READY",
            Self::PauseNotKept => "PAUSE_NOT_KEPT",
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
        !matches!(self.ending, Ending::Failed(_))
    }

    /// The HTTP status of the plain answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match &self.ending {
            Ending::Failed(failure) => failure.http_status(),
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
            Ending::Failed(failure) => failure.body(),
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

    /// The event that ends the stream.
    #[must_use]
    pub fn last_event(&self) -> Event {
        match &self.ending {
            Ending::Answered {
                model,
                tool_calls_made,
                usage,
                ..
            } => Event::Done {
                model: model.clone(),
                tool_calls_made: tool_calls_made.clone(),
                usage: json!(usage),
                duration_ms: self.duration_ms,
                request_id: self.facts.request_id.clone(),
                run_id: self.facts.run.clone(),
            },
            Ending::Returned { value, model } => {
                let named = value.get("model").and_then(Value::as_str);
                Event::Done {
                    model: named.unwrap_or(model).to_owned(),
                    tool_calls_made: Vec::new(),
                    usage: value.get("usage").cloned().unwrap_or_else(|| json!({})),
                    duration_ms: self.duration_ms,
                    request_id: self.facts.request_id.clone(),
                    run_id: self.facts.run.clone(),
                }
            }
            Ending::Failed(failure) => Event::Error {
                message: failure.to_string(),
                code: failure.code().to_owned(),
            },
        }
    }
}
