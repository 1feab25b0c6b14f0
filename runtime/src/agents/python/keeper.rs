//! Keeps one Python agent alive: a sandbox, a worker in it, and both again when they die, less and less eagerly. Never gives
//! up, never restarts in a tight loop, and says all the while whether the agent can be called.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postern_contract::{
    launch::{Access, ExitStatus, Hit, Limits, Listener, Mount, Purpose, Trusted},
    link::{News, Origin},
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
};

use super::{
    Settings,
    worker::{Ended, Worker, WorkerCall},
};
use crate::{
    agent_environment,
    agents::{Readiness, StartError},
    config::Agent,
    link::{Link, LinkError},
    output,
    sandbox::{
        Descriptors, Exit, Launcher, Process, Program, Sandbox, SandboxError, Wanted, Weakened,
    },
};

/// Where the worker's code is shown in the sandbox.
const WORKER_TARGET: &str = "/run/postern/worker.py";

/// How long to wait after the first death; doubles with each that follows soon.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// SIGKILL, the same number on every Linux.
const KILL: i32 = 9;

pub(super) struct Keeper {
    pub(super) agent: Arc<Agent>,
    pub(super) settings: Settings,
    pub(super) tree: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) trusted: Trusted,
    pub(super) launcher: Arc<Launcher>,
    pub(super) link: Link,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) weakened: watch::Sender<Vec<Weakened>>,
}

/// What came of one worker.
enum Life {
    /// It answered calls before it died.
    Useful(String),
    /// It never was ready.
    Useless(String),
    /// The agent stops.
    Over,
}

impl Keeper {
    /// Builds a sandbox and tells the gate.
    pub(super) async fn build(&mut self) -> Result<Sandbox, StartError> {
        let wanted = self.wanted();
        let kinds = wanted.listeners.iter().map(|made| (*made).into()).collect();
        let (sandbox, listeners) = self.launcher.start(wanted).await?;
        self.weakened.send_replace(sandbox.weakened.clone());
        let news = News::SandboxStarted {
            sandbox: sandbox.id.clone(),
            agent: self.agent.name.clone(),
            origin: Origin::Sandbox,
            listeners: kinds,
        };
        self.link.tell(news, listeners).await?;
        tracing::info!(agent = %self.agent.name, sandbox = %sandbox.id, "sandbox stands");
        Ok(sandbox)
    }

    fn wanted(&self) -> Wanted {
        let shown = |path: &Path, target: &Path| Mount {
            source: path.to_owned(),
            target: target.to_owned(),
            access: Access::ReadOnly,
        };
        let mut mounts = vec![
            shown(&self.tree, &self.settings.mount),
            shown(&self.shim, Path::new(WORKER_TARGET)),
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
                ..Limits::default()
            },
            allow_weaker: self.agent.sandbox.allow_weaker.clone(),
        }
    }

    /// What the gate will answer on: its own address, questions for names, and every address at the ports that may be for
    /// something.
    fn listeners(&self) -> Vec<Listener> {
        let ports = self.agent.captured.iter();
        let captured = ports.map(|port| Listener::Captured { port: *port });
        let always = [
            Listener::Gate,
            Listener::NamesByDatagram,
            Listener::NamesByStream,
        ];
        always.into_iter().chain(captured).collect()
    }

    /// Goes on until nobody holds the agent any more.
    pub(super) async fn keep(mut self, first: Sandbox, mut calls: mpsc::Receiver<WorkerCall>) {
        let mut sandbox = Some(first);
        let mut wait = BACKOFF_FIRST;
        loop {
            let life = match &sandbox {
                Some(standing) => self.live(standing, &mut calls).await,
                None => match self.build().await {
                    Ok(built) => {
                        sandbox = Some(built);
                        continue;
                    }
                    Err(error) => Life::Useless(format!("no sandbox: {error}")),
                },
            };
            wait = match life {
                Life::Over => break,
                Life::Useful(why) => self.not_ready(&why, BACKOFF_FIRST),
                Life::Useless(why) => self.not_ready(&why, wait),
            };
            if self.pause(wait, &mut sandbox, &calls).await {
                break;
            }
        }
        if let Some(sandbox) = sandbox {
            self.end(sandbox).await;
        }
    }

    /// Says why the agent cannot be called, and gives the wait after the next failure.
    fn not_ready(&self, why: &str, wait: Duration) -> Duration {
        let why = format!("{}: {why}", self.settings.entry);
        if *self.readiness.borrow() == Readiness::Starting {
            // Whoever waits for the start tells it.
            tracing::debug!(agent = %self.agent.name, "not ready: {why}");
        } else {
            tracing::error!(agent = %self.agent.name, "not ready: {why}");
        }
        self.readiness.send_replace(Readiness::NotReady { why });
        (wait * 2).min(BACKOFF_MAX)
    }

    /// Waits before the next attempt; a sandbox that is gone by then is told to the gate. True if the agent stops.
    async fn pause(
        &self,
        wait: Duration,
        sandbox: &mut Option<Sandbox>,
        calls: &mpsc::Receiver<WorkerCall>,
    ) -> bool {
        let gone = async {
            match sandbox {
                Some(standing) => standing.ended().await,
                None => std::future::pending().await,
            }
        };
        let is_gone = tokio::select! {
            () = gone => true,
            () = tokio::time::sleep(wait) => false,
        };
        if is_gone && let Some(dead) = sandbox.take() {
            self.end(dead).await;
        }
        calls.is_closed()
    }

    async fn end(&self, sandbox: Sandbox) {
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

    /// One worker, from its start to its end.
    async fn live(&self, sandbox: &Sandbox, calls: &mut mpsc::Receiver<WorkerCall>) -> Life {
        let (mut worker, mut process) = match self.worker(sandbox).await {
            Ok(started) => started,
            Err(error) => return Life::Useless(format!("its worker did not start: {error}")),
        };
        let number = process.number;
        let exited = how_it_ended(&mut process);
        tokio::pin!(exited);
        let ready = tokio::select! {
            ready = worker.ready() => ready,
            how = &mut exited => worker.ready_at_last(how).await,
        };
        let life = match ready {
            Ok(found) => {
                tracing::info!(agent = %self.agent.name, entry = self.settings.entry, found, "ready");
                self.readiness.send_replace(Readiness::Ready {
                    sandbox: sandbox.id.clone(),
                });
                match worker.serve(calls, exited).await {
                    Ended::Unwanted => Life::Over,
                    Ended::Failed(why) | Ended::NotLoaded(why) => Life::Useful(why),
                }
            }
            Err(Ended::Unwanted) => Life::Over,
            Err(Ended::NotLoaded(why)) => Life::Useless(why),
            Err(Ended::Failed(why)) => Life::Useless(format!("its worker failed: {why}")),
        };
        // Whatever is left of it goes; that it is gone already is the usual case.
        drop(sandbox.signal(number, KILL).await);
        life
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
        let more = [
            ("USER_ENTRY_POINT", self.settings.entry.clone()),
            ("RUNAGENTS_USER_CODE_DIR", mount),
            ("PYTHONUNBUFFERED", "1".to_owned()),
            // The agent's own directory is read-only.
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        env.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Program {
            argv: ["python3", WORKER_TARGET].map(str::to_owned).to_vec(),
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

async fn how_it_ended(process: &mut Process) -> String {
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
    })
}
