//! Where the runs of an agent are at home, as its `isolation` says: in one cell, in one each, or in one for each user. Never
//! says how a cell is made.

use std::{future::Future, sync::Arc};

use postern_contract::config::Role;
use postern_invoke::{Plan, Resumes, RunFacts, Worker};
use tokio::sync::watch;

use super::{Cell, Nursery, Pool, Standing, Users};
use crate::{
    agents::{Coming, Host, NoPlace, Place, Readiness},
    config::{Agent, Isolation},
    sandbox::Weakened,
};

/// The cells of one agent.
#[derive(Debug)]
pub enum Homes<C> {
    /// One for all runs.
    All(Standing<C>),
    /// One for each.
    Each(Pool<C>),
    /// One for each user.
    User(Users<C>),
}

impl<C: Cell> Homes<C> {
    /// For an agent, beginning with a cell that is on its way.
    pub fn open<N: Nursery<Cell = C>>(
        nursery: Arc<N>,
        agent: &Agent,
        first: impl Future<Output = Result<C, String>> + Send + 'static,
    ) -> Self {
        let settings = &agent.sandbox;
        match agent.isolation {
            Isolation::Agent => Self::All(Standing::keep(nursery, first)),
            Isolation::Run => Self::Each(Pool::open(nursery, settings.pool, first)),
            Isolation::User => {
                let pool = Pool::open(nursery, settings.pool, first);
                Self::User(Users::of(pool, settings.users, settings.idle))
            }
        }
    }

    /// Whether there is, or can be, any.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        match self {
            Self::All(standing) => standing.readiness(),
            Self::Each(pool) => pool.readiness(),
            Self::User(users) => users.readiness(),
        }
    }

    /// The place of one run.
    ///
    /// # Errors
    /// See [`NoPlace`].
    pub fn place(&self, facts: &RunFacts) -> Result<Coming, NoPlace> {
        match self {
            Self::All(standing) => Ok(standing.place()),
            Self::Each(pool) => {
                let coming = pool.take();
                Ok(Box::pin(async {
                    Ok(Box::new(coming.await?) as Box<dyn Place>)
                }))
            }
            Self::User(users) => users.place(facts),
        }
    }
}

/// A started agent with code whose runs have such homes; it stops when this is dropped.
#[derive(Debug)]
pub struct Housed<C> {
    model: String,
    weakened: watch::Receiver<Vec<Weakened>>,
    homes: Homes<C>,
    resumes: Resumes,
}

impl<C: Cell> Housed<C> {
    /// An agent with its homes.
    #[must_use]
    pub fn new(agent: &Agent, weakened: watch::Receiver<Vec<Weakened>>, homes: Homes<C>) -> Self {
        let model = agent.model_for(Role::Chat);
        Self {
            model: model.map_or_else(String::new, |model| model.name.to_string()),
            weakened,
            homes,
            resumes: Resumes::Never,
        }
    }

    /// The same, of an agent that can be called again after a pause that it asked for.
    #[must_use]
    pub fn resuming(self, resumes: Resumes) -> Self {
        Self { resumes, ..self }
    }
}

impl<C: Cell> Host for Housed<C> {
    fn plan(&self) -> Plan {
        Plan::Worker(Worker {
            model: self.model.clone(),
            resumes: self.resumes,
        })
    }

    fn readiness(&self) -> watch::Receiver<Readiness> {
        self.homes.readiness()
    }

    fn weakened(&self) -> Vec<Weakened> {
        self.weakened.borrow().clone()
    }

    fn place(&self, facts: &RunFacts) -> Result<Coming, NoPlace> {
        self.homes.place(facts)
    }
}
