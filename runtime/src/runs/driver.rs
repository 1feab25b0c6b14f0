//! Carries out what a run's machine decides: one task owns the run, everything else sends it inputs. Never decides anything
//! itself; streaming and plain answers hear the same updates.
//!
//! ```text
//! place ─▶ gate told ─▶ run stored ─▶ Start ─▶ machine ─ actions ─▶ emit · call (a task each) ─ inputs ─▶ … Finish
//!                                                                                                           │
//!                                          everybody who listens ◀─ stored, gate told, out of the book ◀────┘
//! ```

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, Shared};
use postern_contract::{
    ActionId, AgentName, RunId,
    approval::{Question, Waits},
    link::News,
};
use postern_daemon::Clock;
use postern_invoke::{
    Action, Asks, Awaits, Checkpoint, Event, Failure, Input, Machine, Outcome, RunFacts,
    ToolRequest, outcome::Ending,
};
use postern_store::runs::{
    self as store, End, EventType, Kept, NewEvent, RunStatus, Runs, RunsError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{Answer, Terms, active::Ticket};
use crate::{
    agents::{Call, Coming, Place},
    config::WhenLeft,
    link::{Link, LinkError},
    printed::Printed,
};

/// Inputs that wait for the machine; more wait at the sender. Few, so that the first piece of a stream is told before many more are read.
const INPUTS_MAX: usize = 8;

/// Whether a run is stored, for everybody who waits to know.
pub(super) type Storing = Shared<BoxFuture<'static, bool>>;

/// One run.
pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) facts: RunFacts,
    /// Nobody waits for it once it is taken.
    pub(super) coming: Option<Coming>,
    /// Whether the run is stored, once that is known; nothing where it was before. Until then no call goes out.
    pub(super) stored: Option<Storing>,
    pub(super) store: Runs,
    pub(super) link: Link,
    pub(super) printed: Printed,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    pub(super) ticket: Ticket,
    /// What its end outlives before it is told.
    pub(super) kept: Kept,
    /// Events that go into the store with the next commit.
    pub(super) unrecorded: Vec<NewEvent>,
    /// Told when the run begins to wait for a consent.
    pub(super) consents: Arc<Notify>,
    /// Events that are told once they are true after a crash, too.
    pub(super) held_back: Vec<Event>,
    /// What the history tells of the tool call that is out beside its result.
    pub(super) called: Option<Value>,
}

impl Driver {
    /// The run, from its start to its stored end.
    pub(super) async fn drive(self) {
        let (run, printed, store) = (
            self.facts.run.clone(),
            self.printed.clone(),
            self.store.clone(),
        );
        let begun = printed.begin(&run);
        self.go().await;
        printed.end(&run, begun, &store).await;
    }

    async fn go(mut self) {
        let begun = self.clock.now();
        let settled = self.settle().await;
        if !self.is_stored().await {
            return self.let_go(settled).await;
        }
        let answer = match settled {
            Ok(place) => {
                let waited = self.clock.now().saturating_duration_since(begun);
                let left = self.terms.deadline.saturating_sub(waited);
                let outcome = self.carry_on(&*place, left).await;
                // Answered first: what the place takes to end, nobody has to wait for.
                let answer = self.leave(&*place, outcome).await;
                self.ticket.end(answer);
                return drop(place);
            }
            Err(failure) => {
                let outcome = self.machine.without_place(failure);
                self.keep(outcome).await
            }
        };
        self.ticket.end(answer);
    }

    /// Waits for the run's place, and tells the gate that the run is active there; no call of it goes out before the gate
    /// has said yes.
    async fn settle(&mut self) -> Result<Box<dyn Place>, Failure> {
        let (stopping, unwanted) = (self.ticket.stopping(), self.unwanted());
        let coming = self.coming.take();
        let coming = coming.ok_or_else(|| Failure::NoPlace("it was left already".to_owned()))?;
        let place = tokio::select! {
            place = coming => place.map_err(Failure::NoPlace)?,
            () = self.unstored() => return Err(Failure::Stopping),
            () = self.clock.after(self.terms.deadline) => return Err(Failure::DeadlinePassed),
            () = stopping => return Err(Failure::Stopping),
            () = unwanted => return Err(Failure::Cancelled),
        };
        self.register(&*place).await.map(|()| place)
    }

    /// Waits until the run is stored, or is known not to be.
    fn is_stored(&self) -> impl Future<Output = bool> + use<> {
        let stored = self.stored.clone();
        async move {
            match stored {
                Some(stored) => stored.await,
                None => true,
            }
        }
    }

    /// Returns if it turns out that the run is not stored.
    fn unstored(&self) -> impl Future<Output = ()> + use<> {
        let is_stored = self.is_stored();
        async move {
            if is_stored.await {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives back what was got ready for a run that there is not.
    async fn let_go(self, settled: Result<Box<dyn Place>, Failure>) {
        if let Ok(place) = settled {
            let told = self.link.tell(self.over(&*place), Vec::new()).await;
            warn_if_untold(&self.facts.run, told);
        }
    }

    /// Stores how the run ended, and tells the gate that it has.
    async fn leave(&mut self, place: &dyn Place, outcome: Outcome) -> Answer {
        let (news, link) = (self.over(place), self.link.clone());
        let (answer, told) = tokio::join!(self.keep(outcome), link.tell(news, Vec::new()));
        warn_if_untold(&answer.run, told);
        answer
    }

    async fn register(&mut self, place: &dyn Place) -> Result<(), Failure> {
        let news = News::RunStarted {
            sandbox: place.sandbox().clone(),
            run: self.facts.run.clone(),
            user: self.facts.user.clone(),
        };
        let Err(error) = self.link.tell(news, Vec::new()).await else {
            return Ok(());
        };
        tracing::error!(run = %self.facts.run, %error, "the gate did not take a run");
        if !matches!(error, LinkError::Refused(_)) {
            // It may have taken it all the same, only not in time.
            let news = self.over(place);
            warn_if_untold(&self.facts.run, self.link.tell(news, Vec::new()).await);
        }
        Err(match error {
            LinkError::Broken => Failure::NoPlace(error.to_string()),
            error => Failure::ModelUnreachable(error.to_string()),
        })
    }

    fn over(&self, place: &dyn Place) -> News {
        News::RunEnded {
            sandbox: place.sandbox().clone(),
            run: self.facts.run.clone(),
        }
    }

    /// Feeds the machine until it is done; calls that are still out then are dropped.
    async fn carry_on(&mut self, place: &dyn Place, left: Duration) -> Outcome {
        let (inputs, mut heard) = mpsc::channel(INPUTS_MAX);
        let mut calls = JoinSet::new();
        let deadline = self.clock.after(left);
        let (stopping, unwanted) = (self.ticket.stopping(), self.unwanted());
        tokio::pin!(deadline, stopping, unwanted);
        let mut input = Input::Start;
        loop {
            for action in self.machine.on(input, self.clock.unix_ms()) {
                let call = match action {
                    Action::Finish(outcome) => return *outcome,
                    Action::Emit(event) => {
                        self.emit(event).await;
                        continue;
                    }
                    Action::Ask => {
                        let inputs = inputs.clone();
                        calls.spawn(async move {
                            drop(inputs.send(Input::Asked(ActionId::fresh())).await);
                        });
                        continue;
                    }
                    Action::CallModel(chat) => Call::Model(chat),
                    Action::CallTool(request) => {
                        self.called = Some(reported(&request));
                        Call::Tool(request)
                    }
                    Action::CallWorker(request) => Call::Worker(request),
                };
                calls.spawn(place.carry_out(call, &self.facts, inputs.clone()));
            }
            input = tokio::select! {
                // This task holds a sender itself, so there is always a next input.
                Some(next) = heard.recv() => next,
                () = &mut deadline => Input::DeadlinePassed,
                () = &mut stopping => Input::Stopping,
                () = &mut unwanted => Input::Cancelled,
            };
        }
    }

    /// Returns when somebody says that the run shall end, or when nobody hears it any more and that is as good.
    fn unwanted(&self) -> impl Future<Output = ()> + use<> {
        let (cancelled, unheard) = (self.ticket.cancelled(), self.ticket.unheard());
        let when_left = self.terms.when_left;
        async move {
            match when_left {
                WhenLeft::GoOn => cancelled.await,
                WhenLeft::Cancel => tokio::select! {
                    () = cancelled => {}
                    () = unheard => {}
                },
            }
        }
    }

    /// Shows an event to whoever listens; what is about to have an effect is stored first.
    async fn emit(&mut self, event: Event) {
        let (kind, data) = match &event {
            Event::ToolCall { tool, arguments } => (
                EventType::ToolRequest,
                json!({ "tool": tool, "arguments": arguments }),
            ),
            Event::ToolResult { tool, result } => {
                let mut data = self.called.take().unwrap_or_else(|| json!({}));
                data["tool"] = json!(tool);
                data["result"] = json!(result);
                (EventType::ToolResponse, data)
            }
            // The end is told once it is stored, and so is a pause.
            Event::Done { .. } | Event::Error { .. } => return,
            Event::ApprovalRequired { .. } | Event::ConsentRequired { .. } => {
                return self.held_back.push(event);
            }
            // The words of a pause come after it.
            Event::Content { .. } if !self.held_back.is_empty() => {
                return self.held_back.push(event);
            }
            _ => return self.ticket.tell(&event),
        };
        self.note(kind, data);
        if kind == EventType::ToolRequest {
            let recorded = self.store.record(&self.facts.run, &self.unrecorded).await;
            match recorded {
                Ok(_) => self.unrecorded.clear(),
                Err(error) => {
                    tracing::error!(run = %self.facts.run, %error, "events were not stored yet");
                }
            }
        }
        self.ticket.tell(&event);
    }

    fn note(&mut self, kind: EventType, data: Value) {
        let at_ms = self.clock.unix_ms();
        self.unrecorded.push(NewEvent {
            kind,
            actor: "agent".to_owned(),
            data,
            at_ms,
        });
    }

    /// Stores how the run ended, or what it needs to go on; only what is stored is told.
    async fn keep(&mut self, outcome: Outcome) -> Answer {
        let answer = Answer::of(&outcome);
        let status = status_of(&outcome.ending);
        self.note(status.1, told(&outcome, &answer));
        tracing::info!(run = %answer.run, status = answer.status, ms = outcome.duration_ms, now = ?status.0, "run ended");
        let stored = match &outcome.ending {
            Ending::Paused(pause) => {
                let pause = self.aside((&pause.action, &pause.checkpoint), &answer);
                self.store.pause_run(&answer.run, &pause).await
            }
            Ending::Halted(halt) => {
                let pause = self.aside((&halt.action, &halt.checkpoint), &answer);
                self.store.put_back(&answer.run, &pause).await
            }
            _ => self.finish(status.0, &answer).await,
        };
        let (answer, last) = match stored {
            Ok(()) => {
                if status.0 == RunStatus::PausedConsent {
                    self.consents.notify_one();
                }
                self.put_question(outcome, answer).await
            }
            Err(error) => {
                tracing::error!(run = %answer.run, %error, "the end of a run was not stored");
                self.held_back.clear();
                // Nothing is told of it: it would not be told again.
                Answer::not_stored(answer.run)
            }
        };
        for event in self.held_back.drain(..) {
            self.ticket.tell(&event);
        }
        self.ticket.tell(&last);
        answer
    }

    /// Has a human asked what the agent asks by itself, now that the run can wait for the answer. Where the gate cannot be reached
    /// it is asked again until it can.
    async fn put_question(&mut self, outcome: Outcome, answer: Answer) -> (Answer, Event) {
        let last = outcome.last_event();
        let Ending::Paused(pause) = &outcome.ending else {
            return (answer, last);
        };
        let Some(asks) = pause.checkpoint.asks() else {
            return (answer, last);
        };
        let question = question((&pause.action, asks), self.ticket.agent(), &self.facts);
        let why = match self.link.asked(question).await {
            Ok(_) => return (answer, last),
            Err(LinkError::Refused(why)) => why,
            Err(error) => {
                tracing::warn!(run = %answer.run, %error, "the gate was not told yet what an agent asks");
                return (answer, last);
            }
        };
        self.held_back.clear();
        let failed = Outcome {
            ending: Ending::Failed(Failure::NotAsked(why)),
            facts: outcome.facts,
            duration_ms: outcome.duration_ms,
        };
        let answer = Answer::of(&failed);
        self.note(EventType::InvokeFailed, told(&failed, &answer));
        let end = self.end(RunStatus::Failed, &answer);
        match self.store.end_paused(&pause.action, &end).await {
            Ok(_) => (answer, failed.last_event()),
            Err(error) => {
                tracing::error!(run = %answer.run, %error, "the end of a run was not stored");
                Answer::not_stored(answer.run)
            }
        }
    }

    async fn finish(&mut self, status: RunStatus, answer: &Answer) -> Result<(), RunsError> {
        let end = self.end(status, answer);
        self.store.finish_run(&answer.run, &end).await
    }

    fn end(&mut self, status: RunStatus, answer: &Answer) -> End {
        End {
            status,
            outcome: answer.to_stored(),
            events: std::mem::take(&mut self.unrecorded),
            at_ms: self.clock.unix_ms(),
            kept: self.kept,
        }
    }

    /// What the store keeps of the run until it goes on.
    fn aside(
        &mut self,
        (action, checkpoint): (&ActionId, &Checkpoint),
        answer: &Answer,
    ) -> store::Pause {
        let aside = Aside {
            // With what is about to be told of the pause.
            told: self.ticket.told() + self.held_back.len() as u64 + 1,
            checkpoint: checkpoint.clone(),
        };
        store::Pause {
            action: action.clone(),
            status: paused_for(checkpoint),
            state: serde_json::to_value(&aside).unwrap_or_default(),
            outcome: answer.to_stored(),
            events: std::mem::take(&mut self.unrecorded),
            at_ms: self.clock.unix_ms(),
        }
    }
}

/// What the store keeps of a run that is put aside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Aside {
    /// How many events it has told.
    pub(super) told: u64,
    /// What its machine needs to go on.
    pub(super) checkpoint: Checkpoint,
}

/// What an agent asks by itself in a run.
pub(super) fn question(
    (action, asks): (&ActionId, &Asks),
    agent: &AgentName,
    facts: &RunFacts,
) -> Question {
    Question {
        action: action.clone(),
        agent: agent.clone(),
        run: facts.run.clone(),
        user: facts.user.clone(),
        words: asks.words.clone(),
        detail: asks.detail.clone(),
        waits: Waits::Paused,
    }
}

/// Where a run stands that waits with this.
fn paused_for(checkpoint: &Checkpoint) -> RunStatus {
    match checkpoint.awaits() {
        Awaits::Approval => RunStatus::PausedApproval,
        Awaits::Consent => RunStatus::PausedConsent,
    }
}

/// Where a run stands that has come to this, and the event that says so.
fn status_of(ending: &Ending) -> (RunStatus, EventType) {
    match ending {
        Ending::Answered { .. } | Ending::Returned { .. } => {
            (RunStatus::Completed, EventType::AgentMessage)
        }
        Ending::Paused(pause) => match pause.checkpoint.awaits() {
            Awaits::Approval => (RunStatus::PausedApproval, EventType::ApprovalRequired),
            Awaits::Consent => (RunStatus::PausedConsent, EventType::ConsentRequired),
        },
        Ending::Halted(halt) => (paused_for(&halt.checkpoint), EventType::InvokeFailed),
        Ending::Failed(_) => (RunStatus::Failed, EventType::InvokeFailed),
    }
}

fn warn_if_untold(run: &RunId, told: Result<(), LinkError>) {
    if let Err(error) = told {
        tracing::warn!(%run, %error, "the gate was not told that a run ended");
    }
}

/// Which call a result belongs to, in the words of the dialect's own reports.
fn reported(request: &ToolRequest) -> Value {
    json!({ "tool_call_id": request.call_id, "tool_id": request.tool, "turn": request.turn })
}

/// What the run's last event says.
fn told(outcome: &Outcome, answer: &Answer) -> Value {
    match &outcome.ending {
        Ending::Failed(failure) => why(failure),
        Ending::Halted(halt) => why(&halt.failure),
        Ending::Paused(pause) => pause.detail.clone(),
        _ => json!({ "message": answer.body.get("response") }),
    }
}

fn why(failure: &Failure) -> Value {
    json!({ "error": failure.to_string(), "code": failure.code() })
}
