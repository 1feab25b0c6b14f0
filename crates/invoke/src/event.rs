//! What a caller sees while a run goes on: the events of the RunAgents stream. The plain answer is folded from the same run, so
//! that there is one truth with two encoders. Never carries a pause that the gate did not declare.

use postern_contract::{RequestId, RunId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::CallMade;

/// The longest tool result in an event, in characters; the model gets all of it.
pub const RESULT_CHARS_MAX: usize = 1_000;

/// The longest arguments of an agent's own tool in an event, in characters.
pub const ARGUMENTS_CHARS_MAX: usize = 10_000;

/// The longest name of an agent's own tool in an event, in characters.
const OWN_TOOL_CHARS_MAX: usize = 200;

/// Who says what an event says, where it is not the gate or posternd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teller {
    /// The agent, of whom nothing is believed.
    Agent,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A tool is about to be called.
    ToolCall {
        /// The function's name.
        tool: String,
        /// The arguments, a JSON text.
        arguments: String,
    },
    /// A tool answered.
    ToolResult {
        /// The function's name.
        tool: String,
        /// Its answer, cut to [`RESULT_CHARS_MAX`].
        result: String,
    },
    /// The agent says that it uses a tool of its own, inside its sandbox; the gate knows nothing of it.
    #[serde(rename = "tool_call", skip_deserializing)]
    OwnToolCall {
        /// What the agent calls it.
        tool: String,
        /// The arguments, a JSON text, cut to [`ARGUMENTS_CHARS_MAX`].
        arguments: String,
        /// Who says so.
        source: Teller,
    },
    /// The agent says what came of that.
    #[serde(rename = "tool_result", skip_deserializing)]
    OwnToolResult {
        /// What the agent calls it.
        tool: String,
        /// The result, cut to [`RESULT_CHARS_MAX`].
        result: String,
        /// Who says so.
        source: Teller,
    },
    /// Text of the answer.
    Content {
        /// The text; absent if the model said nothing.
        delta: Option<String>,
    },
    /// The gate asks for a human's yes.
    ApprovalRequired {
        /// The function or tool.
        tool: String,
        /// The gate's words.
        detail: Value,
    },
    /// The gate asks for the end user's consent.
    ConsentRequired {
        /// The tool.
        tool: String,
        /// The gate's words.
        detail: Value,
    },
    /// The run failed.
    Error {
        /// Why.
        message: String,
        /// The stable word for it, as in the plain answer.
        code: String,
    },
    /// The run is over.
    Done {
        /// The model that answered.
        model: String,
        /// What was called.
        tool_calls_made: Vec<CallMade>,
        /// What it cost, as in the plain answer.
        usage: Value,
        /// How long it took, in milliseconds.
        duration_ms: u64,
        /// The request that began it.
        request_id: RequestId,
        /// The run.
        run_id: RunId,
    },
}

impl Event {
    /// The event as JSON text, for one `data:` line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What an agent says of a tool of its own, cut.
    #[must_use]
    pub fn own_tool_call(tool: &str, arguments: &str) -> Self {
        Self::OwnToolCall {
            tool: cut(tool, OWN_TOOL_CHARS_MAX),
            arguments: cut(arguments, ARGUMENTS_CHARS_MAX),
            source: Teller::Agent,
        }
    }

    /// What an agent says came of it, cut.
    #[must_use]
    pub fn own_tool_result(tool: &str, result: &str) -> Self {
        Self::OwnToolResult {
            tool: cut(tool, OWN_TOOL_CHARS_MAX),
            result: cut(result, RESULT_CHARS_MAX),
            source: Teller::Agent,
        }
    }

    /// A tool's answer, cut.
    #[must_use]
    pub fn tool_result(tool: &str, result: &str) -> Self {
        Self::ToolResult {
            tool: tool.to_owned(),
            result: cut(result, RESULT_CHARS_MAX),
        }
    }
}

/// The first characters of a text.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}
