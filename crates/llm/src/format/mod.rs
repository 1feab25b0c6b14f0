//! The dialects that providers speak, one file each. This file owns the tag and the only `match`. Never does I/O.
//!
//! What a provider speaks itself passes unchanged ([`Format::path`]). Everything else goes by the hub, for formats that can be
//! translated to and from it.

pub mod anthropic;
pub mod openai;
pub mod playground;

use crate::{Api, Chat, Completion, Delta, ResponseError};

/// A provider's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI's chat completions, responses and embeddings, and the many that speak them.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
    /// The embedded playground: no provider at all, a rule-based stand-in.
    Playground,
}

/// What every dialect can do.
trait Dialect {
    /// Its name in config.
    fn name(&self) -> &'static str;
    /// Whether the gate answers by itself, without a URL.
    fn embedded(&self) -> bool {
        false
    }
    /// Where it answers what clients ask by a route, beneath the provider's URL; nothing where it does not.
    fn path(&self, api: Api) -> Option<&'static str>;
    /// What a provider's URL may not end in, since [`Self::path`] begins with it.
    fn begins(&self) -> &'static str {
        ""
    }
    /// How it is translated, if it is.
    fn hub(&self) -> Option<&'static dyn Hub> {
        None
    }
}

/// To the hub and from it.
pub trait Hub {
    /// The question in the provider's words; `chat.model` is the provider's name of the model by now.
    fn write_request(&self, chat: &Chat) -> Vec<u8>;
    /// The provider's whole answer, understood.
    ///
    /// # Errors
    /// It is not in the dialect.
    fn read_completion(&self, body: &[u8]) -> Result<Completion, ResponseError>;
    /// One event of the provider's stream, understood; `[DONE]` gives nothing.
    ///
    /// # Errors
    /// It is not in the dialect, or reports an error.
    fn read_chunk(&self, data: &str) -> Result<Vec<Delta>, ResponseError>;
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Playground];

    fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::OpenAi => &openai::OpenAi,
            Self::Anthropic => &anthropic::Anthropic,
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

    /// Where it answers what clients ask by a route, beneath the provider's URL (`/chat/completions`); nothing where it does
    /// not.
    #[must_use]
    pub fn path(self, api: Api) -> Option<&'static str> {
        self.dialect().path(api)
    }

    /// What a provider's URL may not end in, since [`Self::path`] begins with it; empty where there is no such thing.
    #[must_use]
    pub fn begins(self) -> &'static str {
        self.dialect().begins()
    }

    /// How questions in other dialects reach it, if they can.
    #[must_use]
    pub fn hub(self) -> Option<&'static dyn Hub> {
        self.dialect().hub()
    }
}
