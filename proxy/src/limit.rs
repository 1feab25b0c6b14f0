//! How much of a tool or provider one sandbox may use: calls at once, and calls a second. Every sandbox has all of it for
//! itself, so none can use up another's. Never queues: who wants more is told when to come back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::{SandboxId, config};
use postern_daemon::Clock;

use crate::dial::Manner;

/// How long to wait where some call of one's own must end first.
const WAIT_FOR_AN_END: Duration = Duration::from_secs(1);

/// What one sandbox may have of a tool or provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    concurrent: Option<u32>,
    rate: Option<Rate>,
}

/// A steady rate, and how far it may be run ahead of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    /// What each call is worth.
    every: Duration,
    /// How much may be used ahead.
    ahead: Duration,
}

/// There is no more for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Throttled {
    #[error("this sandbox has {most} calls of this kind under way, which is all it may have")]
    AtOnce { most: u32 },
    #[error("this sandbox makes calls of this kind more often than it may")]
    TooOften { wait: Duration },
}

impl Throttled {
    /// When to come back.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::AtOnce { .. } => WAIT_FOR_AN_END,
            Self::TooOften { wait } => wait,
        }
    }
}

impl From<&config::Limits> for Limits {
    fn from(written: &config::Limits) -> Self {
        let rate = written.per_second.map(|per_second| {
            let every = Duration::from_secs(1) / per_second.get();
            let burst = written.burst.unwrap_or(per_second);
            Rate {
                every,
                ahead: every * (burst.get() - 1),
            }
        });
        Self {
            concurrent: written.concurrent.map(std::num::NonZeroU32::get),
            rate,
        }
    }
}

/// One call's place among those of its sandbox; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<AtomicU32>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What every sandbox has used.
pub(crate) struct Turnstiles {
    used: Mutex<HashMap<SandboxId, HashMap<Arc<str>, Used>>>,
    clock: Clock,
}

/// What one sandbox has used of one tool or provider.
#[derive(Debug, Default)]
struct Used {
    at_once: Arc<AtomicU32>,
    /// Until when the rate is used up; the past means that nothing is.
    until: Option<Instant>,
}

impl Turnstiles {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            used: Mutex::default(),
            clock,
        }
    }

    /// A place for one more call of a sandbox to a tool or provider; where nothing is limited there is nothing to hold.
    pub(crate) fn admit(
        &self,
        sandbox: &SandboxId,
        manner: &Manner,
    ) -> Result<Option<Turn>, Throttled> {
        let limits = manner.limits;
        let Some(name) = manner.name.as_ref().filter(|_| limits != Limits::default()) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let mut used = self.lock();
        let used = used.entry(sandbox.clone()).or_default();
        let used = used.entry(Arc::clone(name)).or_default();
        used.admit(limits, now).map(Some)
    }

    /// Forgets a sandbox that is gone.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.lock().remove(sandbox);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, HashMap<Arc<str>, Used>>> {
        // Counts that a panic interrupted are still counts.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn admit(&mut self, limits: Limits, now: Instant) -> Result<Turn, Throttled> {
        // Only this side counts up, under the lock: between the look and the count it can only become less.
        if let Some(most) = limits.concurrent
            && self.at_once.load(Ordering::Acquire) >= most
        {
            return Err(Throttled::AtOnce { most });
        }
        if let Some(rate) = limits.rate {
            let until = self.until.map_or(now, |until| until.max(now));
            let ahead = until - now;
            if ahead > rate.ahead {
                return Err(Throttled::TooOften {
                    wait: ahead - rate.ahead,
                });
            }
            self.until = Some(until + rate.every);
        }
        self.at_once.fetch_add(1, Ordering::AcqRel);
        Ok(Turn(Arc::clone(&self.at_once)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        Limits::from(&serde_json::from_str::<config::Limits>(text).unwrap())
    }

    #[test]
    fn so_many_calls_at_once_and_one_more_when_one_has_ended() {
        let (mut used, now) = (Used::default(), Clock::system().now());
        let limits = limits(r#"{"concurrent":2}"#);
        let first = used.admit(limits, now).unwrap();
        let _second = used.admit(limits, now).unwrap();
        let third = used.admit(limits, now).unwrap_err();
        assert_eq!(third, Throttled::AtOnce { most: 2 });
        assert!(third.wait() > Duration::ZERO);
        drop(first);
        assert!(used.admit(limits, now).is_ok());
    }

    #[test]
    fn a_burst_and_then_a_steady_rate() {
        let (mut used, mut now) = (Used::default(), Clock::system().now());
        let limits = limits(r#"{"per_second":5,"burst":10}"#);
        for _ in 0..10 {
            used.admit(limits, now).unwrap();
        }
        let wait = Duration::from_millis(200);
        assert_eq!(
            used.admit(limits, now).unwrap_err(),
            Throttled::TooOften { wait }
        );
        now += wait;
        used.admit(limits, now).unwrap();
        assert!(used.admit(limits, now).is_err());
        // After a long silence there is one burst, not two.
        now += Duration::from_secs(3600);
        assert_eq!(
            (0..50).filter(|_| used.admit(limits, now).is_ok()).count(),
            10
        );
    }

    #[test]
    fn a_rate_without_a_burst_allows_one_second_of_it() {
        let (mut used, now) = (Used::default(), Clock::system().now());
        let limits = limits(r#"{"per_second":3}"#);
        assert_eq!(
            (0..9).filter(|_| used.admit(limits, now).is_ok()).count(),
            3
        );
    }

    #[test]
    fn one_sandbox_cannot_use_anothers_share() {
        let turnstiles = Turnstiles::new(Clock::system());
        let manner = |name: &str| Manner {
            name: Some(Arc::from(name)),
            limits: limits(r#"{"concurrent":1,"per_second":1}"#),
            ..Manner::default()
        };
        let (crm, mail) = (manner("tools.crm"), manner("tools.mail"));
        let (one, other) = (SandboxId::fresh(), SandboxId::fresh());
        let _held = turnstiles.admit(&one, &crm).unwrap();
        assert!(turnstiles.admit(&one, &crm).is_err());
        assert!(turnstiles.admit(&other, &crm).is_ok());
        assert!(turnstiles.admit(&one, &mail).is_ok());
        turnstiles.forget(&one);
        assert!(turnstiles.admit(&one, &crm).is_ok());
    }
}
