//! One call, the same whichever door it came through: canonical, routed, and cleaned of what the agent may not say.
//! Never decided on yet.

use std::sync::Arc;

use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use postern_contract::{ModelName, ToolName};
use postern_llm::Chat;
use postern_policy::{CanonicalUrl, Method};

use crate::{body::Body, book::Target, dial::Speaks, sealed::Claim, websocket::Handshake};

/// A call on its way to a decision.
pub(crate) struct Call {
    /// The method that is decided on and sent.
    pub(crate) method: Method,
    /// The URL that is decided on and sent.
    pub(crate) url: CanonicalUrl,
    /// What it is for.
    pub(crate) subject: Subject,
    /// How that is called: credential, private address, identity.
    pub(crate) target: Arc<Target>,
    /// Header fields that may pass, without `Host`.
    pub(crate) headers: HeaderMap,
    /// What travels.
    pub(crate) freight: Freight,
    /// What it has to do with tokens of the agent's own.
    pub(crate) claim: Claim,
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A tool of the config.
    Tool(ToolName),
    /// A model of the config.
    Model(ModelName),
    /// A host that some rule may name; nothing is ever added there.
    Host,
}

/// What travels.
pub(crate) enum Freight {
    /// A request with its body.
    Request(Body),
    /// A handshake for a WebSocket.
    Socket(Handshake),
    /// Bytes both ways, once the agent's connection is free.
    Tunnel(OnUpgrade),
    /// A question that the gate answers itself.
    Question(Chat),
}

impl Call {
    /// Which versions of HTTP it can be made in.
    pub(crate) fn speaks(&self) -> Speaks {
        match self.freight {
            Freight::Socket(_) => Speaks::Http1,
            Freight::Request(_) | Freight::Tunnel(_) | Freight::Question(_) => self.target.speaks,
        }
    }
}

impl Subject {
    /// The model, if it is one.
    pub(crate) fn model(&self) -> Option<&ModelName> {
        match self {
            Self::Model(name) => Some(name),
            Self::Tool(_) | Self::Host => None,
        }
    }

    /// The tool, if it is one.
    pub(crate) fn tool(&self) -> Option<&ToolName> {
        match self {
            Self::Tool(name) => Some(name),
            Self::Model(_) | Self::Host => None,
        }
    }

    /// Whether the config knows nothing of it.
    pub(crate) fn is_plain_host(&self) -> bool {
        *self == Self::Host
    }
}
