//! What is looked at now and again, so that no probe has to: whether runs can be kept, and whether the agents' files are
//! there. Never repairs anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use postern_contract::AgentName;
use postern_store::runs::Runs;
use tokio::sync::watch;

use crate::{app::Served, install};

/// How often all of it is looked at.
const LOOKED_EVERY: Duration = Duration::from_secs(10);

/// What the last look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Why no run can be kept.
    pub store: Option<String>,
    /// Agents whose installed files are gone.
    pub missing: BTreeSet<AgentName>,
}

/// Looks, and goes on looking until nobody wants to know any more.
pub(crate) async fn keep(
    store: Runs,
    agents: &BTreeMap<AgentName, Served>,
    installed: &Path,
) -> watch::Receiver<Found> {
    let trees: Vec<_> = agents
        .values()
        .filter(|served| served.agent.kind.source().is_some())
        .map(|served| {
            let name = &served.agent.name;
            (name.clone(), install::live(installed, name))
        })
        .collect();
    let (found, told) = watch::channel(look(&store, &trees).await);
    tokio::spawn(async move {
        while !found.is_closed() {
            tokio::time::sleep(LOOKED_EVERY).await;
            found.send_replace(look(&store, &trees).await);
        }
    });
    told
}

async fn look(store: &Runs, trees: &[(AgentName, PathBuf)]) -> Found {
    let trouble = store.touch().await.err().map(|error| {
        tracing::error!(%error, "runs cannot be kept");
        error.to_string()
    });
    let missing = trees
        .iter()
        .filter(|(_, tree)| std::fs::metadata(tree).is_err())
        .map(|(name, _)| name.clone());
    Found {
        store: trouble,
        missing: missing.collect(),
    }
}
