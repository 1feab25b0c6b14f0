//! One run's program while it runs: its pipes, its complaints and its end. Never reads what it says: that is the kind's.

use std::{collections::BTreeMap, io, os::fd::OwnedFd, time::Duration};

use postern_contract::{RunId, launch::ExitStatus};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    time::{Instant, sleep_until},
};

use super::{
    ground::{Ground, KILL, in_words},
    stderr::Stderr,
};
use crate::{
    agent_environment,
    sandbox::{Descriptors, Exit, Process, Program, Sandbox, SandboxError},
};

/// Read at once, in bytes.
pub(super) const READ_BYTES_MAX: usize = 64 << 10;

/// How long its output is waited for when a program has ended.
const SOON: Duration = Duration::from_secs(1);

/// How long a program that is killed may take to be gone; its sandbox ends with one that is not.
const KILL_MAX: Duration = Duration::from_secs(5);

/// How long the last of its complaints is waited for when all went well.
const AT_ONCE: Duration = Duration::from_millis(100);

/// What is started, and what it reads.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) stdin: OwnedFd,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    #[error("it did not start: {0}")]
    Sandbox(#[from] SandboxError),
    #[error("it did not start: {0}")]
    Pipe(#[from] io::Error),
}

/// A program that was started.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    /// Its end is known, and what is known of it.
    exit: Option<Option<Exit>>,
    /// How long its output is still waited for.
    until: Option<Instant>,
    stdout: pipe::Receiver,
    stderr: Stderr,
}

impl Running {
    pub(super) async fn start(
        ground: &Ground,
        sandbox: &Sandbox,
        run: &RunId,
        start: Start,
    ) -> Result<Self, NotStarted> {
        let (stdout, theirs) = io::pipe()?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into())?;
        let (stderr, complaints) =
            Stderr::follow(ground.agent.name.as_str(), run, &ground.printed)?;
        let program = Program {
            argv: start.argv,
            env: start.env,
            cwd: agent_environment::working_directory().into(),
        };
        let open = Descriptors {
            stdin: start.stdin,
            stdout: theirs.into(),
            stderr: complaints,
            channel: None,
        };
        Ok(Self {
            process: sandbox.exec(program, open).await?,
            exit: None,
            until: None,
            stdout,
            stderr,
        })
    }

    /// The length of what it writes next; nothing once it has ended and closed its output, or somebody else holds that open.
    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> Option<usize> {
        loop {
            let until = self.until;
            tokio::select! {
                read = self.stdout.read(bytes) => return read.ok().filter(|length| *length > 0),
                exit = self.process.exited(), if self.exit.is_none() => {
                    self.exit = Some(exit);
                    self.until = Some(Instant::now() + SOON);
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return None,
            }
        }
    }

    /// Returns when it has ended, and says whether well.
    pub(super) async fn ended_well(&mut self) -> bool {
        if self.exit.is_none() {
            self.exit = Some(self.process.exited().await);
        }
        let status = self.exit.iter().flatten().map(|exit| exit.status).next();
        let is_well = status == Some(ExitStatus::Code(0));
        if is_well {
            // What it said last is in the log before its run is over.
            drop(self.stderr.last_words(AT_ONCE).await);
        }
        is_well
    }

    /// How it ended, and its last words.
    pub(super) async fn how(&mut self) -> String {
        let how = in_words(self.exit.clone().flatten());
        let last = self.stderr.last_words(SOON).await;
        if last.is_empty() {
            return how;
        }
        format!("{how}: {last}")
    }

    /// Kills what still runs of its group. That its end was told is all that counts, whatever was answered.
    pub(super) async fn kill(mut self, sandbox: &Sandbox) {
        if self.exit.is_some() {
            return;
        }
        let gone = async {
            if let Err(error) = sandbox.signal(self.process.number, KILL).await {
                tracing::debug!(%error, "a program was not killed; it may be over");
            }
            self.process.exited().await
        };
        if tokio::time::timeout(KILL_MAX, gone).await.is_err() {
            tracing::error!(sandbox = %sandbox.id, "a program could not be killed: its sandbox is ended");
            sandbox.end();
        }
    }
}
