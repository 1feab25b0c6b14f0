//! System V and POSIX message queues, semaphores and shared memory of the sandbox's own. Never touches the host's.

use nix::sched::{CloneFlags, unshare};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::{Ledger, stops};

/// Enters an IPC namespace.
pub(crate) fn enter(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let step = "cannot make an IPC namespace";
    unshare(CloneFlags::CLONE_NEWIPC).map_err(stops(Layer::IpcNamespace, step))?;
    ledger.enforced(Layer::IpcNamespace, "own queues and shared memory");
    Ok(())
}
