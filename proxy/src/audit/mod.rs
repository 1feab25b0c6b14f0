//! The record of every call: one JSON line each, chained by hash, written before the end of the answer reaches the
//! agent. Never holds a secret, a body or a query string; never goes on silently when it cannot be written.
//!
//! ```text
//! decided ─▶ begun? (effects leave their intent) ─▶ Line ─▶ seal.rs waits for the answer's last frame
//!                                                     └─▶ append: write(2) returned, or counted (fold.rs) ─▶ frame passes
//! keeper.rs, every second: counts that are due ─▶ fdatasync ─▶ the head, MACed (head.rs), to its witnesses (witness.rs)
//! healthy ── a write fails ─▶ in trouble (calls are refused) ── a later write passes ─▶ healthy
//!         ── a sync fails ──▶ lost: refused until the gate is started again, since the kernel may have dropped lines
//! ```

mod age;
mod chain;
mod fold;
mod head;
mod keeper;
mod line;
mod pieces;
mod seal;
mod witness;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_daemon::Clock;
use serde::Serialize;
use tokio::sync::Notify;

pub use self::{
    age::Mark,
    chain::{NOTHING_BEFORE, line_hash},
    head::{Head, HeadKey, NoKey},
    pieces::{HEADS_FILE, KEY_FILE, LOG_FILE, MARK_FILE, Piece, pieces},
    witness::older,
};
use crate::{metrics::Metrics, telemetry::Spans};

use self::{
    chain::Chain,
    fold::{Folds, may_fold},
};
pub(crate) use self::{
    fold::Kept,
    keeper::{Keeper, Settings},
    line::{Decision, Door, Line, Timings, cut},
    seal::Sealed,
};

/// How long a gate that was killed, or is about to end, may hold the log on.
const TURN_MAX: Duration = Duration::from_secs(5);

/// How often it is looked whether it still does.
const TURN_ASKED_EVERY: Duration = Duration::from_millis(5);

/// Why a call cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub(crate) struct Unrecorded(#[from] io::Error);

/// The log. Clones write to the same file.
#[derive(Clone)]
pub(crate) struct Audit {
    state: Arc<Mutex<State>>,
    rotated: Arc<Notify>,
    per_sandbox: u64,
    metrics: Metrics,
    spans: Spans,
    clock: Clock,
}

struct State {
    chain: Chain,
    standing: Standing,
    folds: Folds,
    unsynced: bool,
    heads_trouble: Option<String>,
}

/// Whether lines can be written.
enum Standing {
    Healthy,
    /// The last write failed; the next call tries again before anything else.
    Troubled(String),
    /// A sync failed.
    Lost(String),
}

/// A line that is not about a call.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Event<'a> {
    /// The gate started and will append from here.
    Started { time: String, version: &'a str },
    /// Writing works again after it did not.
    Recovered { time: String, trouble: &'a str },
    /// Lines that were old enough are about to be removed.
    Deleted { time: String, first: u64, last: u64 },
}

impl Audit {
    /// Waits for a gate that is on its way out, or was killed a moment ago; one that stays is told of by [`Audit::open`].
    pub(crate) async fn wait_for_turn(directory: &Path, clock: &Clock) {
        let begun = clock.now();
        while chain::is_written(directory) && clock.now() - begun < TURN_MAX {
            tokio::time::sleep(TURN_ASKED_EVERY).await;
        }
    }

    /// Opens the log of a state directory, checks that nobody else writes it, and proves that it can be written.
    pub(crate) fn open(
        directory: &Path,
        settings: Settings,
        clock: Clock,
    ) -> Result<(Self, Keeper), Unrecorded> {
        let mut chain = Chain::open(directory, settings.rotate)?;
        let version = env!("CARGO_PKG_VERSION");
        chain.append(&Event::Started {
            time: clock.rfc3339(),
            version,
        })?;
        chain.file().sync_data()?;
        let mut audit = Self::over(chain, clock);
        audit.per_sandbox = settings.per_sandbox;
        let keeper = Keeper::open(&audit, directory, settings)?;
        Ok((audit, keeper))
    }

    fn over(chain: Chain, clock: Clock) -> Self {
        let state = State {
            chain,
            standing: Standing::Healthy,
            folds: Folds::default(),
            unsynced: false,
            heads_trouble: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            rotated: Arc::default(),
            per_sandbox: u64::MAX,
            metrics: Metrics::new(),
            spans: Spans::default(),
            clock,
        }
    }

    /// A log over any file, for tests of what happens when writing fails.
    #[cfg(test)]
    pub(crate) fn over_file(file: File, clock: Clock) -> Self {
        Self::over(Chain::fresh(file), clock)
    }

    /// Whether a call may begin. After a failed write this is where writing is tried again, so that no call has an effect
    /// that could not be recorded.
    pub(crate) fn ready(&self) -> Result<(), Unrecorded> {
        let mut state = self.lock();
        let trouble = match &state.standing {
            Standing::Healthy => return Ok(()),
            Standing::Lost(trouble) => return Err(io::Error::other(trouble.clone()).into()),
            Standing::Troubled(trouble) => trouble.clone(),
        };
        let time = self.clock.rfc3339();
        state.append(&Event::Recovered {
            time,
            trouble: &trouble,
        })?;
        tracing::info!(trouble, "the audit log can be written again");
        Ok(())
    }

    /// Writes a call's intent; it is with the kernel when this returns.
    pub(crate) fn begun(&self, line: &Line) -> Result<(), Unrecorded> {
        self.lock().append(&line.begun())
    }

    /// Writes a call's line; it is with the kernel when this returns.
    pub(crate) fn append(&self, line: &Line) -> Result<Kept, Unrecorded> {
        let mut state = self.lock();
        state.append(line)?;
        if state.chain.has_retired() {
            self.rotated.notify_one();
        }
        Ok(Kept::Written)
    }

    /// Writes the line of a call that was never begun, or counts it where it is a refusal like others before it.
    pub(crate) fn append_or_count(&self, line: &Line) -> Result<Kept, Unrecorded> {
        if may_fold(line) && self.lock().folds.take(line, self.clock.now()) == Kept::Counted {
            return Ok(Kept::Counted);
        }
        self.append(line)
    }

    /// How many bytes of lines one sandbox may have a day.
    pub(crate) fn per_sandbox(&self) -> u64 {
        self.per_sandbox
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where spans go.
    pub(crate) fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Sends spans there from now on.
    #[must_use]
    pub(crate) fn with_spans(mut self, spans: Spans) -> Self {
        self.spans = spans;
        self
    }

    /// What is wrong, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        match &state.standing {
            Standing::Healthy => state.heads_trouble.as_ref().map(|trouble| {
                format!("the audit's head cannot be kept outside of the log: {trouble}")
            }),
            Standing::Troubled(trouble) | Standing::Lost(trouble) => {
                Some(format!("the audit log cannot be written: {trouble}"))
            }
        }
    }

    /// The number and the hash of the last line.
    pub(crate) fn head(&self) -> (u64, String) {
        let state = self.lock();
        let (seq, hash) = state.chain.head();
        (seq, hash.to_owned())
    }

    /// Forces what was written onto the disk, and says whether all of it is there.
    async fn sync(&self) -> bool {
        let Some(files) = self.lock().unsynced_files() else {
            return true;
        };
        let sync = move || files?.iter().try_for_each(File::sync_data);
        let error = match tokio::task::spawn_blocking(sync).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "the audit log could not be synced");
        self.lock().standing = Standing::Lost(error);
        false
    }

    /// Writes what was counted and is due, or all of it.
    fn write_counts(&self, all: bool) {
        let mut state = self.lock();
        let due = state.folds.due(self.clock.now(), all);
        let until = self.clock.rfc3339();
        for counted in due {
            // The log's own trouble refuses the calls to come; what was counted waits for its end.
            if state.append(&counted.line(&until)).is_err() {
                state.folds.put_back(counted, self.clock.now());
            }
        }
    }

    fn heads_trouble(&self, trouble: Option<String>) {
        self.lock().heads_trouble = trouble;
    }

    /// Returns after a file was put aside.
    async fn rotated(&self) {
        self.rotated.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while appending leaves at worst a cut line, which the next append starts anew behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, event: &impl Serialize) -> Result<(), Unrecorded> {
        match self.chain.append(event) {
            Ok(()) => {
                self.unsynced = true;
                if !matches!(self.standing, Standing::Lost(_)) {
                    self.standing = Standing::Healthy;
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the audit log could not be written");
                if !matches!(self.standing, Standing::Lost(_)) {
                    self.standing = Standing::Troubled(error.to_string());
                }
                Err(error.into())
            }
        }
    }

    fn unsynced_files(&mut self) -> Option<io::Result<Vec<File>>> {
        std::mem::take(&mut self.unsynced).then(|| self.chain.unsynced())
    }
}

#[cfg(test)]
mod tests;
