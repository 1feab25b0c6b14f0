//! What this machine can enforce, as far as the tour needs it: whether a sandbox can be built, and which layers must be
//! allowed to be absent. Never allows one silently.

use postern_contract::{
    exit,
    launch::{Layer, Standing},
};
use postern_runtime::sandbox::REQUIRED;

use crate::{Failure, doctor, identity::Mode, terminal::say};

/// The layers that have to be named in `allow_weaker`.
pub(super) fn examine(mode: Mode) -> Result<Vec<String>, Failure> {
    let findings = doctor::examine()?;
    let stopping: Vec<_> = findings
        .iter()
        .filter(|found| found.stops_everything)
        .collect();
    if !stopping.is_empty() {
        doctor::explain(mode, &stopping);
        return Err(Failure::Told(exit::RUN));
    }
    let mut weaker = Vec::new();
    for finding in &findings {
        let (Some(layer), Standing::Absent(why)) = (finding.layer, &finding.standing) else {
            continue;
        };
        let name = layer.to_string();
        // What its desk's `memory` takes, besides.
        if REQUIRED.contains(&layer) || layer == Layer::Cgroup {
            say(&format!(
                "Goes on without `{name}`, which is named in allow_weaker: {why}."
            ));
            weaker.push(name);
        }
    }
    Ok(weaker)
}
