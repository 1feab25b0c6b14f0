//! One cell that all runs of an agent share, made again when it ends, less and less eagerly. Never gives up, and says all the
//! while whether there is one.

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::sync::{mpsc, watch};

use super::{BACKOFF_FIRST, BACKOFF_MAX, Cell, Nursery};
use crate::agents::{Call, Coming, Place, Readiness};

/// A handle to the cell; it ends when this is dropped and no run has it any more.
#[derive(Debug)]
pub struct Standing<C> {
    cell: watch::Receiver<Option<Arc<C>>>,
    readiness: watch::Receiver<Readiness>,
}

impl<C: Cell> Standing<C> {
    /// Keeps one, beginning with one that is on its way.
    pub fn keep<N: Nursery<Cell = C>>(
        nursery: Arc<N>,
        first: impl Future<Output = Result<C, String>> + Send + 'static,
    ) -> Self {
        let (cells, cell) = watch::channel(None);
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let keeper = Keeper {
            nursery,
            cells,
            ready,
        };
        tokio::spawn(keeper.keep(first));
        Self { cell, readiness }
    }

    /// Whether there is one.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// A share in it for one run.
    #[must_use]
    pub fn place(&self) -> Coming {
        let cell = self.cell.borrow().clone();
        Box::pin(async {
            let cell = cell.ok_or("its sandbox is gone")?;
            Ok(Box::new(Share(cell)) as Box<dyn Place>)
        })
    }
}

/// The one task that makes it, over and over.
struct Keeper<N: Nursery> {
    nursery: Arc<N>,
    cells: watch::Sender<Option<Arc<N::Cell>>>,
    ready: watch::Sender<Readiness>,
}

impl<N: Nursery> Keeper<N> {
    async fn keep(self, first: impl Future<Output = Result<N::Cell, String>>) {
        let mut wait = BACKOFF_FIRST;
        let mut started = first.await;
        loop {
            let why = match started {
                Ok(cell) => {
                    let mut long = Box::pin(tokio::time::sleep(BACKOFF_MAX));
                    let Some(why) = self.live(cell).await else {
                        return;
                    };
                    // One that comes up and dies is no better than one that does not come up.
                    if long.as_mut().now_or_never().is_some() {
                        wait = BACKOFF_FIRST;
                    }
                    why
                }
                Err(why) => why,
            };
            self.not_ready(why);
            tokio::select! {
                () = self.cells.closed() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(BACKOFF_MAX);
            started = Arc::clone(&self.nursery).start().await;
        }
    }

    /// One cell, to its end; nothing if nobody wants any more.
    async fn live(&self, cell: N::Cell) -> Option<String> {
        let cell = Arc::new(cell);
        self.ready.send_replace(Readiness::Ready {
            sandbox: Some(cell.sandbox().clone()),
        });
        self.cells.send_replace(Some(Arc::clone(&cell)));
        let ended = tokio::select! {
            () = self.cells.closed() => None,
            () = cell.ended() => Some("what all its runs share has ended".to_owned()),
        };
        self.cells.send_replace(None);
        ended
    }

    fn not_ready(&self, why: String) {
        if *self.ready.borrow() != Readiness::Starting {
            tracing::error!("not ready: {why}");
        }
        self.ready.send_replace(Readiness::NotReady { why });
    }
}

/// One run's share.
struct Share<C>(Arc<C>);

impl<C: Cell> Place for Share<C> {
    fn sandbox(&self) -> &SandboxId {
        self.0.sandbox()
    }

    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()> {
        self.0.carry_out(call, facts, inputs)
    }
}
