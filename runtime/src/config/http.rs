//! `[agents.NAME.http]` as written. Never says what it means: that is the kind's.

use postern_contract::Period;
use serde::Deserialize;

/// `[agents.NAME.http]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpWritten {
    /// The server and its arguments.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Where it listens, on 127.0.0.1 or on all addresses.
    pub port: Option<u16>,
    /// A path that it answers with a status below 400 once it can be called.
    pub ready: Option<String>,
    /// How long it may take until then.
    pub start: Option<Period>,
    /// Where it is called.
    pub invoke: Option<String>,
    /// Where it is called and answers piece by piece.
    pub stream: Option<String>,
    /// Where it is called again once a human has said yes.
    pub resume: Option<String>,
}

/// Where a server listens, unless the config says otherwise.
const PORT_DEFAULT: u16 = 8080;

impl HttpWritten {
    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(PORT_DEFAULT)
    }
}
