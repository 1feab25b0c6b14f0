//! A sandbox with one worker, for one run at a time. Never takes a second run before every process of the first is gone.
//!
//! ```text
//! begin ─▶ sandbox, worker, imports ─▶ Cell ── a run ── renew: all processes gone, a new worker ──▶ Cell ── … ── drop: gone
//!                                       └ its worker dies: ended
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{
    worker,
    worker::{Ended, WorkerCall},
    workshop::{Loaded, Workshop},
};
use crate::{
    agents::{
        Call, Place,
        ground::how_it_ended,
        pool::{self, Nursery},
    },
    sandbox::Sandbox,
};

/// Calls that wait for the worker: a run has one.
const QUEUED_MAX: usize = 1;

/// A sandbox of its own. Dropping it ends the sandbox whole.
#[derive(Debug)]
pub(super) struct Cell {
    workshop: Arc<Workshop>,
    id: SandboxId,
    /// Taken when it is dropped, and not before.
    sandbox: Option<Sandbox>,
    shift: Mutex<Shift>,
}

/// One worker's time.
#[derive(Debug)]
struct Shift {
    calls: mpsc::Sender<WorkerCall>,
    over: watch::Receiver<bool>,
}

impl Cell {
    /// Brings a sandbox that stands to life.
    pub(super) async fn begin(workshop: Arc<Workshop>, sandbox: Sandbox) -> Result<Self, String> {
        let shift = match Shift::begin(&workshop, &sandbox).await {
            Ok(shift) => shift,
            Err(why) => {
                workshop.ground.end(sandbox).await;
                return Err(why);
            }
        };
        Ok(Self {
            workshop,
            id: sandbox.id.clone(),
            sandbox: Some(sandbox),
            shift: Mutex::new(shift),
        })
    }

    fn shift(&self) -> (mpsc::Sender<WorkerCall>, watch::Receiver<bool>) {
        let shift = self.shift.lock().unwrap_or_else(PoisonError::into_inner);
        (shift.calls.clone(), shift.over.clone())
    }
}

impl Shift {
    async fn begin(workshop: &Workshop, sandbox: &Sandbox) -> Result<Self, String> {
        let entry = &workshop.settings.entry;
        let loaded = workshop.load(sandbox).await;
        let Loaded {
            mut worker,
            mut process,
            found,
        } = loaded.map_err(|why| format!("{entry}: {why}"))?;
        tracing::debug!(agent = %workshop.ground.agent.name, sandbox = %sandbox.id, found, "ready");
        let (calls, mut queue) = mpsc::channel(QUEUED_MAX);
        let (ending, over) = watch::channel(false);
        let (agent, id) = (workshop.ground.agent.name.clone(), sandbox.id.clone());
        tokio::spawn(async move {
            let ended = worker.serve(&mut queue, how_it_ended(&mut process)).await;
            if let Ended::Failed(why) | Ended::NotLoaded(why) | Ended::Overran(why) = ended {
                tracing::warn!(%agent, sandbox = %id, "its worker ended: {why}");
            }
            ending.send_replace(true);
        });
        Ok(Self { calls, over })
    }
}

impl Place for Cell {
    fn sandbox(&self) -> &SandboxId {
        &self.id
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        worker::ask(self.shift().0, call, facts, inputs)
    }
}

impl pool::Cell for Cell {
    fn has_ended(&self) -> bool {
        let is_current = |sandbox| self.workshop.ground.is_current(sandbox);
        *self.shift().1.borrow() || !self.sandbox.as_ref().is_some_and(is_current)
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let (_, mut over) = self.shift();
        Box::pin(async move {
            // The sender is gone only together with the worker's task, which is the same end.
            drop(over.wait_for(|over| *over).await);
        })
    }

    async fn renew(&self) -> Result<(), String> {
        let sandbox = self.sandbox.as_ref().ok_or("it is ending")?;
        sandbox.clear().await.map_err(|error| error.to_string())?;
        let shift = Shift::begin(&self.workshop, sandbox).await?;
        *self.shift.lock().unwrap_or_else(PoisonError::into_inner) = shift;
        Ok(())
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let Some(sandbox) = self.sandbox.take() else {
            return;
        };
        let workshop = Arc::clone(&self.workshop);
        // Without a runtime the daemon is over, and its sandboxes with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { workshop.ground.end(sandbox).await });
        }
    }
}

impl Nursery for Workshop {
    type Cell = Cell;

    async fn start(self: Arc<Self>) -> Result<Cell, String> {
        let sandbox = self
            .ground
            .build()
            .await
            .map_err(|error| format!("no sandbox: {error}"))?;
        Cell::begin(self, sandbox).await
    }
}
