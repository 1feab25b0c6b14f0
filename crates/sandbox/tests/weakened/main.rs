//! A launcher that leaves layers out and says that they hold: the product's own files around another `stage`. It is what
//! the hostile tests are tested with, and never part of a product: cargo builds examples for tests alone.
//!
//! `weakened --without=LAYER … --config FILE`; everything else is as the launcher has it. Where the agent is root of its
//! namespace, with all that comes with it, is `--without=user_namespace --without=capabilities`.

#![forbid(unsafe_code)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the library's files, of which this program needs less and shows nothing to anybody"
)]

#[path = "../../src"]
mod whole {
    //! The library's files, but for its stages.
    pub(crate) mod answers;
    pub(crate) mod checked;
    pub(crate) mod config;
    pub(crate) mod connection;
    pub(crate) mod discard;
    pub(crate) mod exec;
    pub(crate) mod init;
    pub(crate) mod janitor;
    pub(crate) mod launch;
    pub(crate) mod ledger;
    pub(crate) mod program;
    pub(crate) mod serve;
    pub(crate) mod signals;
}

mod stage;

use std::{env, process::ExitCode};

use postern_contract::launch::Layer;

// Under the names that they have for one another.
use self::whole::{
    answers, checked, config, connection, discard, exec, init, janitor, launch, ledger, program,
    serve, signals,
};

/// What stands before the name of a layer.
const WITHOUT: &str = "--without=";

fn main() -> ExitCode {
    let whole = |arg: &std::ffi::OsString| !arg.as_encoded_bytes().starts_with(WITHOUT.as_bytes());
    program::run(env::args_os().filter(whole))
}

/// Whether this layer is left out.
fn off(layer: Layer) -> bool {
    env::args().any(|arg| {
        arg.strip_prefix(WITHOUT)
            .is_some_and(|name| name == layer.to_string())
    })
}
