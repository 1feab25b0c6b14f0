//! One run of an agent as a state machine of values: inputs in, actions out. Never does I/O, never reads a clock, never sees a
//! credential; `runtime` carries the actions out.

#![forbid(unsafe_code)]

mod call;
pub mod checkpoint;
pub mod event;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod request;

pub use checkpoint::{Asks, Awaits, Checkpoint};
pub use event::Event;
pub use machine::{Action, Input, Machine};
pub use outcome::{CallMade, Ending, Failure, Halt, Outcome, Pause};
pub use plan::{
    Builtin, Plan, Resume, Resumes, RunFacts, ToolFunction, ToolRequest, Worker, WorkerRequest,
};
pub use request::{BadRequest, Request};
