//! postern-proxy, the gate: the only process that reads secrets and the only one that opens connections to the world for
//! an agent. Never runs agent code, and never lets a call out that no rule allows.
//!
//! One request, from file to file:
//! ```text
//! link      which sandboxes there are, and their listeners
//! accept ─▶ door/ (its form) ─▶ exchange, the whole story:
//!           identify ─▶ door/ (canonical URL, route) ─▶ decide ─▶ dial/ ─▶ inject/ ─▶ relay ─▶ audit/
//!                       gateway/ (models)              tunnel (opaque CONNECT), websocket   refuse (every no)
//! accept ◀─ intercept/ (what comes inside any other CONNECT) ◀─ exchange
//! accept ─▶ intercept/captured, intercept/raw (what is no HTTP) ─▶ tunnel, or postgres/, redis (the gate logs in) ─▶ tunnel
//!
//! beside it: reload/ (a new config) ─▶ live (what is under way is judged again)
//!            metrics/, admin, telemetry/ (what the gate shows)     ledger (refusals, for people to look up)
//! ```

#![forbid(unsafe_code)]

mod accept;
mod admin;
mod again;
mod allowance;
mod approve;
pub mod audit;
mod body;
mod book;
mod call;
mod config;
mod consent;
mod count;
mod deadline;
mod decide;
mod dial;
mod dns;
mod door;
mod dummy;
mod exchange;
mod gate;
mod gateway;
mod greeting;
mod headers;
mod identify;
pub mod inject;
mod intercept;
mod issuer;
mod ledger;
mod limit;
mod link;
mod live;
pub mod mask;
mod metrics;
mod options;
mod postgres;
mod record;
mod redis;
mod refuse;
mod relay;
mod reload;
mod report;
mod scope;
mod sealed;
mod secret;
mod shown;
mod start;
mod telemetry;
mod token;
mod trace;
mod tunnel;
mod websocket;

pub use config::{Checked, Config, Doorway, check, doorway};
pub use decide::Permit;
pub use dial::VerifiedLeg;
pub use options::Options;
pub use secret::store;
pub use start::{Place, RunError, run};

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::Parser as _;
use postern_contract::exit;
use postern_daemon::{
    Shutdown,
    lifeline::{self, Boot},
    logs, process,
};

/// The program: reads its command line, runs until it is asked to stop, and says in one line why if it cannot.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(usage) => {
            drop(usage.print());
            return if usage.use_stderr() {
                ExitCode::from(exit::CONFIG)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            drop(writeln!(std::io::stderr(), "postern-proxy: {why}"));
            ExitCode::from(code)
        }
    }
}

fn start(options: &Options) -> Result<(), (u8, String)> {
    let cannot = |error: std::io::Error| (exit::RUN, error.to_string());
    process::harden().map_err(cannot)?;
    let boot = if options.lifeline {
        lifeline::read_boot().map_err(|error| (exit::RUN, format!("standard input: {error}")))?
    } else {
        Boot::default()
    };
    logs::init(logs::Format::of(options.json_log));
    let config =
        Config::read(&options.config).map_err(|error| (exit::CONFIG, error.to_string()))?;
    let config = config.taking_variables();
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(cannot)?;
    let place = Place {
        state: &options.state,
        link: &options.link,
        runtime_uid: options
            .runtime_uid
            .unwrap_or_else(|| nix::unistd::getuid().as_raw()),
        token: boot.link_token,
    };
    tasks.block_on(async {
        let shutdown = Shutdown::from_signals(options.lifeline).map_err(cannot)?;
        run(config, place, shutdown)
            .await
            .map_err(|error| match &error {
                RunError::Config(_) => (exit::CONFIG, error.to_string()),
                _ => (exit::RUN, error.to_string()),
            })
    })
}
