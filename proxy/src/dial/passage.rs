//! Lets calls on to the upstreams that do not rest, and keeps what became of them. Never waits.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_daemon::Clock;

use super::{
    Journey, Unreached,
    breaker::{Breaker, Ended},
};

/// The memory of every tool and provider that was called; there are as many as the config has.
pub(super) struct Passages {
    breakers: Mutex<HashMap<Arc<str>, Breaker>>,
    clock: Clock,
}

/// The way to one upstream is open for one call. Dropped before it is ended, nothing is known.
pub(super) struct Passage<'a> {
    passages: &'a Passages,
    name: Option<Arc<str>>,
}

impl Passages {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            breakers: Mutex::default(),
            clock,
        }
    }

    /// Whether a call may try to reach its tool or provider. Hosts that only a rule names have no memory.
    pub(super) fn admit(&self, journey: &Journey<'_>) -> Result<Passage<'_>, Unreached> {
        let name = journey.manner.name.clone();
        if let Some(name) = &name {
            let now = self.clock.now();
            let mut breakers = self.lock();
            let breaker = breakers.entry(Arc::clone(name));
            let breaker = breaker.or_insert_with(|| Breaker::new(now));
            breaker.admit(now).map_err(|resting| Unreached::Resting {
                host: journey.permit.url().authority().host().to_string(),
                wait: resting.wait,
            })?;
        }
        Ok(Passage {
            passages: self,
            name,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Breaker>> {
        // A memory that a panic interrupted is still a memory.
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage<'_> {
    /// How the call came out.
    pub(super) fn end(mut self, how: Ended) {
        self.tell(how);
    }

    fn tell(&mut self, how: Ended) {
        let Some(name) = self.name.take() else {
            return;
        };
        let now = self.passages.clock.now();
        if let Some(breaker) = self.passages.lock().get_mut(&name) {
            breaker.ended(how, now);
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.tell(Ended::Unknown);
    }
}
