//! How much of a tool or provider one sandbox may use, and all of them together: calls at once, and calls a second. Every
//! sandbox has its share for itself, so none can use up another's; what all have together is whoever's comes first. Never
//! queues: who wants more is told when to come back.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use postern_contract::{SandboxId, config};
use postern_daemon::Clock;

use crate::dial::Manner;

/// How long to wait where some other call must end first.
const WAIT_FOR_AN_END: Duration = Duration::from_secs(1);

/// What sandboxes may have of a tool or provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Each for itself.
    each: Measure,
    /// All of them together.
    together: Measure,
}

/// So much at once, and so much a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Measure {
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
    #[error(
        "{most} calls of this kind are under way, which is all that sandboxes may have together"
    )]
    TogetherAtOnce { most: u32 },
    #[error("all sandboxes together make calls of this kind more often than they may")]
    TogetherTooOften { wait: Duration },
}

impl Throttled {
    /// When to come back.
    pub(crate) fn wait(self) -> Duration {
        match self {
            Self::AtOnce { .. } | Self::TogetherAtOnce { .. } => WAIT_FOR_AN_END,
            Self::TooOften { wait } | Self::TogetherTooOften { wait } => wait,
        }
    }

    /// The same of all sandboxes together.
    fn together(self) -> Self {
        match self {
            Self::AtOnce { most } => Self::TogetherAtOnce { most },
            Self::TooOften { wait } => Self::TogetherTooOften { wait },
            Self::TogetherAtOnce { .. } | Self::TogetherTooOften { .. } => self,
        }
    }
}

impl From<&config::Limits> for Limits {
    fn from(written: &config::Limits) -> Self {
        let together = &written.together;
        Self {
            each: Measure::new(written.concurrent, (written.per_second, written.burst)),
            together: Measure::new(together.concurrent, (together.per_second, together.burst)),
        }
    }
}

impl Measure {
    fn new(
        concurrent: Option<NonZeroU32>,
        (per_second, burst): (Option<NonZeroU32>, Option<NonZeroU32>),
    ) -> Self {
        let rate = per_second.map(|per_second| {
            let every = Duration::from_secs(1) / per_second.get();
            let burst = burst.unwrap_or(per_second);
            Rate {
                every,
                ahead: every * (burst.get() - 1),
            }
        });
        Self {
            concurrent: concurrent.map(NonZeroU32::get),
            rate,
        }
    }
}

/// One call's place among those of its sandbox, and among all; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _own: Place,
    _together: Option<Place>,
}

/// A place that is counted as taken.
#[derive(Debug)]
struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What has been used.
pub(crate) struct Turnstiles {
    used: Mutex<Uses>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Uses {
    /// By every sandbox.
    each: HashMap<SandboxId, HashMap<Arc<str>, Used>>,
    /// By all of them; only where that is limited.
    together: HashMap<Arc<str>, Used>,
}

/// What was used of one tool or provider.
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
        let Uses { each, together } = &mut *used;
        let own = each.entry(sandbox.clone()).or_default();
        let own = own.entry(Arc::clone(name)).or_default();
        own.has_room(limits.each, now)?;
        let together = if limits.together == Measure::default() {
            None
        } else {
            let all = together.entry(Arc::clone(name)).or_default();
            let room = all.has_room(limits.together, now);
            room.map_err(Throttled::together)?;
            Some(all.take(limits.together, now))
        };
        Ok(Some(Turn {
            _own: own.take(limits.each, now),
            _together: together,
        }))
    }

    /// Forgets a sandbox that is gone. What it used of what all have together stays used.
    pub(crate) fn forget(&self, sandbox: &SandboxId) {
        self.lock().each.remove(sandbox);
    }

    fn lock(&self) -> MutexGuard<'_, Uses> {
        // Counts that a panic interrupted are still counts.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn has_room(&self, measure: Measure, now: Instant) -> Result<(), Throttled> {
        if let Some(most) = measure.concurrent
            && self.at_once.load(Ordering::Acquire) >= most
        {
            return Err(Throttled::AtOnce { most });
        }
        match measure.rate {
            Some(rate) if self.ahead(now) > rate.ahead => Err(Throttled::TooOften {
                wait: self.ahead(now) - rate.ahead,
            }),
            _ => Ok(()),
        }
    }

    /// Takes what there is room for. Only this side counts up, under the lock: since the look it can only have become less.
    fn take(&mut self, measure: Measure, now: Instant) -> Place {
        if let Some(rate) = measure.rate {
            self.until = Some(now + self.ahead(now) + rate.every);
        }
        self.at_once.fetch_add(1, Ordering::AcqRel);
        Place(Arc::clone(&self.at_once))
    }

    /// How much of the rate is used ahead of time.
    fn ahead(&self, now: Instant) -> Duration {
        self.until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        Limits::from(&serde_json::from_str::<config::Limits>(text).unwrap())
    }

    impl Used {
        fn admit(&mut self, limits: Limits, now: Instant) -> Result<Place, Throttled> {
            self.has_room(limits.each, now)?;
            Ok(self.take(limits.each, now))
        }
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

    #[test]
    fn all_together_have_no_more_than_they_may_and_a_refusal_uses_nothing_up() {
        let turnstiles = Turnstiles::new(Clock::system());
        let manner = Manner {
            name: Some(Arc::from("tools.crm")),
            limits: limits(r#"{"concurrent":2,"together":{"concurrent":3}}"#),
            ..Manner::default()
        };
        let (one, other) = (SandboxId::fresh(), SandboxId::fresh());
        let first = turnstiles.admit(&one, &manner).unwrap();
        let _second = turnstiles.admit(&one, &manner).unwrap();
        let own = turnstiles.admit(&one, &manner).unwrap_err();
        assert_eq!(own, Throttled::AtOnce { most: 2 });
        let _third = turnstiles.admit(&other, &manner).unwrap();
        for _ in 0..5 {
            let all = turnstiles.admit(&other, &manner).unwrap_err();
            assert_eq!(all, Throttled::TogetherAtOnce { most: 3 });
        }
        drop(first);
        let _fourth = turnstiles.admit(&other, &manner).unwrap();
        // A sandbox that is gone has not given back what is still under way.
        turnstiles.forget(&one);
        assert!(turnstiles.admit(&one, &manner).is_err());
    }

    #[test]
    fn a_rate_of_all_together_is_shared() {
        let turnstiles = Turnstiles::new(Clock::system());
        let manner = Manner {
            name: Some(Arc::from("tools.crm")),
            limits: limits(r#"{"together":{"per_second":1,"burst":4}}"#),
            ..Manner::default()
        };
        let sandboxes: Vec<_> = (0..8).map(|_| SandboxId::fresh()).collect();
        let admitted = sandboxes.iter().map(|one| turnstiles.admit(one, &manner));
        let refused: Vec<_> = admitted.filter_map(Result::err).collect();
        assert!((3..=4).contains(&refused.len()), "{refused:?}");
        assert!(
            matches!(refused[0], Throttled::TogetherTooOften { wait } if wait > Duration::ZERO)
        );
    }
}
