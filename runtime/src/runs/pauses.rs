//! Runs that are put aside while a human is asked, and how they go on: by themselves once somebody has answered, or by whoever
//! asks for it. Never lets one go on twice, and never on anybody's word but the gate's.
//!
//! ```text
//! PAUSED_APPROVAL ── gate: APPROVED ──▶ RUNNING: a driver with what was put aside, and the call again with its action id
//!                 ── gate: REJECTED, EXPIRED; DELETE ──▶ FAILED
//! ```

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use postern_contract::{
    ActionId, ApproverName, RunId,
    approval::{Approval, Status, Unanswered},
    link::News,
};
use postern_invoke::{Event, Failure, Machine, Outcome, Plan, RunFacts, outcome::Ending};
use postern_store::runs::{End, EventType, NewEvent, Paused, Run, RunStatus};
use serde_json::json;

use super::{
    Answer, BeginError, Callee, RunDesk, Updates,
    active::Ticket,
    driver::{Aside, Driver},
    kept_in_place,
    places::Place,
    require_ready, store_failed,
};
use crate::{
    app::App,
    config::{Terms, WhenLeft},
    link::LinkError,
};

/// How often the gate is asked about all that wait: an answer is acted upon at once, so this is for what a crash came between.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How many runs are looked at in one go.
const LOOKED_AT_MAX: u32 = 1000;

/// How many of them at the same time: one whose agent is busy holds up few others.
const LOOKED_AT_ONCE_MAX: usize = 8;

/// What became of a run that waited, when somebody asks for it.
#[derive(Debug)]
pub enum Resumed {
    /// It goes on now.
    Running(RunId, Updates),
    /// It has gone on before and has come to this.
    Before(Answer),
    /// It has gone on before and is not over.
    GoesOn,
    /// Nobody has answered.
    Pending,
    /// Somebody said no, or nobody answered in time: it has failed.
    Failed(Answer),
}

/// Why a run that waits does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Its agent cannot take it now.
    #[error(transparent)]
    Begin(#[from] BeginError),
    /// The gate cannot be asked.
    #[error("the gate cannot be asked about the run: {0}")]
    Gate(#[from] LinkError),
}

/// Goes on with runs whose answers nobody acted upon, for as long as runs may begin.
pub(crate) async fn keep(app: App) {
    loop {
        look(&app).await;
        tokio::select! {
            () = app.desk.clock().after(LOOK_EVERY) => {}
            () = app.desk.closed() => return,
        }
    }
}

async fn look(app: &App) {
    let awaited = match app.desk.store().awaited(LOOKED_AT_MAX).await {
        Ok(awaited) => awaited,
        Err(error) => return tracing::error!(%error, "runs that wait could not be looked for"),
    };
    let looks = stream::iter(awaited);
    looks
        .for_each_concurrent(LOOKED_AT_ONCE_MAX, async |(action, agent)| {
            let callee = app
                .served(Some(agent.as_str()))
                .map(|served| &served.callee);
            if let Err(error) = app.desk.resume(callee, &action).await {
                tracing::debug!(%action, %agent, %error, "a run that waits does not go on yet");
            }
        })
        .await;
}

/// Somebody has answered: a run that waited for that goes on, or is over. Returns at once.
pub(crate) fn answered(app: &App, approval: &Approval) {
    let (app, approval) = (app.clone(), approval.clone());
    tokio::spawn(async move {
        let callee = app.served(Some(approval.agent.as_str()));
        let callee = callee.map(|served| &served.callee);
        if let Err(error) = app.desk.resume(callee, &approval.action).await {
            tracing::warn!(action = %approval.action, %error, "a run that waited does not go on yet");
        }
    });
}

impl RunDesk {
    /// Goes on with a run that an action put aside, if the gate says that it may; otherwise says what became of it. Without an
    /// agent it cannot go on, and waits until its time is over.
    ///
    /// # Errors
    /// See `ResumeError`; the run waits as before.
    pub async fn resume(
        &self,
        callee: Option<&Callee>,
        action: &ActionId,
    ) -> Result<Resumed, ResumeError> {
        let paused = self.store.paused(action).await.map_err(store_failed)?;
        let Some(Paused { run, is_taken }) = paused else {
            return Ok(Resumed::Pending);
        };
        if is_taken || run.status != RunStatus::PausedApproval {
            return Ok(self.gone_on(&run));
        }
        let approval = match self.link.approval(action.clone(), None).await? {
            Ok((approval, _)) => approval,
            Err(Unanswered::Unknown) => return self.fail(action, Failure::Unanswered, None).await,
            Err(_) => return Ok(Resumed::Pending),
        };
        match (approval.status, callee) {
            (Status::Approved, Some(callee)) => self.go_on(callee, (run, *approval)).await,
            (Status::Approved, None) if approval.expires_ms > self.clock.unix_ms() => {
                Ok(Resumed::Pending)
            }
            (Status::Pending, _) => Ok(Resumed::Pending),
            (Status::Rejected, _) => {
                let failure = Failure::Rejected(approval.reason.clone());
                self.fail(action, failure, approval.approver.as_ref()).await
            }
            (Status::Expired | Status::Approved, _) => {
                self.fail(action, Failure::Unanswered, None).await
            }
        }
    }

    /// Ends a run that waits because nobody wants it any more. `None` if it does not wait.
    ///
    /// # Errors
    /// The store failed.
    pub async fn drop_paused(&self, run: &Run) -> Result<Option<Answer>, ResumeError> {
        let waits = run.status == RunStatus::PausedApproval;
        let action = run.outcome.as_ref().filter(|_| waits).and_then(action_of);
        let Some(action) = action else {
            return Ok(None);
        };
        let Resumed::Failed(answer) = self.fail(&action, Failure::Cancelled, None).await? else {
            return Ok(None);
        };
        // Nobody is asked any more, and the request takes no room.
        let withdrawn = News::Withdrawn { action };
        if let Err(error) = self.link.tell(withdrawn, Vec::new()).await {
            tracing::warn!(run = %run.run, %error, "the gate was not told that a run waits no longer");
        }
        Ok(Some(answer))
    }

    /// What a run has come to that went on before.
    fn gone_on(&self, run: &Run) -> Resumed {
        if run.status == RunStatus::Running || self.active.listen(&run.run).is_some() {
            return Resumed::GoesOn;
        }
        Resumed::Before(Answer::stored(run))
    }

    async fn go_on(
        &self,
        callee: &Callee,
        (run, approval): (Run, Approval),
    ) -> Result<Resumed, ResumeError> {
        require_ready(callee)?;
        let place = tokio::select! {
            place = callee.places.take(&self.clock) => place,
            () = self.active.closed() => return Err(BeginError::Stopping.into()),
        };
        let place = place.ok_or_else(|| BeginError::Busy(callee.name.clone()))?;
        let (desk, callee) = (self.clone(), callee.clone());
        let waits = (approval.action, run, approval.approver);
        // In a task of its own: a caller who leaves must not leave a run behind that was taken up but is never driven.
        let resumed = tokio::spawn(async move { desk.take_up(place, &callee, waits).await });
        resumed.await.unwrap_or(Err(BeginError::Stopping.into()))
    }

    async fn take_up(
        &self,
        place: Place,
        callee: &Callee,
        (action, run, by): (ActionId, Run, Option<ApproverName>),
    ) -> Result<Resumed, ResumeError> {
        let Plan::Builtin(plan) = callee.host.plan() else {
            return self.fail(&action, Failure::PauseNotKept, None).await;
        };
        let facts = facts(&run);
        let coming = callee.host.place(&facts);
        let coming = coming.map_err(|why| BeginError::NoPlace {
            agent: callee.name.clone(),
            why,
        })?;
        let Some((ticket, aside)) = self.claim(&action, &facts, by).await? else {
            return Ok(Resumed::GoesOn);
        };
        let updates = ticket.listen_on();
        let driver = Driver {
            machine: Machine::resume(plan, (aside.checkpoint, action), facts.clone()),
            facts,
            coming: Some(coming),
            store: self.store.clone(),
            link: self.link.clone(),
            clock: self.clock.clone(),
            // Nobody has to listen to it: whoever began it was told to come back.
            terms: Terms {
                when_left: WhenLeft::GoOn,
                ..callee.terms
            },
            ticket,
            unrecorded: Vec::new(),
            held_back: None,
            called: None,
        };
        tracing::info!(run = %run.run, "a run goes on after a human's yes");
        tokio::spawn(kept_in_place(driver, place));
        Ok(Resumed::Running(run.run, updates))
    }

    /// Takes a run that waits into the book and what was put aside out of the store. `None` if somebody else has.
    async fn claim(
        &self,
        action: &ActionId,
        facts: &RunFacts,
        by: Option<ApproverName>,
    ) -> Result<Option<(Ticket, Aside)>, ResumeError> {
        let _turn = self.registering.lock().await;
        let paused = self.store.paused(action).await.map_err(store_failed)?;
        let Some(Paused {
            run,
            is_taken: false,
        }) = paused
        else {
            return Ok(None);
        };
        // Before it is stored, so that whoever finds that it goes on also finds it here until it is over.
        let entered = self.active.enter_again(&run.agent, facts);
        let Some(ticket) = entered.ok_or(BeginError::Stopping)? else {
            return Ok(None);
        };
        let at_ms = self.clock.unix_ms();
        let event = |kind, actor: &str| NewEvent {
            kind,
            actor: actor.to_owned(),
            data: json!({ "action_id": action }),
            at_ms,
        };
        let approver = by.as_ref().map_or("gate", ApproverName::as_str);
        let goes_on = [
            event(EventType::Approved, approver),
            event(EventType::Resumed, "posternd"),
        ];
        let taken = self.store.take_up(action, &goes_on, at_ms).await;
        let Some((_, state)) = taken.map_err(store_failed)? else {
            return Ok(None);
        };
        match serde_json::from_value::<Aside>(state) {
            Ok(aside) => {
                ticket.has_told(aside.told);
                Ok(Some((ticket, aside)))
            }
            Err(error) => {
                tracing::error!(run = %run.run, %error, "what was put aside of a run cannot be read");
                let failed = failed(facts, &Failure::PauseNotKept);
                let end = self.end(&failed, EventType::InvokeFailed, "posternd");
                self.store
                    .finish_run(&run.run, &end)
                    .await
                    .map_err(store_failed)?;
                ticket.tell(&failed.1);
                ticket.end(failed.0);
                Ok(None)
            }
        }
    }

    /// Ends a run that waits.
    async fn fail(
        &self,
        action: &ActionId,
        failure: Failure,
        by: Option<&ApproverName>,
    ) -> Result<Resumed, ResumeError> {
        let paused = self.store.paused(action).await.map_err(store_failed)?;
        let Some(Paused { run, .. }) = paused else {
            return Ok(Resumed::Pending);
        };
        let failed = failed(&facts(&run), &failure);
        let end = match (&failure, by) {
            (Failure::Rejected(_), Some(by)) => self.end(&failed, EventType::Rejected, by.as_str()),
            _ => self.end(&failed, EventType::InvokeFailed, "posternd"),
        };
        if !self
            .store
            .end_paused(action, &end)
            .await
            .map_err(store_failed)?
        {
            return Ok(Resumed::GoesOn);
        }
        tracing::info!(run = %run.run, %failure, "a run that waited is over");
        let (answer, last) = failed;
        self.active.amend(&run.run, &last, answer.clone());
        Ok(Resumed::Failed(answer))
    }

    fn end(&self, (answer, last): &(Answer, Event), kind: EventType, actor: &str) -> End {
        let at_ms = self.clock.unix_ms();
        let why = NewEvent {
            kind,
            actor: actor.to_owned(),
            data: serde_json::to_value(last).unwrap_or_default(),
            at_ms,
        };
        End {
            status: RunStatus::Failed,
            outcome: answer.to_stored(),
            events: vec![why],
            at_ms,
        }
    }
}

/// The answer and the last event of a run that waited in vain.
fn failed(facts: &RunFacts, failure: &Failure) -> (Answer, Event) {
    let outcome = Outcome {
        facts: facts.clone(),
        duration_ms: 0,
        ending: Ending::Failed(failure.clone()),
    };
    (Answer::of(&outcome), outcome.last_event())
}

fn facts(run: &Run) -> RunFacts {
    RunFacts {
        run: run.run.clone(),
        request_id: run.request_id.clone(),
        user: run.user.clone(),
    }
}

/// What a run that waits is asked about, from the answer that its caller got.
pub(crate) fn action_of(outcome: &serde_json::Value) -> Option<ActionId> {
    let detail = outcome.get("body")?.get("approval_required")?;
    detail.get("action_id")?.as_str()?.parse().ok()
}
