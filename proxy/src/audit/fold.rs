//! Refusals that say the same again and again: the first few are written whole, the others are counted, and the count has a
//! line of its own after a while. Never drops one, and never lets one sandbox fill the disk with what was refused to it.
//!
//! ```text
//! refused ─▶ alike one that is open? ── yes ──▶ counted (the first few are written) ── FOLD_MAX later ──▶ one line
//!              └── no ─▶ lines left for this sandbox? ── yes ──▶ written whole, and open
//!                              └── no ──▶ the same, but alike is now whatever has the same code
//! ```

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState},
    time::{Duration, Instant},
};

use postern_contract::{Code, SandboxId};

use super::line::{Decision, Line, Repeated};

/// How long refusals are counted before the count is written.
const FOLD_MAX: Duration = Duration::from_secs(10);

/// How many refusals that are the same in all are written whole before the others are counted.
const ALIKE_MAX: u64 = 8;

/// How many different refusals of one sandbox are written whole at once; one more may be every second.
const DIFFERENT_MAX: u64 = 128;

/// How long nothing must have been refused to a sandbox until nothing is remembered of it.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It stands in the log.
    Written,
    /// It is counted, and the count will stand in the log.
    Counted,
}

/// What is open, by sandbox.
#[derive(Default)]
pub(super) struct Folds {
    shelves: HashMap<SandboxId, Shelf>,
    /// Keyed by chance, so that nobody can make two refusals look alike.
    alike: RandomState,
}

struct Shelf {
    open: HashMap<Alike, Fold>,
    different: u64,
    refilled: Instant,
}

/// What makes two refusals the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Alike {
    /// All that a line says, but for when and how long.
    Line(u64),
    /// The code alone, once a sandbox has had its share.
    Code(Option<Code>),
}

struct Fold {
    line: Line,
    whole: bool,
    since: Instant,
    written: u64,
    times: u64,
}

impl Folds {
    /// Counts a line, or says that it must be written.
    pub(super) fn take(&mut self, line: &Line, now: Instant) -> Kept {
        let Some(sandbox) = &line.sandbox else {
            return Kept::Written;
        };
        let exactly = Alike::Line(self.likeness(line));
        let shelf = self
            .shelves
            .entry(sandbox.clone())
            .or_insert_with(|| Shelf::new(now));
        if let Some(fold) = shelf.open.get_mut(&exactly) {
            return fold.one_more();
        }
        let whole = shelf.may_differ(now);
        let alike = if whole {
            exactly
        } else {
            Alike::Code(line.reason)
        };
        match shelf.open.entry(alike) {
            Entry::Occupied(mut open) => open.get_mut().one_more(),
            Entry::Vacant(vacant) => {
                vacant.insert(Fold {
                    line: line.clone(),
                    whole,
                    since: now,
                    written: 1,
                    times: 0,
                });
                Kept::Written
            }
        }
    }

    /// Takes out what has been counted for long enough, or all of it, and gives it to be written.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Counted> {
        let mut due = Vec::new();
        self.shelves.retain(|_, shelf| {
            shelf.open.retain(|alike, fold| {
                let over = all || now.saturating_duration_since(fold.since) >= FOLD_MAX;
                if over && fold.times > 0 {
                    due.push(Counted {
                        line: fold.line.clone(),
                        alike: *alike,
                        whole: fold.whole,
                        times: fold.times,
                    });
                }
                !over
            });
            let idle = now.saturating_duration_since(shelf.refilled) >= FORGET_AFTER;
            !(shelf.open.is_empty() && idle)
        });
        due
    }

    /// Takes back what could not be written; it is due again later, with what was counted meanwhile.
    pub(super) fn put_back(&mut self, counted: Counted, now: Instant) {
        let Counted {
            line,
            alike,
            whole,
            times,
        } = counted;
        let Some(sandbox) = line.sandbox.clone() else {
            return;
        };
        let shelf = self
            .shelves
            .entry(sandbox)
            .or_insert_with(|| Shelf::new(now));
        let fold = shelf.open.entry(alike).or_insert(Fold {
            line,
            whole,
            since: now,
            written: ALIKE_MAX,
            times: 0,
        });
        fold.times += times;
    }

    fn likeness(&self, line: &Line) -> u64 {
        let mut state = self.alike.build_hasher();
        let what = (&line.run, &line.user, &line.tool, &line.model, &line.rule);
        what.hash(&mut state);
        (
            line.reason,
            &line.authority,
            &line.sni,
            &line.method,
            &line.path,
        )
            .hash(&mut state);
        state.finish()
    }
}

impl Fold {
    fn one_more(&mut self) -> Kept {
        if self.whole && self.written < ALIKE_MAX {
            self.written += 1;
            return Kept::Written;
        }
        self.times += 1;
        Kept::Counted
    }
}

impl Shelf {
    fn new(now: Instant) -> Self {
        Self {
            open: HashMap::new(),
            different: 0,
            refilled: now,
        }
    }

    /// Whether one more refusal may be told from all others.
    fn may_differ(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.different = self.different.saturating_sub(seconds);
            self.refilled = now;
        }
        let may = self.different < DIFFERENT_MAX;
        self.different += u64::from(may);
        may
    }
}

/// Refusals that were counted and not written.
pub(super) struct Counted {
    line: Line,
    alike: Alike,
    whole: bool,
    times: u64,
}

impl Counted {
    /// The line that stands for all of them.
    pub(super) fn line<'a>(&'a self, until: &'a str) -> Repeated<'a> {
        self.line.repeated((self.times, until), self.whole)
    }
}

/// Whether a line may be counted instead: a refusal before anything was begun or dialled.
pub(super) fn may_fold(line: &Line) -> bool {
    line.decision == Decision::Refused && line.address.is_none() && line.cut.is_none()
}

#[cfg(test)]
mod tests {
    use postern_daemon::Clock;

    use super::*;

    fn refused(sandbox: &SandboxId, path: &str) -> Line {
        Line {
            sandbox: Some(sandbox.clone()),
            reason: Some(Code::PolicyDenied),
            path: Some(path.to_owned()),
            ..Line::default()
        }
    }

    #[test]
    fn the_same_again_is_counted_and_the_count_is_written_once() {
        let (clock, sandbox) = (Clock::manual(0), SandboxId::fresh());
        let mut folds = Folds::default();
        let line = refused(&sandbox, "/a");
        for _ in 0..ALIKE_MAX {
            assert_eq!(folds.take(&line, clock.now()), Kept::Written);
        }
        for _ in 0..9 {
            assert_eq!(folds.take(&line, clock.now()), Kept::Counted);
        }
        let other = refused(&SandboxId::fresh(), "/a");
        assert_eq!(folds.take(&other, clock.now()), Kept::Written);
        assert!(folds.due(clock.now(), false).is_empty());
        clock.advance(FOLD_MAX);
        let due = folds.due(clock.now(), false);
        assert_eq!((due.len(), due[0].times), (1, 9));
        assert_eq!(folds.take(&line, clock.now()), Kept::Written);
        assert!(folds.due(clock.now(), true).is_empty());
    }

    #[test]
    fn a_sandbox_that_is_refused_ever_other_things_has_a_share_and_nothing_is_lost() {
        let (clock, sandbox) = (Clock::manual(0), SandboxId::fresh());
        let mut folds = Folds::default();
        let mut written = 0;
        for number in 0..10_000 {
            let line = refused(&sandbox, &format!("/{number}"));
            written += u64::from(folds.take(&line, clock.now()) == Kept::Written);
        }
        let counted: u64 = folds
            .due(clock.now(), true)
            .iter()
            .map(|fold| fold.times)
            .sum();
        assert_eq!((written, written + counted), (DIFFERENT_MAX + 1, 10_000));
        clock.advance(Duration::from_secs(5));
        for number in 0..10 {
            let line = refused(&sandbox, &format!("/later/{number}"));
            written += u64::from(folds.take(&line, clock.now()) == Kept::Written);
        }
        assert_eq!(written, DIFFERENT_MAX + 1 + 5 + 1);
        clock.advance(FORGET_AFTER);
        drop(folds.due(clock.now(), false));
        assert!(folds.shelves.is_empty());
    }
}
