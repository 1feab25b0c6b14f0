//! How often a sandbox is answered: everything beyond a steady rate waits, and what cannot wait is lost in the sandbox's
//! own socket. Never counts one sandbox's questions against another.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What one question is worth: 2,000 a second.
const EVERY: Duration = Duration::from_micros(500);

/// How far a sandbox may run ahead of that.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// The questions of one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Until when the rate is used up; the past means that nothing is.
    until: Mutex<Option<Instant>>,
}

impl Pace {
    /// Counts one more question, and says how long its answer waits.
    pub(crate) fn turn(&self, now: Instant) -> Duration {
        let mut held = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = held.map_or(now, |until| until.max(now)) + EVERY;
        *held = Some(until);
        (until - now).saturating_sub(AHEAD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use postern_daemon::Clock;

    use super::*;

    #[test]
    fn a_burst_is_answered_at_once_and_what_is_more_waits() {
        let (pace, now) = (Pace::default(), Clock::system().now());
        let waits: Vec<_> = (0..2100).map(|_| pace.turn(now)).collect();
        assert!(waits[..2000].iter().all(Duration::is_zero));
        assert_eq!(waits[2000], EVERY);
        assert_eq!(waits[2099], EVERY * 100);
        assert!(pace.turn(now + Duration::from_secs(60)).is_zero());
    }
}
