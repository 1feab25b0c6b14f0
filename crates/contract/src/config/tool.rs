//! `[tools.NAME]`, `[providers.NAME]` and `[models.NAME]` as written. Never dials anything.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Answers, Dummy, Ignored, Limits, OnRotation, Timeouts, TokenEndpoints, dummy};
use crate::ProviderName;

/// A service that agents may call under `/tools/NAME/…` or by its own URL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound = "Credential: DeserializeOwned")]
pub struct Tool<Credential = Ignored> {
    /// Where it is: scheme, host, port and base path.
    pub url: String,
    /// What it does, for models.
    #[serde(default)]
    pub description: String,
    /// What the gate adds to a call.
    pub credential: Option<Credential>,
    /// What programs find in the place of the credential.
    #[serde(default, deserialize_with = "dummy::one_or_several")]
    pub dummy: Vec<Dummy>,
    /// Where agents ask for tokens, which stay with the gate.
    pub tokens: Option<TokenEndpoints>,
    /// Words that rules can refer to.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What is spoken.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether the gate looks into connections to it.
    #[serde(default)]
    pub tls: Tls,
    /// Whether its address may be a private or loopback one.
    #[serde(default)]
    pub private: bool,
    /// Whether it is told which run and user a call is for.
    #[serde(default)]
    pub forward_identity: bool,
    /// A file of authorities in PEM that alone are believed about it, from the config's directory on.
    pub ca: Option<std::path::PathBuf>,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What each sandbox may have of it.
    #[serde(default)]
    pub limits: Limits,
    /// How often a call that cannot have had an effect is tried again; at most 5, 1 by default.
    pub retries: Option<u8>,
    /// What becomes of answers to calls with a credential.
    #[serde(default)]
    pub answers: Answers,
    /// What becomes of streams when the credential that they began with changes.
    #[serde(default)]
    pub on_rotation: OnRotation,
    /// If there are any, a call must match one of them besides the policy.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
}

/// One thing a tool can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// What models call it: the function is `TOOL__NAME`.
    pub name: String,
    /// HTTP method, upper case.
    pub method: String,
    /// Path beneath the tool's URL; `{name}` stands for one segment, a final `*` for any rest.
    pub path: String,
    /// What it does, for models.
    #[serde(default)]
    pub description: String,
    /// JSON schema of the arguments, for models; absent means any object.
    pub parameters: Option<serde_json::Value>,
}

/// What the gate does about the TLS that an agent's program speaks to a tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Ends it, and judges every request inside.
    #[default]
    Intercept,
    /// Carries it unread to the tool's one host and port, for programs that take no certificate but the tool's own. What
    /// stands behind that front end is anybody's guess: such a tool has no credential, no capabilities, and no rule about
    /// anything but the whole host.
    Tunnel,
}

/// What a tool speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2.
    #[default]
    Http,
    /// HTTP/2 alone, with trailers: gRPC. Also where the URL says `http`.
    Grpc,
    /// No HTTP: bytes both ways on a TCP connection to `tcp://HOST:PORT`, as SSH or SMTP have them. Nobody looks
    /// into them, so such a tool has no credential, no capabilities, and no rule about anything but host and port.
    Tcp,
    /// PostgreSQL's, at `tcp://HOST:PORT`: the gate logs in with the tool's credential, and nobody looks into what follows.
    Postgres,
    /// Redis', at `tcp://HOST:PORT`: the gate logs in with the tool's credential, and nobody looks into what follows.
    Redis,
}

impl Protocol {
    /// Whether it is no HTTP.
    #[must_use]
    pub fn is_raw(self) -> bool {
        match self {
            Self::Http | Self::Grpc => false,
            Self::Tcp | Self::Postgres | Self::Redis => true,
        }
    }

    /// Whether the gate logs in to what speaks it.
    #[must_use]
    pub fn has_login(self) -> bool {
        matches!(self, Self::Postgres | Self::Redis)
    }
}

/// Who answers model calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, bound = "Credential: DeserializeOwned")]
pub struct Provider<Credential = Ignored> {
    /// The dialect, by the name that `postern_llm` gives it: `openai`, `anthropic`, `playground`.
    pub format: String,
    /// Base URL; the embedded `playground` has none.
    pub url: Option<String>,
    /// What the gate adds to a call.
    pub credential: Option<Credential>,
    /// Whether its address may be a private or loopback one.
    #[serde(default)]
    pub private: bool,
    /// A file of authorities in PEM that alone are believed about it, from the config's directory on.
    pub ca: Option<std::path::PathBuf>,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What each sandbox may have of it.
    #[serde(default)]
    pub limits: Limits,
    /// How often a call that cannot have had an effect is tried again; at most 5, 1 by default.
    pub retries: Option<u8>,
    /// What becomes of answers to calls with a credential.
    #[serde(default)]
    pub answers: Answers,
    /// What becomes of streams when the credential that they began with changes.
    #[serde(default)]
    pub on_rotation: OnRotation,
}

/// A model as agents call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Who answers.
    pub provider: ProviderName,
    /// What the provider calls it.
    pub upstream: String,
    /// What the provider may do on its own when it is asked, by the words of `postern_llm`: `web_search`, `url_inputs`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Conversation.
    #[default]
    Chat,
    /// Vectors.
    Embedding,
    /// Classification.
    Classify,
    /// Ranking of search results.
    Reranking,
}
