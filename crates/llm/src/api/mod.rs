//! What clients ask for, one file each: which fields a question has, and which of them would make a provider act. This file
//! owns the tag and the only `match`. Never changes a question.

mod chat;
mod embeddings;
mod messages;
mod responses;
mod search;

use self::search::{Search, wrong};
use crate::{RequestError, act::Found, json::Json};

/// A route of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Chat completions.
    Chat,
    /// Responses.
    Responses,
    /// Embeddings.
    Embeddings,
    /// Messages.
    Messages,
    /// How many tokens messages have.
    CountTokens,
}

/// Whose clients ask by a route, and so in whose words errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OpenAI's, and everybody's who copied them.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Api {
    /// Every route.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::Responses,
        Self::Embeddings,
        Self::Messages,
        Self::CountTokens,
    ];

    /// Its path, from `/v1` on: `/chat/completions`.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Embeddings => "/embeddings",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
        }
    }

    /// The route of a path from `/v1` on.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }

    /// Whose clients ask by it.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Chat | Self::Responses | Self::Embeddings => Family::OpenAi,
            Self::Messages | Self::CountTokens => Family::Anthropic,
        }
    }

    /// Whether the provider keeps question and answer unless `store` is false.
    pub(crate) fn keeps_unasked(self) -> bool {
        self == Self::Responses
    }

    /// What a question would make the provider do.
    pub(crate) fn acts(self, body: &Json<'_>) -> Result<Vec<Found>, RequestError> {
        let mut search = Search::default();
        match self {
            Self::Chat => chat::look(body, &mut search),
            Self::Responses => responses::look(body, &mut search),
            Self::Embeddings => embeddings::look(body, &mut search),
            Self::Messages | Self::CountTokens => messages::look(body, &mut search),
        }?;
        Ok(search.into_found())
    }
}

/// The messages of a conversation: objects, at least one.
fn messages<'b, 'a>(body: &'b Json<'a>) -> Result<&'b [Json<'a>], RequestError> {
    let list = parts(body.get("messages"), "messages")?;
    if list.is_empty() {
        return Err(RequestError::MessagesRequired);
    }
    Ok(list)
}

/// A list of objects, where a text may stand for all of it: then there is nothing to look into.
fn parts<'b, 'a>(content: Option<&'b Json<'a>>, at: &str) -> Result<&'b [Json<'a>], RequestError> {
    let list = match content {
        None | Some(Json::Text(_)) => return Ok(&[]),
        Some(Json::List(list)) => list,
        Some(_) => return Err(wrong(at, "must be a text or a list")),
    };
    match list
        .iter()
        .position(|item| !matches!(item, Json::Object(_)))
    {
        Some(position) => Err(wrong(format!("{at}[{position}]"), "must be an object")),
        None => Ok(list),
    }
}
