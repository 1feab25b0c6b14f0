//! A cgroup namespace, so that /proc/self/cgroup does not tell where on the host the sandbox lives. Never limits
//! anything: that is `cgroup.rs`.

use nix::sched::{CloneFlags, unshare};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::Ledger;

/// Enters a cgroup namespace if the kernel has them. Must come in the sandbox's own group: that one is the top inside.
pub(crate) fn enter(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let entered = unshare(CloneFlags::CLONE_NEWCGROUP);
    ledger.attempt(Layer::CgroupNamespace, "host cgroup paths hidden", entered)
}
