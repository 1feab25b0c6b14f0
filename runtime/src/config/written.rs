//! `[agents.NAME]` as written. Never says whether the values make sense together: that is `config/mod.rs`.

use std::{collections::BTreeMap, path::PathBuf};

use postern_contract::{
    ByteSize, ModelName, Period, PolicyName, ToolName,
    config::{AgentGrants, Install},
    launch::Layer,
};
use serde::Deserialize;

use super::{acp::AcpWritten, command::CommandWritten, http::HttpWritten, terms::TermsWritten};
use crate::{agents::KindName, source};

/// `[agents.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentWritten {
    /// How calls reach the agent.
    pub kind: KindName,
    /// Where its files come from; kinds with code need it.
    pub source: Option<source::Written>,
    /// Where its files stand in the sandbox.
    pub mount: Option<PathBuf>,
    /// Its first file, beneath the mount.
    pub entry: Option<String>,
    /// Tools it may call.
    #[serde(default)]
    pub tools: Vec<ToolName>,
    /// Models it may ask; the first of a role is the default for that role.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// Policies that judge its calls. None means that every call is denied.
    #[serde(default)]
    pub policies: Vec<PolicyName>,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
    /// What its model is told first.
    pub system_prompt: Option<String>,
    /// Environment of its own; never a secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What shares a sandbox; each kind has a default of its own.
    pub isolation: Option<Isolation>,
    /// What becomes of a run where a human is asked about a call of it.
    pub on_approval: Option<OnApproval>,
    /// How often a code-less agent may ask its model in one run.
    pub max_tool_iterations: Option<u32>,
    /// `[agents.NAME.command]`.
    pub command: Option<CommandWritten>,
    /// `[agents.NAME.http]`.
    pub http: Option<HttpWritten>,
    /// `[agents.NAME.acp]`.
    pub acp: Option<AcpWritten>,
    /// `[agents.NAME.runs]`.
    #[serde(default)]
    pub runs: TermsWritten,
    /// `[agents.NAME.sandbox]`.
    #[serde(default)]
    pub sandbox: SandboxWritten,
    /// `[agents.NAME.install]`.
    #[serde(default)]
    pub install: Install,
}

/// What shares a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// All runs of the agent.
    Agent,
    /// Runs of one end user.
    User,
    /// Nothing: a sandbox for each run.
    Run,
}

/// What becomes of a run where a human is asked about a call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnApproval {
    /// The call waits, and the run with it.
    Hold,
    /// The run is put aside, and goes on after the answer, whatever happens to the devbox meanwhile.
    Pause,
}

/// `[agents.NAME.sandbox]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxWritten {
    /// Memory of all its processes and of their files in memory together; it takes the `cgroup` layer.
    pub memory: Option<ByteSize>,
    /// CPU time of all its processes together, in percent of one CPU.
    pub cpu_percent: Option<u32>,
    /// Processes and threads together.
    pub processes: Option<u32>,
    /// Room in each of the directories that it may write, /workspace among them.
    pub disk: Option<ByteSize>,
    /// How long one run may take.
    pub wall_time: Option<Period>,
    /// More of the host to show, at the same path.
    #[serde(default)]
    pub read_only: Vec<PathBuf>,
    /// Layers that must stand, of those that are best effort.
    #[serde(default)]
    pub require: Vec<Layer>,
    /// Layers that may be absent.
    #[serde(default)]
    pub allow_weaker: Vec<Layer>,
    /// Sandboxes that are up before anybody asks, where runs or users have their own.
    pub pool: Option<usize>,
    /// End users that have a sandbox at the same time, where users have their own.
    pub users: Option<usize>,
    /// How long a user's sandbox stands unused.
    pub idle: Option<Period>,
}

impl AgentWritten {
    /// What shares a sandbox: what the config says, or what fits the kind.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        let of_the_kind = match self.kind {
            KindName::Command | KindName::Acp => Isolation::Run,
            _ => Isolation::Agent,
        };
        self.isolation.unwrap_or(of_the_kind)
    }
}

impl AgentGrants for AgentWritten {
    fn tools(&self) -> &[ToolName] {
        &self.tools
    }

    fn models(&self) -> &[ModelName] {
        &self.models
    }

    fn policies(&self) -> &[PolicyName] {
        &self.policies
    }

    fn install(&self) -> &Install {
        &self.install
    }
}
