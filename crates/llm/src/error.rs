//! What can be wrong with a question or an answer, and the HTTP status and body that say so. Never repeats what the body
//! said beyond a field's name.

use serde_json::{Value, json};

/// Why a client's body is no question: always 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON, or nested too deep.
    #[error("invalid JSON body")]
    NotJson,
    /// JSON, but no object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// A key stands twice, so that two readers could read two things.
    #[error("duplicate key `{0}`")]
    DuplicateKey(String),
    /// More values than anybody needs.
    #[error("the body has more values than this gateway reads")]
    TooManyValues,
    /// No model is named.
    #[error("model is required")]
    ModelRequired,
    /// No message.
    #[error("messages is required")]
    MessagesRequired,
    /// A field has a form that the gateway does not take.
    #[error("{field}: {why}")]
    Field {
        /// The field, with its position.
        field: String,
        /// What is wrong, or what would be right.
        why: &'static str,
    },
    /// The field would make the provider fetch, remember or run something.
    #[error("{0} is not passed on: it would make the provider act on its own")]
    ProviderActs(String),
    /// A field that the gateway does not know, and so does not pass on.
    #[error("{0} is no field that this gateway passes on")]
    UnknownField(String),
}

/// Why a provider's answer could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not the JSON that the dialect has.
    #[error("the provider's answer is not understood: {0}")]
    Malformed(&'static str),
    /// The provider reports an error inside its stream.
    #[error("the provider reports an error: {0}")]
    Reported(String),
}

/// What the gateway says when it cannot answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The question is wrong: 400.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No model of this name may be asked: 404.
    #[error("no provider found for model \"{0}\"")]
    NoProvider(String),
    /// The provider did not answer, or not understandably: 502.
    #[error("provider request failed")]
    ProviderFailed,
}

impl GatewayError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Request(_) => 400,
            Self::NoProvider(_) => 404,
            Self::ProviderFailed => 502,
        }
    }

    /// The JSON body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": self.to_string() })
    }
}
