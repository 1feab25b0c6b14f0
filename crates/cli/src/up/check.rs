//! Both daemons' own checks of the config, before anything is made or started. Never judges a key itself.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use postern_contract::{Digest, config::Listen};
use postern_runtime::source::Source;

use crate::Failure;

/// What this command needs of the config.
pub(super) struct Checked {
    /// Where the config wants to listen.
    pub(super) listen: Listen,
    /// What of the host the agents see.
    pub(super) shown: Vec<PathBuf>,
    /// What archives and images must hash to.
    pub(super) pinned: Vec<Digest>,
    /// What the gate makes of the config, for people.
    pub(super) gate: postern_proxy::Checked,
}

/// Checks the config as both daemons will.
pub(super) fn both(config: &Path) -> Result<Checked, Failure> {
    let wrong = |error: &dyn Display| Failure::Config(error.to_string());
    let runtime = postern_runtime::config::read(config).map_err(|error| wrong(&error))?;
    let mut gate = postern_proxy::check(config).map_err(|error| wrong(&error))?;
    gate.warnings.extend(runtime.warnings);
    let agents = runtime.agents.values();
    let shown = agents
        .clone()
        .flat_map(|agent| agent.sandbox.read_only.clone())
        .collect();
    let sources = agents.filter_map(|agent| agent.kind.source());
    Ok(Checked {
        listen: runtime.listen,
        shown,
        pinned: sources.filter_map(Source::sha256).collect(),
        gate,
    })
}
