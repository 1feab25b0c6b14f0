//! `postern.toml` as posternd means it. Reads the file and checks it whole; never starts anything, never reads a secret.

mod acp;
mod callers;
mod command;
mod dummies;
mod functions;
mod http;
mod install;
mod isolation;
mod limits;
mod paths;
mod terms;
mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postern_contract::{
    AgentName, ByteSize, ModelName, ToolName,
    config::{Cache, Document, Dummy, Listen, ListenTls, Problem, Protocol, Role, Tool},
    launch::Layer,
};
use postern_daemon::config::{self as file, ConfigError, Loaded};
use postern_invoke::ToolFunction;

pub use acp::{AcpWritten, Permissions};
pub(crate) use callers::Callers;
pub use command::{
    BecomesWritten, CommandWritten, InputWritten, OutputWritten, PresetName, RuleWritten,
};
pub use http::HttpWritten;
pub use install::Installing;
pub use limits::ApiLimits;
pub(crate) use paths::{Places, plain_absolute, plain_relative};
pub use terms::{Terms, TermsWritten, WhenLeft};
pub use written::{AgentWritten, Isolation, OnApproval, SandboxWritten};

use crate::{
    agent_environment,
    agents::{Kind, KindName},
};

/// How often a code-less agent may ask its model in one run, unless the config says otherwise.
const TOOL_ITERATIONS_DEFAULT: u32 = 10;

/// The most that the config may say.
const TOOL_ITERATIONS_MAX: u32 = 1000;

/// How long a run may take, unless the config says otherwise, and the most that it may say.
pub const WALL_TIME_DEFAULT: Duration = Duration::from_secs(600);
const WALL_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The least room of a directory that can be asked for: the launcher makes no smaller one.
const DISK_MIN: ByteSize = ByteSize(64 << 10);

/// What a model is told first, unless the config says otherwise.
const SYSTEM_PROMPT_DEFAULT: &str = "You are a helpful assistant.";

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// What the public API takes.
    pub api: ApiLimits,
    /// Who may call it.
    pub(crate) callers: Callers,
    /// Which agent the root routes serve; `None` only where there is no agent.
    pub default_agent: Option<AgentName>,
    /// The agents.
    pub agents: BTreeMap<AgentName, Arc<Agent>>,
    /// Installed files that agents share.
    pub cache: Cache,
    /// What is allowed and hardly meant, a line each.
    pub warnings: Vec<String>,
}

/// One agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// How calls reach it.
    pub kind: Kind,
    /// What it does, for people.
    pub description: String,
    /// What its model is told first.
    pub system_prompt: String,
    /// Tools it may call.
    pub tools: Vec<GrantedTool>,
    /// Models it may ask, in order of preference.
    pub models: Vec<GrantedModel>,
    /// Environment of its own.
    pub env: BTreeMap<String, String>,
    /// What becomes of its runs where a human is asked.
    pub on_approval: OnApproval,
    /// How often it may ask its model in one run, if it has no code.
    pub max_tool_iterations: u32,
    /// What shares a sandbox.
    pub isolation: Isolation,
    /// Ports at which connections by address may be for something.
    pub captured: BTreeSet<u16>,
    /// The same while it is installed.
    pub installing: Installing,
    /// How its runs go on.
    pub runs: Terms,
    /// Its sandbox.
    pub sandbox: SandboxSettings,
}

/// A tool as an agent sees it.
#[derive(Debug, Clone)]
pub struct GrantedTool {
    /// Its name.
    pub name: ToolName,
    /// What a model can call of it.
    pub functions: Vec<ToolFunction>,
    /// Its own URL, where no other does: it speaks no HTTP.
    pub own_url: Option<String>,
    /// What programs find in the place of its credential.
    pub dummies: Vec<Dummy>,
}

/// A model as an agent sees it.
#[derive(Debug, Clone)]
pub struct GrantedModel {
    /// Its name.
    pub name: ModelName,
    /// What its provider speaks.
    pub format: String,
    /// What it is for.
    pub role: Role,
}

/// What an agent's sandbox is like.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// Memory of all its processes and of their files in memory together; it takes the `cgroup` layer.
    pub memory: Option<ByteSize>,
    /// CPU time of all its processes together, in percent of one CPU.
    pub cpu_percent: Option<u32>,
    /// Processes and threads together.
    pub processes: Option<u32>,
    /// Room in each of the directories that it may write, /workspace among them.
    pub disk: Option<ByteSize>,
    /// How long one run may take.
    pub wall_time: Duration,
    /// More of the host to show.
    pub read_only: Vec<PathBuf>,
    /// Layers that must stand, of those that are best effort.
    pub require: BTreeSet<Layer>,
    /// Layers that may be absent.
    pub allow_weaker: BTreeSet<Layer>,
    /// Sandboxes that are up before anybody asks, where runs or users have their own.
    pub pool: usize,
    /// End users that have a sandbox at the same time, where users have their own.
    pub users: usize,
    /// How long a user's sandbox stands unused.
    pub idle: Duration,
}

/// A value that makes no sense: the keys beneath `[agents.NAME]`, and what would be right.
pub(crate) struct Wrong {
    keys: Vec<String>,
    message: String,
}

impl Wrong {
    pub(crate) fn at(keys: &[&str], message: impl Into<String>) -> Self {
        Self {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            message: message.into(),
        }
    }
}

impl Agent {
    /// The model for a role, if the agent has one.
    #[must_use]
    pub fn model_for(&self, role: Role) -> Option<&GrantedModel> {
        self.models.iter().find(|model| model.role == role)
    }

    /// Everything a model can call, of all tools.
    pub fn functions(&self) -> impl Iterator<Item = &ToolFunction> {
        self.tools.iter().flat_map(|tool| &tool.functions)
    }
}

/// Reads and checks the file: everything but starting.
///
/// # Errors
/// Every mistake with its line and column.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    mean(file::read(path)?)
}

fn mean(loaded: Loaded<Document<AgentWritten>>) -> Result<Config, ConfigError> {
    let Loaded { document, source } = loaded;
    let mut problems = document.problems();
    let places = Places::new(source.directory(), &document.object_roots)
        .map_err(|problem| source.error_at(&problem))?;
    let api = ApiLimits::mean(&document.api).unwrap_or_else(|found| {
        problems.extend(found);
        ApiLimits::default()
    });
    let callers = Callers::mean(&document.callers, source.directory()).unwrap_or_else(|found| {
        problems.extend(found);
        Callers::default()
    });
    let mut agents = BTreeMap::new();
    for (name, written) in &document.agents {
        match agent(name, written, &document, &places) {
            Ok(agent) => drop(agents.insert(name.clone(), Arc::new(agent))),
            Err(wrong) => problems.extend(wrong.into_iter().map(|wrong| placed(name, wrong))),
        }
    }
    if !problems.is_empty() {
        return Err(source.errors(&problems));
    }
    let agents_written = document.agents.iter();
    let warnings = agents_written
        .flat_map(|(name, written)| isolation::warnings(name, written, &document))
        .collect();
    let default_agent = document
        .default_agent
        .or_else(|| agents.keys().next().cloned());
    Ok(Config {
        listen: from(document.listen, source.directory()),
        api,
        callers,
        default_agent,
        agents,
        cache: document.cache,
        warnings,
    })
}

/// With paths that start where the file is.
fn from(listen: Listen, directory: &Path) -> Listen {
    let tls = listen.tls.map(|tls| ListenTls {
        certificate: directory.join(tls.certificate),
        key: directory.join(tls.key),
    });
    let api_socket = listen.api_socket.map(|path| directory.join(path));
    Listen {
        tls,
        api_socket,
        ..listen
    }
}

fn placed(name: &AgentName, wrong: Wrong) -> Problem {
    let mut path = vec!["agents".to_owned(), name.as_str().to_owned()];
    path.extend(wrong.keys);
    Problem {
        path,
        message: wrong.message,
    }
}

fn agent(
    name: &AgentName,
    written: &AgentWritten,
    document: &Document<AgentWritten>,
    places: &Places,
) -> Result<Agent, Vec<Wrong>> {
    let mut wrong = check_environment(written);
    wrong.extend(isolation::check(written));
    wrong.extend(check_iterations(written));
    wrong.extend(check_tables(written));
    wrong.extend(check_on_approval(written));
    wrong.extend(check_port(written, document));
    wrong.extend(check_shown(written));
    wrong.extend(install::check(written));
    wrong.extend(dummies::check(written, document));
    wrong.extend(check_limits(&written.sandbox));
    wrong.extend(check_layers(&written.sandbox));
    let models = granted_models(written, document);
    let runs = Terms::mean(&written.runs).unwrap_or_else(|found| {
        wrong.extend(found);
        Terms::default()
    });
    let kind = Kind::mean(written, places)
        .map_err(|found| wrong.push(found))
        .ok();
    match kind {
        Some(kind) if wrong.is_empty() => Ok(Agent {
            name: name.clone(),
            kind,
            description: written.description.clone(),
            system_prompt: written
                .system_prompt
                .clone()
                .unwrap_or_else(|| SYSTEM_PROMPT_DEFAULT.to_owned()),
            tools: granted_tools(written, document),
            models,
            env: written.env.clone(),
            on_approval: written.on_approval.unwrap_or(match written.kind {
                KindName::Builtin => OnApproval::Pause,
                _ => OnApproval::Hold,
            }),
            max_tool_iterations: written
                .max_tool_iterations
                .unwrap_or(TOOL_ITERATIONS_DEFAULT),
            isolation: written.isolation(),
            captured: document.captured_ports(written),
            installing: Installing::mean(written, document),
            runs,
            sandbox: sandbox(&written.sandbox),
        }),
        _ => Err(wrong),
    }
}

fn sandbox(written: &SandboxWritten) -> SandboxSettings {
    SandboxSettings {
        memory: written.memory,
        cpu_percent: written.cpu_percent,
        processes: written.processes,
        disk: written.disk,
        wall_time: written.wall_time.map_or(WALL_TIME_DEFAULT, |time| time.0),
        read_only: written.read_only.clone(),
        require: written.require.iter().copied().collect(),
        allow_weaker: written.allow_weaker.iter().copied().collect(),
        pool: written.pool.unwrap_or(isolation::POOL_DEFAULT),
        users: written.users.unwrap_or(isolation::USERS_DEFAULT),
        idle: written
            .idle
            .map_or(isolation::IDLE_DEFAULT, |period| period.0),
    }
}

/// A wall is asked for, or may be absent.
fn check_layers(written: &SandboxWritten) -> Vec<Wrong> {
    let allowed = written.allow_weaker.iter();
    let both = allowed.filter(|layer| written.require.contains(layer));
    let wrong = both.map(|layer| {
        let message =
            format!("`{layer}` is in `require` too: either it must stand or it may be absent");
        Wrong::at(&["sandbox", "allow_weaker"], message)
    });
    wrong.collect()
}

fn check_environment(written: &AgentWritten) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (variable, value) in &written.env {
        if !agent_environment::is_a_name(variable) || value.contains('\0') {
            wrong.push(Wrong::at(
                &["env", variable],
                format!("`{variable}` is no variable"),
            ));
        } else if agent_environment::is_reserved(variable) {
            wrong.push(Wrong::at(
                &["env", variable],
                format!("`{variable}` is set by Postern: choose another name"),
            ));
        }
    }
    wrong
}

/// A server of the agent's own cannot listen where the gate does.
fn check_port(written: &AgentWritten, document: &Document<AgentWritten>) -> Option<Wrong> {
    let port = written.http.as_ref()?.port();
    document.captured_ports(written).contains(&port).then(|| {
        let told = format!(
            "a tool or a rule of this agent is about port {port}, which the gate listens at in the sandbox: say another"
        );
        Wrong::at(&["http", "port"], told)
    })
}

/// Only what runs here can be put aside whole.
fn check_on_approval(written: &AgentWritten) -> Option<Wrong> {
    let pauses = written.on_approval == Some(OnApproval::Pause);
    (pauses && written.kind != KindName::Builtin).then(|| {
        Wrong::at(
            &["on_approval"],
            "`pause` is for `builtin` agents: the calls of others wait (`hold`)",
        )
    })
}

fn check_iterations(written: &AgentWritten) -> Option<Wrong> {
    let most = written.max_tool_iterations?;
    let fits = (1..=TOOL_ITERATIONS_MAX).contains(&most);
    (!fits).then(|| {
        Wrong::at(
            &["max_tool_iterations"],
            format!("say a number from 1 to {TOOL_ITERATIONS_MAX}"),
        )
    })
}

fn check_tables(written: &AgentWritten) -> Option<Wrong> {
    if written.http.is_some() && written.kind != KindName::Http {
        let told = "`http` belongs to `kind = \"http\"`";
        return Some(Wrong::at(&["http"], told));
    }
    if written.acp.is_some() && written.kind != KindName::Acp {
        let told = "`acp` belongs to `kind = \"acp\"`";
        return Some(Wrong::at(&["acp"], told));
    }
    let command = written.command.as_ref()?;
    if written.kind != KindName::Command {
        let told = "`command` belongs to `kind = \"command\"`";
        return Some(Wrong::at(&["command"], told));
    }
    let by_file = command.input == Some(InputWritten::File);
    (by_file && written.isolation() == Isolation::Agent).then(|| {
        Wrong::at(
            &["command", "input"],
            "with `isolation = \"agent\"` other runs could read the file: leave `isolation` out",
        )
    })
}

fn check_limits(written: &SandboxWritten) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if written.disk.is_some_and(|size| size < DISK_MIN) {
        let message = format!("say at least `{DISK_MIN}`");
        wrong.push(Wrong::at(&["sandbox", "disk"], message));
    }
    let time = written.wall_time.map(|time| time.0);
    if time.is_some_and(|time| time.is_zero() || time > WALL_TIME_MAX) {
        let message = "say a time from `1ms` to `24h`";
        wrong.push(Wrong::at(&["sandbox", "wall_time"], message));
    }
    wrong
}

fn check_shown(written: &AgentWritten) -> Vec<Wrong> {
    let shown = written.sandbox.read_only.iter().enumerate();
    shown
        .filter(|(_, path)| !plain_absolute(path))
        .map(|(position, path)| {
            Wrong::at(
                &["sandbox", "read_only", &position.to_string()],
                format!("`{}` must be an absolute path without `..`", path.display()),
            )
        })
        .collect()
}

/// Models that are defined; the others are told by [`Document::problems`].
fn granted_models(written: &AgentWritten, document: &Document<AgentWritten>) -> Vec<GrantedModel> {
    let granted = written.models.iter().filter_map(|name| {
        let model = document.models.get(name)?;
        let format = document.providers.get(&model.provider)?.format.clone();
        Some(GrantedModel {
            name: name.clone(),
            format,
            role: model.role,
        })
    });
    granted.collect()
}

fn granted_tools(written: &AgentWritten, document: &Document<AgentWritten>) -> Vec<GrantedTool> {
    let granted = written.tools.iter().filter_map(|name| {
        let tool = document.tools.get(name)?;
        Some(GrantedTool {
            name: name.clone(),
            functions: functions::of_tool(name, tool),
            own_url: own_url(tool),
            dummies: tool.dummy.clone(),
        })
    });
    granted.collect()
}

/// What programs are told to connect to, where that is not the gate.
fn own_url<C>(tool: &Tool<C>) -> Option<String> {
    match tool.protocol {
        Protocol::Http | Protocol::Grpc => None,
        Protocol::Tcp => Some(tool.url.clone()),
        Protocol::Postgres => Some(tool.url.replacen("tcp://", "postgres://", 1)),
        Protocol::Redis => Some(tool.url.replacen("tcp://", "redis://", 1)),
    }
}

#[cfg(test)]
pub(crate) mod tests;
