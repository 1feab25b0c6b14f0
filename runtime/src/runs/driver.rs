//! Carries out what a run's machine decides: one task owns the run, everything else sends it inputs. Never decides anything
//! itself; streaming and plain answers hear the same updates.
//!
//! ```text
//! place ─▶ gate told ─▶ Start ─▶ machine ─ actions ─▶ emit · call (a task each) ─ inputs ─▶ machine … Finish
//!                                                                                             │
//!                            everybody who listens ◀─ stored, gate told, out of the book ◀────┘
//! ```

use std::time::Duration;

use postern_contract::{RunId, link::News};
use postern_daemon::Clock;
use postern_invoke::{
    Action, Checkpoint, Event, Failure, Input, Machine, Outcome, Pause, RunFacts, ToolRequest,
    outcome::Ending,
};
use postern_store::runs::{self as store, End, EventType, NewEvent, RunStatus, Runs, RunsError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Answer, Terms, active::Ticket};
use crate::{
    agents::{Call, Coming, Place},
    config::WhenLeft,
    link::{Link, LinkError},
};

/// Inputs that wait for the machine; more wait at the sender.
const INPUTS_MAX: usize = 64;

/// One run.
pub(super) struct Driver {
    pub(super) machine: Machine,
    pub(super) facts: RunFacts,
    /// Nobody waits for it once it is taken.
    pub(super) coming: Option<Coming>,
    pub(super) store: Runs,
    pub(super) link: Link,
    pub(super) clock: Clock,
    pub(super) terms: Terms,
    pub(super) ticket: Ticket,
    /// Events that go into the store with the next commit.
    pub(super) unrecorded: Vec<NewEvent>,
    /// An event that is told once it is true after a crash, too.
    pub(super) held_back: Option<Event>,
    /// What the history tells of the tool call that is out beside its result.
    pub(super) called: Option<Value>,
}

impl Driver {
    /// The run, from its start to its stored end.
    pub(super) async fn drive(mut self) {
        let begun = self.clock.now();
        let answer = match self.settle().await {
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
                let outcome = self.failed(failure);
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
            () = self.clock.after(self.terms.deadline) => return Err(Failure::DeadlinePassed),
            () = stopping => return Err(Failure::Stopping),
            () = unwanted => return Err(Failure::Cancelled),
        };
        self.register(&*place).await.map(|()| place)
    }

    /// Stores how the run ended, and tells the gate that it has.
    async fn leave(&mut self, place: &dyn Place, outcome: Outcome) -> Answer {
        let (news, link) = (self.over(place), self.link.clone());
        let (answer, told) = tokio::join!(self.keep(outcome), link.tell(news, Vec::new()));
        warn_if_untold(&answer.run, told);
        answer
    }

    fn failed(&self, failure: Failure) -> Outcome {
        Outcome {
            facts: self.facts.clone(),
            duration_ms: 0,
            ending: Ending::Failed(failure),
        }
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
        Err(Failure::ModelUnreachable(error.to_string()))
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
            Event::ApprovalRequired { .. } => return self.held_back = Some(event),
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
            Ending::Paused(pause) => self.put_aside(pause, &answer).await,
            _ => self.finish(status.0, &answer).await,
        };
        let (answer, last) = match stored {
            Ok(()) => (answer, outcome.last_event()),
            Err(error) => {
                tracing::error!(run = %answer.run, %error, "the end of a run was not stored");
                self.held_back = None;
                // Nothing is told of it: it would not be told again.
                Answer::not_stored(answer.run)
            }
        };
        if let Some(event) = self.held_back.take() {
            self.ticket.tell(&event);
        }
        self.ticket.tell(&last);
        answer
    }

    async fn finish(&mut self, status: RunStatus, answer: &Answer) -> Result<(), RunsError> {
        let end = End {
            status,
            outcome: answer.to_stored(),
            events: std::mem::take(&mut self.unrecorded),
            at_ms: self.clock.unix_ms(),
        };
        self.store.finish_run(&answer.run, &end).await
    }

    async fn put_aside(&mut self, pause: &Pause, answer: &Answer) -> Result<(), RunsError> {
        let aside = Aside {
            // With what is about to be told of the pause.
            told: self.ticket.told() + u64::from(self.held_back.is_some()) + 1,
            checkpoint: pause.checkpoint.clone(),
        };
        let pause = store::Pause {
            action: pause.action.clone(),
            state: serde_json::to_value(&aside).unwrap_or_default(),
            outcome: answer.to_stored(),
            events: std::mem::take(&mut self.unrecorded),
            at_ms: self.clock.unix_ms(),
        };
        self.store.pause_run(&answer.run, &pause).await
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

/// Where a run stands that has come to this, and the event that says so.
fn status_of(ending: &Ending) -> (RunStatus, EventType) {
    match ending {
        Ending::Answered { .. } | Ending::Returned { .. } => {
            (RunStatus::Completed, EventType::AgentMessage)
        }
        Ending::Paused(_) => (RunStatus::PausedApproval, EventType::ApprovalRequired),
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
        Ending::Failed(failure) => json!({ "error": failure.to_string(), "code": failure.code() }),
        Ending::Paused(pause) => pause.detail.clone(),
        _ => json!({ "message": answer.body.get("response") }),
    }
}
