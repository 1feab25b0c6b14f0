//! Conversations with models around one hub type: every provider's dialect is read into [`Chat`], [`Delta`] and
//! [`Completion`] and written out of them. Never does I/O, never reads a clock, never holds a credential.
//!
//! ```text
//!  client's body ── openai::read_request ─▶ Chat ── Format::write_request ──▶ provider
//!  client's bytes ◀─ openai::write_completion ─ Completion ◀─ Format::read_completion ─ provider's body
//!                 ◀─ openai::ChunkWriter ────── Delta ◀────── Format::read_chunk ────── provider's SSE data
//! ```

#![forbid(unsafe_code)]

pub mod chat;
pub mod completion;
pub mod error;
pub mod format;
pub mod json;
pub mod sse;

pub use chat::{Chat, Content, Function, Message, Part, Role, ToolCall, ToolChoice};
pub use completion::{Assembly, Completion, Delta, FinishReason, Usage};
pub use error::{GatewayError, RequestError, ResponseError};
pub use format::{Format, openai, playground};
