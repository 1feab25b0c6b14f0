//! `[agents.NAME.runs]`: how many runs of an agent go on at once, how long others wait, and what becomes of one that nobody
//! waits for any more. Never counts or waits itself.

use std::time::Duration;

use postern_contract::Period;
use serde::Deserialize;

use super::{WALL_TIME_DEFAULT, Wrong};

/// Runs of one agent at once, unless the config says otherwise.
const AT_ONCE_DEFAULT: usize = 64;

/// The most that the config may say, for runs and for those that wait.
const AT_ONCE_MAX: usize = 10_000;

/// The longest wait that the config may say.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// `[agents.NAME.runs]` as written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsWritten {
    /// Runs that go on at once; default 64.
    pub at_once: Option<usize>,
    /// Runs that wait for a place; default 64.
    pub queue: Option<usize>,
    /// How long one waits for a place; default 10 s.
    pub queue_wait: Option<Period>,
    /// What becomes of a run when everybody who waited for it has left.
    #[serde(default)]
    pub when_left: WhenLeft,
}

/// What becomes of a run when everybody who waited for it has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenLeft {
    /// It goes on, and can be picked up again.
    #[default]
    GoOn,
    /// It ends.
    Cancel,
}

/// The same, meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Runs that go on at once.
    pub at_once: usize,
    /// Runs that wait for a place.
    pub queue: usize,
    /// How long one waits for a place.
    pub queue_wait: Duration,
    /// How long a run may take: `wall_time` of the agent's sandbox.
    pub deadline: Duration,
    /// What becomes of a run when everybody who waited for it has left.
    pub when_left: WhenLeft,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            at_once: AT_ONCE_DEFAULT,
            queue: AT_ONCE_DEFAULT,
            queue_wait: Duration::from_secs(10),
            deadline: WALL_TIME_DEFAULT,
            when_left: WhenLeft::GoOn,
        }
    }
}

impl Terms {
    pub(super) fn mean(written: &TermsWritten) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        for (key, count, least) in [("at_once", written.at_once, 1), ("queue", written.queue, 0)] {
            if count.is_some_and(|count| !(least..=AT_ONCE_MAX).contains(&count)) {
                let message = format!("say a number from {least} to {AT_ONCE_MAX}");
                wrong.push(Wrong::at(&["runs", key], message));
            }
        }
        let wait = written.queue_wait;
        if wait.is_some_and(|wait| wait.0.is_zero() || wait.0 > TIME_MAX) {
            let message = "say a time from 1ms to 24h";
            wrong.push(Wrong::at(&["runs", "queue_wait"], message));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let unsaid = Self::default();
        Ok(Self {
            at_once: written.at_once.unwrap_or(unsaid.at_once),
            queue: written.queue.unwrap_or(unsaid.queue),
            queue_wait: wait.map_or(unsaid.queue_wait, |wait| wait.0),
            deadline: unsaid.deadline,
            when_left: written.when_left,
        })
    }
}
