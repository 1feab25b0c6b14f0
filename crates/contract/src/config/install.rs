//! `[agents.NAME.install]` and `[cache]` as written: what the sandboxes may reach that put an agent's files in place. Never decides, and
//! never says how files are fetched.

use std::str::FromStr;

use serde::Deserialize;

use super::{AgentGrants, Granted};
use crate::{ByteSize, PolicyName, ToolName};

/// `[agents.NAME.install]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// Tools that the fetch may call, each with its credential.
    #[serde(default)]
    pub tools: Vec<ToolName>,
    /// Policies that judge the fetch's calls. None means that every call is denied.
    #[serde(default)]
    pub fetch: Vec<PolicyName>,
    /// Policies that judge the setup's calls. None means that every call is denied.
    #[serde(default)]
    pub setup: Vec<PolicyName>,
}

/// `[cache]`: installed files that agents share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// How much is kept, at most, of files that no agent has any more; default 2 GiB.
    #[serde(default = "cache_max")]
    pub max: ByteSize,
    /// Whether files are compared with what they were each time that an agent is given them; default false.
    #[serde(default)]
    pub check: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max: cache_max(),
            check: false,
        }
    }
}

fn cache_max() -> ByteSize {
    ByteSize(2 << 30)
}

/// A sandbox's part in an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// An agent's files are fetched, and nobody's code runs.
    Fetch,
    /// What the files bring for their own setup runs, without any credential.
    Setup,
}

impl Stage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fetch, Self::Setup];

    /// The key of its policies in `[agents.NAME.install]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Setup => "setup",
        }
    }
}

/// Why a word is no stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stage is `fetch` or `setup`")]
pub struct NotAStage;

impl FromStr for Stage {
    type Err = NotAStage;

    fn from_str(word: &str) -> Result<Self, NotAStage> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == word)
            .ok_or(NotAStage)
    }
}

impl Install {
    /// All that the sandbox of one stage has been given; nothing that the agent itself has is in it.
    #[must_use]
    pub fn granted(&self, stage: Stage) -> Granted {
        let (tools, policies) = match stage {
            Stage::Fetch => (self.tools.clone(), self.fetch.clone()),
            Stage::Setup => (Vec::new(), self.setup.clone()),
        };
        Granted {
            tools,
            policies,
            ..Granted::default()
        }
    }
}

/// What a sandbox of an agent has been given: the agent itself, or a stage of its install.
#[must_use]
pub fn granted_to(agent: &impl AgentGrants, stage: Option<Stage>) -> Granted {
    match stage {
        Some(stage) => agent.install().granted(stage),
        None => Granted {
            kind: None,
            isolation: None,
            tools: agent.tools().to_vec(),
            models: agent.models().to_vec(),
            policies: agent.policies().to_vec(),
            install: Install::default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    const CONFIG: &str = r#"
[tools.git]
url = "https://git.example:8443/team/agent.git"
[[policies.sources.rules]]
name = "the repository"
permission = "allow"
resource = "https://git.example:8443/team/agent.git/*"
[[policies.packages.rules]]
name = "the registry"
permission = "allow"
resource = "https://packages.example:9443/*"
[agents.desk.install]
tools = ["git"]
fetch = ["sources"]
setup = ["packages"]
"#;

    fn document(text: &str) -> Document<Granted> {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn each_stage_has_its_own_and_the_agent_has_nothing_of_it() {
        let document = document(CONFIG);
        assert_eq!(document.problems(), []);
        let agent = &document.agents["desk"];
        let ports = |stage| -> Vec<u16> {
            let granted = granted_to(agent, stage);
            document.captured_ports(&granted).into_iter().collect()
        };
        assert_eq!(ports(None), [80, 443]);
        assert_eq!(ports(Some(Stage::Fetch)), [80, 443, 8443]);
        assert_eq!(ports(Some(Stage::Setup)), [80, 443, 9443]);
        assert!(agent.install.granted(Stage::Setup).tools.is_empty());
    }

    #[test]
    fn a_name_that_nobody_defined_is_a_problem_at_its_place() {
        let paths = |text: &str| -> Vec<String> {
            let problems = document(text).problems();
            problems.iter().map(|found| found.path.join(".")).collect()
        };
        let wrong = CONFIG.replace(r#"fetch = ["sources"]"#, r#"fetch = ["sorces"]"#);
        assert_eq!(paths(&wrong), ["agents.desk.install.fetch.0"]);
        let wrong = CONFIG.replace(r#"setup = ["packages"]"#, r#"setup = ["packages", "more"]"#);
        assert_eq!(paths(&wrong), ["agents.desk.install.setup.1"]);
        let wrong = CONFIG.replace(r#"tools = ["git"]"#, r#"tools = ["hg"]"#);
        assert_eq!(paths(&wrong), ["agents.desk.install.tools.0"]);
        let wrong = CONFIG.replace("setup = [", "models = [");
        toml::from_str::<Document<Granted>>(&wrong).unwrap_err();
    }

    #[test]
    fn a_stage_with_too_many_ports_is_a_problem_too() {
        let rules: String = (2000..2031)
            .map(|port| {
                format!(
                    "[[policies.open.rules]]\nname = \"{port}\"\npermission = \"allow\"\n\
                     resource = \"http://a.example:{port}/*\"\n"
                )
            })
            .collect();
        let problems = document(&format!(
            "{rules}\n[agents.desk.install]\nfetch = [\"open\"]\n"
        ))
        .problems();
        assert_eq!(problems[0].path.join("."), "agents.desk.install.fetch");
        assert!(problems[0].message.contains("33 ports"), "{problems:?}");
    }
}
