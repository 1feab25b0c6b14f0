//! What is asked of a model: the hub type that every dialect is translated to and from. Never knows a provider.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One question to a model, with all that went before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chat {
    /// The model, by the name that the asker uses.
    pub model: String,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Functions the model may ask for.
    pub tools: Vec<Function>,
    /// Whether it must, may or must not.
    pub tool_choice: Option<ToolChoice>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// The most tokens of the answer, as all providers know it.
    pub max_tokens: Option<u64>,
    /// The most tokens of the answer with all hidden reasoning, which some providers ask for instead.
    pub max_completion_tokens: Option<u64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// Whether the answer shall come in pieces.
    pub stream: bool,
    /// Whether a streamed answer shall end with its usage.
    pub include_usage: bool,
    /// Harmless settings that only some providers know (`top_p`, `seed`, …), passed on as they came.
    pub extra: Map<String, Value>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The frame set for the model.
    System,
    /// The same, in newer words.
    Developer,
    /// The person, or the program in their place.
    User,
    /// The model.
    Assistant,
    /// A tool's answer.
    Tool,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; an assistant that only calls tools says nothing.
    pub content: Option<Content>,
    /// The speaker's name, where several share a role.
    pub name: Option<String>,
    /// What the assistant asks of tools.
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool's answer belongs to.
    pub tool_call_id: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text(String),
    /// Text and pictures.
    Parts(Vec<Part>),
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture that is in the message itself (`data:` URL); never one that the provider would fetch.
    Image {
        /// The `data:` URL.
        data_url: String,
        /// How closely to look: `low`, `high`, `auto`.
        detail: Option<String>,
    },
}

/// A function that a model may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments.
    pub parameters: Value,
    /// Whether the provider shall hold the model to the schema.
    pub strict: Option<bool>,
}

/// A model's wish to have a function called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id, given by the model.
    pub id: String,
    /// The function.
    pub name: String,
    /// The arguments as the model wrote them: JSON, if all is well.
    pub arguments: String,
}

/// Whether the model is to call functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Function(String),
}

impl Message {
    /// A message of text alone.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(Content::Text(text.into())),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// A tool's answer to one call.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: Some(call_id.into()),
            ..Self::text(Role::Tool, text)
        }
    }

    /// The assistant's turn as it was answered.
    #[must_use]
    pub fn assistant(content: Option<String>, tool_calls: Vec<ToolCall>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.map(Content::Text),
            name: None,
            tool_calls,
            tool_call_id: None,
        }
    }

    /// All the text of the message, its pieces joined by line ends.
    #[must_use]
    pub fn plain_text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| match part {
                    Part::Text(text) => Some(text.as_str()),
                    Part::Image { .. } => None,
                });
                texts.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Role {
    /// The role's word, the same in every dialect that has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::System,
            Self::Developer,
            Self::User,
            Self::Assistant,
            Self::Tool,
        ]
        .into_iter()
        .find(|role| role.word() == word)
    }
}
