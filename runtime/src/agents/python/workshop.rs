//! How one agent's workers are made, in sandboxes of its ground. Never keeps one.

use std::{io, os::fd::OwnedFd};

use tokio::net::UnixStream;

use super::{
    Settings,
    worker::{Ended, Worker},
};
use crate::{
    agent_environment,
    agents::ground::{Ground, KILL, how_it_ended},
    output,
    sandbox::{Descriptors, Process, Program, Sandbox, SandboxError},
};

/// What all of an agent's workers are made from.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) ground: Ground,
    pub(super) settings: Settings,
}

/// A worker that has imported the agent.
pub(super) struct Loaded {
    pub(super) worker: Worker,
    pub(super) process: Process,
    /// The name that is called.
    pub(super) found: String,
}

impl Workshop {
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
            Err(Ended::Failed(why) | Ended::Overran(why)) => format!("its worker failed: {why}"),
            Err(Ended::Unwanted) => "nobody wants it".to_owned(),
        };
        // Whatever is left of it goes; that it is gone already is the usual case.
        drop(sandbox.signal(process.number, KILL).await);
        Err(why)
    }

    async fn worker(&self, sandbox: &Sandbox) -> Result<(Worker, Process), StartFailure> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        let name = self.ground.agent.name.as_str();
        let open = Descriptors {
            stdin: OwnedFd::from(std::fs::File::open("/dev/null")?),
            stdout: output::to_log(name, "stdout")?,
            stderr: output::to_log(name, "stderr")?,
            channel: Some(theirs.into()),
        };
        let process = sandbox.exec(self.program(), open).await?;
        let wall_time = self.ground.agent.sandbox.wall_time;
        let printing = (self.ground.agent.name.clone(), self.ground.printed.clone());
        Ok((Worker::over(ours, wall_time, printing), process))
    }

    fn program(&self) -> Program {
        let mut env = agent_environment::of(&self.ground.agent);
        let mount = self.settings.files.mount.to_string_lossy().into_owned();
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
            cwd: self.settings.files.mount.clone(),
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
