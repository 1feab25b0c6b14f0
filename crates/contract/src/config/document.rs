//! The whole file and the references inside it. Never decides what a value means to a daemon.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Api, Approvals, Audit, Cache, Callers, Consent, Egress, Install, Model, Policy, Provider,
    Store, Tool,
};
use crate::{AgentName, ModelName, Period, PolicyName, ProviderName, SecretName, ToolName};

/// A part of the file that belongs to the other daemon.
pub type Ignored = serde::de::IgnoredAny;

/// The file. `Agent` is what a daemon reads of `[agents.NAME]`; `Credential` and `Source` are the gate's alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    deny_unknown_fields,
    bound = "Agent: DeserializeOwned, Credential: DeserializeOwned, Source: DeserializeOwned"
)]
pub struct Document<Agent, Credential = Ignored, Source = Ignored> {
    /// Where the daemons listen.
    #[serde(default)]
    pub listen: Listen,
    /// What the public API takes.
    #[serde(default)]
    pub api: Api,
    /// Who may call it.
    #[serde(default)]
    pub callers: Callers,
    /// How long the gate waits for agents.
    #[serde(default)]
    pub patience: Patience,
    /// What becomes of the gate's audit log.
    #[serde(default)]
    pub audit: Audit,
    /// Who answers for people, and how long a call waits for them.
    #[serde(default)]
    pub approvals: Approvals,
    /// Where end users say that an agent may act for them; nowhere by default.
    pub consent: Option<Consent>,
    /// How the gate reaches the world.
    #[serde(default)]
    pub egress: Egress,
    /// Which agent the root routes serve; required as soon as there are two.
    pub default_agent: Option<AgentName>,
    /// Where local sources of agents may lie, beside the config's own directory.
    #[serde(default)]
    pub object_roots: Vec<PathBuf>,
    /// Installed files that agents share.
    #[serde(default)]
    pub cache: Cache,
    /// Where the operator's own secrets lie; nowhere by default.
    pub store: Option<Store>,
    /// Secrets by reference.
    #[serde(default = "BTreeMap::new")]
    pub secrets: BTreeMap<SecretName, Source>,
    /// Tools.
    #[serde(default = "BTreeMap::new")]
    pub tools: BTreeMap<ToolName, Tool<Credential>>,
    /// Model providers.
    #[serde(default = "BTreeMap::new")]
    pub providers: BTreeMap<ProviderName, Provider<Credential>>,
    /// Models as agents call them.
    #[serde(default)]
    pub models: BTreeMap<ModelName, Model>,
    /// Policies.
    #[serde(default)]
    pub policies: BTreeMap<PolicyName, Policy>,
    /// Agents.
    #[serde(default = "BTreeMap::new")]
    pub agents: BTreeMap<AgentName, Agent>,
}

/// `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The public API; default 127.0.0.1:8080.
    #[serde(default = "default_api")]
    pub api: SocketAddr,
    /// The public API on a Unix socket, too; none by default.
    pub api_socket: Option<PathBuf>,
    /// TLS of the public API's address; none by default.
    pub tls: Option<ListenTls>,
    /// The operator API; default 127.0.0.1:8092.
    #[serde(default = "default_operator")]
    pub operator: SocketAddr,
}

/// `[listen.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate and those between it and its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

impl Listen {
    /// What a client of the public API writes before its address.
    #[must_use]
    pub fn api_scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            api: default_api(),
            api_socket: None,
            tls: None,
            operator: default_operator(),
        }
    }
}

fn default_api() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_operator() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8092))
}

/// `[patience]`: how long the gate waits for the agent's side of a connection.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patience {
    /// For the head of a request, and for the next request on a kept connection; default 60 s.
    pub head: Period,
    /// For a body that must be read whole before a decision, a question to a model among them; default 60 s.
    pub body: Period,
    /// For the next bytes of a body that is passed on; default 5 min.
    pub silence: Period,
    /// For anything at all, in either direction, on a tunnel or a WebSocket; default 1 h.
    pub tunnel: Period,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = |seconds| Period(Duration::from_secs(seconds));
        Self {
            head: seconds(60),
            body: seconds(60),
            silence: seconds(300),
            tunnel: seconds(3600),
        }
    }
}

/// What an agent may use, by name; both daemons read it.
pub trait AgentGrants {
    /// Tools it may call.
    fn tools(&self) -> &[ToolName];
    /// Models it may ask.
    fn models(&self) -> &[ModelName];
    /// Policies that judge its calls.
    fn policies(&self) -> &[PolicyName];
    /// What the sandboxes of its install may use.
    fn install(&self) -> &Install;
}

/// `[agents.NAME]` as far as it says what the agent may use; whoever reads it so leaves the rest to posternd.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Granted {
    /// What it is: one without code has no sandbox.
    #[serde(default)]
    pub kind: Option<String>,
    /// What shares a sandbox.
    #[serde(default)]
    pub isolation: Option<String>,
    /// Tools it may call.
    #[serde(default)]
    pub tools: Vec<ToolName>,
    /// Models it may ask.
    #[serde(default)]
    pub models: Vec<ModelName>,
    /// Policies that judge its calls.
    #[serde(default)]
    pub policies: Vec<PolicyName>,
    /// What the sandboxes of its install may use.
    #[serde(default)]
    pub install: Install,
}

impl AgentGrants for Granted {
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

/// Something wrong with the file's meaning, with the keys that lead to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys from the top, list positions as numbers: `["agents", "desk", "tools", "0"]`.
    pub path: Vec<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a path.
    pub fn at<'a>(path: impl IntoIterator<Item = &'a str>, message: impl Into<String>) -> Self {
        Self {
            path: path.into_iter().map(str::to_owned).collect(),
            message: message.into(),
        }
    }
}

impl<Agent: AgentGrants, Credential, Source> Document<Agent, Credential, Source> {
    /// Checks every reference from one part of the file to another, and says all that is wrong.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_default_agent(&mut found);
        for (name, model) in &self.models {
            if !self.providers.contains_key(&model.provider) {
                found.push(Problem::at(
                    ["models", name.as_str(), "provider"],
                    missing("provider", model.provider.as_str(), self.providers.keys()),
                ));
            }
        }
        for (name, agent) in &self.agents {
            let at = ["agents", name.as_str()];
            absent(
                &at,
                ("tools", "tool"),
                (agent.tools(), &self.tools),
                &mut found,
            );
            absent(
                &at,
                ("models", "model"),
                (agent.models(), &self.models),
                &mut found,
            );
            absent(
                &at,
                ("policies", "policy"),
                (agent.policies(), &self.policies),
                &mut found,
            );
            let at = ["agents", name.as_str(), "install"];
            let install = agent.install();
            absent(
                &at,
                ("tools", "tool"),
                (&install.tools, &self.tools),
                &mut found,
            );
            absent(
                &at,
                ("fetch", "policy"),
                (&install.fetch, &self.policies),
                &mut found,
            );
            absent(
                &at,
                ("setup", "policy"),
                (&install.setup, &self.policies),
                &mut found,
            );
        }
        self.check_tool_environment(&mut found);
        self.check_dummies(&mut found);
        self.check_ports(&mut found);
        found
    }

    fn check_default_agent(&self, found: &mut Vec<Problem>) {
        match &self.default_agent {
            Some(name) if !self.agents.contains_key(name) => found
                .push(Problem::at(["default_agent"], missing("agent", name.as_str(), self.agents.keys()))),
            None if self.agents.len() > 1 => found.push(Problem::at(
                ["agents"],
                "there are several agents: say `default_agent = \"NAME\"` for the one that `/invoke` serves",
            )),
            _ => {}
        }
    }

    /// A dummy stands for a credential.
    fn check_dummies(&self, found: &mut Vec<Problem>) {
        for (name, tool) in &self.tools {
            if !tool.dummy.is_empty() && tool.credential.is_none() {
                let told = "a dummy stands for the tool's credential, and it has none";
                found.push(Problem::at(["tools", name.as_str(), "dummy"], told));
            }
        }
    }

    /// Two tools whose names give the same environment variable cannot be told apart by an agent.
    fn check_tool_environment(&self, found: &mut Vec<Problem>) {
        let mut seen = BTreeMap::new();
        for name in self.tools.keys() {
            let variable = format!("TOOL_URL_{}", crate::name::in_environment(name.as_str()));
            if let Some(other) = seen.insert(variable.clone(), name) {
                found.push(Problem::at(
                    ["tools", name.as_str()],
                    format!("tools `{other}` and `{name}` would both be {variable}: rename one"),
                ));
            }
        }
    }
}

fn missing<'a, Name: AsStrName + 'a>(
    noun: &str,
    wanted: &str,
    known: impl Iterator<Item = &'a Name>,
) -> String {
    let known: Vec<_> = known.map(|name| format!("`{}`", name.text())).collect();
    if known.is_empty() {
        return format!("there is no {noun} `{wanted}`: none is defined");
    }
    format!(
        "there is no {noun} `{wanted}`: defined are {}",
        known.join(", ")
    )
}

/// Names as text, whichever kind.
trait AsStrName: Ord {
    fn text(&self) -> &str;
}

macro_rules! as_str_names {
    ($($name:ident)*) => {$(
        impl AsStrName for $name {
            fn text(&self) -> &str {
                self.as_str()
            }
        }
    )*};
}

as_str_names!(AgentName ToolName ModelName PolicyName ProviderName);

fn absent<Name: AsStrName, Value>(
    at: &[&str],
    (list, noun): (&str, &str),
    (wanted, known): (&[Name], &BTreeMap<Name, Value>),
    found: &mut Vec<Problem>,
) {
    for (position, name) in wanted.iter().enumerate() {
        if !known.contains_key(name) {
            let position = position.to_string();
            let keys = at.iter().copied().chain([list, position.as_str()]);
            found.push(Problem::at(keys, missing(noun, name.text(), known.keys())));
        }
    }
}
