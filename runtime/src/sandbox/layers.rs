//! Which walls a sandbox must have, and whether it has them. Never weakens anything that the operator did not name.

use std::collections::BTreeSet;

use postern_contract::launch::{Enforced, Layer, Limits, Obstacle, Standing};
use serde::Serialize;

use super::Wanted;

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

/// Walls that are told of where they are absent, and required only where the config says `require`.
const BEST_EFFORT: &[Layer] = &[
    Layer::Cgroup,
    Layer::CgroupNamespace,
    Layer::Divert,
    Layer::Landlock,
];

/// What decides about the walls of one sandbox.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands<'a> {
    limits: &'a Limits,
    require: &'a BTreeSet<Layer>,
    allow_weaker: &'a BTreeSet<Layer>,
}

impl<'a> Demands<'a> {
    /// For this sandbox.
    pub(super) fn of(wanted: &'a Wanted) -> Self {
        Self {
            limits: &wanted.limits,
            require: &wanted.require,
            allow_weaker: &wanted.allow_weaker,
        }
    }
}

/// A required wall does not stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the layer `{layer}` is required but absent: {why}; mend that, or say `allow_weaker = [\"{layer}\"]` for the agent"
)]
pub struct LayerAbsent {
    layer: String,
    why: String,
}

/// A wall that may be absent, and is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weakened {
    /// Which.
    pub layer: Layer,
    /// Why.
    pub why: String,
}

/// What the operator can say in the config where a wall cannot be had.
pub(super) fn way_around(obstacle: &Obstacle) -> String {
    let named = |layer: &Layer| REQUIRED.contains(layer) || BEST_EFFORT.contains(layer);
    match obstacle.layer.filter(named) {
        Some(layer) => format!("; or say `allow_weaker = [\"{layer}\"]` for the agent"),
        None => String::new(),
    }
}

pub(super) fn required(demands: &Demands<'_>) -> Vec<Layer> {
    asked_for(demands)
        .difference(demands.allow_weaker)
        .copied()
        .collect()
}

/// What every sandbox has, what holds the limits that were written for this one, and what its config asks for.
fn asked_for(demands: &Demands<'_>) -> BTreeSet<Layer> {
    let limits = demands.limits;
    let of_all_together = limits.memory_bytes.is_some() || limits.cpu_percent.is_some();
    let more = of_all_together.then_some(Layer::Cgroup);
    let always = REQUIRED.iter().copied().chain(more);
    always.chain(demands.require.iter().copied()).collect()
}

/// Compares what was built with what was required, and says what is weaker than it could be.
pub(super) fn compare(
    enforced: &Enforced,
    demands: &Demands<'_>,
) -> Result<Vec<Weakened>, LayerAbsent> {
    for layer in required(demands) {
        if let Some(why) = absence(enforced, layer) {
            return Err(LayerAbsent {
                layer: layer.to_string(),
                why,
            });
        }
    }
    let asked_for = asked_for(demands);
    let weakened = asked_for.intersection(demands.allow_weaker).copied();
    let weakened =
        weakened.filter_map(|layer| absence(enforced, layer).map(|why| Weakened { layer, why }));
    let effort = BEST_EFFORT
        .iter()
        .filter(|layer| !asked_for.contains(layer));
    let missed =
        effort.filter_map(|&layer| absence(enforced, layer).map(|why| Weakened { layer, why }));
    Ok(weakened.chain(missed).collect())
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

    /// What is said of a sandbox with these limits, these required and these allowed to be absent.
    fn judged(
        enforced: &Enforced,
        limits: &Limits,
        (require, allow_weaker): (&[Layer], &[Layer]),
    ) -> Result<Vec<Weakened>, LayerAbsent> {
        let demands = Demands {
            limits,
            require: &require.iter().copied().collect(),
            allow_weaker: &allow_weaker.iter().copied().collect(),
        };
        let told = compare(enforced, &demands);
        let required = required(&demands);
        assert!(allow_weaker.iter().all(|layer| !required.contains(layer)));
        told
    }

    fn whole() -> Enforced {
        let all = REQUIRED.iter().chain(BEST_EFFORT);
        all.map(|layer| (*layer, Standing::Enforced("yes".to_owned())))
            .collect()
    }

    #[test]
    fn an_absent_layer_is_an_error_with_its_name_unless_it_was_named() {
        let mut enforced = whole();
        assert_eq!(
            judged(&enforced, &Limits::default(), (&[], &[])),
            Ok(Vec::new())
        );
        enforced.insert(
            Layer::SeparateUid,
            Standing::Absent("ordinary user".to_owned()),
        );
        let error = judged(&enforced, &Limits::default(), (&[], &[]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`separate_uid`") && error.contains("ordinary user"),
            "{error}"
        );
        let weakened = judged(&enforced, &Limits::default(), (&[], &[Layer::SeparateUid])).unwrap();
        assert_eq!(weakened[0].layer, Layer::SeparateUid);
    }

    #[test]
    fn the_filter_and_the_limits_are_no_best_effort() {
        for layer in [Layer::Seccomp, Layer::ResourceLimits] {
            let mut enforced = whole();
            enforced.remove(&layer);
            assert!(
                judged(&enforced, &Limits::default(), (&[], &[])).is_err(),
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
        let mut enforced = whole();
        enforced.remove(&Layer::Cgroup);
        assert!(judged(&enforced, &Limits::default(), (&[], &[])).is_ok());
        let error = judged(&enforced, &written, (&[], &[]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`cgroup`"), "{error}");
        let weakened = judged(&enforced, &written, (&[], &[Layer::Cgroup])).unwrap();
        assert_eq!(weakened[0].layer, Layer::Cgroup);
    }

    #[test]
    fn silence_is_absence() {
        let mut enforced = whole();
        enforced.remove(&Layer::NetNamespace);
        assert!(judged(&enforced, &Limits::default(), (&[], &[])).is_err());
    }

    #[test]
    fn a_layer_of_best_effort_is_told_where_it_is_absent_and_stops_only_where_it_is_asked_for() {
        let mut enforced = whole();
        let unlimited = Limits::default();
        enforced.remove(&Layer::Divert);
        assert!(judged(&enforced, &unlimited, (&[Layer::Divert], &[])).is_err());
        let why = Standing::Absent("no nf_tables".to_owned());
        enforced.insert(Layer::Divert, why);
        let told = judged(&enforced, &unlimited, (&[], &[])).unwrap();
        assert_eq!(told[0].layer, Layer::Divert);
        let error = judged(&enforced, &unlimited, (&[Layer::Divert], &[])).unwrap_err();
        assert!(error.to_string().contains("`divert`"), "{error}");
        let both = (&[Layer::Divert][..], &[Layer::Divert][..]);
        assert_eq!(judged(&enforced, &unlimited, both).unwrap(), told);
    }
}
