//! The dialects that providers speak, one file each. This file owns the tag and the only `match`. Never does I/O.

pub mod openai;
pub mod playground;

use crate::{Chat, Completion, Delta, ResponseError};

/// A provider's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI chat completions, and the many that speak it.
    OpenAi,
    /// The embedded playground: no provider at all, a rule-based stand-in.
    Playground,
}

/// What every dialect can do.
trait Dialect {
    /// Its name in config.
    fn name(&self) -> &'static str;
    /// Whether the gate answers by itself, without a URL.
    fn embedded(&self) -> bool;
    /// Where chats go, beneath the provider's URL.
    fn chat_path(&self) -> &'static str;
    /// The question in its words.
    fn write_request(&self, chat: &Chat) -> Vec<u8>;
    /// Its whole answer, understood.
    fn read_completion(&self, body: &[u8]) -> Result<Completion, ResponseError>;
    /// One event of its stream, understood.
    fn read_chunk(&self, data: &str) -> Result<Vec<Delta>, ResponseError>;
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::Playground];

    fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::OpenAi => &openai::OpenAi,
            Self::Playground => &playground::Playground,
        }
    }

    /// The format of a name in config.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Its name in config.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.dialect().name()
    }

    /// Whether the gate answers by itself ([`playground::answer`]), so that a provider has no URL and no credential.
    #[must_use]
    pub fn is_embedded(self) -> bool {
        self.dialect().embedded()
    }

    /// Where chats go, beneath the provider's URL: `/chat/completions`.
    #[must_use]
    pub fn chat_path(self) -> &'static str {
        self.dialect().chat_path()
    }

    /// The question in the provider's words; `chat.model` is the provider's name of the model by now.
    #[must_use]
    pub fn write_request(self, chat: &Chat) -> Vec<u8> {
        self.dialect().write_request(chat)
    }

    /// The provider's whole answer, understood.
    ///
    /// # Errors
    /// It is not in the dialect.
    pub fn read_completion(self, body: &[u8]) -> Result<Completion, ResponseError> {
        self.dialect().read_completion(body)
    }

    /// One event of the provider's stream, understood; `[DONE]` gives nothing.
    ///
    /// # Errors
    /// It is not in the dialect, or reports an error.
    pub fn read_chunk(self, data: &str) -> Result<Vec<Delta>, ResponseError> {
        self.dialect().read_chunk(data)
    }
}
