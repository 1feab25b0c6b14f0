//! Agents that are a program of any language: one process, and all that it starts, for each run, with a message in and an answer
//! out. Nothing of a run is believed but what it says for itself, and nothing of it outlives the run.
//!
//! ```text
//! place ─▶ room ── a run ─▶ errand: the program, message in ─ output ─▶ pieces of the answer ─▶ its end ─▶ answer or error
//!                             └ nobody wants it any more: the process group is killed
//! ```

mod errand;
mod map;
mod output;
mod preset;
mod room;
mod settings;
mod stderr;
mod text;
mod words;

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
pub(super) use output::{Heard, Output};
use room::{Room, Shop};
pub use settings::Settings;

/// A started command agent; it stops when this is dropped.
#[derive(Debug)]
pub struct Command {
    model: String,
    weakened: watch::Receiver<Vec<Weakened>>,
    homes: Homes<Room>,
}

/// Installs the files, if there are any, and builds the first sandbox.
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
    let shop = Arc::new(Shop {
        ground,
        settings: settings.clone(),
    });
    let sandbox = shop.ground.build().await?;
    let first = std::future::ready(Ok(Room::of(Arc::clone(&shop), sandbox)));
    let model = agent
        .model_for(Role::Chat)
        .map(|model| model.name.to_string());
    Ok(Arc::new(Command {
        model: model.unwrap_or_default(),
        weakened,
        homes: Homes::open(shop, agent, first),
    }))
}

impl Host for Command {
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
