//! How calls reach an agent: a kind a file, and the one match over them. Never decides what a run does next.
//!
//! ```text
//! Kind::start ─▶ Host      readiness: Starting ─▶ Ready ◀─▶ NotReady{why}
//!                 │
//! run ──────────▶ place ─▶ Place, shared or the run's alone
//! run ── Call ───▶ carry_out ─▶ Input … Input ─▶ run        a model, tool or worker call, whichever the kind has
//! ```

pub mod acp;
pub mod builtin;
pub mod command;
mod dummies;
pub mod files;
pub(crate) mod ground;
pub mod http;
mod node;
pub mod place;
pub mod pool;
pub mod python;
mod reports;
mod room;
mod running;
mod sessions;
mod stderr;
mod values;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::{SandboxId, launch::Trusted};
use postern_daemon::Clock;
use postern_invoke::{Plan, RunFacts, ToolRequest, WorkerRequest};
use postern_llm::Chat;
use postern_store::runs::{Runs, RunsError};
use serde::Deserialize;
use tokio::sync::watch;

use files::Files;
pub use place::{Coming, NoPlace, Place};

use crate::{
    config::{Agent, AgentWritten, Places, Wrong},
    install::{InstallError, Installed, Installer, Occasion},
    link::{Link, LinkError},
    printed::Printed,
    questions::Questions,
    runs::RunDesk,
    sandbox::{Launcher, SandboxError, Weakened},
    source::Source,
};

/// `kind = "…"` as written: every kind that Postern will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    /// No code: model, prompt and tools.
    Builtin,
    /// A Python handler in a resident worker.
    Python,
    /// A Node handler in a resident worker.
    Node,
    /// A program for each run.
    Command,
    /// A server in the sandbox.
    Http,
    /// A program that speaks the Agent Client Protocol.
    Acp,
}

/// A kind with its own settings.
#[derive(Debug, Clone)]
pub enum Kind {
    /// No code: model, prompt and tools.
    Builtin(builtin::Settings),
    /// A Python handler in a resident worker.
    Python(python::Settings),
    /// A Node handler in a resident worker.
    Node(python::Settings),
    /// A program for each run.
    Command(Box<command::Settings>),
    /// A server in the sandbox.
    Http(Box<http::Settings>),
    /// A program that speaks the Agent Client Protocol.
    Acp(Box<acp::Settings>),
}

/// Whether an agent can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Ready {
        /// The sandbox that all its runs share, if they share one.
        sandbox: Option<SandboxId>,
    },
    /// No.
    NotReady {
        /// Why, in one line.
        why: String,
    },
}

/// What a run asks of its agent.
#[derive(Debug)]
pub enum Call {
    /// Ask the model.
    Model(Box<Chat>),
    /// Call a tool.
    Tool(Box<ToolRequest>),
    /// Ask the agent's code.
    Worker(Box<WorkerRequest>),
}

/// A started agent of any kind.
pub trait Host: Send + Sync {
    /// How a run of it works.
    fn plan(&self) -> Plan;

    /// Whether it can be called, as it changes.
    fn readiness(&self) -> watch::Receiver<Readiness>;

    /// Layers of its sandbox that are allowed to be absent, and are.
    fn weakened(&self) -> Vec<Weakened>;

    /// A place for one run, which may have to be waited for.
    ///
    /// # Errors
    /// There is none, and waiting would not help.
    fn place(&self, facts: &RunFacts) -> Result<Coming, NoPlace>;
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where sandboxes come from.
    pub launcher: Arc<Launcher>,
    /// Where they are announced.
    pub link: Link,
    /// Installs its files.
    pub installer: Installer,
    /// Files of ours that sandboxes are shown.
    pub shims: PathBuf,
    /// The certificates that sandboxes trust, the gate's own among them.
    pub trusted: Trusted,
    /// Sockets of ours that nobody else may reach.
    pub sockets: PathBuf,
    /// Remembers what is installed.
    pub store: Runs,
    /// Where what they print goes.
    pub printed: Printed,
    /// What time it is.
    pub clock: Clock,
    /// Where agents ask humans while their runs go on.
    pub questions: Questions,
    /// Their runs.
    pub desk: RunDesk,
}

/// Why an agent could not be started at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its files are not to be had.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Its sandbox cannot be built.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The gate does not take it.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What was installed cannot be remembered.
    #[error(transparent)]
    Store(#[from] RunsError),
    /// A file or socket of ours cannot be made.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl StartError {
    fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}

impl Kind {
    pub(crate) fn mean(written: &AgentWritten, places: &Places) -> Result<Self, Wrong> {
        match written.kind {
            KindName::Builtin => builtin::Settings::mean(written).map(Self::Builtin),
            KindName::Python => {
                python::Settings::mean(python::PYTHON, written, places).map(Self::Python)
            }
            KindName::Node => python::Settings::mean(node::NODE, written, places).map(Self::Node),
            KindName::Command => {
                let settings = command::Settings::mean(written, places);
                settings.map(|settings| Self::Command(Box::new(settings)))
            }
            KindName::Http => {
                let settings = http::Settings::mean(written, places);
                settings.map(|settings| Self::Http(Box::new(settings)))
            }
            KindName::Acp => {
                let settings = acp::Settings::mean(written, places);
                settings.map(|settings| Self::Acp(Box::new(settings)))
            }
        }
    }

    /// What people call the kind.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Builtin(_) => "builtin",
            Self::Python(_) => "python",
            Self::Node(_) => "node",
            Self::Command(_) => "command",
            Self::Http(_) => "http",
            Self::Acp(_) => "acp",
        }
    }

    /// Its files, if it has any.
    #[must_use]
    pub fn files(&self) -> Option<&Files> {
        match self {
            Self::Builtin(_) => None,
            Self::Python(settings) | Self::Node(settings) => Some(&settings.files),
            Self::Command(settings) => settings.files.as_ref(),
            Self::Http(settings) => settings.files.as_ref(),
            Self::Acp(settings) => settings.files.as_ref(),
        }
    }

    /// Where its files come from, if it has any.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.files().map(|files| &files.source)
    }

    /// Whether code of the user runs, in a sandbox.
    #[must_use]
    pub fn has_code(&self) -> bool {
        !matches!(self, Self::Builtin(_))
    }

    /// Installs what there is to install and starts the agent. Its readiness may follow later.
    ///
    /// # Errors
    /// See [`StartError`]; nothing of it runs then.
    pub async fn start(
        agent: &Arc<Agent>,
        around: &Surroundings,
    ) -> Result<Arc<dyn Host>, StartError> {
        match &agent.kind {
            Self::Builtin(_) => Ok(Arc::new(builtin::Builtin::start(agent, around).await?)),
            Self::Python(settings) | Self::Node(settings) => {
                python::start(agent, settings, around).await
            }
            Self::Command(settings) => command::start(agent, settings, around).await,
            Self::Http(settings) => http::start(agent, settings, around).await,
            Self::Acp(settings) => acp::start(agent, settings, around).await,
        }
    }
}

impl Surroundings {
    /// Makes a source the live version of an agent and remembers it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn install(
        &self,
        agent: &Agent,
        files: &Files,
        occasion: Occasion,
    ) -> Result<Installed, StartError> {
        let installed = self.installer.install(agent, files, occasion).await?;
        let (version, unpacked) = (&installed.version, &installed.unpacked);
        let resolved = installed.resolved().map(|to| &to.version);
        match &installed.instead_of {
            Some(meant) => tracing::warn!(
                agent = %agent.name, %version, resolved, %meant,
                "rolled back: the version that the config means is not live until its source changes or `postern agents install` asks for it"
            ),
            None => tracing::info!(agent = %agent.name, %version, resolved, ?unpacked, "installed"),
        }
        self.remember(agent, files, &installed).await?;
        Ok(installed)
    }

    /// Makes the version before the live one, and remembers it.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn roll_back(&self, agent: &Agent, files: &Files) -> Result<Installed, StartError> {
        let installed = self.installer.roll_back(agent).await?;
        let (version, from) = (&installed.version, &installed.instead_of);
        tracing::info!(agent = %agent.name, %version, ?from, "rolled back, or forward again");
        self.remember(agent, files, &installed).await?;
        Ok(installed)
    }

    async fn remember(
        &self,
        agent: &Agent,
        files: &Files,
        installed: &Installed,
    ) -> Result<(), StartError> {
        let record = installed.record(&agent.name, &files.source, self.clock.unix_ms());
        Ok(self.store.record_installed(&record).await?)
    }
}
