//! Carries out what a run's machine decides: one task owns the run, everything else sends it inputs. Never decides anything
//! itself; streaming and plain answers hear the same updates.
//!
//! ```text
//! place ─▶ gate told ─▶ Start ─▶ machine ─ actions ─▶ emit · call (a task each) ─ inputs ─▶ machine … Finish
//!                                                                                             │
//!                            everybody who listens ◀─ stored, gate told, out of the book ◀────┘
//! ```

use std::time::Duration;

use postern_contract::link::News;
use postern_daemon::Clock;
use postern_invoke::{Action, Event, Failure, Input, Machine, Outcome, RunFacts, outcome::Ending};
use postern_store::runs::{End, EventType, NewEvent, RunStatus, Runs};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Answer, Update, active::Ticket};
use crate::{
    agents::{Call, Coming, Place},
    link::Link,
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
    pub(super) ticket: Ticket,
    /// How long it may take.
    pub(super) wall_time: Duration,
    /// Events that go into the store with the next commit.
    pub(super) unrecorded: Vec<NewEvent>,
}

impl Driver {
    /// The run, from its start to its stored end.
    pub(super) async fn drive(mut self) {
        let answer = match self.settle().await {
            Ok(place) => {
                let outcome = self.carry_on(&*place).await;
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
        let stopping = self.ticket.stopping();
        let coming = self.coming.take();
        let coming = coming.ok_or_else(|| Failure::NoPlace("it was left already".to_owned()))?;
        let place = tokio::select! {
            place = coming => place.map_err(Failure::NoPlace)?,
            () = tokio::time::sleep(self.wall_time) => return Err(Failure::DeadlinePassed),
            () = stopping => return Err(Failure::Cancelled),
        };
        self.register(&*place).await.map(|()| place)
    }

    /// Stores how the run ended, and tells the gate that it has.
    async fn leave(&mut self, place: &dyn Place, outcome: Outcome) -> Answer {
        let news = News::RunEnded {
            sandbox: place.sandbox().clone(),
            run: self.facts.run.clone(),
        };
        let unregistered = self.link.clone();
        let (answer, told) = tokio::join!(self.keep(outcome), unregistered.tell(news, Vec::new()));
        if let Err(error) = told {
            tracing::warn!(run = %answer.run, %error, "the gate was not told that a run ended");
        }
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
        self.link.tell(news, Vec::new()).await.map_err(|error| {
            tracing::error!(run = %self.facts.run, %error, "the gate did not take a run");
            Failure::ModelUnreachable(error.to_string())
        })
    }

    /// Feeds the machine until it is done; calls that are still out then are dropped.
    async fn carry_on(&mut self, place: &dyn Place) -> Outcome {
        let (inputs, mut heard) = mpsc::channel(INPUTS_MAX);
        let mut calls = JoinSet::new();
        let deadline = tokio::time::sleep(self.wall_time);
        let stopping = self.ticket.stopping();
        tokio::pin!(deadline, stopping);
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
                    Action::CallTool(request) => Call::Tool(request),
                    Action::CallWorker(request) => Call::Worker(request),
                };
                calls.spawn(place.carry_out(call, &self.facts, inputs.clone()));
            }
            input = tokio::select! {
                // This task holds a sender itself, so there is always a next input.
                Some(next) = heard.recv() => next,
                () = &mut deadline => Input::DeadlinePassed,
                () = &mut stopping => Input::Cancelled,
            };
        }
    }

    /// Shows an event to whoever listens; what is about to have an effect is stored first.
    async fn emit(&mut self, event: Event) {
        let (kind, data) = match &event {
            Event::ToolCall { tool, arguments } => (
                EventType::ToolRequest,
                json!({ "tool": tool, "arguments": arguments }),
            ),
            Event::ToolResult { tool, result } => (
                EventType::ToolResponse,
                json!({ "tool": tool, "result": result }),
            ),
            _ => return self.ticket.tell(Update::Event(event)),
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
        self.ticket.tell(Update::Event(event));
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

    /// Stores how the run ended; only what is stored is told.
    async fn keep(&mut self, outcome: Outcome) -> Answer {
        let answer = Answer::of(&outcome);
        let (status, kind) = if outcome.is_success() {
            (RunStatus::Completed, EventType::AgentMessage)
        } else {
            (RunStatus::Failed, EventType::InvokeFailed)
        };
        self.note(kind, told(&outcome, &answer));
        let end = End {
            status,
            outcome: answer.to_stored(),
            events: std::mem::take(&mut self.unrecorded),
            at_ms: self.clock.unix_ms(),
        };
        tracing::info!(run = %answer.run, status = answer.status, ms = outcome.duration_ms, "run ended");
        match self.store.finish_run(&answer.run, &end).await {
            Ok(()) => answer,
            Err(error) => {
                tracing::error!(run = %answer.run, %error, "the end of a run was not stored");
                Answer::not_stored(answer.run)
            }
        }
    }
}

/// What the run's last event says.
fn told(outcome: &Outcome, answer: &Answer) -> Value {
    match &outcome.ending {
        Ending::Failed(failure) => json!({ "error": failure.to_string(), "code": failure.code() }),
        _ => json!({ "message": answer.body.get("response") }),
    }
}
