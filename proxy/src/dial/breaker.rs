//! When an upstream that cannot be reached is left alone for a while. Pure: time is an argument. Never counts an answer,
//! whatever its status: what an agent can provoke would shut a tool for its neighbours.
//!
//! ```text
//! closed ── FAILURES_MAX in a row within WINDOW ──▶ resting ── its time is over ──▶ trying (one call)
//!    ▲                                                 ▲ twice as long each time        │        │
//!    └────────────── reached ──────────────────────────┼────────────────────────────────┼────────┘
//!                                                      └──────────── not reached ───────┘
//! ```

use std::time::{Duration, Instant};

/// How many failures in a row are too many.
const FAILURES_MAX: u32 = 5;

/// How long a failure counts.
const WINDOW: Duration = Duration::from_secs(30);

/// How long an upstream rests at first.
const REST_MIN: Duration = Duration::from_secs(5);

/// How long it rests at most.
const REST_MAX: Duration = Duration::from_secs(60);

/// How long the one call that tries may take before another may.
const TRY_MAX: Duration = Duration::from_secs(30);

/// Nobody calls this upstream for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resting {
    /// When to come back.
    pub(super) wait: Duration,
}

/// What came of a call, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The upstream was reached.
    Reached,
    /// It was not.
    Unreached,
    /// It was not even tried, or nobody waited for the end.
    Unknown,
}

/// The memory of one upstream.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    rest: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32, since: Instant },
    Resting { until: Instant },
    Trying { until: Instant },
}

impl Breaker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed {
                failures: 0,
                since: now,
            },
            rest: REST_MIN,
        }
    }

    /// Whether a call may try to reach it. Who was let in says how it [`ended`](Self::ended).
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Resting> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Resting { until } | State::Trying { until } if now < until => {
                Err(Resting { wait: until - now })
            }
            State::Resting { .. } | State::Trying { .. } => {
                self.state = State::Trying {
                    until: now + TRY_MAX,
                };
                Ok(())
            }
        }
    }

    /// How a call that was let in came out.
    pub(super) fn ended(&mut self, how: Ended, now: Instant) {
        match (how, self.state) {
            (Ended::Reached, _) => *self = Self::new(now),
            (Ended::Unknown, State::Trying { .. }) => self.state = State::Resting { until: now },
            (Ended::Unknown, _) | (Ended::Unreached, State::Resting { .. }) => {}
            (Ended::Unreached, State::Trying { .. }) => {
                self.rest = (self.rest * 2).min(REST_MAX);
                self.state = State::Resting {
                    until: now + self.rest,
                };
            }
            (Ended::Unreached, State::Closed { failures, since }) => {
                self.failed(failures, since, now);
            }
        }
    }

    fn failed(&mut self, failures: u32, since: Instant, now: Instant) {
        let stale = now.saturating_duration_since(since) > WINDOW;
        let (failures, since) = if stale || failures == 0 {
            (1, now)
        } else {
            (failures + 1, since)
        };
        self.state = if failures < FAILURES_MAX {
            State::Closed { failures, since }
        } else {
            State::Resting {
                until: now + self.rest,
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        postern_daemon::Clock::system().now()
    }

    fn fail(breaker: &mut Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            breaker.admit(now).unwrap();
            breaker.ended(Ended::Unreached, now);
        }
    }

    #[test]
    fn an_upstream_that_fails_in_a_row_rests_and_then_one_call_tries() {
        let now = start();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, FAILURES_MAX, now);
        assert_eq!(breaker.admit(now), Err(Resting { wait: REST_MIN }));
        let later = now + REST_MIN;
        assert_eq!(breaker.admit(later), Ok(()));
        assert_eq!(breaker.admit(later), Err(Resting { wait: TRY_MAX }));
        breaker.ended(Ended::Reached, later);
        fail(&mut breaker, FAILURES_MAX - 1, later);
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn each_failed_try_makes_it_rest_longer_up_to_a_bound() {
        let mut now = start();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, FAILURES_MAX, now);
        for rest in [10, 20, 40, 60, 60] {
            now += REST_MAX;
            breaker.admit(now).unwrap();
            breaker.ended(Ended::Unreached, now);
            let wait = Duration::from_secs(rest);
            assert_eq!(breaker.admit(now), Err(Resting { wait }));
        }
    }

    #[test]
    fn failures_far_apart_and_successes_between_do_not_add_up() {
        let mut now = start();
        let mut breaker = Breaker::new(now);
        for _ in 0..3 * FAILURES_MAX {
            fail(&mut breaker, 1, now);
            now += WINDOW + Duration::from_secs(1);
        }
        for _ in 0..3 {
            fail(&mut breaker, FAILURES_MAX - 1, now);
            breaker.ended(Ended::Reached, now);
        }
        assert_eq!(breaker.admit(now), Ok(()));
    }

    #[test]
    fn a_try_that_nobody_waited_for_does_not_shut_out_the_next() {
        let now = start();
        let mut breaker = Breaker::new(now);
        fail(&mut breaker, FAILURES_MAX, now);
        let later = now + REST_MIN;
        breaker.admit(later).unwrap();
        breaker.ended(Ended::Unknown, later);
        assert_eq!(breaker.admit(later), Ok(()));
        // One that never says how it ended is not waited for without end either.
        assert_eq!(breaker.admit(later + TRY_MAX), Ok(()));
    }
}
