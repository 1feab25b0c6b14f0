//! How often answers to a run held a credential, and the end of a run to which that happened too often. Never says which.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use postern_contract::RunId;

/// The most runs of posternd's own listener that are remembered; the oldest make room.
const RUNS_MAX: usize = 1024;

/// What was counted for the runs of one listener.
#[derive(Debug, Default)]
pub(crate) struct Echoes(Mutex<BTreeMap<Whose, Counted>>);

/// A run that is believed to be it, or all that a listener serves together.
pub(crate) type Whose = Option<RunId>;

#[derive(Debug, Default)]
struct Counted {
    echoes: u32,
    stopped: bool,
}

/// Answers to this run held a credential too often.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "answers to this run held its tools' credentials too often, so none of its calls goes out any more"
)]
pub(crate) struct Stopped;

impl Echoes {
    /// Whether the calls of a run still go out.
    pub(crate) fn check(&self, whose: &Whose) -> Result<(), Stopped> {
        match self.counted().get(whose) {
            Some(Counted { stopped: true, .. }) => Err(Stopped),
            _ => Ok(()),
        }
    }

    /// Counts some more; a run that has more than `most` then is stopped.
    fn add(&self, whose: &Whose, hits: u32, most: u32) -> Result<(), Stopped> {
        let mut all = self.counted();
        if all.len() >= RUNS_MAX && !all.contains_key(whose) {
            all.pop_first();
        }
        let counted = all.entry(whose.clone()).or_default();
        counted.echoes = counted.echoes.saturating_add(hits);
        counted.stopped |= counted.echoes > most;
        match counted.stopped {
            true => Err(Stopped),
            false => Ok(()),
        }
    }

    /// Nothing was counted for whoever comes next.
    pub(crate) fn forget(&self) {
        self.counted().clear();
    }

    fn counted(&self) -> MutexGuard<'_, BTreeMap<Whose, Counted>> {
        // A map that a panic interrupted is still a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count of one call, and of the run that it is for.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub(super) call: Hits,
    pub(super) echoes: Arc<Echoes>,
    pub(super) whose: Whose,
    /// How many a run may have.
    pub(super) most: u32,
}

/// How often a credential was masked in the answer of one call. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hits(Arc<AtomicU32>);

impl Hits {
    /// All so far.
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Tally {
    /// Some more; the run may be over by that.
    pub(super) fn add(&self, hits: u32) -> Result<(), Stopped> {
        if hits == 0 {
            return Ok(());
        }
        self.call.0.fetch_add(hits, Ordering::SeqCst);
        self.echoes.add(&self.whose, hits, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_many_is_stopped_and_nobody_else() {
        let echoes = Arc::new(Echoes::default());
        let tally = |run: &str| Tally {
            call: Hits::default(),
            echoes: Arc::clone(&echoes),
            whose: Some(run.parse().unwrap()),
            most: 2,
        };
        let (one, two) = (tally("run_1"), tally("run_2"));
        assert!(one.add(2).is_ok() && two.add(0).is_ok());
        assert!(echoes.check(&one.whose).is_ok());
        assert!(one.add(1).is_err() && one.add(1).is_err());
        assert_eq!(one.call.get(), 4);
        assert!(echoes.check(&one.whose).is_err());
        assert!(echoes.check(&two.whose).is_ok() && echoes.check(&None).is_ok());
        echoes.forget();
        assert!(echoes.check(&one.whose).is_ok());
    }

    #[test]
    fn no_more_runs_are_remembered_than_there_is_room_for() {
        let echoes = Echoes::default();
        for run in 0..RUNS_MAX + 10 {
            let whose = Some(format!("run_{run:08}").parse().unwrap());
            assert!(echoes.add(&whose, 1, 0).is_err());
        }
        assert_eq!(echoes.counted().len(), RUNS_MAX);
    }
}
