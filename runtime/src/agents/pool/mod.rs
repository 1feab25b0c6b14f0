//! Sandboxes of one agent that are up before anybody asks: a run takes one and has it alone. Never hands one out twice, and
//! never one whose worker is gone; where none is ready, a run waits for a cold start.
//!
//! ```text
//! start ─▶ ready (`pool` of them) ─▶ taken by a run ─▶ gone with it              the pool is filled up again at once
//!   │         └ its worker dies ─┐                  └▶ a user's (`users.rs`), renewed after each run
//!   └ fails ─────────────────────┴▶ told to whoever waits; a pause that doubles
//! ```

mod homes;
mod standing;
mod users;

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, select_all};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::Sleep,
};

use super::{Place, Readiness};
pub use homes::{Homes, Housed};
pub use standing::Standing;
pub use users::Users;

/// Cold starts of one agent at the same time.
const STARTING_MAX: usize = 4;

/// Runs that wait to be heard; more wait at the sender.
const ASKED_MAX: usize = 64;

/// How long to wait after the first failure; doubles with each that follows before a run was served.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A sandbox with a worker for one run at a time. Dropping it ends the sandbox.
pub trait Cell: Place + 'static {
    /// Whether it is of no use for another run: its worker is gone, or another version of the agent is live by now.
    fn has_ended(&self) -> bool;

    /// Returns when its worker is gone.
    fn ended(&self) -> BoxFuture<'static, ()>;

    /// Ends every process of the last run and starts a new worker.
    ///
    /// # Errors
    /// Why it is of no use any more, in one line.
    fn renew(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Where cells come from.
pub trait Nursery: Send + Sync + 'static {
    /// What comes.
    type Cell: Cell;

    /// Starts one, up to the agent's imports.
    ///
    /// # Errors
    /// Why not, in one line.
    fn start(self: Arc<Self>) -> impl Future<Output = Result<Self::Cell, String>> + Send;
}

type Asked<C> = oneshot::Sender<Result<C, String>>;

/// A handle to the pool; it ends when all are dropped.
#[derive(Debug)]
pub struct Pool<C> {
    asking: mpsc::Sender<Asked<C>>,
    readiness: watch::Receiver<Readiness>,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            asking: self.asking.clone(),
            readiness: self.readiness.clone(),
        }
    }
}

impl<C: Cell> Pool<C> {
    /// A pool that holds `size` ready cells, beginning with one that is on its way.
    pub fn open<N: Nursery<Cell = C>>(
        nursery: Arc<N>,
        size: usize,
        first: impl Future<Output = Result<C, String>> + Send + 'static,
    ) -> Self {
        let (asking, asked) = mpsc::channel(ASKED_MAX);
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let mut owner = Owner {
            nursery,
            size,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            starting: JoinSet::new(),
            readiness: ready,
            wait: BACKOFF_FIRST,
            pause: None,
        };
        owner.starting.spawn(first);
        tokio::spawn(owner.own(asked));
        Self { asking, readiness }
    }

    /// Whether it has, or can make, any.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.clone()
    }

    /// One for whoever awaits this; nobody waits for it once it is dropped.
    pub fn take(&self) -> impl Future<Output = Result<C, String>> + Send + use<C> {
        let asking = self.asking.clone();
        async move {
            let gone = || "the agent has stopped".to_owned();
            let (asked, answer) = oneshot::channel();
            asking.send(asked).await.map_err(|_| gone())?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        }
    }
}

/// The one task that starts cells and hands them out.
struct Owner<N: Nursery> {
    nursery: Arc<N>,
    size: usize,
    ready: VecDeque<N::Cell>,
    waiting: VecDeque<Asked<N::Cell>>,
    starting: JoinSet<Result<N::Cell, String>>,
    readiness: watch::Sender<Readiness>,
    wait: Duration,
    /// No cell is started for the pool's sake until this is over; for a run that waits it is.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<N: Nursery> Owner<N> {
    async fn own(mut self, mut asked: mpsc::Receiver<Asked<N::Cell>>) {
        loop {
            self.fill();
            tokio::select! {
                run = asked.recv() => match run {
                    Some(run) => self.serve(run),
                    None => return,
                },
                Some(started) = self.starting.join_next() => self.started(started),
                () = first_end(&self.ready) => self.bury(),
                () = pause(&mut self.pause) => self.pause = None,
            }
        }
    }

    fn fill(&mut self) {
        self.waiting.retain(|run| !run.is_closed());
        let held = match *self.readiness.borrow() {
            _ if self.pause.is_some() => 0,
            // Nobody waits while nobody can be called: one is tried all the same.
            Readiness::NotReady { .. } => self.size.max(1),
            Readiness::Starting | Readiness::Ready { .. } => self.size,
        };
        let wanted = (held + self.waiting.len()).saturating_sub(self.ready.len());
        while self.starting.len() < wanted.min(STARTING_MAX) {
            self.starting.spawn(Arc::clone(&self.nursery).start());
        }
    }

    fn serve(&mut self, run: Asked<N::Cell>) {
        while let Some(cell) = self.ready.pop_front() {
            if cell.has_ended() {
                continue;
            }
            self.wait = BACKOFF_FIRST;
            if let Err(Ok(unwanted)) = run.send(Ok(cell)) {
                self.ready.push_front(unwanted);
            }
            return;
        }
        self.waiting.push_back(run);
    }

    fn started(&mut self, started: Result<Result<N::Cell, String>, JoinError>) {
        match started.unwrap_or_else(|error| Err(format!("its start failed: {error}"))) {
            Ok(cell) => {
                if !matches!(*self.readiness.borrow(), Readiness::Ready { .. }) {
                    self.readiness
                        .send_replace(Readiness::Ready { sandbox: None });
                }
                self.ready.push_back(cell);
                if let Some(run) = self.waiting.pop_front() {
                    self.serve(run);
                }
            }
            Err(why) => {
                if let Some(run) = self.waiting.pop_front() {
                    // Whoever it was may be gone.
                    drop(run.send(Err(why.clone())));
                }
                self.failed(why);
            }
        }
    }

    /// Those whose worker ended before anybody had them.
    fn bury(&mut self) {
        self.ready.retain(|cell| !cell.has_ended());
        self.failed("a worker ended before it was called".to_owned());
    }

    fn failed(&mut self, why: String) {
        self.pause = Some(Box::pin(tokio::time::sleep(self.wait)));
        self.wait = (self.wait * 2).min(BACKOFF_MAX);
        if self.ready.is_empty() {
            if *self.readiness.borrow() != Readiness::Starting {
                tracing::error!("not ready: {why}");
            }
            self.readiness.send_replace(Readiness::NotReady { why });
        }
    }
}

/// Returns when the worker of any of these is gone.
async fn first_end<C: Cell>(ready: &VecDeque<C>) {
    if ready.is_empty() {
        return std::future::pending().await;
    }
    select_all(ready.iter().map(Cell::ended)).await;
}

async fn pause(pause: &mut Option<Pin<Box<Sleep>>>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
