//! What is looked at now and again, so that no probe has to: whether runs can be kept, and whether the agents' files are
//! there. Never repairs anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use postern_contract::AgentName;
use postern_store::runs::{Runs, RunsError};
use tokio::sync::watch;

use crate::{app::Served, install};

/// How often all of it is looked at.
const LOOKED_EVERY: Duration = Duration::from_secs(10);

/// How long the store may take to answer: a busy one is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

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

/// Why no run can be kept. A store that says nothing is no better than one that fails.
async fn trouble(touched: impl Future<Output = Result<(), RunsError>>) -> Option<String> {
    match tokio::time::timeout(ANSWERED_WITHIN, touched).await {
        Ok(answer) => answer.err().map(|error| error.to_string()),
        Err(_) => Some(format!(
            "the store gave no answer within {} s",
            ANSWERED_WITHIN.as_secs()
        )),
    }
}

async fn look(store: &Runs, trees: &[(AgentName, PathBuf)]) -> Found {
    let trouble = trouble(store.touch()).await;
    if let Some(error) = &trouble {
        tracing::error!(%error, "runs cannot be kept");
    }
    let missing = trees
        .iter()
        .filter(|(_, tree)| std::fs::metadata(tree).is_err())
        .map(|(name, _)| name.clone());
    Found {
        store: trouble,
        missing: missing.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_or_says_nothing_is_told() {
        assert_eq!(trouble(async { Ok(()) }).await, None);
        let failed = async { Err(RunsError::NoSuchRun("run_1".parse().unwrap())) };
        assert_eq!(trouble(failed).await.unwrap(), "run run_1 not found");
        let silent = trouble(std::future::pending()).await.unwrap();
        assert_eq!(silent, "the store gave no answer within 10 s");
    }
}
