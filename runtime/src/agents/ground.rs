//! What all sandboxes of one agent stand on: how one is made and announced, and how it ends. Never keeps one, and never knows
//! what runs in it.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use postern_contract::{
    SandboxId,
    launch::{Access, ExitStatus, Hit, Limits, Listener, Mount, Purpose, Trusted},
    link::{ListenerKind, News, Origin},
};
use tokio::sync::watch;

use super::{StartError, Surroundings, dummies::Dummies, files::Files, reports::Desk};
use crate::{
    config::{Agent, Isolation},
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
    mounts: Vec<Mount>,
    trusted: Trusted,
    launcher: Arc<Launcher>,
    link: Link,
    reports: Desk,
    pub(super) printed: Printed,
    weakened: watch::Sender<Vec<Weakened>>,
}

/// Something of the host that a sandbox may look at.
pub(super) fn shown(source: &Path, target: &Path) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.to_owned(),
        access: Access::ReadOnly,
    }
}

impl Ground {
    /// For an agent that is shown its own files, if it has any: they are installed first.
    ///
    /// # Errors
    /// See [`StartError`].
    pub(super) async fn with_files(
        agent: &Arc<Agent>,
        files: Option<&Files>,
        around: &Surroundings,
    ) -> Result<(Self, watch::Receiver<Vec<Weakened>>), StartError> {
        let mut mounts = Vec::new();
        if let Some(files) = files {
            let installed = around.install(agent, files).await?;
            mounts.push(shown(&installed.tree, &files.mount));
        }
        Ok(Self::of(agent, mounts, around))
    }

    /// For an agent that is shown these, and what its config adds; and where it is told which layers are absent.
    pub(super) fn of(
        agent: &Arc<Agent>,
        mut mounts: Vec<Mount>,
        around: &Surroundings,
    ) -> (Self, watch::Receiver<Vec<Weakened>>) {
        let more = agent.sandbox.read_only.iter();
        mounts.extend(more.map(|path| shown(path, path)));
        let (weakened, told) = watch::channel(Vec::new());
        let ground = Self {
            agent: Arc::clone(agent),
            mounts,
            trusted: around.trusted.clone(),
            launcher: Arc::clone(&around.launcher),
            link: around.link.clone(),
            reports: Desk::new(&around.store, &around.clock),
            printed: around.printed.clone(),
            weakened,
        };
        (ground, told)
    }

    /// Builds a sandbox and tells the gate whose its calls will be.
    pub(super) async fn build(&self) -> Result<Sandbox, StartError> {
        let wanted = self.wanted();
        let made = wanted.listeners.iter().map(|made| (*made).into());
        let kinds = made.chain([ListenerKind::Reports]).collect();
        let dummies = Dummies::fresh(&self.agent).map_err(SandboxError::Random)?;
        let (mut sandbox, mut listeners) = self.launcher.start(wanted).await?;
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
