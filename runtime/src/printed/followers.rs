//! Places for those who follow what runs print. Never lets one run, or callers, have the places of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::RunId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Callers who follow what runs print as it comes, at once.
const CALLERS_MAX: usize = 64;

/// How many of them may follow one run: who reads nothing keeps a place for as long as the run goes on.
const CALLERS_OF_A_RUN_MAX: usize = 16;

/// Operators who do. No caller takes their places.
const OPERATORS_MAX: usize = 16;

/// Who follows a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Somebody at the public API.
    Caller,
    /// Somebody at the operator's.
    Operator,
}

/// Places for those who follow.
#[derive(Debug)]
pub(super) struct Places {
    callers: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    /// Callers of each run that anybody follows.
    of_runs: Mutex<HashMap<RunId, usize>>,
}

/// A place among those who follow, until it is dropped.
#[derive(Debug)]
pub(crate) struct FollowerPlace {
    _among_all: OwnedSemaphorePermit,
    _of_run: Option<OfRun>,
}

/// A caller's place among those of its run.
#[derive(Debug)]
struct OfRun {
    places: Arc<Places>,
    run: RunId,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            callers: Arc::new(Semaphore::new(CALLERS_MAX)),
            operators: Arc::new(Semaphore::new(OPERATORS_MAX)),
            of_runs: Mutex::default(),
        }
    }

    /// One of them, if there is one.
    pub(super) fn take(self: &Arc<Self>, who: Follows, run: &RunId) -> Option<FollowerPlace> {
        let (among, of_run) = match who {
            Follows::Caller => (&self.callers, Some(self.of_run(run)?)),
            Follows::Operator => (&self.operators, None),
        };
        let among_all = Arc::clone(among).try_acquire_owned().ok()?;
        Some(FollowerPlace {
            _among_all: among_all,
            _of_run: of_run,
        })
    }

    fn of_runs(&self) -> MutexGuard<'_, HashMap<RunId, usize>> {
        self.of_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_run(self: &Arc<Self>, run: &RunId) -> Option<OfRun> {
        let mut of_runs = self.of_runs();
        let count = of_runs.entry(run.clone()).or_default();
        if *count == CALLERS_OF_A_RUN_MAX {
            return None;
        }
        *count += 1;
        Some(OfRun {
            places: Arc::clone(self),
            run: run.clone(),
        })
    }
}

impl Drop for OfRun {
    fn drop(&mut self) {
        let mut of_runs = self.places.of_runs();
        if let Some(count) = of_runs.get_mut(&self.run) {
            *count -= 1;
        }
        of_runs.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_one_run_leaves_places_for_others_and_for_operators() {
        let places = Arc::new(Places::new());
        let run = |number: usize| -> RunId { format!("run-{number}").parse().unwrap() };
        let take =
            |who, of: &RunId| -> Vec<_> { std::iter::from_fn(|| places.take(who, of)).collect() };
        let first = take(Follows::Caller, &run(0));
        assert_eq!(first.len(), CALLERS_OF_A_RUN_MAX);
        let others: Vec<_> = (1..10)
            .flat_map(|number| take(Follows::Caller, &run(number)))
            .collect();
        assert_eq!(first.len() + others.len(), CALLERS_MAX);
        let operators = take(Follows::Operator, &run(0));
        assert_eq!(operators.len(), OPERATORS_MAX);
        drop((first, operators));
        assert_eq!(take(Follows::Caller, &run(20)).len(), CALLERS_OF_A_RUN_MAX);
        drop(others);
        assert!(places.of_runs().is_empty());
    }
}
