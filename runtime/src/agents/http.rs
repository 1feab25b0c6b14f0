//! Agents that serve HTTP themselves, in their sandbox: started, waited for, and asked over connections that the launcher makes
//! inside. Nothing of such a server is believed but what it says for itself, and no name or address of its choice is dialled.
//!
//! ```text
//! sandbox ─▶ server ─▶ its `ready` path answers ─▶ Ready ── a run: dial, POST, answer or stream ──▶ … ── its process ends ─▶ anew
//! ```

mod answer;
mod ask;
mod house;
mod settings;

use std::sync::Arc;

use postern_contract::config::Role;
use postern_invoke::{Plan, RunFacts, Worker as WorkerPlan};
use tokio::sync::watch;

use super::{
    Coming, Host, NoPlace, Readiness, StartError, Surroundings,
    ground::{Ground, shown},
    pool::Homes,
};
use crate::{config::Agent, sandbox::Weakened};
use house::{House, Yard};
pub use settings::Settings;

/// A started HTTP agent; it stops when this is dropped.
#[derive(Debug)]
pub struct Http {
    model: String,
    weakened: watch::Receiver<Vec<Weakened>>,
    homes: Homes<House>,
}

/// Installs the files, if there are any, and builds the first sandbox; the server in it follows.
///
/// # Errors
/// See [`StartError`].
pub(super) async fn start(
    agent: &Arc<Agent>,
    settings: &Settings,
    around: &Surroundings,
) -> Result<Arc<dyn Host>, StartError> {
    let mut mounts = Vec::new();
    if let Some(files) = &settings.files {
        let installed = around.install(agent, &files.source).await?;
        mounts.push(shown(&installed.tree, &files.mount));
    }
    let (ground, weakened) = Ground::of(agent, mounts, around);
    let yard = Arc::new(Yard::new(ground, settings.clone()));
    let sandbox = yard.ground.build().await?;
    let first = House::begin(Arc::clone(&yard), sandbox);
    let model = agent
        .model_for(Role::Chat)
        .map(|model| model.name.to_string());
    Ok(Arc::new(Http {
        model: model.unwrap_or_default(),
        weakened,
        homes: Homes::open(yard, agent, first),
    }))
}

impl Host for Http {
    fn plan(&self) -> Plan {
        Plan::Worker(WorkerPlan {
            model: self.model.clone(),
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
