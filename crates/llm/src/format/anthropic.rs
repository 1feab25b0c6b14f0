//! Anthropic's messages. They pass unchanged; translation to and from the hub has its place here and is not written yet.

use super::Dialect;
use crate::Api;

pub(super) struct Anthropic;

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn path(&self, api: Api) -> Option<&'static str> {
        match api {
            Api::Messages => Some("/v1/messages"),
            Api::CountTokens => Some("/v1/messages/count_tokens"),
            Api::Chat | Api::Responses | Api::Embeddings => None,
        }
    }

    fn begins(&self) -> &'static str {
        "/v1"
    }
}
