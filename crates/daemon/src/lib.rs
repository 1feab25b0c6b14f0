//! What both daemons need: serving HTTP, reading config, logs, readiness, the clock and the framed channel. Never knows
//! a policy, a run or a model.

#![forbid(unsafe_code)]

pub mod channel;
pub mod clock;
pub mod config;
pub mod environment;
pub mod files;
pub mod hangup;
pub mod lifeline;
pub mod logs;
pub mod notify;
pub mod process;
pub mod prompt;
pub mod serve;
pub mod shutdown;
pub mod tls;
pub mod unread;

pub use clock::Clock;
pub use hangup::Hangup;
pub use shutdown::Shutdown;
pub use unread::Unread;
