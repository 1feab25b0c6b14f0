//! No capability in any set, for good. Never keeps one, neither for the agent nor for the launcher's own end.

use postern_contract::launch::{Layer, Obstacle};
use postern_sys::capability::{self, Set};

use crate::ledger::{Ledger, stops};

/// Drops everything, for what will run as the agent.
pub(crate) fn drop_all(ledger: &mut Ledger) -> Result<(), Obstacle> {
    give_up_own()?;
    ledger.enforced(Layer::Capabilities, "all sets empty, secure bits locked");
    Ok(())
}

/// The same for the launcher itself: all that needs one is done.
pub(crate) fn give_up_own() -> Result<(), Obstacle> {
    let step = "cannot drop capabilities";
    capability::seal()
        .and_then(|()| capability::keep_only(Set::EMPTY))
        .map_err(stops(Layer::Capabilities, step))
}
