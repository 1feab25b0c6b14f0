//! Runs: begun once, driven by one task each, answered to whoever waits. Never two runs for one idempotency key, never more at
//! once for an agent than it has places.
//!
//! ```text
//! begin ─┬▶ a place, perhaps after a wait ─▶ store.begin_run ─┬▶ fresh: a driver task ─ Update … Ended ─▶ whoever listens
//!        └▶ 429                                               └▶ earlier: the same run's updates, or its stored answer
//! pauses: a run that is put aside, and goes on; held: one that goes on while a call of it waits
//! find, cancel: a run that goes on, or (find) one that ended not long ago
//! ```

mod active;
mod answer;
pub(crate) mod consents;
mod driver;
mod held;
mod log;
pub(crate) mod pauses;
mod places;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use postern_contract::{AgentName, RunId};
use postern_daemon::Clock;
use postern_invoke::{Machine, Request, RunFacts};
use postern_store::runs::{Begun as Stored, NewRun, Run, Runs, RunsError};
use tokio::sync::{Mutex, Notify, oneshot};

use crate::{
    agents::{Host, NoPlace, Readiness},
    config::Terms,
    link::Link,
    printed::Printed,
    questions::Questions,
};
use active::Active;
pub use active::Found;
pub use answer::Answer;
use driver::Driver;
pub use log::{Update, Updates};
use places::{Place, Places};

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How long runs may take to end when they are asked to: each tells the gate, and is stored.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What is asked of an agent.
#[derive(Debug)]
pub struct Ask {
    /// The message and what belongs to it.
    pub request: Request,
    /// Whom and what it is for.
    pub facts: RunFacts,
    /// The caller's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Whether the run's id is the caller's choice, and so perhaps another run's.
    pub names_run: bool,
}

/// Who asks for a run that was begun before.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The agent that is addressed.
    pub agent: &'a AgentName,
    /// The end user that the call is for, if somebody who may has named one.
    pub user: Option<&'a str>,
}

impl Asker<'_> {
    /// Whether a run is this asker's: of the same agent, and if it is for a user, of the same user.
    #[must_use]
    pub fn sees(&self, agent: &AgentName, user: Option<&str>) -> bool {
        self.agent == agent && (user.is_none() || user == self.user)
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Begun {
    /// A run goes on.
    Running(RunId, Updates),
    /// The same call was answered before.
    Before(Answer),
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
    #[error("agent {0} has as many runs going on and waiting as it may")]
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
    terms: Terms,
    places: Places,
}

impl Callee {
    /// An agent with all its places free, and as much time for a run as there is unless somebody says otherwise.
    #[must_use]
    pub fn new(name: AgentName, host: Arc<dyn Host>, terms: Terms) -> Self {
        Self {
            name,
            host,
            terms,
            places: Places::new(&terms),
        }
    }
}

/// All runs of this daemon. Clones share them.
#[derive(Debug, Clone)]
pub struct RunDesk {
    store: Runs,
    link: Link,
    printed: Printed,
    /// What is asked while runs go on.
    pub(crate) questions: Questions,
    clock: Clock,
    active: Active,
    registering: Arc<Mutex<()>>,
    /// Told when a run begins to wait for a consent.
    consents: Arc<Notify>,
}

impl RunDesk {
    /// A desk with no run going on.
    #[must_use]
    pub fn new(store: Runs, (link, questions): (Link, Questions), printed: Printed) -> Self {
        Self {
            store,
            link,
            questions,
            clock: printed.clock().clone(),
            printed,
            active: Active::default(),
            registering: Arc::default(),
            consents: Arc::default(),
        }
    }

    /// Where runs are kept.
    #[must_use]
    pub fn store(&self) -> &Runs {
        &self.store
    }

    /// What runs print.
    #[must_use]
    pub fn printed(&self) -> &Printed {
        &self.printed
    }

    /// Begins a run, or finds the one that the same idempotency key began.
    ///
    /// # Errors
    /// See [`BeginError`].
    pub async fn begin(&self, callee: &Callee, ask: Ask) -> Result<Begun, BeginError> {
        // Whoever asks again waits for no place, and needs no agent that is ready.
        if let Some(run) = self.begun_before(callee, &ask).await? {
            return self.earlier(run).await;
        }
        require_ready(callee)?;
        let place = tokio::select! {
            place = callee.places.take(&self.clock) => place,
            () = self.active.closed() => return Err(BeginError::Stopping),
        };
        let place = place.ok_or_else(|| BeginError::Busy(callee.name.clone()))?;
        let (desk, callee) = (self.clone(), callee.clone());
        // In a task of its own: a caller who leaves must not leave a run behind that is stored but never driven.
        let begun = tokio::spawn(async move { desk.begin_in(place, &callee, ask).await });
        begun.await.unwrap_or(Err(BeginError::Stopping))
    }

    async fn begin_in(&self, place: Place, callee: &Callee, ask: Ask) -> Result<Begun, BeginError> {
        require_ready(callee)?;
        let coming = callee.host.place(&ask.facts);
        let coming = coming.map_err(|why| BeginError::NoPlace {
            agent: callee.name.clone(),
            why,
        })?;
        let new = self.new_run(callee, &ask);
        // Those that bring a key come one at a time, so that the second finds what the first one did.
        let turn = match new.idempotency_key {
            Some(_) => Some(self.registering.lock().await),
            None => None,
        };
        if let Some(run) = self.begun_before(callee, &ask).await? {
            return self.earlier(run).await;
        }
        self.require_free(&ask, &new.run).await?;
        // Before it is stored, so that whoever finds it in the store also finds it here until it is answered.
        let entered = self.active.enter(&callee.name, &ask.facts);
        let Some(ticket) = entered.ok_or(BeginError::Stopping)? else {
            return Err(BeginError::Taken(new.run));
        };
        let updates = ticket.listen();
        let (stored, is_stored) = oneshot::channel();
        let driver = Driver {
            machine: Machine::new(callee.host.plan(), ask.request, ask.facts.clone()),
            facts: ask.facts,
            coming: Some(coming),
            stored: Some(async { is_stored.await.is_ok() }.boxed().shared()),
            store: self.store.clone(),
            link: self.link.clone(),
            printed: self.printed.clone(),
            clock: self.clock.clone(),
            terms: callee.terms,
            ticket,
            kept: new.kept(),
            unrecorded: Vec::new(),
            held_back: Vec::new(),
            consents: Arc::clone(&self.consents),
            called: None,
        };
        // It settles while the run is stored.
        let driving = tokio::spawn(kept_in_place(driver, place));
        let begun = self.store.begin_run(&new).await;
        if let Ok(Stored::Fresh) = begun {
            let _driver_is_gone = stored.send(());
            return Ok(Begun::Running(new.run, updates));
        }
        // Its ticket is gone before anybody looks for the run in the book.
        drop(stored);
        drop(driving.await);
        drop(turn);
        match begun {
            Ok(Stored::Earlier(run)) => self.earlier(*run).await,
            Err(RunsError::RunTaken(run)) => Err(BeginError::Taken(run)),
            Err(error) => Err(store_failed(error)),
            Ok(Stored::Fresh) => Err(BeginError::Stopping),
        }
    }

    /// An id that exists is refused before it stands in the book, where somebody may look for the run that has it.
    async fn require_free(&self, ask: &Ask, run: &RunId) -> Result<(), BeginError> {
        match ask.names_run && self.store.run(run).await.map_err(store_failed)?.is_some() {
            true => Err(BeginError::Taken(run.clone())),
            false => Ok(()),
        }
    }

    async fn begun_before(&self, callee: &Callee, ask: &Ask) -> Result<Option<Run>, BeginError> {
        let Some(key) = &ask.idempotency_key else {
            return Ok(None);
        };
        let user = ask.facts.user.as_deref();
        let found = self.store.run_by_key(&callee.name, user, key).await;
        found.map_err(store_failed)
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
        // Or it waited then, and goes on now.
        match self.active.listen(&run.run) {
            Some(updates) => Ok(Begun::Running(run.run, updates)),
            None => Ok(Begun::Before(Answer::stored(&run))),
        }
    }

    /// The events of an asker's run after one of them (0: all), while it goes on and for some time after.
    #[must_use]
    pub fn find(&self, asker: Asker<'_>, run: &RunId, after: u64) -> Found {
        self.active.find(asker, run, after)
    }

    /// Asks one run of an asker to end; what it then tells ends soon. `None` if it does not go on.
    #[must_use]
    pub fn cancel(&self, asker: Asker<'_>, run: &RunId) -> Option<Updates> {
        self.active.cancel(asker, run)
    }

    /// Lets no run begin any more, gives those that go on this long to end by themselves, and ends the rest.
    pub async fn drain(&self, patience: Duration) {
        self.active.close();
        tokio::select! {
            () = self.active.idle() => {}
            () = self.clock.after(patience) => tracing::warn!(?patience, "some runs are ended with the daemon"),
        }
        self.stop().await;
    }

    /// Returns when no run may begin any more.
    pub async fn closed(&self) {
        self.active.closed().await;
    }

    /// Whether no run may begin any more.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.active.is_closed()
    }

    /// What time it is for runs.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks every run to end and lets no new one begin; returns when the last has, or when they had `STOP_MAX` for it.
    pub async fn stop(&self) {
        tokio::select! {
            () = self.active.stop() => {}
            () = self.clock.after(STOP_MAX) => tracing::error!("some runs did not end: the next start says so of them"),
        }
    }
}

fn require_ready(callee: &Callee) -> Result<(), BeginError> {
    match &*callee.host.readiness().borrow() {
        Readiness::Ready { .. } => Ok(()),
        Readiness::Starting => Err(not_ready(callee, "it is starting")),
        Readiness::NotReady { why } => Err(not_ready(callee, why)),
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
async fn kept_in_place(driver: Driver, place: Place) {
    driver.drive().await;
    drop(place);
}

#[cfg(test)]
pub(crate) mod tests;
