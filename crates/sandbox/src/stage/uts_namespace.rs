//! A host name of the sandbox's own. Never changes the host's.

use nix::{
    sched::{CloneFlags, unshare},
    unistd::sethostname,
};
use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::{Ledger, stops};

/// Enters a UTS namespace and names it.
pub(crate) fn enter(hostname: &str, ledger: &mut Ledger) -> Result<(), Obstacle> {
    let step = "cannot make a UTS namespace";
    unshare(CloneFlags::CLONE_NEWUTS).map_err(stops(Layer::UtsNamespace, step))?;
    let step = "cannot set the host name";
    sethostname(hostname).map_err(stops(Layer::UtsNamespace, step))?;
    ledger.enforced(Layer::UtsNamespace, format!("host name {hostname}"));
    Ok(())
}
