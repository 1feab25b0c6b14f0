//! Agents that are a Python module, in a worker that has imported it before a call comes. The worker's own code is one file
//! that this executable carries; the module is the user's and nothing it says is trusted.
//!
//! Where all runs share a sandbox, one worker is kept alive; the narrower ones come out of a pool (`pool/`).
//!
//! ```text
//! sandbox ─▶ gate told ─▶ worker ─▶ imports ─┬▶ Ready ── calls ──▶ dies ─▶ NotReady ─ backoff ─┐
//!    ▲                       ▲               └▶ NotReady{the import error's last line} ────────┤
//!    │                       └──────────────────────────── the sandbox stands ─────────────────┤
//!    └──────────────────────────────────────────────────── the sandbox is gone ────────────────┘
//! ```

mod cell;
mod frames;
mod keeper;
mod worker;
mod workshop;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use postern_contract::{SandboxId, config::Role};
use postern_daemon::files;
use postern_invoke::{Input, Plan, Resumes, RunFacts, Worker as WorkerPlan};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use super::{
    Call, Coming, Host, NoPlace, Place, Readiness, StartError, Surroundings,
    files::Files,
    ground::{Ground, shown},
    pool::{Pool, Users},
};
use crate::{
    config::{Agent, AgentWritten, Isolation, Places, Wrong, plain_relative},
    sandbox::{Sandbox, Weakened},
};
use cell::Cell;
use keeper::Keeper;
use worker::WorkerCall;
use workshop::Workshop;

/// What a resident worker is written in: all that differs from one language to the next.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// What the config calls it.
    pub word: &'static str,
    /// How an entry may end.
    pub suffixes: &'static [&'static str],
    /// The worker's code.
    pub worker: &'static str,
    /// Where that is shown in the sandbox.
    pub target: &'static str,
    /// The program that runs it, looked up on the sandbox's PATH.
    pub program: &'static str,
    /// Variables that the program wants.
    pub env: &'static [(&'static str, &'static str)],
}

/// Python as the sandbox's PATH has it; 3.8 or later.
pub(super) const PYTHON: Language = Language {
    word: "python",
    suffixes: &[".py"],
    worker: include_str!("python/worker.py"),
    target: "/run/postern/worker.py",
    program: "python3",
    env: &[
        ("PYTHONUNBUFFERED", "1"),
        // The agent's own directory is read-only.
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ],
};

/// Calls that wait for a worker.
const QUEUED_MAX: usize = 64;

/// What an agent with a worker needs beside what every agent has.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What it is written in.
    pub language: Language,
    /// Its files.
    pub files: Files,
    /// The module to load, beneath the mount.
    pub entry: String,
}

impl Settings {
    pub(super) fn mean(
        language: Language,
        written: &AgentWritten,
        places: &Places,
    ) -> Result<Self, Wrong> {
        let Language { word, suffixes, .. } = language;
        let Some(files) = Files::mean(written, places)? else {
            return Err(Wrong::at(
                &["kind"],
                format!("a `{word}` agent needs `source = {{ object = {{ path = \"…\" }} }}`"),
            ));
        };
        let Some(entry) = &written.entry else {
            return Err(Wrong::at(
                &["kind"],
                format!("a `{word}` agent needs `entry = \"FILE{}\"`", suffixes[0]),
            ));
        };
        let ends_well = suffixes.iter().any(|suffix| entry.ends_with(suffix));
        if !plain_relative(entry) || !ends_well {
            let ends = suffixes.join("`, `");
            return Err(Wrong::at(
                &["entry"],
                format!("`entry` is a `{ends}` file beneath `mount`, without `..`"),
            ));
        }
        Ok(Self {
            language,
            files,
            entry: entry.clone(),
        })
    }
}

/// A started Python agent; it stops when this is dropped.
#[derive(Debug)]
pub struct Python {
    model: String,
    weakened: watch::Receiver<Vec<Weakened>>,
    readiness: watch::Receiver<Readiness>,
    places: PlacesOf,
}

/// Where its runs have it.
#[derive(Debug)]
enum PlacesOf {
    /// One worker for all of them.
    Agent(mpsc::Sender<WorkerCall>),
    /// A fresh one for each.
    Run(Pool<Cell>),
    /// A sandbox for each user.
    User(Users<Cell>),
}

/// Installs the files and builds the first sandbox; its worker follows, and more sandboxes if the config wants them.
///
/// # Errors
/// See [`StartError`].
pub(super) async fn start(
    agent: &Arc<Agent>,
    settings: &Settings,
    around: &Surroundings,
) -> Result<Arc<dyn Host>, StartError> {
    let shim = place_worker(&around.shims, settings.language)
        .map_err(|error| StartError::file(&around.shims, error))?;
    let mounts = vec![shown(&shim, Path::new(settings.language.target))];
    let (ground, weakened) =
        Ground::with_files(agent, Some(&settings.files), mounts, around).await?;
    let workshop = Workshop {
        ground,
        settings: settings.clone(),
    };
    let sandbox = workshop.ground.build().await?;
    let (places, readiness) = match agent.isolation {
        Isolation::Agent => {
            let (calls, queue) = mpsc::channel(QUEUED_MAX);
            let (ready, readiness) = watch::channel(Readiness::Starting);
            tokio::spawn(Keeper::new(workshop, ready).keep(sandbox, queue));
            (PlacesOf::Agent(calls), readiness)
        }
        Isolation::Run => {
            let pool = pool(workshop, sandbox, agent);
            let readiness = pool.readiness();
            (PlacesOf::Run(pool), readiness)
        }
        Isolation::User => {
            let pool = pool(workshop, sandbox, agent);
            let readiness = pool.readiness();
            let users = Users::of(pool, agent.sandbox.users, agent.sandbox.idle);
            (PlacesOf::User(users), readiness)
        }
    };
    let model = agent
        .model_for(Role::Chat)
        .map(|model| model.name.to_string());
    Ok(Arc::new(Python {
        model: model.unwrap_or_default(),
        weakened,
        readiness,
        places,
    }))
}

/// A pool whose first worker comes to live in this sandbox.
fn pool(workshop: Workshop, first: Sandbox, agent: &Agent) -> Pool<Cell> {
    let workshop = Arc::new(workshop);
    let begun = Cell::begin(Arc::clone(&workshop), first);
    Pool::open(workshop, agent.sandbox.pool, begun)
}

/// Puts the worker's code where sandboxes can be shown it, under a name that changes with the code.
fn place_worker(shims: &Path, language: Language) -> io::Result<PathBuf> {
    let hash = hex::encode(Sha256::digest(language.worker));
    let path = shims.join(format!("worker-{}{}", &hash[..16], language.suffixes[0]));
    files::write_private(&path, language.worker.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

impl Host for Python {
    fn plan(&self) -> Plan {
        Plan::Worker(WorkerPlan {
            model: self.model.clone(),
            resumes: Resumes::Always,
        })
    }

    fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    fn weakened(&self) -> Vec<Weakened> {
        self.weakened.borrow().clone()
    }

    fn place(&self, facts: &RunFacts) -> Result<Coming, NoPlace> {
        match &self.places {
            PlacesOf::Agent(calls) => {
                let (sandbox, calls) = (self.shared_sandbox(), calls.clone());
                Ok(Box::pin(async {
                    let sandbox = sandbox.ok_or("its sandbox is gone")?;
                    Ok(Box::new(Standing { sandbox, calls }) as Box<dyn Place>)
                }))
            }
            PlacesOf::Run(pool) => {
                let coming = pool.take();
                Ok(Box::pin(async {
                    Ok(Box::new(coming.await?) as Box<dyn Place>)
                }))
            }
            PlacesOf::User(users) => users.place(facts),
        }
    }
}

impl Python {
    fn shared_sandbox(&self) -> Option<SandboxId> {
        match &*self.readiness.borrow() {
            Readiness::Ready { sandbox } => sandbox.clone(),
            Readiness::Starting | Readiness::NotReady { .. } => None,
        }
    }
}

/// The one sandbox of all runs.
struct Standing {
    sandbox: SandboxId,
    calls: mpsc::Sender<WorkerCall>,
}

impl Place for Standing {
    fn sandbox(&self) -> &SandboxId {
        &self.sandbox
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        worker::ask(self.calls.clone(), call, facts, inputs)
    }
}
