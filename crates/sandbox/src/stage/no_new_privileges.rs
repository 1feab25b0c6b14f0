//! No program ever gains privilege by being started, and no process leaves its memory behind. Never undone: the kernel
//! has no way to.

use nix::sys::{
    prctl::{set_dumpable, set_no_new_privs},
    resource::{Resource, setrlimit},
};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::{Ledger, stops};

/// Gives up gaining privileges and dumping core. The process itself cannot be traced or looked into from now on; what
/// it executes can, by its own kind.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let step = "cannot give up new privileges";
    set_no_new_privs()
        .and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0))
        .and_then(|()| set_dumpable(false))
        .map_err(stops(Layer::NoNewPrivileges, step))?;
    ledger.enforced(Layer::NoNewPrivileges, "set, no core dumps");
    Ok(())
}
