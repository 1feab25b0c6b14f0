//! What a paused run needs to go on: of an agent without code its conversation so far and what is left of the turn, of an agent
//! with code what it was asked and what it wants to be told. Never holds a credential, nor what the agent's config says anyway.

use postern_llm::{Message, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{outcome::CallMade, request::CachedCall};

/// A paused run. Runs wait while versions change: a field that is added later has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Checkpoint {
    /// Of an agent with code.
    Handler(Box<HandlerCheckpoint>),
    /// Of an agent without.
    Turn(Box<TurnCheckpoint>),
}

impl Checkpoint {
    /// What the agent asks by itself. Of a call that a rule asks about the gate knows.
    #[must_use]
    pub fn asks(&self) -> Option<&Asks> {
        match self {
            Self::Handler(kept) => Some(&kept.asks),
            Self::Turn(_) => None,
        }
    }

    /// What the run waits for, or waited for before it failed on its way.
    #[must_use]
    pub fn awaits(&self) -> Awaits {
        match self {
            Self::Handler(_) => Awaits::Approval,
            Self::Turn(kept) => kept.awaits,
        }
    }
}

/// What a paused run waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaits {
    /// A human's yes.
    #[default]
    Approval,
    /// The end user's consent.
    Consent,
}

/// What an agent asks a human by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// In its words.
    pub words: String,
    /// What it shows besides, a text of JSON.
    pub detail: String,
}

/// How a run goes on, in the dialect's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ResumeMode {
    /// The handler is called again.
    UserHandler,
}

/// A paused run of an agent with code: it is called again with the same request and what it wants to be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandlerCheckpoint {
    pub(crate) resume_mode: ResumeMode,
    /// What it was asked.
    pub(crate) user_request: UserRequest,
    /// What it wants to be told.
    pub(crate) resume_state: Value,
    /// What the human is asked.
    pub(crate) asks: Asks,
}

/// What a handler was asked; whose run it is stands elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserRequest {
    pub(crate) message: Value,
    pub(crate) history: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation_id: Option<String>,
}

/// A paused run of an agent without code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnCheckpoint {
    /// The conversation; it ends with the model's wish to have the calls made.
    pub(crate) messages: Vec<Message>,
    /// The call that waits, then the rest of its turn.
    pub(crate) pending: Vec<ToolCall>,
    /// How often the model was asked.
    pub(crate) iterations: u32,
    /// Calls of this turn that went out.
    pub(crate) sent: usize,
    /// The model that answered last.
    pub(crate) model: String,
    /// What the model calls cost so far.
    pub(crate) usage: Usage,
    /// What was called so far.
    pub(crate) calls_made: Vec<CallMade>,
    /// Results that the caller brought.
    pub(crate) cache: Vec<CachedCall>,
    /// What it waits for.
    #[serde(default)]
    pub(crate) awaits: Awaits,
}
