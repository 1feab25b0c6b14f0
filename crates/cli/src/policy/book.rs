//! The rules of a config, read as the gate reads them. Never looks at secrets, sources or sandboxes.

use std::path::Path;

use postern_contract::{
    AgentName,
    config::{Document, Granted},
};
use postern_policy::{Authority, Holder, Rulebook};
use postern_proxy::Doorway;

use crate::Failure;

/// Compiled rules, and whose calls they judge.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) rules: Rulebook,
    document: Document<Granted>,
}

impl Book {
    /// Reads and compiles a config.
    pub(super) fn read(config: &Path) -> Result<Self, Failure> {
        let loaded = postern_daemon::config::read::<Document<Granted>>(config);
        let loaded = loaded.map_err(|error| Failure::Config(error.to_string()))?;
        let document = loaded.document;
        let rules = Rulebook::compile(&document)
            .map_err(|problems| Failure::Config(loaded.source.errors(&problems).to_string()))?;
        Ok(Self { rules, document })
    }

    /// What a CONNECT of somebody's meets at the gate besides the rules.
    pub(super) fn doorway(&self, holder: Holder<'_>, authority: &Authority) -> Doorway {
        postern_proxy::doorway(&self.document, holder, authority)
    }

    /// The agent of that name, or the one that is meant where none is named.
    pub(super) fn agent(&self, named: Option<&str>) -> Result<&AgentName, Failure> {
        let agents: Vec<_> = self.document.agents.keys().collect();
        let known = |name: &str| agents.iter().find(|agent| agent.as_str() == name);
        let (found, wrong) = match (named, &self.document.default_agent, agents.as_slice()) {
            (Some(name), ..) => (known(name), format!("there is no agent `{name}`")),
            (None, Some(name), _) => (known(name.as_str()), format!("there is no agent `{name}`")),
            (None, None, [only]) => (Some(only), String::new()),
            (None, None, _) => (None, "say for which agent".to_owned()),
        };
        found.copied().ok_or_else(|| {
            let names: Vec<_> = agents.iter().map(|agent| agent.as_str()).collect();
            Failure::Usage(format!("{wrong}: defined are {}", names.join(", ")))
        })
    }
}
