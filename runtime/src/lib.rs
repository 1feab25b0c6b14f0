//! posternd: installs agents, runs them in sandboxes and serves the public API. Never holds a credential of a tool or
//! provider, never opens a connection to the world, never parses an archive in its own process.
//!
//! ```text
//! start.rs     config → store → link → launcher → install → hosts → listeners → ready
//! api/         a request becomes a run            runs/      one task owns a run and carries out its actions
//! agents/      a kind a file: how a call is done   sandbox/   the launcher's connection, one task each
//! questions.rs what agents ask by themselves          checks.rs  what is looked at so that no probe has to
//! link.rs      what the gate is told               egress.rs  a code-less agent's way through the gate
//! ```

#![forbid(unsafe_code)]

pub mod agent_environment;
pub mod agents;
mod api;
pub mod app;
mod arguments;
mod checks;
pub mod config;
mod egress;
pub mod install;
pub mod link;
mod operator;
mod output;
mod printed;
pub mod questions;
pub mod runs;
pub mod sandbox;
mod serving;
pub mod source;
mod start;
mod state;
mod token;
mod trust;
pub mod unpack;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;
use postern_contract::exit;

/// Runs the daemon until it is told to stop; the first argument is the program's name. `unpack` as the second argument
/// is the hidden subcommand, see [`unpack_main`].
#[must_use]
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<_> = args.into_iter().collect();
    if args.get(1).is_some_and(|second| second == "unpack") {
        return unpack::main(args.split_off(1));
    }
    let arguments = match arguments::Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and the version come this way too.
            drop(answer.print());
            return if answer.use_stderr() {
                ExitCode::from(exit::CONFIG)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match start::main(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if stderr is gone too.
            drop(writeln!(io::stderr(), "posternd: {}", failure.line));
            ExitCode::from(failure.code)
        }
    }
}

/// Unpacks an archive from stdin into a directory, as the agent's user in an install sandbox; the report is one line
/// of JSON on stdout. The first argument is the program's name, then come the options of `unpack`.
#[must_use]
pub fn unpack_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    unpack::main(args.into_iter().collect())
}
