//! How many connections one sandbox may be opening at once: a flood of calls to hosts that do not answer waits for itself
//! and for nobody else. Never refuses: who waits here in vain learns it as a timeout, which says nothing of the upstream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postern_contract::SandboxId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most connections that are being opened for one sandbox.
const OPENING_PER_SANDBOX_MAX: usize = 64;

/// Every sandbox's share.
#[derive(Default)]
pub(super) struct Shares(Mutex<HashMap<SandboxId, Arc<Semaphore>>>);

impl Shares {
    /// Waits for a place among the connections that are being opened for a sandbox.
    pub(super) async fn turn(&self, sandbox: &SandboxId) -> Option<OwnedSemaphorePermit> {
        let share = {
            let mut shares = self.lock();
            let share = shares
                .entry(sandbox.clone())
                .or_insert_with(|| Arc::new(Semaphore::new(OPENING_PER_SANDBOX_MAX)));
            Arc::clone(share)
        };
        // It is never closed, so there is always an answer.
        share.acquire_owned().await.ok()
    }

    /// Forgets a sandbox that is gone.
    pub(super) fn forget(&self, sandbox: &SandboxId) {
        self.lock().remove(sandbox);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Arc<Semaphore>>> {
        // A map that a panic interrupted is still a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_flood_of_one_sandbox_waits_for_itself_and_for_nobody_else() {
        let shares = Shares::default();
        let (flooding, other) = (SandboxId::fresh(), SandboxId::fresh());
        let mut held = Vec::new();
        for _ in 0..OPENING_PER_SANDBOX_MAX {
            held.push(shares.turn(&flooding).await);
        }
        assert!(shares.turn(&flooding).now_or_never().is_none());
        assert!(shares.turn(&other).now_or_never().flatten().is_some());
        held.pop();
        assert!(shares.turn(&flooding).now_or_never().flatten().is_some());
    }
}
