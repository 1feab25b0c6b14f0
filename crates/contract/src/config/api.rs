//! `[api]` as written: what the public API takes, and how long it waits. Never counts or waits.

use std::time::Duration;

use serde::Deserialize;

use crate::{ByteSize, Period};

/// `[api]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// The largest body; default 1 MiB.
    pub body_max: ByteSize,
    /// The most entries of a history; default 10,000.
    pub history_max: usize,
    /// How long a body may take; default 30 s.
    pub body_timeout: Period,
    /// How long a reader may leave unread what it asked for; default 60 s.
    pub unread_timeout: Period,
    /// How long the daemon takes to stop: runs that go on may end in that time; default 30 s.
    pub drain_timeout: Period,
}

impl Default for Api {
    fn default() -> Self {
        let seconds = |seconds| Period(Duration::from_secs(seconds));
        Self {
            body_max: ByteSize(1 << 20),
            history_max: 10_000,
            body_timeout: seconds(30),
            unread_timeout: seconds(60),
            drain_timeout: seconds(30),
        }
    }
}
