//! How one agent's sandboxes and workers are made, and how a sandbox ends. Never keeps one.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::{
    launch::{Access, ExitStatus, Hit, Limits, Listener, Mount, Purpose, Trusted},
    link::{News, Origin},
};
use tokio::{net::UnixStream, sync::watch};

use super::{
    Settings,
    worker::{Ended, Worker},
};
use crate::{
    agent_environment,
    agents::StartError,
    config::{Agent, Isolation},
    link::{Link, LinkError},
    output,
    sandbox::{
        Descriptors, Exit, Launcher, Process, Program, Sandbox, SandboxError, Wanted, Weakened,
    },
};

/// SIGKILL, the same number on every Linux.
pub(super) const KILL: i32 = 9;

/// What all of an agent's sandboxes are made from.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) agent: Arc<Agent>,
    pub(super) settings: Settings,
    pub(super) tree: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) trusted: Trusted,
    pub(super) launcher: Arc<Launcher>,
    pub(super) link: Link,
    pub(super) weakened: watch::Sender<Vec<Weakened>>,
}

/// A worker that has imported the agent.
pub(super) struct Loaded {
    pub(super) worker: Worker,
    pub(super) process: Process,
    /// The name that is called.
    pub(super) found: String,
}

impl Workshop {
    /// Builds a sandbox and tells the gate whose its calls will be.
    pub(super) async fn build(&self) -> Result<Sandbox, StartError> {
        let wanted = self.wanted();
        let kinds = wanted.listeners.iter().map(|made| (*made).into()).collect();
        let (sandbox, listeners) = self.launcher.start(wanted).await?;
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
        self.link.tell(news, listeners).await?;
        tracing::info!(agent = %self.agent.name, sandbox = %sandbox.id, "sandbox stands");
        Ok(sandbox)
    }

    /// Ends a sandbox whole, and tells the gate.
    pub(super) async fn end(&self, sandbox: Sandbox) {
        let news = News::SandboxEnded {
            sandbox: sandbox.id.clone(),
        };
        drop(sandbox);
        match self.link.tell(news, Vec::new()).await {
            // A broken link is told where it breaks, and the gate has closed the listeners by itself then.
            Ok(_) | Err(LinkError::Broken) => {}
            Err(error) => tracing::warn!(%error, "the gate was not told that a sandbox ended"),
        }
    }

    /// Starts a worker and waits until it has imported the agent; otherwise says in one line why it has not.
    pub(super) async fn load(&self, sandbox: &Sandbox) -> Result<Loaded, String> {
        let started = self.worker(sandbox).await;
        let (mut worker, mut process) =
            started.map_err(|error| format!("its worker did not start: {error}"))?;
        let found = tokio::select! {
            ready = worker.ready() => ready,
            how = how_it_ended(&mut process) => worker.ready_at_last(how).await,
        };
        let why = match found {
            Ok(found) => {
                return Ok(Loaded {
                    worker,
                    process,
                    found,
                });
            }
            Err(Ended::NotLoaded(why)) => why,
            Err(Ended::Failed(why)) => format!("its worker failed: {why}"),
            Err(Ended::Unwanted) => "nobody wants it".to_owned(),
        };
        // Whatever is left of it goes; that it is gone already is the usual case.
        drop(sandbox.signal(process.number, KILL).await);
        Err(why)
    }

    fn wanted(&self) -> Wanted {
        let shown = |path: &Path, target: &Path| Mount {
            source: path.to_owned(),
            target: target.to_owned(),
            access: Access::ReadOnly,
        };
        let mut mounts = vec![
            shown(&self.tree, &self.settings.mount),
            shown(&self.shim, Path::new(self.settings.language.target)),
        ];
        mounts.extend(
            self.agent
                .sandbox
                .read_only
                .iter()
                .map(|path| shown(path, path)),
        );
        Wanted {
            purpose: Purpose::Agent,
            hostname: self.agent.name.to_string(),
            mounts,
            trusted: Some(self.trusted.clone()),
            listeners: self.listeners(),
            limits: Limits {
                memory_bytes: self.agent.sandbox.memory.map(|size| size.0),
                cpu_percent: self.agent.sandbox.cpu_percent,
                processes: self.agent.sandbox.processes,
                scratch_bytes: self.agent.sandbox.disk.map(|size| size.0),
                ..Limits::default()
            },
            allow_weaker: self.agent.sandbox.allow_weaker.clone(),
        }
    }

    /// What the gate will answer on: its own address, questions for names, every address at the ports that may be for
    /// something, and at all others.
    fn listeners(&self) -> Vec<Listener> {
        let ports = self.agent.captured.iter();
        let captured = ports.map(|port| Listener::Captured { port: *port });
        let always = [
            Listener::Gate,
            Listener::NamesByDatagram,
            Listener::NamesByStream,
            Listener::Others,
        ];
        always.into_iter().chain(captured).collect()
    }

    async fn worker(&self, sandbox: &Sandbox) -> Result<(Worker, Process), StartFailure> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        let name = self.agent.name.as_str();
        let open = Descriptors {
            stdin: OwnedFd::from(std::fs::File::open("/dev/null")?),
            stdout: output::to_log(name, "stdout")?,
            stderr: output::to_log(name, "stderr")?,
            channel: Some(theirs.into()),
        };
        let process = sandbox.exec(self.program(), open).await?;
        Ok((Worker::over(ours), process))
    }

    fn program(&self) -> Program {
        let mut env = agent_environment::of(&self.agent);
        let mount = self.settings.mount.to_string_lossy().into_owned();
        let language = self.settings.language;
        let more = [
            ("USER_ENTRY_POINT", self.settings.entry.clone()),
            ("RUNAGENTS_USER_CODE_DIR", mount),
        ];
        env.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let own = language.env.iter();
        env.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Program {
            argv: [language.program, language.target]
                .map(str::to_owned)
                .to_vec(),
            env,
            cwd: self.settings.mount.clone(),
        }
    }
}

/// Why a worker's process was not started.
#[derive(Debug, thiserror::Error)]
enum StartFailure {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Returns when a process has ended, and says how.
pub(super) async fn how_it_ended(process: &mut Process) -> String {
    let Some(Exit { status, hits }) = process.exited().await else {
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
