//! What a paused run needs to go on: its conversation so far and what is left of the turn. Never holds a credential, nor what the
//! agent's config says anyway.

use postern_llm::{Message, ToolCall, Usage};
use serde::{Deserialize, Serialize};

use crate::{outcome::CallMade, request::CachedCall};

/// A paused run of an agent without code. Runs wait while versions change: a field that is added later has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
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
}
