//! What all sandboxes of one agent stand on: how one is made and announced, and how it ends. Never keeps one, and never knows
//! what runs in it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::{
    AgentName, SandboxId,
    launch::{Access, ExitStatus, Hit, Limits, Listener, Mount, Purpose, Trusted},
    link::{ListenerKind, News, Origin},
};
use tokio::sync::watch;

use super::{StartError, Surroundings, dummies::Dummies, files::Files, reports::Desk};
use crate::{
    config::{Agent, Isolation},
    install::{self, Occasion},
    link::{Link, LinkError},
    printed::Printed,
    sandbox::{Exit, Launcher, Process, Sandbox, SandboxError, Wanted, Weakened},
};

/// SIGKILL, the same number on every Linux.
pub(super) const KILL: i32 = 9;

/// What all of an agent's sandboxes are made from.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) agent: Arc<Agent>,
    /// Its files, if it has any: whichever version is live when a sandbox is made.
    files: Option<Live>,
    mounts: Vec<Mount>,
    trusted: Trusted,
    launcher: Arc<Launcher>,
    link: Link,
    reports: Desk,
    pub(super) printed: Printed,
    weakened: watch::Sender<Vec<Weakened>>,
}

/// An agent's files.
#[derive(Debug)]
struct Live {
    /// The directory of all agents.
    agents: PathBuf,
    /// The symlink to them.
    link: PathBuf,
    /// Where the sandbox has them.
    mount: PathBuf,
}

/// Something of the host that a sandbox may look at.
pub(super) fn shown(source: &Path, target: &Path) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        access: Access::ReadOnly,
    }
}

impl Live {
    /// An installed version, which is a tree, or an image of one.
    fn shown(&self, version: &Path, agent: &AgentName) -> Result<Mount, StartError> {
        let shown = shown(version, &self.mount);
        if !version.is_file() {
            return Ok(shown);
        }
        let sha256 = install::live_image(&self.agents, agent).ok_or_else(|| {
            let why = "nobody knows what this image hashes to: install it anew";
            StartError::file(version, io::Error::other(why))
        })?;
        let access = Access::Image { sha256 };
        Ok(Mount { access, ..shown })
    }
}

impl Ground {
    /// For an agent that is shown its own files, if it has any, which are installed first, and these; and where it is told which
    /// layers are absent.
    ///
    /// # Errors
    /// See [`StartError`].
    pub(super) async fn with_files(
        agent: &Arc<Agent>,
        files: Option<&Files>,
        mut mounts: Vec<Mount>,
        around: &Surroundings,
    ) -> Result<(Self, watch::Receiver<Vec<Weakened>>), StartError> {
        if let Some(files) = files {
            around.install(agent, files, Occasion::Start).await?;
        }
        let more = agent.sandbox.read_only.iter();
        mounts.extend(more.map(|path| shown(path, path)));
        let (weakened, told) = watch::channel(Vec::new());
        let ground = Self {
            agent: Arc::clone(agent),
            files: files.map(|files| Live {
                agents: around.installer.agents.clone(),
                link: install::live(&around.installer.agents, &agent.name),
                mount: files.mount.clone(),
            }),
            mounts,
            trusted: around.trusted.clone(),
            launcher: Arc::clone(&around.launcher),
            link: around.link.clone(),
            reports: Desk::new(&around.desk),
            printed: around.printed.clone(),
            weakened,
        };
        Ok((ground, told))
    }

    /// The tree that a sandbox made now is shown.
    fn live(&self) -> Result<Option<PathBuf>, StartError> {
        let live = self.files.as_ref().map(|files| {
            let found = fs::canonicalize(&files.link);
            found.map_err(|error| StartError::file(&files.link, error))
        });
        live.transpose()
    }

    /// Whether a sandbox is shown what is live now.
    pub(super) fn is_current(&self, sandbox: &Sandbox) -> bool {
        self.live().is_ok_and(|live| live == sandbox.tree)
    }

    /// Builds a sandbox and tells the gate whose its calls will be.
    pub(super) async fn build(&self) -> Result<Sandbox, StartError> {
        let live = self.live()?;
        let mut wanted = self.wanted();
        if let (Some(tree), Some(files)) = (&live, &self.files) {
            wanted
                .mounts
                .insert(0, files.shown(tree, &self.agent.name)?);
        }
        let made = wanted.listeners.iter().map(|made| (*made).into());
        let kinds = made.chain([ListenerKind::Reports]).collect();
        let dummies = Dummies::fresh(&self.agent).map_err(SandboxError::Random)?;
        let (mut sandbox, mut listeners) = self.launcher.start(wanted).await?;
        sandbox.tree = live;
        listeners.push(self.reports.open().map_err(SandboxError::Socket)?);
        self.weakened.send_replace(sandbox.weakened.clone());
        let news = News::SandboxStarted {
            sandbox: sandbox.id.clone(),
            agent: self.agent.name.clone(),
            origin: match self.agent.isolation {
                Isolation::Agent => Origin::Sandbox,
                Isolation::User => Origin::User,
                Isolation::Run => Origin::Run,
            },
            listeners: kinds,
        };
        let end = sandbox.ender();
        self.link.announce(news, listeners, end).await?;
        if let Err(error) = self.furnish(dummies, &mut sandbox).await {
            self.end(sandbox).await;
            return Err(error);
        }
        tracing::info!(agent = %self.agent.name, sandbox = %sandbox.id, "sandbox stands");
        Ok(sandbox)
    }

    /// Puts its dummies into a sandbox. Nothing runs in it before the gate knows what to look for.
    async fn furnish(&self, mut dummies: Dummies, sandbox: &mut Sandbox) -> Result<(), StartError> {
        if let Some(news) = dummies.news(&sandbox.id) {
            self.link.tell(news, Vec::new()).await?;
        }
        Ok(dummies.furnish(sandbox).await?)
    }

    /// Ends a sandbox whole, and tells the gate.
    pub(super) async fn end(&self, sandbox: Sandbox) {
        let id = sandbox.id.clone();
        drop(sandbox);
        self.ended(id).await;
    }

    /// Tells the gate of a sandbox that has ended.
    pub(super) async fn ended(&self, sandbox: SandboxId) {
        let news = News::SandboxEnded { sandbox };
        match self.link.tell(news, Vec::new()).await {
            // A link that is lost is told of where it is, and the gate has closed the listeners by itself then.
            Ok(_) | Err(LinkError::Broken) => {}
            Err(error) => tracing::warn!(%error, "the gate was not told that a sandbox ended"),
        }
    }

    fn wanted(&self) -> Wanted {
        let settings = &self.agent.sandbox;
        Wanted {
            purpose: Purpose::Agent,
            hostname: self.agent.name.to_string(),
            mounts: self.mounts.clone(),
            trusted: Some(self.trusted.clone()),
            listeners: ways_out(&self.agent.captured),
            limits: Limits {
                memory_bytes: settings.memory.map(|size| size.0),
                cpu_percent: settings.cpu_percent,
                processes: settings.processes,
                scratch_bytes: settings.disk.map(|size| size.0),
                ..Limits::default()
            },
            require: settings.require.clone(),
            allow_weaker: settings.allow_weaker.clone(),
        }
    }
}

/// What the gate will answer on in a sandbox: its own address, questions for names, every address at the ports that may be for
/// something, and at all others.
pub(crate) fn ways_out(captured: &BTreeSet<u16>) -> Vec<Listener> {
    let captured = captured.iter();
    let captured = captured.map(|port| Listener::Captured { port: *port });
    let always = [
        Listener::Gate,
        Listener::NamesByDatagram,
        Listener::NamesByStream,
        Listener::Others,
    ];
    always.into_iter().chain(captured).collect()
}

/// Returns when a process has ended, and says how.
pub(super) async fn how_it_ended(process: &mut Process) -> String {
    in_words(process.exited().await)
}

/// How a process ended; nothing if its sandbox ended with it.
pub(crate) fn in_words(exit: Option<Exit>) -> String {
    let Some(Exit { status, hits }) = exit else {
        return "its sandbox ended".to_owned();
    };
    let how = match status {
        ExitStatus::Code(code) => format!("it exited with code {code}"),
        ExitStatus::Signal(signal) => format!("it was ended by signal {signal}"),
    };
    hits.into_iter().fold(how, |how, hit| match hit {
        Hit::Memory => how + "; the sandbox had used up its memory",
        Hit::Processes => how + "; the sandbox had as many processes as it may",
        Hit::Disk => how + "; a directory of the sandbox was full",
    })
}
