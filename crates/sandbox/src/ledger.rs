//! What was enforced, written down while it happens, so that nobody claims a layer that nobody built. Never enforces
//! anything itself; what it refuses is a required layer that is absent.

use std::{collections::BTreeSet, fmt::Display};

use postern_contract::launch::{Enforced, Layer, Obstacle, Standing};

/// The layers that a sandbox cannot do without, and those that it has so far.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    required: BTreeSet<Layer>,
    held: Enforced,
}

impl Ledger {
    /// An empty ledger.
    pub(crate) fn new(required: BTreeSet<Layer>) -> Self {
        Self {
            required,
            held: Enforced::new(),
        }
    }

    /// A layer holds; says how.
    pub(crate) fn enforced(&mut self, layer: Layer, how: impl Into<String>) {
        self.held.insert(layer, Standing::Enforced(how.into()));
    }

    /// A layer does not hold. An error if the sandbox must not be without it.
    pub(crate) fn absent(&mut self, why: Obstacle) -> Result<(), Obstacle> {
        let Some(layer) = why.layer else {
            return Err(why);
        };
        if self.required.contains(&layer) {
            return Err(why);
        }
        self.held.insert(layer, Standing::Absent(why.to_string()));
        Ok(())
    }

    /// A layer holds if the step went well, and is absent with the step's error otherwise.
    pub(crate) fn attempt<E: Display>(
        &mut self,
        layer: Layer,
        how: &str,
        step: Result<(), E>,
    ) -> Result<(), Obstacle> {
        match step {
            Ok(()) => {
                self.enforced(layer, how);
                Ok(())
            }
            Err(error) => self.absent(Obstacle::layer(layer, error.to_string())),
        }
    }

    /// The report.
    pub(crate) fn report(self) -> Enforced {
        self.held
    }
}

/// Turns the error of a step without which there is no sandbox into the obstacle that names it.
pub(crate) fn stops<E: Display>(layer: Layer, step: impl Display) -> impl FnOnce(E) -> Obstacle {
    move |error| Obstacle::layer(layer, format!("{step}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_layer_that_is_absent_stops_the_launch() {
        let mut ledger = Ledger::new(BTreeSet::from([Layer::Landlock]));
        assert!(
            ledger
                .absent(Obstacle::layer(Layer::Cgroup, "no tree"))
                .is_ok()
        );
        let refused = ledger.absent(Obstacle::layer(Layer::Landlock, "not built in"));
        assert_eq!(refused.unwrap_err().layer, Some(Layer::Landlock));
    }

    #[test]
    fn the_report_tells_the_remedy_too() {
        let mut ledger = Ledger::new(BTreeSet::new());
        ledger
            .absent(Obstacle::layer(Layer::Cgroup, "no tree").with_fix("mount one"))
            .unwrap();
        ledger
            .attempt::<&str>(Layer::Seccomp, "on", Ok(()))
            .unwrap();
        let report = ledger.report();
        assert_eq!(
            report[&Layer::Cgroup],
            Standing::Absent("no tree; mount one".to_owned())
        );
        assert_eq!(report[&Layer::Seccomp], Standing::Enforced("on".to_owned()));
    }
}
