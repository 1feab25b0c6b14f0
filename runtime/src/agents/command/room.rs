//! A sandbox without anything in it, in which programs are started run by run. Never ends, and never is somebody else's, before
//! what a run has started is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt as _, future::BoxFuture};
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{Settings, errand::Errand};
use crate::{
    agents::{
        Call, Place,
        ground::Ground,
        pool::{Cell, Nursery},
    },
    sandbox::Sandbox,
};

/// What all rooms of one agent are made from.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) ground: Ground,
    pub(super) settings: Settings,
}

/// A sandbox of its own. Dropping it ends the sandbox whole.
#[derive(Debug)]
pub(super) struct Room {
    shop: Arc<Shop>,
    id: SandboxId,
    /// Taken when it is dropped, and not before.
    sandbox: Option<Arc<Sandbox>>,
    /// Programs that run, or are being ended.
    errands: Mutex<JoinSet<()>>,
}

impl Room {
    pub(super) fn of(shop: Arc<Shop>, sandbox: Sandbox) -> Self {
        Self {
            shop,
            id: sandbox.id.clone(),
            sandbox: Some(Arc::new(sandbox)),
            errands: Mutex::default(),
        }
    }

    fn errands(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program in a task of its own; what is given back ends it when it is dropped.
    fn send(
        &self,
        sandbox: &Arc<Sandbox>,
        request: postern_invoke::WorkerRequest,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        let (wanted, unwanted) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel::<()>();
        let errand = Errand {
            shop: Arc::clone(&self.shop),
            sandbox: Arc::clone(sandbox),
            request,
            inputs,
        };
        let mut errands = self.errands();
        while errands.try_join_next().is_some() {}
        errands.spawn(async move {
            errand.run(unwanted).await;
            drop(done);
        });
        Box::pin(async move {
            drop(is_done.await);
            drop(wanted);
        })
    }
}

impl Place for Room {
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

impl Cell for Room {
    fn has_ended(&self) -> bool {
        let ended = self.sandbox.as_ref();
        ended.is_none_or(|sandbox| sandbox.ended().now_or_never().is_some())
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

impl Drop for Room {
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

impl Nursery for Shop {
    type Cell = Room;

    async fn start(self: Arc<Self>) -> Result<Room, String> {
        let sandbox = self.ground.build().await;
        let sandbox = sandbox.map_err(|error| format!("no sandbox: {error}"))?;
        Ok(Room::of(self, sandbox))
    }
}
