//! Where a run has its agent: shared, or in a sandbox of its own. Never says how a call is done; that is the kind's.

use futures_util::future::BoxFuture;
use postern_contract::SandboxId;
use postern_invoke::{Input, RunFacts};
use tokio::sync::mpsc;

use super::Call;

/// A run's place. Dropping it gives it up, and ends a sandbox that was this run's alone.
pub trait Place: Send + Sync {
    /// Where the gate knows the run's calls from.
    fn sandbox(&self) -> &SandboxId;

    /// Carries one call out; what comes of it goes to `inputs`. May be dropped at any time, which ends the call.
    fn carry_out(
        &self,
        call: Call,
        facts: &RunFacts,
        inputs: mpsc::Sender<Input>,
    ) -> BoxFuture<'static, ()>;
}

/// A place that may take a while to be there; given up when dropped. The error says in one line why there is none.
pub type Coming = BoxFuture<'static, Result<Box<dyn Place>, String>>;

/// Why a run is not even begun. The agent's name stands before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Nobody says for whom it is.
    #[error(
        "has a sandbox for each end user: name the user in `X-End-User-Id`, with the callers' key"
    )]
    NoUser,
    /// The user's sandbox does one run at a time, and enough wait for it.
    #[error("has {0} runs of this user waiting or under way, one at a time")]
    UserBusy(usize),
    /// Everybody's sandbox is in use.
    #[error("has sandboxes for {0} users at once, and all are in use")]
    AllBusy(usize),
}

impl NoPlace {
    /// Whether the same call may have a place later.
    #[must_use]
    pub fn passes(&self) -> bool {
        !matches!(self, Self::NoUser)
    }
}
