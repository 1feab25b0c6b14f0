//! What an agent's install needs of the config. Never decides what it may reach: that is the gate's.

use std::collections::{BTreeMap, BTreeSet};

use postern_contract::config::{AgentGrants, Document, Stage};

use super::{AgentWritten, Wrong};
use crate::source;

/// What an agent's install may do.
#[derive(Debug, Clone, Default)]
pub struct Installing {
    /// Ports at which connections by address may be for something, by the install's stage.
    ports: BTreeMap<Stage, BTreeSet<u16>>,
    leave: Vec<String>,
}

impl Installing {
    pub(super) fn mean(written: &AgentWritten, document: &Document<AgentWritten>) -> Self {
        let install = written.install();
        let ports = |stage| document.captured_ports(&install.granted(stage));
        let tools = install.tools.iter().map(|tool| format!("tool {tool}"));
        let fetch = install.fetch.iter().map(|policy| format!("fetch {policy}"));
        let setup = install.setup.iter().map(|policy| format!("setup {policy}"));
        Self {
            ports: Stage::ALL.map(|stage| (stage, ports(stage))).into(),
            leave: tools.chain(fetch).chain(setup).collect(),
        }
    }

    /// The names of all that lets it call somebody.
    pub(crate) fn leave(&self) -> &[String] {
        &self.leave
    }

    /// The ports of one stage.
    pub(crate) fn captured(&self, stage: Stage) -> BTreeSet<u16> {
        self.ports.get(&stage).cloned().unwrap_or_default()
    }
}

/// A source that is fetched must be allowed to be.
pub(super) fn check(written: &AgentWritten) -> Option<Wrong> {
    let source = written.source.as_ref()?;
    let is_fetched = match source {
        source::Written::Object(object) => object.is_fetched(),
        _ => true,
    };
    (is_fetched && written.install().fetch.is_empty()).then(|| {
        let told = "the source is fetched through the gate, which lets nothing through that no policy allows: name \
                    policies for it, as in `install = { fetch = [\"…\"] }`";
        Wrong::at(&["install", "fetch"], told)
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::load;

    #[test]
    fn a_source_that_nothing_lets_through_is_named() {
        let agent = "[agents.a]\nkind = \"python\"\nentry = \"a.py\"\nsource = { pip = { package_name = \"x\" } }\n";
        let error = load(agent).unwrap_err();
        assert!(error.contains("install = { fetch"), "{error}");
        let agent = agent.replace(
            "{ pip = { package_name = \"x\" } }",
            "{ git = { repository = \"x\" } }",
        );
        let error = load(&agent).unwrap_err();
        assert!(error.contains("`https://`"), "{error}");
    }

    #[test]
    fn what_would_be_an_option_or_another_package_is_refused() {
        let load = |source: &str| {
            let agent = "[policies.p]\n[agents.a]\nkind = \"python\"\nentry = \"a.py\"\ninstall = { fetch = [\"p\"] }\n";
            load(&format!("{agent}source = {{ {source} }}\n"))
        };
        load("git = { repository = \"https://git.example/a.git\", ref = \"v1\", renew = \"1\" }")
            .unwrap();
        load("object = { url = \"https://files.example/a.tar\", renew = \"1\" }").unwrap();
        for wrong in [
            "git = { repository = \"https://git.example/a.git\", ref = \"--upload-pack=x\" }",
            "git = { repository = \"https://git.example/a.git\", ref = \"+main:refs/heads/x\" }",
            "git = { repository = \"https://git.example/a.git\", ref = \"main~1\" }",
            "git = { repository = \"https://git.example/a.git\", agent_setup = [\" \"] }",
            "git = { repository = \"https://key@git.example/a.git\" }",
            "npm = { package_name = \"../x\" }",
            "npm = { package_name = \"x\", version = \"npm:y@1\" }",
            "pip = { package_name = \"-r\" }",
            "pip = { package_name = \"x\", registry_url = \"file:///x\" }",
            "git = { repository = \"https://git.example/a.git\", branch = \"x\" }",
            "object = { url = \"ftp://files.example/a.tar\" }",
            "object = { url = \"https://ada@files.example/a.tar\" }",
            "object = { url = \"https://files.example/a.tar\", path = \"a.tar\" }",
            "object = { url = \"https://files.example/a.tar\", sha256 = \"00\" }",
            "object = { renew = \"1\" }",
        ] {
            assert!(load(wrong).is_err(), "{wrong}");
        }
    }
}
