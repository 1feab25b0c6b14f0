//! What the code of runs prints, kept with its run: the last of it, within bounds, in memory while the run goes on and in the store
//! from its end. Never holds a line of a run that is not under way, and never waits for anybody.

mod followers;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::RunId;
use postern_daemon::Clock;
use postern_store::runs::{Runs, RunsError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::followers::Places;
pub(crate) use self::followers::{FollowerPlace, Follows};

/// What is kept of one run, in bytes, with what stands around its lines.
const RUN_BYTES_MAX: usize = 256 << 10;

/// What is kept of all runs that go on together, in bytes.
const ALL_BYTES_MAX: usize = 64 << 20;

/// What one run may have in the daemon's log, in bytes.
const LOGGED_BYTES_MAX: usize = 1 << 20;

/// What stands around a line, in bytes or so.
const AROUND_BYTES: usize = 128;

/// Where code prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

/// One line, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Counts from 1 in each run, also what was dropped.
    pub seq: u64,
    /// When it came, in milliseconds since 1970 (UTC).
    pub at_ms: i64,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, of which nothing acts on a terminal.
    pub text: String,
}

/// What is kept of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// When the run began to go on, the last time, in milliseconds since 1970 (UTC).
    pub begun_ms: i64,
    /// How many lines were dropped, the oldest first, since more was printed than is kept.
    pub dropped: u64,
    /// The last lines.
    pub lines: VecDeque<Line>,
}

/// Changes when a run that goes on prints, and ends when it goes on no more.
pub(crate) type News = watch::Receiver<()>;

#[derive(Debug, Default)]
struct Roll {
    /// What was printed before a pause that was over before this was stored.
    earlier: Kept,
    kept: Kept,
    bytes: usize,
    logged: usize,
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Book {
    rolls: HashMap<RunId, Roll>,
    bytes: usize,
}

/// What all runs print that go on. Clones share it.
#[derive(Debug, Clone)]
pub struct Printed {
    book: Arc<Mutex<Book>>,
    places: Arc<Places>,
    clock: Clock,
}

impl Printed {
    /// Nothing so far.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            book: Arc::default(),
            places: Arc::new(Places::new()),
            clock,
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lines of this run are kept. Gives since when, by which its end is known.
    pub(crate) fn begin(&self, run: &RunId) -> i64 {
        let begun_ms = self.clock.unix_ms();
        let kept = Kept {
            begun_ms,
            ..Kept::default()
        };
        let roll = Roll {
            kept,
            ..Roll::default()
        };
        let mut book = self.book();
        let earlier = book.rolls.remove(run).map(|old| {
            book.bytes -= old.bytes;
            joined(old.earlier, old.kept)
        });
        let earlier = earlier.unwrap_or_default();
        book.rolls.insert(run.clone(), Roll { earlier, ..roll });
        begun_ms
    }

    /// Keeps a line of a run that goes on, and says whether it may be logged, too.
    pub(crate) fn keep(&self, run: &RunId, stream: Stream, text: &str) -> bool {
        let at_ms = self.clock.unix_ms();
        let mut book = self.book();
        let others = book.bytes;
        let Some(roll) = book.rolls.get_mut(run) else {
            return true;
        };
        let before = roll.bytes;
        roll.push(at_ms, stream, text);
        roll.shrink_to(RUN_BYTES_MAX.min(ALL_BYTES_MAX.saturating_sub(others - before)));
        let (after, may_be_logged) = (roll.bytes, roll.logged <= LOGGED_BYTES_MAX);
        book.bytes = others - before + after;
        may_be_logged
    }

    /// An ear on what a run prints that goes on.
    pub(crate) fn news(&self, run: &RunId) -> Option<News> {
        let book = self.book();
        book.rolls.get(run).map(|roll| roll.news.subscribe())
    }

    /// A place among those who follow, if there is one.
    pub(crate) fn follower(&self, who: Follows, run: &RunId) -> Option<FollowerPlace> {
        self.places.take(who, run)
    }

    /// What is kept of a run, whether it goes on or not.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn of(&self, run: &RunId, store: &Runs) -> Result<Kept, RunsError> {
        let now = self.book().rolls.get(run).map(Roll::all);
        after_what_is_stored(run, now.unwrap_or_default(), store).await
    }

    /// The run that began then does not go on: what it printed goes into the store, with what it had printed before a pause. It may go on
    /// again meanwhile.
    pub(crate) async fn end(&self, run: &RunId, begun_ms: i64, store: &Runs) {
        let own = |roll: &&Roll| roll.kept.begun_ms == begun_ms;
        let printed = self.book().rolls.get(run).filter(own).map(Roll::all);
        let printed = printed.filter(|parts| parts.iter().any(|part| part.next() > 1));
        if let Some(parts) = printed
            && let Err(error) = save(run, parts, store).await
        {
            tracing::error!(%run, %error, "what a run printed was not stored");
        }
        let mut book = self.book();
        if book.rolls.get(run).filter(own).is_some()
            && let Some(roll) = book.rolls.remove(run)
        {
            book.bytes -= roll.bytes;
        }
    }
}

/// These parts of what a run prints, behind what is stored of it.
async fn after_what_is_stored(
    run: &RunId,
    parts: [Kept; 2],
    store: &Runs,
) -> Result<Kept, RunsError> {
    let before = store.printed(run).await?;
    let before = before.and_then(|kept| serde_json::from_value(kept).ok());
    Ok(parts.into_iter().fold(before.unwrap_or_default(), joined))
}

async fn save(run: &RunId, parts: [Kept; 2], store: &Runs) -> Result<(), RunsError> {
    let kept = after_what_is_stored(run, parts, store).await?;
    let kept = serde_json::to_value(&kept).unwrap_or_default();
    store.keep_printed(run, &kept).await
}

impl Roll {
    /// All that it holds, in its order.
    fn all(&self) -> [Kept; 2] {
        [self.earlier.clone(), self.kept.clone()]
    }

    fn push(&mut self, at_ms: i64, stream: Stream, text: &str) {
        let line = Line {
            seq: self.kept.next(),
            at_ms,
            stream,
            text: text.to_owned(),
        };
        self.bytes += line.weight();
        self.logged = self.logged.saturating_add(line.weight());
        self.kept.lines.push_back(line);
        self.news.send_replace(());
    }

    fn shrink_to(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(oldest) = self.kept.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.weight();
            self.kept.dropped += 1;
        }
    }
}

impl Line {
    fn weight(&self) -> usize {
        self.text.len() + AROUND_BYTES
    }
}

impl Kept {
    fn next(&self) -> u64 {
        self.dropped + self.lines.len() as u64 + 1
    }
}

/// What was printed before a pause, and after it.
fn joined(before: Kept, now: Kept) -> Kept {
    if now.next() == 1 || now.begun_ms == before.begun_ms {
        return before;
    }
    let told = before.next() - 1;
    // What was dropped after the pause came after all that was printed before it.
    let mut roll = Roll {
        kept: if now.dropped > 0 {
            Kept {
                dropped: told + now.dropped,
                ..Kept::default()
            }
        } else {
            before
        },
        ..Roll::default()
    };
    let later = now.lines.into_iter().map(|line| Line {
        seq: told + line.seq,
        ..line
    });
    roll.kept.begun_ms = now.begun_ms;
    roll.kept.lines.extend(later);
    roll.bytes = roll.kept.lines.iter().map(Line::weight).sum();
    roll.shrink_to(RUN_BYTES_MAX);
    roll.kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> String {
        "x".repeat(length)
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_and_what_was_dropped_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let store = Runs::open(&directory.path().join("runs.db")).await.unwrap();
        let printed = Printed::new(Clock::system());
        let run: RunId = "run-1".parse().unwrap();
        assert!(printed.keep(&run, Stream::Stdout, "of no run that goes on"));
        assert!(printed.of(&run, &store).await.unwrap().lines.is_empty());
        let begun = printed.begin(&run);
        for _line in 0..1000 {
            printed.keep(&run, Stream::Stderr, &text(1000));
        }
        let kept = printed.of(&run, &store).await.unwrap();
        assert_eq!(kept.dropped + kept.lines.len() as u64, 1000);
        assert_eq!(kept.lines[0].seq, kept.dropped + 1);
        assert!(printed.book().bytes <= RUN_BYTES_MAX);
        printed.end(&run, begun - 1, &store).await;
        assert!(printed.book().bytes > 0);
        assert!(!printed.keep(&run, Stream::Stderr, &text(LOGGED_BYTES_MAX)));
        printed.end(&run, begun, &store).await;
        assert_eq!(printed.book().bytes, 0);
    }

    #[tokio::test]
    async fn a_run_that_goes_on_before_its_pause_is_stored_loses_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let store = Runs::open(&directory.path().join("runs.db")).await.unwrap();
        let clock = Clock::manual(1_700_000_000_000);
        let printed = Printed::new(clock.clone());
        let told = async |run: &RunId| {
            let kept = printed.of(run, &store).await.unwrap();
            let lines = kept.lines.into_iter().map(|line| (line.seq, line.text));
            lines.collect::<Vec<_>>()
        };
        let both = [(1, "a".to_owned()), (2, "b".to_owned())];
        for (name, is_stored) in [("run-1", false), ("run-2", true)] {
            let run: RunId = name.parse().unwrap();
            let new = postern_store::runs::NewRun {
                run: run.clone(),
                agent: "desk".parse().unwrap(),
                user: None,
                request_id: "rid-1".parse().unwrap(),
                message: serde_json::Value::Null,
                idempotency_key: None,
                at_ms: 0,
            };
            store.begin_run(&new).await.unwrap();
            let first = printed.begin(&run);
            printed.keep(&run, Stream::Stdout, "a");
            if is_stored {
                let parts = printed.book().rolls[&run].all();
                save(&run, parts, &store).await.unwrap();
            }
            clock.advance(std::time::Duration::from_millis(7));
            let second = printed.begin(&run);
            printed.end(&run, first, &store).await;
            printed.keep(&run, Stream::Stdout, "b");
            assert_eq!(told(&run).await, both, "{name}");
            printed.end(&run, second, &store).await;
            assert_eq!(told(&run).await, both, "{name}");
        }
        assert_eq!(printed.book().bytes, 0);
    }

    #[test]
    fn what_a_run_prints_after_a_pause_counts_on() {
        let (mut before, mut now) = (Roll::default(), Roll::default());
        now.kept.begun_ms = 2;
        before.push(1, Stream::Stdout, "a");
        now.push(2, Stream::Stdout, "b");
        let all = joined(before.kept.clone(), now.kept.clone());
        let told: Vec<_> = all
            .lines
            .iter()
            .map(|line| (line.seq, &*line.text))
            .collect();
        assert_eq!((told, all.dropped), (vec![(1, "a"), (2, "b")], 0));
        now.kept.dropped = 5;
        now.kept.lines[0].seq = 6;
        let all = joined(before.kept, now.kept.clone());
        assert_eq!(joined(all.clone(), now.kept), all);
        assert_eq!((all.dropped, all.lines[0].seq, all.lines.len()), (6, 7, 1));
    }
}
