//! The rules of a config, read as the gate reads them. Never looks at secrets, sources or sandboxes.

use std::path::Path;

use postern_contract::{
    AgentName,
    config::{Document, Granted},
};
use postern_policy::Rulebook;

use crate::Failure;

/// Compiled rules, and whose calls they judge.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: Rulebook,
    agents: Vec<AgentName>,
    default: Option<AgentName>,
}

impl Book {
    /// Reads and compiles a config.
    pub(super) fn read(config: &Path) -> Result<Self, Failure> {
        let loaded = postern_daemon::config::read::<Document<Granted>>(config);
        let loaded = loaded.map_err(|error| Failure::Config(error.to_string()))?;
        let document = loaded.document;
        let rules = Rulebook::compile(&document)
            .map_err(|problems| Failure::Config(loaded.source.errors(&problems).to_string()))?;
        Ok(Self {
            rules,
            agents: document.agents.into_keys().collect(),
            default: document.default_agent,
        })
    }

    /// The agent of that name, or the one that is meant where none is named.
    pub(super) fn agent(&self, named: Option<&str>) -> Result<&AgentName, Failure> {
        let known = |name: &str| self.agents.iter().find(|agent| agent.as_str() == name);
        let (found, wrong) = match (named, &self.default, self.agents.as_slice()) {
            (Some(name), ..) => (known(name), format!("there is no agent `{name}`")),
            (None, Some(name), _) => (known(name.as_str()), format!("there is no agent `{name}`")),
            (None, None, [only]) => (Some(only), String::new()),
            (None, None, _) => (None, "say for which agent".to_owned()),
        };
        found.ok_or_else(|| {
            let names: Vec<_> = self.agents.iter().map(AgentName::as_str).collect();
            Failure::Config(format!(
                "postern: {wrong}: defined are {}",
                names.join(", ")
            ))
        })
    }
}
