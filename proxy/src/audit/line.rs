//! What one line of the audit says about one call. Never a header's value, a query string or a body.

use postern_contract::{
    AgentName, Code, ModelName, RequestId, RunId, SandboxId, SecretName, ToolName,
};
use serde::Serialize;

/// The longest text from an agent that a line repeats, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 2048;

/// One call.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(tag = "kind", rename = "call")]
pub(crate) struct Line {
    /// When it came, RFC 3339.
    pub(crate) time: String,
    /// The gate's own number for it.
    pub(crate) request: Option<RequestId>,
    /// Whose listener it came through.
    pub(crate) sandbox: Option<SandboxId>,
    /// Whose sandbox that is.
    pub(crate) agent: Option<AgentName>,
    /// The run, if one was believed.
    pub(crate) run: Option<RunId>,
    /// The end user, if the runtime named one.
    pub(crate) user: Option<String>,
    /// How it was asked.
    pub(crate) door: Option<Door>,
    /// The tool it was for.
    pub(crate) tool: Option<ToolName>,
    /// The model it was for.
    pub(crate) model: Option<ModelName>,
    /// What came of it.
    pub(crate) decision: Decision,
    /// The rule that decided.
    pub(crate) rule: Option<String>,
    /// The refusal's code.
    pub(crate) reason: Option<Code>,
    /// What audit mode would have refused; that mode comes with a later version.
    pub(crate) would_deny: Option<bool>,
    /// Scheme, host and port.
    pub(crate) authority: Option<String>,
    /// The server name in the TLS handshake of an intercepted connection, as the client wrote it.
    pub(crate) sni: Option<String>,
    /// The address that was dialled.
    pub(crate) address: Option<std::net::SocketAddr>,
    /// The method.
    pub(crate) method: Option<String>,
    /// The canonical path, without a query.
    pub(crate) path: Option<String>,
    /// The status that the agent saw.
    pub(crate) status: Option<u16>,
    /// Body bytes from the agent.
    pub(crate) bytes_up: u64,
    /// Body bytes to the agent.
    pub(crate) bytes_down: u64,
    /// Credentials of the agent's own that stayed behind.
    pub(crate) dropped_credentials: u32,
    /// The name of the credential that was added.
    pub(crate) credential: Option<SecretName>,
    /// Which policy was in force.
    pub(crate) policy_generation: u64,
    /// How long things took.
    pub(crate) timings: Timings,
    /// Why the answer ended before its end, if it did.
    pub(crate) cut: Option<String>,
}

/// Spans in microseconds; absent where the step did not happen.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Timings {
    /// Finding addresses.
    pub(crate) dns_us: Option<u64>,
    /// Connecting.
    pub(crate) connect_us: Option<u64>,
    /// The TLS handshake.
    pub(crate) tls_us: Option<u64>,
    /// From the request's start to the first byte of the answer.
    pub(crate) first_byte_us: Option<u64>,
    /// From the request's start to the end of the answer.
    pub(crate) total_us: Option<u64>,
}

/// How a call was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Door {
    /// `/tools/NAME/…`.
    Tool,
    /// A request line with a whole URL.
    Proxy,
    /// CONNECT, or inside one.
    Connect,
    /// The model gateway.
    Gateway,
}

/// What the gate did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// It let the call pass.
    Allowed,
    /// It looked into a CONNECT, and let nothing pass by that alone: each request inside has a line of its own.
    Intercepted,
    /// It refused, whether by a rule or because it could not do its work.
    #[default]
    Refused,
}

/// A text of the agent's as far as a line repeats it.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
