//! A checked launch plan becomes a confined process: the library behind `postern-launcher`, the only privileged code.
//! Never an async runtime, never HTTP, never a secret, never more than one thread.
//!
//! `program` reads the config and the plan, `checked` looks at the plan, `launch` builds the sandbox layer by layer
//! (`stage/`), `serve` carries out verbs until the connection ends.

#![forbid(unsafe_code)]

mod answers;
mod checked;
pub mod client;
pub mod config;
mod connection;
mod discard;
pub mod doctor;
mod exec;
mod init;
mod janitor;
mod launch;
mod ledger;
mod program;
mod serve;
mod signals;
mod stage;

use std::{ffi::OsString, process::ExitCode};

/// Runs the launcher: `postern-launcher --config FILE` with its connection as descriptor 0, or `--probe`, which builds
/// an empty sandbox and prints what held. The first argument is the program's name. Must be called before the process
/// starts a thread. Exit codes: 0 the connection ended, 2 config or usage, 1 anything else.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    program::run(args)
}
