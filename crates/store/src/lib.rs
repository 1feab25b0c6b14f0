//! The two databases of one make: posternd's `runs.db` and the gate's `gate.db`. Each belongs to one daemon, which alone
//! opens it; neither store ever reads the other's, speaks HTTP, or shows a database type in its signatures.

#![forbid(unsafe_code)]

pub mod gate;
pub mod runs;
mod sqlite;
mod word;

pub use sqlite::{DatabaseError, OpenError};

/// The most rows that one question brings back, whatever limit was asked for.
pub const ROWS_MAX: u32 = 1_000;
