//! System V and POSIX message queues, semaphores and shared memory of the sandbox's own, and a session keyring that nobody
//! put a key into. Never touches the host's.

use nix::sched::{CloneFlags, unshare};
use postern_contract::launch::{Layer, Obstacle};
use postern_sys::keyring;

use crate::ledger::{Ledger, stops};

/// Enters an IPC namespace.
pub(crate) fn enter(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let step = "cannot make an IPC namespace";
    unshare(CloneFlags::CLONE_NEWIPC).map_err(stops(Layer::IpcNamespace, step))?;
    let mut how = "own queues and shared memory".to_owned();
    match keyring::join_fresh_session() {
        Ok(()) => how.push_str("; own session keyring"),
        // The filter refuses every call about keys besides, so that the inherited one cannot be used either.
        Err(error) => how.push_str(&format!("; no session keyring of its own ({error})")),
    }
    ledger.enforced(Layer::IpcNamespace, how);
    Ok(())
}
