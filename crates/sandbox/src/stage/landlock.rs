//! Landlock rules as a second wall behind the mount namespace. Not built yet: says so, and lets no sandbox start that
//! requires it.

use postern_contract::launch::{Layer, Obstacle};

use crate::ledger::Ledger;

/// Reports the layer as absent.
pub(crate) fn apply(ledger: &mut Ledger) -> Result<(), Obstacle> {
    let why = "comes with a later version; the mount namespace alone decides what is seen";
    ledger.absent(Obstacle::layer(Layer::Landlock, why))
}
