//! Runs that are put aside while a human is asked, and how they go on: by themselves once somebody has answered, or by whoever
//! asks for it. Never lets one go on twice, and never on anybody's word but the gate's.
//!
//! ```text
//! PAUSED_APPROVAL ── gate: APPROVED ──▶ RUNNING: a driver with what was put aside, and the call again with its action id
//!        ▲        ── gate: REJECTED, EXPIRED; DELETE ──▶ FAILED
//!        └── its model fails on the way: it goes on again when somebody asks for it, and a few times by itself
//! ```

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use postern_contract::{
    ActionId, ApproverName, RunId,
    approval::{Approval, Status, Unanswered},
    link::News,
};
use postern_invoke::{Event, Failure, Machine, Outcome, Plan, RunFacts, outcome::Ending};
use postern_store::runs::{Awaited, End, EventType, Kept, NewEvent, Paused, Run, RunStatus};
use serde_json::json;

use super::{
    Answer, BeginError, Callee, RunDesk, Updates,
    active::Ticket,
    driver::{self, Aside, Driver},
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

/// How often, and how soon after each other, it is tried to act upon an answer at once.
const TRIES_OF_AN_ANSWER_MAX: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// How many runs are looked at in one go.
const LOOKED_AT_MAX: u32 = 1000;

/// How often a run goes on by itself whose model fails on the way. Whoever asks for it has it go on however often it did.
const TRIES_BY_ITSELF_MAX: u32 = 5;

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
    /// The end user has not consented.
    Unconsented,
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
        look(&app, RunStatus::PausedApproval).await;
        tokio::select! {
            () = app.desk.clock().after(LOOK_EVERY) => {}
            () = app.desk.closed() => return,
        }
    }
}

/// Tries to go on with every run that waits in this way. Tells how many there are.
pub(super) async fn look(app: &App, status: RunStatus) -> usize {
    let awaited = match app.desk.store().awaited(status, LOOKED_AT_MAX).await {
        Ok(awaited) => awaited,
        Err(error) => {
            tracing::error!(%error, "runs that wait could not be looked for");
            return 0;
        }
    };
    let waiting = awaited.len();
    let looks = stream::iter(awaited);
    looks
        .for_each_concurrent(LOOKED_AT_ONCE_MAX, async |awaited| {
            let Awaited {
                action,
                agent,
                tries,
            } = awaited;
            let served = app.served(Some(agent.as_str()));
            let callee = served.map(|served| &served.callee);
            let callee = callee.filter(|_| tries <= TRIES_BY_ITSELF_MAX);
            if let Err(error) = app.desk.resume(callee, &action).await {
                tracing::debug!(%action, %agent, %error, "a run that waits does not go on yet");
            }
        })
        .await;
    waiting
}

/// Somebody has answered: a run that waited for that goes on, or is over. Returns at once.
pub(crate) fn answered(app: &App, approval: &Approval) {
    app.desk.questions.answered(&approval.action);
    let (app, approval) = (app.clone(), approval.clone());
    tokio::spawn(async move {
        let callee = app.served(Some(approval.agent.as_str()));
        let callee = callee.map(|served| &served.callee);
        for _ in 0..TRIES_OF_AN_ANSWER_MAX {
            match app.desk.resume(callee, &approval.action).await {
                // Whoever answered was so quick that the run is still about to be put aside.
                Ok(Resumed::Pending | Resumed::GoesOn) => {}
                Ok(_) => return,
                Err(error) => {
                    return tracing::warn!(action = %approval.action, %error, "a run that waited does not go on yet");
                }
            }
            app.desk.clock().after(TRY_AGAIN).await;
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
        let Some(Paused {
            run,
            is_taken,
            tries,
        }) = paused
        else {
            return Ok(Resumed::Pending);
        };
        match run.status {
            RunStatus::PausedApproval if !is_taken => {}
            RunStatus::PausedConsent if !is_taken => {
                return self.resume_consented(callee, action, (run, tries)).await;
            }
            _ => return Ok(self.gone_on(&run)),
        }
        let approval = match self.link.approval(action.clone(), None).await? {
            Ok((approval, _)) => approval,
            Err(Unanswered::Unknown) => return self.ask_again(action, &run).await,
            Err(_) => return Ok(Resumed::Pending),
        };
        let is_late = approval.expires_ms <= self.clock.unix_ms();
        match (approval.status, callee) {
            (Status::Approved, _) if tries > 0 && is_late => self.give_up(action, &run).await,
            (Status::Approved, Some(callee)) => {
                self.go_on(callee, (approval.action, run, approval.approver))
                    .await
            }
            (Status::Approved, None) if !is_late => Ok(Resumed::Pending),
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

    /// The gate knows nothing of a request: it has not heard of it yet where the agent asks by itself, and has forgotten it where
    /// a rule does.
    async fn ask_again(&self, action: &ActionId, run: &Run) -> Result<Resumed, ResumeError> {
        let state = self.store.kept(action).await.map_err(store_failed)?;
        let aside = state.and_then(|state| serde_json::from_value::<Aside>(state).ok());
        let asks = aside.as_ref().and_then(|aside| aside.checkpoint.asks());
        let Some(asks) = asks else {
            return self.fail(action, Failure::Unanswered, None).await;
        };
        let question = driver::question((action, asks), &run.agent, &facts(run));
        match self.link.asked(question).await {
            Ok(_) => Ok(Resumed::Pending),
            Err(LinkError::Refused(why)) => self.fail(action, Failure::NotAsked(why), None).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a run that waits because nobody wants it any more. `None` if it does not wait.
    ///
    /// # Errors
    /// The store failed.
    pub async fn drop_paused(&self, run: &Run) -> Result<Option<Answer>, ResumeError> {
        let waits = matches!(
            run.status,
            RunStatus::PausedApproval | RunStatus::PausedConsent
        );
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

    pub(super) async fn go_on(
        &self,
        callee: &Callee,
        waits: (ActionId, Run, Option<ApproverName>),
    ) -> Result<Resumed, ResumeError> {
        require_ready(callee)?;
        let place = tokio::select! {
            place = callee.places.take(&self.clock) => place,
            () = self.active.closed() => return Err(BeginError::Stopping.into()),
        };
        let place = place.ok_or_else(|| BeginError::Busy(callee.name.clone()))?;
        let (desk, callee) = (self.clone(), callee.clone());
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
        let facts = facts(&run);
        let coming = callee.host.place(&facts);
        let coming = coming.map_err(|why| BeginError::NoPlace {
            agent: callee.name.clone(),
            why,
        })?;
        let plan = callee.host.plan();
        let Some((ticket, machine)) = self.claim((&action, plan), &facts, by).await? else {
            return Ok(Resumed::GoesOn);
        };
        let updates = ticket.listen_on();
        let driver = Driver {
            machine,
            facts,
            coming: Some(coming),
            stored: None,
            store: self.store.clone(),
            link: self.link.clone(),
            printed: self.printed.clone(),
            clock: self.clock.clone(),
            // Nobody has to listen to it: whoever began it was told to come back.
            terms: Terms {
                when_left: WhenLeft::GoOn,
                ..callee.terms
            },
            ticket,
            kept: Kept::Synced,
            unrecorded: Vec::new(),
            held_back: Vec::new(),
            consents: Arc::clone(&self.consents),
            called: None,
        };
        tracing::info!(run = %run.run, "a run goes on after a human's yes");
        tokio::spawn(kept_in_place(driver, place));
        Ok(Resumed::Running(run.run, updates))
    }

    /// Takes a run that waits into the book and what was put aside out of the store. `None` if somebody else has.
    async fn claim(
        &self,
        (action, plan): (&ActionId, Plan),
        facts: &RunFacts,
        by: Option<ApproverName>,
    ) -> Result<Option<(Ticket, Machine)>, ResumeError> {
        let _turn = self.registering.lock().await;
        let paused = self.store.paused(action).await.map_err(store_failed)?;
        let Some(Paused {
            run,
            is_taken: false,
            ..
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
        let mut goes_on = vec![event(EventType::Resumed, "posternd")];
        if run.status == RunStatus::PausedApproval {
            goes_on.insert(0, event(EventType::Approved, approver));
        }
        let taken = self.store.take_up(action, &goes_on, at_ms).await;
        let Some((_, state)) = taken.map_err(store_failed)? else {
            return Ok(None);
        };
        let aside = serde_json::from_value::<Aside>(state).ok();
        let resumed = aside.and_then(|Aside { told, checkpoint }| {
            let waits = (checkpoint, action.clone());
            Some((told, Machine::resume(plan, waits, facts.clone())?))
        });
        match resumed {
            Some((told, machine)) => {
                ticket.has_told(told);
                Ok(Some((ticket, machine)))
            }
            None => {
                tracing::error!(run = %run.run, "what was put aside of a run is nothing that its agent can go on with");
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
    pub(super) async fn fail(
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
        tracing::info!(run = %run.run, %failure, "a run that waited is over");
        self.over(action, end, failed).await
    }

    /// Ends a run that went on, failed on its way and has no time left to go on again: with what it failed of.
    pub(super) async fn give_up(
        &self,
        action: &ActionId,
        run: &Run,
    ) -> Result<Resumed, ResumeError> {
        let answer = Answer::stored(run);
        let word = |key: &str| answer.body[key].as_str().unwrap_or_default().to_owned();
        let last = Event::Error {
            message: word("error"),
            code: word("code"),
        };
        let failed = (answer, last);
        let end = self.end(&failed, EventType::InvokeFailed, "posternd");
        tracing::info!(run = %run.run, "a run that failed on its way has no time left to go on");
        self.over(action, end, failed).await
    }

    async fn over(
        &self,
        action: &ActionId,
        end: End,
        (answer, last): (Answer, Event),
    ) -> Result<Resumed, ResumeError> {
        let ended = self.store.end_paused(action, &end).await;
        if !ended.map_err(store_failed)? {
            return Ok(Resumed::GoesOn);
        }
        self.active.amend(&answer.run, &last, answer.clone());
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
            kept: Kept::Synced,
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

/// What a run that waits is asked about, or was before it failed on its way, from the answer that its caller got.
pub(crate) fn action_of(outcome: &serde_json::Value) -> Option<ActionId> {
    let body = outcome.get("body")?;
    let detail = body.get("approval_required").unwrap_or(body);
    let id = detail.get("action_id").or_else(|| body.get("resume_id"))?;
    id.as_str()?.parse().ok()
}
