//! `postern up` as a child of the tour, with the daemons as its children. Never outlives the tour: its standard input is
//! the tour's lifeline.

use std::{fs::File, net::SocketAddr, process::Stdio, time::Duration};

use postern_contract::exit;
use postern_daemon::Shutdown;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::stage::Stage;
use crate::{Failure, terminal::complain};

/// How long an orderly end may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How much of the daemons' log is shown when they fail, in lines.
const LOG_LINES_SHOWN: usize = 20;

/// The line that `postern up --json` prints.
#[derive(Debug, Deserialize)]
struct Ready {
    api: SocketAddr,
    operator: SocketAddr,
    elapsed_ms: u64,
    runtime_pid: u32,
    gate_pid: u32,
}

/// The running daemons.
#[derive(Debug)]
pub(super) struct Devbox<'a> {
    child: Child,
    /// Held apart: waiting for the child would close it.
    lifeline: Option<ChildStdin>,
    ready: Ready,
    stage: &'a Stage,
}

impl<'a> Devbox<'a> {
    /// Starts them and waits until they are ready, or until somebody asks the tour to stop.
    pub(super) async fn start(
        stage: &'a Stage,
        weaker: &[String],
        stop: &Shutdown,
    ) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::Run(format!("starting `postern up`: {error}"));
        let log = File::create(stage.log()).map_err(failed)?;
        let mut child = command(stage, weaker).stderr(log).spawn().map_err(failed)?;
        let mut lifeline = child.stdin.take();
        let line = tokio::select! {
            line = first_line(child.stdout.take()) => line,
            _ = stop.requested() => {
                drop(lifeline.take());
                None
            }
        };
        let ready = line.and_then(|line| serde_json::from_str(&line).ok());
        match ready {
            Some(ready) => Ok(Self {
                child,
                lifeline,
                ready,
                stage,
            }),
            None => {
                drop(child.wait().await);
                Err(told(stage))
            }
        }
    }

    /// Where the public API listens.
    pub(super) fn api(&self) -> SocketAddr {
        self.ready.api
    }

    /// One line about what runs.
    pub(super) fn shown(&self) -> String {
        let Ready {
            api,
            operator,
            elapsed_ms,
            runtime_pid,
            gate_pid,
        } = &self.ready;
        format!(
            "posternd (pid {runtime_pid}) on http://{api}, operator API http://{operator}; \
             postern-proxy (pid {gate_pid}); ready in {elapsed_ms} ms"
        )
    }

    /// Returns when they have ended, which they should not by themselves.
    pub(super) async fn ended(&mut self) -> Failure {
        drop(self.child.wait().await);
        told(self.stage)
    }

    /// Ends them in order: the lifeline is cut, and the supervisor drains.
    pub(super) async fn stop(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .is_err()
        {
            drop(self.child.kill().await);
        }
    }
}

fn command(stage: &Stage, weaker: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("postern")
        .args(["up", "--json", "--lifeline", "--state"])
        .arg(stage.state());
    if !weaker.is_empty() {
        command.args(["--allow-weaker", &weaker.join(",")]);
    }
    command
        .arg(stage.config())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

async fn first_line(output: Option<ChildStdout>) -> Option<String> {
    BufReader::new(output?)
        .lines()
        .next_line()
        .await
        .ok()
        .flatten()
}

/// Shows what the daemons had to say.
fn told(stage: &Stage) -> Failure {
    let log = std::fs::read_to_string(stage.log()).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..] {
        complain(line);
    }
    Failure::Told(exit::RUN)
}
