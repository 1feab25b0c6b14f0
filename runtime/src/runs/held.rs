//! Runs of agents with code whose calls wait at the gate for their end user's consent: the run goes on, and whoever began it is told
//! where the user is asked. Never on the agent's word: all of it comes from the gate, over the sandbox's own socket.

use std::sync::Arc;

use postern_contract::{ActionId, Refusal, RunId};
use postern_invoke::{Event, RunFacts, outcome::consent_asked};
use postern_store::runs::{EventType, NewEvent, RunsError};
use serde_json::json;

use super::{Answer, Asker, RunDesk, log::Since, pauses::Resumed};
use crate::link::Condition;

impl RunDesk {
    /// A call of a run waits for a consent. Whether the run is there to be told of it.
    pub(crate) async fn consent_asked(
        &self,
        run: &RunId,
        asks: &Refusal,
    ) -> Result<bool, RunsError> {
        let Some(action) = &asks.resume_id else {
            return Ok(false);
        };
        if let Some(Since::Waits) = self.active.since(None, run, action) {
            return Ok(true);
        }
        let Some(found) = self.store.run(run).await? else {
            return Ok(false);
        };
        let (detail, at_ms) = (json!(asks), self.clock.unix_ms());
        let event = NewEvent {
            kind: EventType::ConsentRequired,
            actor: "gate".to_owned(),
            data: detail.clone(),
            at_ms,
        };
        self.store.append_event(run, &event).await?;
        let facts = RunFacts {
            run: run.clone(),
            request_id: found.request_id,
            user: found.user,
        };
        let took_ms = u64::try_from(at_ms - found.created_ms).unwrap_or(0);
        let answer = Answer {
            run: run.clone(),
            status: 200,
            body: consent_asked(&detail, &facts, took_ms),
        };
        let tool = asks.tool.clone().unwrap_or_default();
        let event = Event::ConsentRequired { tool, detail };
        Ok(self.active.hold(action, answer, &event))
    }

    /// No call of the run waits for this consent any more.
    pub(crate) fn consent_over(&self, run: &RunId, action: &ActionId) {
        self.active.release(run, action);
    }

    /// What is told of a run that goes on while a call of it waits for a consent.
    #[must_use]
    pub fn held(&self, run: &RunId) -> Option<Arc<Answer>> {
        self.active.held(run)
    }

    /// The runs that go on while a call of theirs waits for a consent.
    #[must_use]
    pub fn all_held(&self) -> Vec<RunId> {
        self.active.all_held()
    }

    /// What became of an asker's run since a call of it waited for this consent. `None` if it is not known to have.
    #[must_use]
    pub fn since(&self, asker: Asker<'_>, run: &RunId, action: &ActionId) -> Option<Resumed> {
        let since = self.active.since(Some(asker), run, action)?;
        Some(match since {
            Since::Waits => Resumed::Unconsented,
            Since::GoesOn => Resumed::GoesOn,
            Since::Ended(answer) => Resumed::Before(Answer::clone(&answer)),
        })
    }

    /// Sees to it that no run is shown to wait at a gate that is gone.
    pub(super) async fn keep_released(&self) {
        let mut condition = self.link.condition();
        while condition.changed().await.is_ok() {
            if *condition.borrow_and_update() != Condition::Up {
                self.active.release_all();
            }
        }
    }
}
