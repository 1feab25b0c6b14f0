//! `[consent]` as written: where the gate's own pages for end users are, and how long they are waited for. Never holds a secret.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use crate::Period;

/// How long an end user is waited for, unless the config says otherwise.
const WAIT: Period = Period(Duration::from_secs(4 * 3600));

/// Where end users say that an agent may act for them at somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Where the gate listens for their browsers, and for nothing else.
    pub listen: SocketAddr,
    /// What browsers write before its paths; default `http://` and the address above.
    pub url: Option<String>,
    /// How long one is waited for; default 4 h.
    #[serde(default = "default_wait")]
    pub wait: Period,
}

fn default_wait() -> Period {
    WAIT
}
