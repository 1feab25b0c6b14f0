//! One run, told once: `on(input, now) -> actions`. Never does I/O and never panics, whatever comes in whichever order; it says
//! `Finish` exactly once, as its last action.
//!
//! ```text
//!  builtin:                    ModelReplied with calls
//!   New ──Start──▶ AskingModel ───────────────────────▶ CallingTool ──┐ ToolReturned, ToolFailed:
//!                     ▲   │                               │   ▲       │ the next call of the turn
//!                     │   │ ModelReplied without calls    │   └───────┘
//!                     │   ▼                               │
//!                     │ Finished ◀── cap of iterations ───┤
//!                     └───────────── turn is over ────────┘
//!  worker:
//!   New ──Start──▶ AskingWorker ──WorkerReturned──▶ Finished
//!                       └─ a pause of its own: Ask ──Asked──▶ Finished as Paused{checkpoint}; `resume` calls it again
//!
//!  from anywhere:  ModelFailed, WorkerFailed, Cancelled, Stopping, DeadlinePassed ──▶ Finished
//!                  (a resumed run that was AskingModel: Halted{checkpoint}, and `resume` goes on by asking again)
//!  a pause:        CallingTool ──ToolPaused──▶ Finished as Paused{checkpoint}; `resume` makes another machine of that, whose
//!                  Start makes the call again, with the action that a human said yes to
//! ```
//!
//! An input that does not belong to the state, or to the call that is under way, is ignored: it is late.

mod builtin;
mod worker;

use postern_contract::ActionId;
use postern_llm::{Chat, Completion};
use serde_json::Value;

use crate::{
    checkpoint::{Awaits, Checkpoint},
    event::Event,
    outcome::{Ending, Failure, Outcome},
    plan::{Plan, Resumes, RunFacts, ToolRequest, WorkerRequest},
    request::Request,
};
use builtin::Conversation;
use worker::Errand;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The run begins.
    Start,
    /// The model said a piece of its answer, before [`Input::ModelReplied`] brings the whole.
    ModelSaid(String),
    /// The model answered.
    ModelReplied(Completion),
    /// The model's gateway answered with an error (`status`) or not at all.
    ModelFailed {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// The answer's body, or what went wrong.
        detail: String,
    },
    /// A tool answered, well or badly.
    ToolReturned {
        /// Which call.
        call_id: String,
        /// HTTP status.
        status: u16,
        /// The body; bytes that are no UTF-8 are replaced by the driver.
        body: String,
    },
    /// A tool could not be reached.
    ToolFailed {
        /// Which call.
        call_id: String,
        /// What went wrong.
        detail: String,
    },
    /// The gate asks a human about a call, or the end user for their consent to it; it was not made.
    ToolPaused {
        /// Which call.
        call_id: String,
        /// What the human is asked about.
        action: ActionId,
        /// Which of the two.
        awaits: Awaits,
        /// The gate's words.
        detail: Value,
    },
    /// The worker said something on the way; only [`Event::Content`] and what it says of tools of its own is passed on.
    WorkerSaid(Event),
    /// The worker returned a value.
    WorkerReturned(Value),
    /// The question that the worker's value asks has this id.
    Asked(ActionId),
    /// The worker failed: the exception's last line, or how the process ended.
    WorkerFailed {
        /// What went wrong.
        detail: String,
    },
    /// Somebody who may does not want it any more: by word, or by leaving.
    Cancelled,
    /// The daemon stops.
    Stopping,
    /// The run took too long.
    DeadlinePassed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the model; answered by `ModelSaid`*, then `ModelReplied` or `ModelFailed`.
    CallModel(Box<Chat>),
    /// Call a tool; answered by `ToolReturned`, `ToolFailed` or `ToolPaused`.
    CallTool(Box<ToolRequest>),
    /// Ask the worker; answered by `WorkerSaid`*, then `WorkerReturned` or `WorkerFailed`.
    CallWorker(Box<WorkerRequest>),
    /// Name a question that the worker asks; answered by `Asked`.
    Ask,
    /// Show the caller.
    Emit(Event),
    /// The run is over; the last action of all.
    Finish(Box<Outcome>),
}

/// A run.
#[derive(Debug)]
pub struct Machine {
    facts: RunFacts,
    started_ms: Option<i64>,
    /// Nothing once the run is over.
    course: Option<Course>,
}

/// The way the run takes, by the kind of its agent.
#[derive(Debug)]
enum Course {
    Builtin(Box<Conversation>),
    Worker(Box<Errand>),
}

/// What one input brings: actions, and perhaps the end.
#[derive(Debug, Default)]
struct Step {
    actions: Vec<Action>,
    ending: Option<Ending>,
}

impl Step {
    fn emit(&mut self, event: Event) {
        self.actions.push(Action::Emit(event));
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    fn fail(&mut self, failure: Failure) {
        self.end(Ending::Failed(failure));
    }
}

impl Machine {
    /// A run that has not begun.
    #[must_use]
    pub fn new(plan: Plan, request: Request, facts: RunFacts) -> Self {
        let course = match plan {
            Plan::Builtin(agent) => Course::Builtin(Box::new(Conversation::new(agent, request))),
            Plan::Worker(agent) => Course::Worker(Box::new(Errand::new(agent, request))),
        };
        Self {
            facts,
            started_ms: None,
            course: Some(course),
        }
    }

    /// A paused run, about to go on now that a human has said yes. `None` if the agent is of another kind by now.
    #[must_use]
    pub fn resume(
        plan: Plan,
        (checkpoint, action): (Checkpoint, ActionId),
        facts: RunFacts,
    ) -> Option<Self> {
        let course = match (plan, checkpoint) {
            (Plan::Builtin(agent), Checkpoint::Turn(kept)) => {
                let conversation = Conversation::resume(agent, *kept, action);
                Course::Builtin(Box::new(conversation))
            }
            (Plan::Worker(agent), Checkpoint::Handler(kept)) if agent.resumes != Resumes::Never => {
                Course::Worker(Box::new(Errand::resume(agent, *kept, action)))
            }
            _ => return None,
        };
        Some(Self {
            facts,
            started_ms: None,
            course: Some(course),
        })
    }

    /// What happened, and when in milliseconds (any epoch, the same for the whole run), gives what is to be done now, in order.
    pub fn on(&mut self, input: Input, now_ms: i64) -> Vec<Action> {
        let Some(course) = &mut self.course else {
            return Vec::new();
        };
        let started_ms = *self.started_ms.get_or_insert(now_ms);
        let mut step = Step::default();
        match (input, course) {
            (Input::Cancelled, _) => step.fail(Failure::Cancelled),
            (Input::Stopping, Course::Builtin(it)) => it.fail(Failure::Stopping, &mut step),
            (Input::Stopping, _) => step.fail(Failure::Stopping),
            (Input::DeadlinePassed, _) => step.fail(Failure::DeadlinePassed),
            (input, Course::Builtin(conversation)) => conversation.on(input, &mut step),
            (input, Course::Worker(errand)) => errand.on(input, &self.facts, &mut step),
        }
        if let Some(ending) = step.ending.take() {
            self.course = None;
            let duration_ms = u64::try_from(now_ms.saturating_sub(started_ms)).unwrap_or(0);
            let outcome = Outcome {
                facts: self.facts.clone(),
                duration_ms,
                ending,
            };
            step.emit(outcome.last_event());
            step.act(Action::Finish(Box::new(outcome)));
        }
        step.actions
    }

    /// The run had no place to begin in, or to go on: what comes of it. Whatever is fed in after that is late.
    pub fn without_place(&mut self, failure: Failure) -> Outcome {
        let mut step = Step::default();
        match self.course.take() {
            Some(Course::Builtin(mut conversation)) => {
                conversation.fail(failure.clone(), &mut step);
            }
            _ => step.fail(failure.clone()),
        }
        Outcome {
            facts: self.facts.clone(),
            duration_ms: 0,
            ending: step.ending.unwrap_or(Ending::Failed(failure)),
        }
    }

    /// Whether [`Action::Finish`] was given.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.course.is_none()
    }
}

#[cfg(test)]
mod tests;
