//! What a run is made of: how the agent works, whom the run is for, and what is asked of tools and workers. Never decides
//! anything.

use postern_contract::{ActionId, RequestId, RunId, ToolName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many times a builtin agent asks its model in one run, unless its config says otherwise.
pub const MAX_ITERATIONS_DEFAULT: u32 = 10;

/// How the agent works.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// No code: a model, a prompt and tools.
    Builtin(Builtin),
    /// Code of the agent's own, in a sandbox.
    Worker(Worker),
}

/// An agent without code.
#[derive(Debug, Clone, PartialEq)]
pub struct Builtin {
    /// The model, by its name in config.
    pub model: String,
    /// What the model is told first.
    pub system_prompt: String,
    /// What it may call.
    pub tools: Vec<ToolFunction>,
    /// How many times the model is asked at most ([`MAX_ITERATIONS_DEFAULT`]); 0 is taken as 1.
    pub max_iterations: u32,
}

/// An agent with code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The agent's first model, for the `model` of its answers; empty if it has none.
    pub model: String,
    /// Whether it can be called again with what it wanted to be told, after a pause that it asked for.
    pub resumes: Resumes,
}

/// Whether an agent with code can be called again after a pause that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumes {
    /// No: a pause is not kept.
    Never,
    /// Where it said what it wants to be told: by that it shows that it knows how to go on.
    WithState,
    /// Always.
    Always,
}

/// One capability of a tool as a function for models.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolFunction {
    /// `tool__capability`.
    pub name: String,
    /// The tool.
    pub tool: ToolName,
    /// HTTP method, upper case.
    pub method: String,
    /// Path beneath the tool's URL, with `{name}` for arguments and perhaps a final `*`.
    pub path: String,
    /// What it does.
    pub description: String,
    /// JSON schema of the arguments; absent means any object.
    pub parameters: Option<Value>,
}

/// Whom and what a run is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// The run.
    pub run: RunId,
    /// The request that began it.
    pub request_id: RequestId,
    /// The end user, if the caller was allowed to name one.
    pub user: Option<String>,
}

/// A tool call to be made through the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRequest {
    /// The call's id, as the model gave it: `X-Tool-Call-Id`.
    pub call_id: String,
    /// The function: `X-Tool-Function`.
    pub function: String,
    /// The tool: `X-Tool-Name`.
    pub tool: ToolName,
    /// HTTP method.
    pub method: String,
    /// Path beneath the tool, and the query if there is one; begins with `/`, already percent-encoded.
    pub path: String,
    /// The JSON body of POST, PUT and PATCH.
    pub body: Option<Vec<u8>>,
    /// In which turn of the conversation, from 0: `X-Tool-Turn`.
    pub turn: u32,
    /// What a human was asked about it before, if it comes again: `X-Action-ID`.
    pub action: Option<ActionId>,
}

/// What a worker is asked: the handler's `request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRequest {
    /// The message as it came.
    pub message: Value,
    /// What went before.
    pub history: Vec<Value>,
    /// The request.
    pub request_id: RequestId,
    /// The run.
    pub run_id: RunId,
    /// The end user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The conversation, if the caller named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// A human has said yes to what it asked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// What an agent with code is told that paused its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// What the human was asked about.
    pub action_id: ActionId,
    /// What it wanted to be told.
    pub state: Value,
    /// Always: after a no its run is over.
    pub approved: bool,
}
