//! OpenAI chat completions, both ways: what clients send and get, what providers get and send. Never passes on a field that
//! makes a provider fetch, remember or run something.

mod chunk;
mod request;
mod response;

pub use chunk::{ChunkWriter, read_chunk};
pub use request::{read_request, write_request};
pub use response::{read_completion, write_completion};

use super::{Dialect, Hub};
use crate::{Api, Chat, Completion, Delta, FinishReason, ResponseError, Usage};

pub(super) struct OpenAi;

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn path(&self, api: Api) -> Option<&'static str> {
        match api {
            Api::Chat | Api::Responses | Api::Embeddings => Some(api.path()),
            Api::Messages | Api::CountTokens => None,
        }
    }

    fn hub(&self) -> Option<&'static dyn Hub> {
        Some(&Self)
    }
}

impl Hub for OpenAi {
    fn write_request(&self, chat: &Chat) -> Vec<u8> {
        write_request(chat)
    }

    fn read_completion(&self, body: &[u8]) -> Result<Completion, ResponseError> {
        read_completion(body)
    }

    fn read_chunk(&self, data: &str) -> Result<Vec<Delta>, ResponseError> {
        read_chunk(data)
    }
}

/// The dialect's words for the end of an answer; a word that is not known is taken as [`FinishReason::Stop`].
const FINISH_WORDS: [(FinishReason, &str); 4] = [
    (FinishReason::Stop, "stop"),
    (FinishReason::Length, "length"),
    (FinishReason::ToolCalls, "tool_calls"),
    (FinishReason::ContentFilter, "content_filter"),
];

fn finish_word(reason: FinishReason) -> &'static str {
    FINISH_WORDS
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or("stop", |(_, word)| word)
}

fn finish_reason(word: &str) -> FinishReason {
    FINISH_WORDS
        .iter()
        .find(|(_, known)| *known == word)
        .map_or_else(Default::default, |(r, _)| *r)
}

/// A provider's usage; what it leaves out counts as nothing, the total is theirs or the sum.
fn read_usage(value: &serde_json::Value) -> Option<Usage> {
    let count = |key: &str| value.get(key).and_then(serde_json::Value::as_u64);
    let (prompt_tokens, completion_tokens) = (count("prompt_tokens"), count("completion_tokens"));
    if prompt_tokens.is_none() && completion_tokens.is_none() {
        return None;
    }
    let (prompt_tokens, completion_tokens) =
        (prompt_tokens.unwrap_or(0), completion_tokens.unwrap_or(0));
    let total_tokens =
        count("total_tokens").unwrap_or(prompt_tokens.saturating_add(completion_tokens));
    Some(Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
    })
}

#[cfg(test)]
mod tests;
