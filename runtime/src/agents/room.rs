//! A sandbox without anything in it, in which programs are started run by run, as a kind's craft says. Never ends, and never is
//! somebody else's, before what a run has started is gone.

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts, WorkerRequest};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    Call, Place, StartError,
    command::Heard,
    ground::Ground,
    pool::{Cell, Homes, Nursery},
    sessions::Sessions,
};
use crate::{config::Agent, output::printable, sandbox::Sandbox};

/// The longest text of an error that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 2000;

/// How a kind does what one run asks.
pub(super) trait Craft: Debug + Send + Sync + Sized + 'static {
    /// Does it, in a task of its own; what it has started is gone when this returns. Once it is unwanted nothing more is told.
    fn work(job: Job<Self>, unwanted: oneshot::Receiver<()>) -> impl Future<Output = ()> + Send;
}

/// What is to be done, and where.
#[derive(Debug)]
pub(super) struct Job<C> {
    pub(super) shop: Arc<Shop<C>>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) request: WorkerRequest,
    pub(super) inputs: mpsc::Sender<Input>,
    /// The conversations that this sandbox knows.
    pub(super) sessions: Arc<Sessions>,
}

impl<C: Craft> Job<C> {
    /// Tells whoever listens what the program said.
    pub(super) async fn tell(&self, heard: Heard) {
        match heard {
            // A run takes its inputs whatever its callers do, so this waits for nobody outside.
            Heard::Said(event) => drop(self.inputs.send(Input::WorkerSaid(event)).await),
            Heard::Stray(line) => {
                let (agent, run) = (&self.shop.ground.agent.name, &self.request.run_id);
                tracing::debug!(target: "agent", %agent, %run, "not understood: {}", printable(&line));
            }
        }
    }

    /// Tells the run what came of it, or why the program has no answer.
    pub(super) async fn finish(&self, program: &str, answer: Result<Value, String>) {
        let input = match answer {
            Ok(value) => Input::WorkerReturned(value),
            Err(why) => {
                let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
                let detail = format!("{program}: {why}");
                Input::WorkerFailed { detail }
            }
        };
        // Nobody listens any more when the run is over.
        drop(self.inputs.send(input).await);
    }
}

/// What all rooms of one agent are made from.
#[derive(Debug)]
pub(super) struct Shop<C> {
    pub(super) ground: Ground,
    pub(super) craft: C,
}

/// A sandbox of its own. Dropping it ends the sandbox whole.
#[derive(Debug)]
pub(super) struct Room<C: Craft> {
    shop: Arc<Shop<C>>,
    id: SandboxId,
    /// Taken when it is dropped, and not before.
    sandbox: Option<Arc<Sandbox>>,
    /// Programs that run, or are being ended.
    errands: Mutex<JoinSet<()>>,
    sessions: Arc<Sessions>,
}

impl<C: Craft> Room<C> {
    fn of(shop: Arc<Shop<C>>, sandbox: Sandbox) -> Self {
        Self {
            shop,
            id: sandbox.id.clone(),
            sandbox: Some(Arc::new(sandbox)),
            errands: Mutex::default(),
            sessions: Arc::default(),
        }
    }

    /// The rooms of an agent, of which the first stands when this returns.
    pub(super) async fn homes(shop: Shop<C>, agent: &Agent) -> Result<Homes<Self>, StartError> {
        let shop = Arc::new(shop);
        let sandbox = shop.ground.build().await?;
        let first = std::future::ready(Ok(Self::of(Arc::clone(&shop), sandbox)));
        Ok(Homes::open(shop, agent, first))
    }

    fn errands(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program in a task of its own; what is given back ends it when it is dropped.
    fn send(
        &self,
        sandbox: &Arc<Sandbox>,
        request: WorkerRequest,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let (wanted, unwanted) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel::<()>();
        let job = Job {
            shop: Arc::clone(&self.shop),
            sandbox: Arc::clone(sandbox),
            request,
            inputs,
            sessions: Arc::clone(&self.sessions),
        };
        let mut errands = self.errands();
        while errands.try_join_next().is_some() {}
        errands.spawn(async move {
            C::work(job, unwanted).await;
            drop(done);
        });
        Box::pin(async move {
            drop(is_done.await);
            drop(wanted);
        })
    }
}

impl<C: Craft> Place for Room<C> {
    fn sandbox(&self) -> &SandboxId {
        &self.id
    }

    fn carry_out(
        &self,
        call: Call,
        _: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let (Call::Worker(request), Some(sandbox)) = (call, &self.sandbox) else {
            tracing::error!("an agent with code was asked for what only one without code does");
            return Box::pin(std::future::ready(()));
        };
        self.send(sandbox, *request, inputs)
    }
}

impl<C: Craft> Cell for Room<C> {
    fn has_ended(&self) -> bool {
        let ended = self.sandbox.as_ref();
        ended.is_none_or(|sandbox| {
            sandbox.ended().now_or_never().is_some() || !self.shop.ground.is_current(sandbox)
        })
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let sandbox = self.sandbox.clone();
        Box::pin(async move {
            if let Some(sandbox) = sandbox {
                sandbox.ended().await;
            }
        })
    }

    async fn renew(&self) -> Result<(), String> {
        let mut last = std::mem::take(&mut *self.errands());
        while last.join_next().await.is_some() {}
        let sandbox = self.sandbox.as_ref().ok_or("it is ending")?;
        sandbox.clear().await.map_err(|error| error.to_string())
    }
}

impl<C: Craft> Drop for Room<C> {
    fn drop(&mut self) {
        let mut errands = std::mem::take(&mut *self.errands());
        let Some(sandbox) = self.sandbox.take() else {
            return;
        };
        let (shop, id) = (Arc::clone(&self.shop), self.id.clone());
        // Without a runtime the daemon is over, and its sandboxes with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                while errands.join_next().await.is_some() {}
                drop(sandbox);
                shop.ground.ended(id).await;
            });
        }
    }
}

impl<C: Craft> Nursery for Shop<C> {
    type Cell = Room<C>;

    async fn start(self: Arc<Self>) -> Result<Room<C>, String> {
        let sandbox = self.ground.build().await;
        let sandbox = sandbox.map_err(|error| format!("no sandbox: {error}"))?;
        Ok(Room::of(self, sandbox))
    }
}
