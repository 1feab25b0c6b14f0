//! No capability in any set, for good. Never keeps one for the agent; the launcher's own end keeps the right to listen
//! on low ports, inside its network namespace.

use postern_contract::launch::{Layer, Obstacle};
use postern_sys::capability::{self, Set};

use crate::ledger::{Ledger, stops};

/// Drops everything, for what will run as the agent.
pub(crate) fn drop_all(ledger: &mut Ledger) -> Result<(), Obstacle> {
    reduce_to(Set::EMPTY)?;
    ledger.enforced(Layer::Capabilities, "all sets empty, secure bits locked");
    Ok(())
}

/// Drops everything but the right to bind ports below 1024 inside, for the launcher itself.
pub(crate) fn keep_low_ports() -> Result<(), Obstacle> {
    reduce_to(capability::NET_BIND_SERVICE)
}

fn reduce_to(set: Set) -> Result<(), Obstacle> {
    let step = "cannot drop capabilities";
    capability::seal()
        .and_then(|()| capability::keep_only(set))
        .map_err(stops(Layer::Capabilities, step))
}
