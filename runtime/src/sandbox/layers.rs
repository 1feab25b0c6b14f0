//! Which walls a sandbox must have, and whether it has them. Never weakens anything that the operator did not name.

use std::collections::BTreeSet;

use postern_contract::launch::{Enforced, Layer, Limits, Obstacle, Standing};
use serde::Serialize;

/// Walls without which no sandbox starts unless `allow_weaker` names them. The others are best effort until their issue.
pub const REQUIRED: &[Layer] = &[
    Layer::UserNamespace,
    Layer::MountNamespace,
    Layer::PidNamespace,
    Layer::Overlay,
    Layer::NetNamespace,
    Layer::IpcNamespace,
    Layer::UtsNamespace,
    Layer::SeparateUid,
    Layer::FreshProc,
    Layer::Capabilities,
    Layer::NoNewPrivileges,
    Layer::Seccomp,
    Layer::ResourceLimits,
];

/// A required wall does not stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the layer `{layer}` is required but absent: {why}; mend that, or say `allow_weaker = [\"{layer}\"]` for the agent"
)]
pub struct LayerAbsent {
    layer: String,
    why: String,
}

/// A wall that was allowed to be absent, and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weakened {
    /// Which.
    pub layer: Layer,
    /// Why.
    pub why: String,
}

/// What the operator can say in the config where a wall cannot be had.
pub(super) fn way_around(obstacle: &Obstacle) -> String {
    match obstacle
        .layer
        .filter(|layer| REQUIRED.contains(layer) || *layer == Layer::Cgroup)
    {
        Some(layer) => format!("; or say `allow_weaker = [\"{layer}\"]` for the agent"),
        None => String::new(),
    }
}

pub(super) fn required(limits: &Limits, allow_weaker: &BTreeSet<Layer>) -> Vec<Layer> {
    asked_for(limits)
        .filter(|layer| !allow_weaker.contains(layer))
        .collect()
}

/// What every sandbox has, and what holds the limits that were written for this one.
fn asked_for(limits: &Limits) -> impl Iterator<Item = Layer> {
    let of_all_together = limits.memory_bytes.is_some() || limits.cpu_percent.is_some();
    let more = of_all_together.then_some(Layer::Cgroup);
    REQUIRED.iter().copied().chain(more)
}

/// Compares what was built with what was required, and says what is weaker than it could be.
pub(super) fn compare(
    enforced: &Enforced,
    limits: &Limits,
    allow_weaker: &BTreeSet<Layer>,
) -> Result<Vec<Weakened>, LayerAbsent> {
    for layer in required(limits, allow_weaker) {
        if let Some(why) = absence(enforced, layer) {
            return Err(LayerAbsent {
                layer: layer.to_string(),
                why,
            });
        }
    }
    let weakened = asked_for(limits).filter(|layer| allow_weaker.contains(layer));
    Ok(weakened
        .filter_map(|layer| absence(enforced, layer).map(|why| Weakened { layer, why }))
        .collect())
}

fn absence(enforced: &Enforced, layer: Layer) -> Option<String> {
    match enforced.get(&layer) {
        Some(Standing::Enforced(_)) => None,
        Some(Standing::Absent(why)) => Some(why.clone()),
        None => Some("the launcher did not speak of it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Enforced {
        REQUIRED
            .iter()
            .map(|layer| (*layer, Standing::Enforced("yes".to_owned())))
            .collect()
    }

    #[test]
    fn an_absent_layer_is_an_error_with_its_name_unless_it_was_named() {
        let mut enforced = whole();
        assert_eq!(
            compare(&enforced, &Limits::default(), &BTreeSet::new()),
            Ok(Vec::new())
        );
        enforced.insert(
            Layer::SeparateUid,
            Standing::Absent("ordinary user".to_owned()),
        );
        let error = compare(&enforced, &Limits::default(), &BTreeSet::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`separate_uid`") && error.contains("ordinary user"),
            "{error}"
        );
        let weakened = compare(
            &enforced,
            &Limits::default(),
            &BTreeSet::from([Layer::SeparateUid]),
        )
        .unwrap();
        assert_eq!(weakened[0].layer, Layer::SeparateUid);
    }

    #[test]
    fn the_filter_and_the_limits_are_no_best_effort() {
        for layer in [Layer::Seccomp, Layer::ResourceLimits] {
            let mut enforced = whole();
            enforced.remove(&layer);
            assert!(
                compare(&enforced, &Limits::default(), &BTreeSet::new()).is_err(),
                "{layer:?}"
            );
        }
    }

    #[test]
    fn a_limit_that_was_written_takes_the_layer_that_holds_it() {
        let written = Limits {
            memory_bytes: Some(1 << 29),
            ..Limits::default()
        };
        let none = BTreeSet::new();
        assert!(compare(&whole(), &Limits::default(), &none).is_ok());
        let error = compare(&whole(), &written, &none).unwrap_err().to_string();
        assert!(error.contains("`cgroup`"), "{error}");
        let named = BTreeSet::from([Layer::Cgroup]);
        let weakened = compare(&whole(), &written, &named).unwrap();
        assert_eq!(weakened[0].layer, Layer::Cgroup);
        assert!(!required(&written, &named).contains(&Layer::Cgroup));
    }

    #[test]
    fn silence_is_absence() {
        let mut enforced = whole();
        enforced.remove(&Layer::NetNamespace);
        assert!(compare(&enforced, &Limits::default(), &BTreeSet::new()).is_err());
    }
}
