//! posternd's store: runs, their events, installed agents. Never decides what a run may do next beyond refusing to end
//! a run twice.
//!
//! ```text
//!            begin_run                      finish_run
//!   (nothing) ───────▶ RUNNING ──────────────────────────▶ COMPLETED | FAILED
//!                        │  ▲                                   ▲
//!  pause_run, put_back   ▼  │ take_up                           │ sweep_interrupted: the daemon was
//!                PAUSED_APPROVAL | PAUSED_CONSENT ──────────────┘ killed while the run was RUNNING
//! ```
//!
//! Every change is one transaction, and on the disk when the call returns. An invocation costs two, [`Runs::begin_run`] and
//! [`Runs::finish_run`], which take events along and share their commits with those of other runs. Of a run without an
//! idempotency key these two outlive the daemon, but perhaps not the machine: nobody can ask for such a run again.

mod agents;
mod event;
mod pause;
mod printed;
mod report;
mod run;

pub use agents::Installed;
pub use event::{EventType, NewEvent, StoredEvent};
pub use pause::{Awaited, Pause, Paused};
pub use run::{Begun, End, INTERRUPTED, NewRun, Run, RunFilter, RunStatus};

pub use crate::sqlite::scribe::Kept;
use postern_contract::RunId;

use crate::sqlite::{Database, DatabaseError, scribe::Scribe};

/// Why posternd's store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// The caller chose a run id that exists.
    #[error("run {0} exists already")]
    RunTaken(RunId),
    /// No such run.
    #[error("run {0} not found")]
    NoSuchRun(RunId),
    /// The run is over; nothing can be added to it.
    #[error("run {0} has ended")]
    Ended(RunId),
    /// Nobody took the run up, so it cannot be put back.
    #[error("run {0} was not taken up")]
    NotTaken(RunId),
    /// A run cannot end in this status.
    #[error("{0:?} is no end of a run")]
    NotAnEnd(RunStatus),
    /// The database itself failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// posternd's database. Clones share it.
#[derive(Debug, Clone)]
pub struct Runs {
    database: Database,
    scribe: Scribe,
}

#[cfg(test)]
mod tests;
