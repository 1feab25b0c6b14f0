//! `[api]` as posternd means it: bounds that make sense together with what is around the daemon. Never reads a request.

use std::time::Duration;

use postern_contract::config::{Api, Problem};
use postern_invoke::request::HISTORY_ENTRIES_MAX;

/// The largest body that may be allowed, in bytes: it is held in memory, and becomes one frame of a worker.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// The longest time that may be given to a body or a reader.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The longest that stopping may take: whoever started the daemon gives it 40 s.
const DRAIN_MAX: Duration = Duration::from_secs(35);

/// What the public API takes, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiLimits {
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// The most entries of a history.
    pub history_max: usize,
    /// How long a body may take.
    pub body: Duration,
    /// How long a reader may leave unread what it asked for.
    pub unread: Duration,
    /// How long the daemon takes to stop.
    pub drain: Duration,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self::of(&Api::default())
    }
}

impl ApiLimits {
    pub(super) fn mean(written: &Api) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut say =
            |key: &str, message: String| problems.push(Problem::at(["api", key], message));
        if !(1..=BODY_BYTES_MAX).contains(&written.body_max.0) {
            say("body_max", "say a size from 1B to 4MiB".to_owned());
        }
        if written.history_max > HISTORY_ENTRIES_MAX {
            say("history_max", format!("say at most {HISTORY_ENTRIES_MAX}"));
        }
        for (key, time, most, word) in [
            ("body_timeout", written.body_timeout.0, WAIT_MAX, "1h"),
            ("unread_timeout", written.unread_timeout.0, WAIT_MAX, "1h"),
            ("drain_timeout", written.drain_timeout.0, DRAIN_MAX, "35s"),
        ] {
            if time < Duration::from_secs(1) || time > most {
                say(key, format!("say a time from 1s to {word}"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self::of(written))
    }

    fn of(written: &Api) -> Self {
        Self {
            body_bytes_max: usize::try_from(written.body_max.0).unwrap_or(usize::MAX),
            history_max: written.history_max,
            body: written.body_timeout.0,
            unread: written.unread_timeout.0,
            drain: written.drain_timeout.0,
        }
    }
}
