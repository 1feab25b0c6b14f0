//! A sandbox with one server in it, which is ready. Never takes a user's next run before the server has been started anew.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::StatusCode;
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{Settings, ask};
use crate::{
    agent_environment::{self, Environment},
    agents::{
        Call, Place,
        ground::{Ground, how_it_ended},
        pool::{Cell, Nursery},
    },
    output,
    sandbox::{Descriptors, Process, Program, Sandbox},
};

/// How often a server is asked whether it is ready.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What all houses of one agent are made from.
#[derive(Debug)]
pub(super) struct Yard {
    pub(super) ground: Ground,
    pub(super) settings: Settings,
    /// The server has no path that streams.
    is_plain: AtomicBool,
    /// It has one: what it says there is its answer, whatever it is.
    streams: AtomicBool,
}

impl Yard {
    pub(super) fn new(ground: Ground, settings: Settings) -> Self {
        Self {
            ground,
            settings,
            is_plain: AtomicBool::new(false),
            streams: AtomicBool::new(false),
        }
    }

    /// Where a run is asked.
    pub(super) fn path(&self) -> &str {
        if self.is_plain.load(Ordering::Relaxed) {
            return &self.settings.invoke;
        }
        &self.settings.stream
    }

    /// It was asked where it would stream, and answered so. Whether it has no such path, which is to be found out once.
    pub(super) fn may_have_no_such(&self, status: StatusCode) -> bool {
        let is_absent = matches!(status.as_u16(), 404 | 405 | 501);
        if !is_absent {
            self.streams.store(true, Ordering::Relaxed);
        }
        is_absent && !self.streams.load(Ordering::Relaxed)
    }

    /// It was asked at its plain path after all, and answered so.
    pub(super) fn answered_plainly(&self, status: StatusCode) {
        if status.is_success() {
            self.is_plain.store(true, Ordering::Relaxed);
        }
    }

    fn environment(&self) -> Environment {
        let mut env = agent_environment::of(&self.ground.agent);
        let mut set = |name: &str, value: String| drop(env.insert(name.to_owned(), value));
        set("PORT", self.settings.port.to_string());
        if let Some(files) = &self.settings.files {
            let mount = files.mount.to_string_lossy().into_owned();
            set("RUNAGENTS_USER_CODE_DIR", mount);
        }
        if let Some(entry) = &self.settings.entry {
            set("USER_ENTRY_POINT", entry.clone());
        }
        env
    }

    async fn process(&self, sandbox: &Sandbox) -> Result<Process, String> {
        let name = self.ground.agent.name.as_str();
        let open = || -> std::io::Result<Descriptors> {
            Ok(Descriptors {
                stdin: OwnedFd::from(File::open("/dev/null")?),
                stdout: output::to_log(name, "stdout")?,
                stderr: output::to_log(name, "stderr")?,
                channel: None,
            })
        };
        let open = open().map_err(|error| error.to_string())?;
        let program = Program {
            argv: self.settings.argv.clone(),
            env: self.environment(),
            cwd: agent_environment::working_directory().into(),
        };
        let started = sandbox.exec(program, open).await;
        started.map_err(|error| error.to_string())
    }
}

/// How a server ended; nothing while it runs.
pub(super) type Over = watch::Receiver<Option<String>>;

/// A sandbox of its own. Dropping it ends the sandbox whole.
#[derive(Debug)]
pub(super) struct House {
    yard: Arc<Yard>,
    id: SandboxId,
    /// Taken when it is dropped, and not before.
    sandbox: Option<Arc<Sandbox>>,
    over: Mutex<Over>,
}

impl House {
    /// Starts the server of a sandbox that stands, and waits until it is ready.
    pub(super) async fn begin(yard: Arc<Yard>, sandbox: Sandbox) -> Result<Self, String> {
        let over = match serve(&yard, &sandbox).await {
            Ok(over) => over,
            Err(why) => {
                yard.ground.end(sandbox).await;
                return Err(why);
            }
        };
        Ok(Self {
            yard,
            id: sandbox.id.clone(),
            sandbox: Some(Arc::new(sandbox)),
            over: Mutex::new(over),
        })
    }

    fn over(&self) -> Over {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.clone()
    }
}

/// Starts a server; it is ready when this returns.
async fn serve(yard: &Yard, sandbox: &Sandbox) -> Result<Over, String> {
    let program = &yard.settings.argv[0];
    let told = |why: String| format!("{program}: {why}");
    let mut process = yard.process(sandbox).await.map_err(told)?;
    let ready = async {
        while !ask::is_ready(sandbox, &yard.settings).await {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    let Settings {
        start,
        port,
        ready: path,
        ..
    } = &yard.settings;
    tokio::select! {
        how = how_it_ended(&mut process) => return Err(told(how)),
        is_ready = tokio::time::timeout(*start, ready) => {
            is_ready.map_err(|_| told(format!("port {port} did not answer {path} in {start:?}")))?;
        }
    }
    let (ending, over) = watch::channel(None);
    let (agent, id) = (yard.ground.agent.name.clone(), sandbox.id.clone());
    tracing::debug!(%agent, sandbox = %id, "its server is ready");
    tokio::spawn(async move {
        let how = how_it_ended(&mut process).await;
        tracing::warn!(%agent, sandbox = %id, "its server ended: {how}");
        ending.send_replace(Some(how));
    });
    Ok(over)
}

impl Place for House {
    fn sandbox(&self) -> &SandboxId {
        &self.id
    }

    fn carry_out(
        &self,
        call: Call,
        _: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let (Call::Worker(request), Some(sandbox)) = (call, self.sandbox.clone()) else {
            tracing::error!("an agent with code was asked for what only one without code does");
            return Box::pin(std::future::ready(()));
        };
        let (yard, over) = (Arc::clone(&self.yard), self.over());
        Box::pin(async move {
            let answer = ask::run(&yard, &sandbox, *request, &inputs).await;
            let input = match answer {
                Ok(value) => Input::WorkerReturned(value),
                Err(why) => Input::WorkerFailed {
                    detail: ask::told(why, over).await,
                },
            };
            // Nobody listens any more when the run is over.
            drop(inputs.send(input).await);
        })
    }
}

impl Cell for House {
    fn has_ended(&self) -> bool {
        let is_current = |sandbox| self.yard.ground.is_current(sandbox);
        self.over().borrow().is_some() || !self.sandbox.as_deref().is_some_and(is_current)
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut over = self.over();
        Box::pin(async move {
            // The sender is gone only together with the server's task, which is the same end.
            drop(over.wait_for(Option::is_some).await);
        })
    }

    async fn renew(&self) -> Result<(), String> {
        let sandbox = self.sandbox.as_ref().ok_or("it is ending")?;
        sandbox.clear().await.map_err(|error| error.to_string())?;
        let over = serve(&self.yard, sandbox).await?;
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = over;
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let Some(sandbox) = self.sandbox.take() else {
            return;
        };
        let (yard, id) = (Arc::clone(&self.yard), self.id.clone());
        drop(sandbox);
        // Without a runtime the daemon is over, and its sandboxes with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { yard.ground.ended(id).await });
        }
    }
}

impl Nursery for Yard {
    type Cell = House;

    async fn start(self: Arc<Self>) -> Result<House, String> {
        let sandbox = self.ground.build().await;
        let sandbox = sandbox.map_err(|error| format!("no sandbox: {error}"))?;
        House::begin(self, sandbox).await
    }
}
