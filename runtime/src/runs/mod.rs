//! Runs: begun once, driven by one task each, answered to whoever waits. Never two runs for one idempotency key, never more at
//! once for an agent than it has places.
//!
//! ```text
//! begin ─┬▶ a place? ─▶ store.begin_run ─┬▶ fresh: a driver task ─ Update … Update::Ended ─▶ everybody who listens
//!        └▶ 429                          └▶ earlier: the same run's updates, or its stored answer
//! ```

mod active;
mod answer;
mod driver;

use std::{sync::Arc, time::Duration};

use postern_contract::{AgentName, RunId};
use postern_daemon::Clock;
use postern_invoke::{Event, Machine, Request, RunFacts};
use postern_store::runs::{Begun as Stored, NewRun, Run, Runs, RunsError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, broadcast};

use crate::{
    agents::{Host, NoPlace, Readiness},
    config::WALL_TIME_DEFAULT,
    link::Link,
};
use active::{Active, Ticket};
pub use answer::Answer;
use driver::Driver;

/// Runs of one agent at once.
pub const RUNS_PER_AGENT_MAX: usize = 64;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// What a listener of a run hears.
#[derive(Debug, Clone)]
pub enum Update {
    /// Something happened.
    Event(Event),
    /// The run is over and stored; the last update.
    Ended(Arc<Answer>),
}

/// Somebody's ear on a running run.
#[derive(Debug)]
pub struct Updates {
    receiver: broadcast::Receiver<Update>,
}

impl Updates {
    /// The next update; `None` only if the run's task died. A listener that is too slow misses events, never the end.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            match self.receiver.recv().await {
                Ok(update) => return Some(update),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The plain answer: the stream, folded to its end.
    pub async fn folded(mut self) -> Option<Arc<Answer>> {
        while let Some(update) = self.next().await {
            if let Update::Ended(answer) = update {
                return Some(answer);
            }
        }
        None
    }
}

/// What is asked of an agent.
#[derive(Debug)]
pub struct Ask {
    /// The message and what belongs to it.
    pub request: Request,
    /// Whom and what it is for.
    pub facts: RunFacts,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// What came of asking.
#[derive(Debug)]
pub enum Begun {
    /// A run goes on.
    Running(RunId, Updates),
    /// The same call was answered before.
    Before(Answer),
}

/// What stands in the book and the store.
enum Registered {
    /// A run of ours.
    Fresh(Ticket),
    /// The one that the key began before.
    Earlier(Box<Run>),
}

/// Why no run was begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The agent cannot be called now.
    #[error("agent {agent} is not ready: {why}")]
    NotReady {
        /// Which agent.
        agent: AgentName,
        /// Why.
        why: String,
    },
    /// All places of the agent are taken.
    #[error("agent {0} has {RUNS_PER_AGENT_MAX} runs going on")]
    Busy(AgentName),
    /// The agent has none for this run.
    #[error("agent {agent} {why}")]
    NoPlace {
        /// Which agent.
        agent: AgentName,
        /// Why.
        why: NoPlace,
    },
    /// The caller chose an id that exists.
    #[error("run {0} exists already")]
    Taken(RunId),
    /// The daemon is on its way out.
    #[error("the daemon is stopping")]
    Stopping,
    /// The run cannot be stored, so it is not begun.
    #[error("the run could not be stored")]
    Store(#[source] RunsError),
}

/// An agent with its places.
#[derive(Clone)]
pub struct Callee {
    /// Its name.
    pub name: AgentName,
    /// How calls reach it.
    pub host: Arc<dyn Host>,
    /// How long one of its runs may take.
    pub wall_time: Duration,
    places: Arc<Semaphore>,
}

impl Callee {
    /// An agent with all its places free, and as much time for a run as there is unless somebody says otherwise.
    #[must_use]
    pub fn new(name: AgentName, host: Arc<dyn Host>) -> Self {
        Self {
            name,
            host,
            wall_time: WALL_TIME_DEFAULT,
            places: Arc::new(Semaphore::new(RUNS_PER_AGENT_MAX)),
        }
    }
}

/// All runs of this daemon. Clones share them.
#[derive(Clone)]
pub struct RunDesk {
    store: Runs,
    link: Link,
    clock: Clock,
    active: Active,
    registering: Arc<Mutex<()>>,
}

impl RunDesk {
    /// A desk with no run going on.
    #[must_use]
    pub fn new(store: Runs, link: Link, clock: Clock) -> Self {
        Self {
            store,
            link,
            clock,
            active: Active::default(),
            registering: Arc::default(),
        }
    }

    /// Where runs are kept.
    #[must_use]
    pub fn store(&self) -> &Runs {
        &self.store
    }

    /// Begins a run, or finds the one that the same idempotency key began.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin(&self, callee: &Callee, ask: Ask) -> Result<Begun, BeginError> {
        let (desk, callee) = (self.clone(), callee.clone());
        // In a task of its own: a caller who leaves must not leave a run behind that is stored but never driven.
        let begun = tokio::spawn(async move { desk.begin_to_the_end(&callee, ask).await });
        begun.await.unwrap_or(Err(BeginError::Stopping))
    }

    async fn begin_to_the_end(&self, callee: &Callee, ask: Ask) -> Result<Begun, BeginError> {
        match &*callee.host.readiness().borrow() {
            Readiness::Ready { .. } => {}
            Readiness::Starting => return Err(not_ready(callee, "it is starting")),
            Readiness::NotReady { why } => return Err(not_ready(callee, why)),
        }
        let place = Arc::clone(&callee.places)
            .try_acquire_owned()
            .map_err(|_| BeginError::Busy(callee.name.clone()))?;
        let coming = callee.host.place(&ask.facts);
        let coming = coming.map_err(|why| BeginError::NoPlace {
            agent: callee.name.clone(),
            why,
        })?;
        let ticket = match self.register(callee, &ask).await? {
            Registered::Fresh(ticket) => ticket,
            Registered::Earlier(run) => return self.earlier(*run).await,
        };
        let updates = ticket.listen();
        let run = ask.facts.run.clone();
        let driver = Driver {
            machine: Machine::new(callee.host.plan(), ask.request, ask.facts.clone()),
            facts: ask.facts,
            coming: Some(coming),
            store: self.store.clone(),
            link: self.link.clone(),
            clock: self.clock.clone(),
            ticket,
            wall_time: callee.wall_time,
            unrecorded: Vec::new(),
        };
        tokio::spawn(kept_in_place(driver, place));
        Ok(Begun::Running(run, updates))
    }

    /// Puts a run into the book and the store, one caller at a time: of two that bring the same id or key, the second finds
    /// what the first one did. Unless it is fresh, its ticket is gone before anybody looks for the run in the book.
    async fn register(&self, callee: &Callee, ask: &Ask) -> Result<Registered, BeginError> {
        let _turn = self.registering.lock().await;
        // Before it is stored, so that whoever finds it in the store also finds it here until it is answered.
        let ticket = self
            .active
            .enter(&ask.facts.run)
            .ok_or(BeginError::Stopping)?;
        match self.store.begin_run(&self.new_run(callee, ask)).await {
            Ok(Stored::Fresh) => ticket
                .map(Registered::Fresh)
                .ok_or_else(|| BeginError::Taken(ask.facts.run.clone())),
            Ok(Stored::Earlier(run)) => Ok(Registered::Earlier(run)),
            Err(RunsError::RunTaken(run)) => Err(BeginError::Taken(run)),
            Err(error) => Err(store_failed(error)),
        }
    }

    fn new_run(&self, callee: &Callee, ask: &Ask) -> NewRun {
        NewRun {
            run: ask.facts.run.clone(),
            agent: callee.name.clone(),
            user: ask.facts.user.clone(),
            request_id: ask.facts.request_id.clone(),
            message: ask.request.message.clone(),
            idempotency_key: ask.idempotency_key.clone(),
            at_ms: self.clock.unix_ms(),
        }
    }

    /// The run that the key began before: still going on, or ended and stored.
    async fn earlier(&self, found: Run) -> Result<Begun, BeginError> {
        if let Some(updates) = self.active.listen(&found.run) {
            return Ok(Begun::Running(found.run, updates));
        }
        // It may have ended between the look into the store and the look at the active ones.
        let run = self
            .store
            .run(&found.run)
            .await
            .map_err(store_failed)?
            .unwrap_or(found);
        Ok(Begun::Before(Answer::stored(&run)))
    }

    /// Asks every run to end and lets no new one begin; returns when the last has.
    pub async fn stop(&self) {
        self.active.stop().await;
    }
}

fn not_ready(callee: &Callee, why: &str) -> BeginError {
    BeginError::NotReady {
        agent: callee.name.clone(),
        why: why.to_owned(),
    }
}

fn store_failed(error: RunsError) -> BeginError {
    tracing::error!(%error, "the store failed");
    BeginError::Store(error)
}

/// The place is free again only when the run is over, whoever still listens.
async fn kept_in_place(driver: Driver, place: OwnedSemaphorePermit) {
    driver.drive().await;
    drop(place);
}

#[cfg(test)]
pub(crate) mod tests;
