//! Conversations with models around one hub type: every provider's dialect is read into [`Chat`], [`Delta`] and
//! [`Completion`] and written out of them. Never does I/O, never reads a clock, never holds a credential.
//!
//! ```text
//!  the same format: body ── Question::read, addressed_to ──▶ provider;  its bytes ── Meter reads along ──▶ client
//!
//!  otherwise, by the hub:
//!  client's body ── openai::read_request ─▶ Chat ── Format::write_request ──▶ provider
//!  client's bytes ◀─ openai::write_completion ─ Completion ◀─ Format::read_completion ─ provider's body
//!                 ◀─ openai::ChunkWriter ────── Delta ◀────── Format::read_chunk ────── provider's SSE data
//! ```

#![forbid(unsafe_code)]

pub mod act;
pub mod api;
pub mod chat;
pub mod completion;
pub mod error;
pub mod format;
pub mod json;
pub mod question;
pub mod sse;
pub mod usage;

pub use act::{Act, Found};
pub use api::{Api, Family};
pub use chat::{Chat, Content, Function, Message, Part, Role, ToolCall, ToolChoice};
pub use completion::{Assembly, Completion, Delta, FinishReason, Usage};
pub use error::{GatewayError, RequestError, ResponseError};
pub use format::{Format, openai, playground};
pub use question::Question;
pub use usage::{Meter, Tokens};
