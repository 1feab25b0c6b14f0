//! The record of every call: one JSON line each, chained by hash, written before the end of the answer reaches the
//! agent. Never holds a secret, a body or a query string; never goes on silently when it cannot be written.
//!
//! ```text
//! decided ─▶ Line ─▶ seal.rs waits for the answer's last frame ─▶ append: write(2) returned ─▶ last frame passes
//!                                                                  every second: fdatasync
//! healthy ── a write fails ─▶ in trouble (calls are refused) ── a later write passes ─▶ healthy
//!         ── a sync fails ──▶ lost: refused until the gate is started again, since the kernel may have dropped lines
//! ```

mod chain;
mod line;
mod seal;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use postern_daemon::Clock;
use serde::Serialize;

use self::chain::Chain;
pub(crate) use self::{
    line::{Decision, Door, Line, Timings, cut},
    seal::Sealed,
};

/// The file in the gate's state directory.
pub(crate) const FILE_NAME: &str = "audit.jsonl";

/// How often lines are forced onto the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Why a call cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub(crate) struct Unrecorded(#[from] io::Error);

/// The log. Clones write to the same file.
#[derive(Clone)]
pub(crate) struct Audit {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

struct State {
    chain: Chain,
    standing: Standing,
    unsynced: bool,
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
}

impl Audit {
    /// Opens the log, checks that nobody else writes it, and proves that it can be written.
    pub(crate) fn open(state_directory: &Path, clock: Clock) -> Result<Self, Unrecorded> {
        let mut chain = Chain::open(&state_directory.join(FILE_NAME))?;
        let version = env!("CARGO_PKG_VERSION");
        chain.append(&Event::Started {
            time: clock.rfc3339(),
            version,
        })?;
        chain.file().sync_data()?;
        Ok(Self::over(chain, clock))
    }

    fn over(chain: Chain, clock: Clock) -> Self {
        let state = State {
            chain,
            standing: Standing::Healthy,
            unsynced: false,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
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
    pub(crate) fn append(&self, line: &Line) -> Result<(), Unrecorded> {
        self.lock().append(line)
    }

    /// What is wrong, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &self.lock().standing {
            Standing::Healthy => None,
            Standing::Troubled(trouble) | Standing::Lost(trouble) => {
                Some(format!("the audit log cannot be written: {trouble}"))
            }
        }
    }

    /// Forces lines onto the disk every second, for as long as the gate lives.
    pub(crate) async fn keep_synced(self) {
        let mut tick = tokio::time::interval(SYNC_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.sync().await;
        }
    }

    /// Forces what was written onto the disk.
    pub(crate) async fn sync(&self) {
        let Some(file) = self.lock().unsynced_file() else {
            return;
        };
        let synced = tokio::task::spawn_blocking(move || file?.sync_data()).await;
        let error = match synced {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(error, "the audit log could not be synced");
        self.lock().standing = Standing::Lost(error);
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

    fn unsynced_file(&mut self) -> Option<io::Result<File>> {
        std::mem::take(&mut self.unsynced).then(|| self.chain.file().try_clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_trouble_until_a_write_passes() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let audit = Audit::over_file(full, Clock::manual(0));
        assert!(audit.ready().is_ok());
        assert!(audit.append(&Line::default()).is_err());
        assert!(audit.ready().is_err());
        assert!(audit.trouble().unwrap().contains("No space left"));

        let directory = tempfile::tempdir().unwrap();
        audit.lock().chain = Chain::open(&directory.path().join(FILE_NAME)).unwrap();
        assert!(audit.ready().is_ok());
        assert!(audit.trouble().is_none());
    }

    #[tokio::test]
    async fn a_failed_sync_is_not_forgiven() {
        let (pipe, _writer) = io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
        let audit = Audit::over_file(pipe, Clock::manual(0));
        audit.lock().unsynced = true;
        audit.sync().await;
        assert!(audit.ready().is_err());
    }
}
