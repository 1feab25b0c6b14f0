//! Limits of memory, processes and CPU by cgroup. Not built yet: says so, and lets no sandbox start that requires it.

use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::Ledger;

/// Reports the layer as absent.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let why = "comes with a later version; resource_limits bounds each process until then";
    ledger.absent(Obstacle::layer(Layer::Cgroup, why))
}
