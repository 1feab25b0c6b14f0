//! When a gate that ended is started again, and when it is given up. Never starts one itself.

use std::time::{Duration, Instant};

/// How long to wait before the first start.
const WAIT_FIRST: Duration = Duration::from_millis(20);

/// The longest wait; it doubles up to that.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A gate that lived this long has nothing to do with the failures before it.
const STEADY: Duration = Duration::from_secs(10);

/// Starts in a row after none of which the gate was ready: it will not be.
const UNREADY_MAX: u32 = 10;

/// The gate's next start.
#[derive(Debug)]
pub(super) struct Revival {
    began: Instant,
    wait: Duration,
    unready: u32,
    due: Option<Instant>,
}

impl Revival {
    /// After the first start.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            wait: WAIT_FIRST,
            unready: 0,
            due: None,
        }
    }

    /// It says that it is ready.
    pub(super) fn is_ready(&mut self) {
        self.unready = 0;
    }

    /// It has ended. Whether it is started again.
    pub(super) fn ended(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= STEADY {
            self.wait = WAIT_FIRST;
        }
        self.unready += 1;
        if self.unready > UNREADY_MAX {
            return false;
        }
        self.due = Some(now + self.wait);
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }

    /// When it is to be started, where it is not there.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is started.
    pub(super) fn began(&mut self, now: Instant) {
        self.began = now;
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_is_never_ready_is_started_less_and_less_eagerly_and_given_up() {
        let mut now = postern_daemon::Clock::system().now();
        let mut revival = Revival::new(now);
        let mut waits = Vec::new();
        while revival.ended(now) {
            let due = revival.due().unwrap();
            waits.push(due - now);
            now = due;
            revival.began(now);
        }
        assert_eq!(waits.len(), 10);
        assert_eq!((waits[0], waits[9]), (WAIT_FIRST, WAIT_MAX));
        assert!(waits.is_sorted());
    }

    #[test]
    fn one_that_was_ready_is_always_started_again_and_at_once_if_it_stood_long() {
        let mut now = postern_daemon::Clock::system().now();
        let mut revival = Revival::new(now);
        for _ in 0..100 {
            revival.is_ready();
            assert!(revival.ended(now));
            now = revival.due().unwrap();
            revival.began(now);
        }
        now += STEADY;
        assert!(revival.ended(now));
        assert_eq!(revival.due(), Some(now + WAIT_FIRST));
    }
}
