//! posternd's store: runs, their events, installed agents. Never decides what a run may do next beyond refusing to end
//! a run twice.
//!
//! ```text
//!            begin_run                      finish_run
//!   (nothing) ───────▶ RUNNING ──────────────────────────▶ COMPLETED | FAILED
//!                        │  ▲                                   ▲
//!             pause_run  ▼  │ take_up                           │ sweep_interrupted: the daemon was
//!                PAUSED_APPROVAL | PAUSED_CONSENT ──────────────┘ killed while the run was RUNNING
//! ```
//!
//! Every change is one transaction that is on the disk when the call returns. A call costs one commit, so an
//! invocation costs two: [`Runs::begin_run`] and [`Runs::finish_run`], each of which takes events along.

mod agents;
mod event;
mod pause;
mod run;

pub use agents::Installed;
pub use event::{EventType, NewEvent, StoredEvent};
pub use pause::{Pause, Paused};
pub use run::{Begun, End, INTERRUPTED, NewRun, Run, RunFilter, RunStatus};

use postern_contract::RunId;

use crate::sqlite::{Database, DatabaseError};

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
}

#[cfg(test)]
mod tests;
