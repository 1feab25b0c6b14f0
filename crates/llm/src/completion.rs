//! What a model answers: piece by piece ([`Delta`]) or whole ([`Completion`]), and how the pieces become the whole.
//! Never trusts a piece: an answer that grows beyond its bounds stops growing.

use serde::{Deserialize, Serialize};

use crate::chat::ToolCall;

/// The most tool calls that one answer may hold.
pub const TOOL_CALLS_MAX: usize = 128;

/// The most bytes of text and arguments that one gathered answer may hold.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the call cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the question.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It was done.
    #[default]
    Stop,
    /// It ran into a limit.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// The provider withheld the rest.
    ContentFilter,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The provider's id of the answer.
    pub id: String,
    /// When, in seconds since 1970 (UTC), as the provider says.
    pub created_s: u64,
    /// The model that answered, in the provider's words.
    pub model: String,
    /// What it says.
    pub content: Option<String>,
    /// What it wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish: FinishReason,
    /// What it cost, if the provider says.
    pub usage: Option<Usage>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: String,
        /// When, in seconds since 1970 (UTC).
        created_s: u64,
        /// The model that answers.
        model: String,
    },
    /// More text.
    Content(String),
    /// More of a tool call.
    ToolCall {
        /// Which of the answer's calls, from 0.
        index: usize,
        /// Its id, with its first piece.
        id: Option<String>,
        /// Its function, with its first piece.
        name: Option<String>,
        /// More of its arguments.
        arguments: String,
    },
    /// The answer is whole.
    Finish(FinishReason),
    /// What it cost.
    Usage(Usage),
}

/// Gathers the pieces of an answer.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    whole: Completion,
    bytes: usize,
    finished: bool,
}

impl Assembly {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one piece. What would pass [`ANSWER_BYTES_MAX`] or [`TOOL_CALLS_MAX`] is left out, and the answer then says
    /// [`FinishReason::Length`].
    pub fn add(&mut self, delta: &Delta) {
        match delta {
            Delta::Start {
                id,
                created_s,
                model,
            } => {
                self.whole.id.clone_from(id);
                self.whole.created_s = *created_s;
                self.whole.model.clone_from(model);
            }
            Delta::Content(text) => {
                if self.has_room(text.len()) {
                    self.whole.content.get_or_insert_default().push_str(text);
                }
            }
            Delta::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                self.add_call(*index, (id.as_deref(), name.as_deref()), arguments);
            }
            Delta::Finish(reason) => {
                if !(self.finished && self.whole.finish == FinishReason::Length) {
                    self.whole.finish = *reason;
                }
                self.finished = true;
            }
            Delta::Usage(usage) => self.whole.usage = Some(*usage),
        }
    }

    /// Whether the model said that it is done.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The answer so far.
    #[must_use]
    pub fn into_completion(self) -> Completion {
        self.whole
    }

    fn add_call(
        &mut self,
        index: usize,
        (id, name): (Option<&str>, Option<&str>),
        arguments: &str,
    ) {
        let bytes = arguments.len() + id.map_or(0, str::len) + name.map_or(0, str::len);
        if index >= TOOL_CALLS_MAX || !self.has_room(bytes) {
            self.overflow();
            return;
        }
        while self.whole.tool_calls.len() <= index {
            self.whole.tool_calls.push(ToolCall {
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
            });
        }
        let call = &mut self.whole.tool_calls[index];
        if let Some(id) = id {
            id.clone_into(&mut call.id);
        }
        if let Some(name) = name {
            name.clone_into(&mut call.name);
        }
        call.arguments.push_str(arguments);
    }

    fn has_room(&mut self, more: usize) -> bool {
        if self.bytes + more > ANSWER_BYTES_MAX {
            self.overflow();
            return false;
        }
        self.bytes += more;
        true
    }

    fn overflow(&mut self) {
        self.whole.finish = FinishReason::Length;
        self.finished = true;
    }
}
