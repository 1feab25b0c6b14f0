//! What end users have consented to, told and taken back. Never tells anything of a token, and leaves none behind that was taken back.

use std::time::Duration;

use postern_contract::{
    ActionId,
    approval::Unanswered,
    consent::{Granted, Wanted},
};
use postern_store::gate::GateError;
use tokio::time::timeout;

use super::{Owner, Tokens};

/// How long a token that is asked for anew just then is waited for.
const IN_HAND_MAX: Duration = Duration::from_secs(2);

impl Tokens {
    /// What is in force, newest first.
    pub(crate) async fn granted(&self, wanted: &Wanted) -> Result<Vec<Granted>, Unanswered> {
        let all = self.chains.granted(wanted).await;
        all.map_err(unread)
    }

    /// Takes one back: its token is gone from the disk and from everybody's hands when this returns, and the user is asked anew.
    pub(crate) async fn take_back(&self, id: &ActionId) -> Result<(), Unanswered> {
        let found = self.chains.origins(id).await.map_err(unread)?;
        let (granted, origins) = found.ok_or(Unanswered::Unknown)?;
        let owner = Owner {
            tool: granted.tool,
            agent: granted.agent,
            user: granted.user,
        };
        for origin in origins {
            let chain = self.chains.of(origin);
            let chain = timeout(IN_HAND_MAX, chain.lock()).await;
            let mut chain = chain.map_err(|_| Unanswered::NotKept)?;
            let dropped = self.chains.drop(&mut chain).await;
            dropped.map_err(|_| Unanswered::NotKept)?;
        }
        self.slots()
            .by_key
            .retain(|key, _| key.owner.as_ref() != Some(&owner));
        tracing::info!(consent = %id, agent = %owner.agent, tool = %owner.tool, "an end user's consent was taken back");
        Ok(())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "handed to `map_err` as it is"
)]
fn unread(error: GateError) -> Unanswered {
    tracing::error!(%error, "what end users have consented to cannot be read");
    Unanswered::NotKept
}
