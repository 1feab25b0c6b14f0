//! Agents that are a Python module: a resident worker in a sandbox, started once and again whenever it dies. The worker's
//! own code is one file that this executable carries; the module is the user's and nothing it says is trusted.
//!
//! ```text
//! sandbox ─▶ gate told ─▶ worker ─▶ imports ─┬▶ Ready ── calls ──▶ dies ─▶ NotReady ─ backoff ─┐
//!    ▲                       ▲               └▶ NotReady{the import error's last line} ────────┤
//!    │                       └──────────────────────────── the sandbox stands ─────────────────┤
//!    └──────────────────────────────────────────────────── the sandbox is gone ────────────────┘
//! ```

mod frames;
mod keeper;
mod worker;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use postern_contract::config::Role;
use postern_daemon::files;
use postern_invoke::{Input, Plan, RunFacts, Worker as WorkerPlan};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Call, Host, Readiness, StartError, Surroundings};
use crate::{
    config::{Agent, AgentWritten, Places, Wrong, plain_absolute, plain_relative},
    sandbox::Weakened,
    source::Source,
};
use keeper::Keeper;
use worker::WorkerCall;

/// The worker's code.
const WORKER: &str = include_str!("python/worker.py");

/// Where the agent's files stand in the sandbox, unless the config says otherwise.
const MOUNT_DEFAULT: &str = "/agent";

/// Directories of the sandbox that hold something else.
const TAKEN: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// Calls that wait for a worker.
const QUEUED_MAX: usize = 64;

/// What a Python agent needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its files come from.
    pub source: Source,
    /// Where they stand in the sandbox.
    pub mount: PathBuf,
    /// The module to load, beneath the mount.
    pub entry: String,
}

impl Settings {
    pub(super) fn mean(written: &AgentWritten, places: &Places) -> Result<Self, Wrong> {
        let Some(source) = &written.source else {
            return Err(Wrong::at(
                &["kind"],
                "a `python` agent needs `source = { object = { path = \"…\" } }`",
            ));
        };
        let Some(entry) = &written.entry else {
            return Err(Wrong::at(
                &["kind"],
                "a `python` agent needs `entry = \"FILE.py\"`",
            ));
        };
        if !plain_relative(entry) || !entry.ends_with(".py") {
            return Err(Wrong::at(
                &["entry"],
                "`entry` is a `.py` file beneath `mount`, without `..`",
            ));
        }
        let mount = written
            .mount
            .clone()
            .unwrap_or_else(|| PathBuf::from(MOUNT_DEFAULT));
        check_mount(&mount)?;
        Ok(Self {
            source: Source::mean(source, places)?,
            mount,
            entry: entry.clone(),
        })
    }
}

fn check_mount(mount: &Path) -> Result<(), Wrong> {
    if !plain_absolute(mount) {
        return Err(Wrong::at(
            &["mount"],
            "`mount` is an absolute path without `..`, such as `/agent`",
        ));
    }
    let first = mount
        .components()
        .nth(1)
        .map(|part| part.as_os_str().to_string_lossy());
    let first = first.unwrap_or_default();
    let is_home = mount == Path::new("/home") || mount == Path::new("/home/agent");
    if TAKEN.contains(&first.as_ref()) || is_home {
        return Err(Wrong::at(
            &["mount"],
            format!(
                "{} holds something else in the sandbox: choose another, such as `/agent`",
                mount.display()
            ),
        ));
    }
    Ok(())
}

/// A started Python agent; it stops when this is dropped.
#[derive(Debug)]
pub struct Python {
    model: String,
    weakened: watch::Receiver<Vec<Weakened>>,
    readiness: watch::Receiver<Readiness>,
    calls: mpsc::Sender<WorkerCall>,
}

impl Python {
    /// Installs the files and builds the first sandbox; the worker follows in a task of its own.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        agent: &Arc<Agent>,
        settings: &Settings,
        around: &Surroundings,
    ) -> Result<Self, StartError> {
        let installed = around.install(agent, &settings.source).await?;
        let shim =
            place_worker(&around.shims).map_err(|error| StartError::file(&around.shims, error))?;
        let (calls, queue) = mpsc::channel(QUEUED_MAX);
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let (weak, weakened) = watch::channel(Vec::new());
        let mut keeper = Keeper {
            agent: Arc::clone(agent),
            settings: settings.clone(),
            tree: installed.tree,
            shim,
            trusted: around.trusted.clone(),
            launcher: Arc::clone(&around.launcher),
            link: around.link.clone(),
            readiness: ready,
            weakened: weak,
        };
        let sandbox = keeper.build().await?;
        tokio::spawn(keeper.keep(sandbox, queue));
        let model = agent
            .model_for(Role::Chat)
            .map(|model| model.name.to_string());
        Ok(Self {
            model: model.unwrap_or_default(),
            weakened,
            readiness,
            calls,
        })
    }
}

/// Puts the worker's code where sandboxes can be shown it, under a name that changes with the code.
fn place_worker(shims: &Path) -> io::Result<PathBuf> {
    let hash = hex::encode(Sha256::digest(WORKER));
    let path = shims.join(format!("worker-{}.py", &hash[..16]));
    files::write_private(&path, WORKER.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

impl Host for Python {
    fn plan(&self) -> Plan {
        Plan::Worker(WorkerPlan {
            model: self.model.clone(),
        })
    }

    fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    fn weakened(&self) -> Vec<Weakened> {
        self.weakened.borrow().clone()
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let calls = self.calls.clone();
        let run = facts.run.clone();
        Box::pin(async move {
            let Call::Worker(request) = call else {
                return tracing::error!(
                    "an agent with code was asked for what only one without code does"
                );
            };
            let (reply, replied) = oneshot::channel();
            let sent = calls
                .send(WorkerCall {
                    run,
                    request: *request,
                    reply,
                })
                .await;
            let answer = match sent {
                Ok(()) => replied
                    .await
                    .unwrap_or_else(|_| Err("the agent has stopped".to_owned())),
                Err(_) => Err("the agent has stopped".to_owned()),
            };
            let input = answer.map_or_else(
                |detail| Input::WorkerFailed { detail },
                Input::WorkerReturned,
            );
            // Nobody listens any more when the run is over.
            drop(inputs.send(input).await);
        })
    }
}
