//! `[egress]` as written: how the gate finds and reaches the world. Never resolves or dials anything.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::SecretName;

/// How the gate finds and reaches the world; what is left out is the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Name servers to ask instead of the system's, as `ADDRESS:PORT`; read at the start alone.
    #[serde(default)]
    pub resolvers: Vec<SocketAddr>,
    /// A proxy that everything goes through, `http://HOST:PORT`; it is asked with CONNECT.
    pub proxy: Option<String>,
    /// What the proxy asks for.
    pub credential: Option<ProxyCredential>,
    /// Hosts that are reached without the proxy: a host in full, or `*.ZONE` for all beneath one.
    #[serde(default)]
    pub no_proxy: Vec<String>,
    /// Who finds the addresses of names behind the proxy.
    #[serde(default)]
    pub resolve: Resolve,
}

/// `credential = { kind = "basic", user = "NAME", secret = "NAME" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProxyCredential {
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The secret that is the password.
        secret: SecretName,
    },
}

impl ProxyCredential {
    /// The secret that it is made from.
    #[must_use]
    pub fn secret(&self) -> &SecretName {
        match self {
            Self::Basic { secret, .. } => secret,
        }
    }
}

/// Who finds the addresses of names behind a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// The gate, which checks them and asks the proxy for one of those that are good.
    #[default]
    Gate,
    /// The proxy: the gate cannot tell what address a call goes to, so a name may lead inside.
    Proxy,
}
