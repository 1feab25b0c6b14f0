//! `postern up`: starts both daemons, and a launcher for each connection of posternd, and ends with them. Single-threaded
//! and without an async runtime; never reads a secret, never speaks HTTP.
//!
//! ```text
//!           postern up ──── lifeline (a pipe) ────▶ posternd, gate, sweeper     its end ends each of them
//!            │  ▲ launcher.sock: only posternd's pid; the connection becomes a launcher's stdin
//!            │  └ notify.sock:   readiness, only from the daemons' pids
//!            └─ SIGTERM ▶ posternd drains ▶ ended ▶ SIGTERM ▶ gate ▶ ended ▶ launchers ended ▶ run directory gone
//! ```
//!
//! Whoever is killed, however: the gate is started again, posternd's end stops the supervisor, the supervisor's end cuts the
//! lifelines, posternd's end closes the launchers' connections, and a launcher's end is its sandbox's. The sweeper removes
//! the sockets.

mod access;
mod check;
mod daemons;
mod doors;
mod images;
mod place;
mod readiness;
mod revival;
mod supervisor;

use std::path::{Path, PathBuf};

use postern_daemon::Clock;

use crate::{Failure, identity::Mode};

pub(crate) use place::is_run_directory;

/// Checks a config as both daemons would; what the gate makes of it, for people.
pub(crate) fn checked(config: &Path) -> Result<postern_proxy::Checked, Failure> {
    check::both(config).map(|checked| checked.gate)
}

/// Starts both daemons from this executable, for development, and stops them with it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern up examples/support-desk/postern.toml --state ~/desk-state"
)]
pub(crate) struct Args {
    /// The config
    config: PathBuf,
    /// Where databases, unpacked agents and the audit are kept [default: /var/lib/postern as root, else
    /// $XDG_STATE_HOME/postern or ~/.local/state/postern]
    #[arg(long)]
    state: Option<PathBuf>,
    /// Layers that may be absent from every sandbox, by the names that `postern doctor` uses
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',')]
    allow_weaker: Vec<String>,
    /// Print one line of JSON when ready
    #[arg(long)]
    json: bool,
    /// Standard input is a pipe; stop when it ends
    #[arg(long, hide = true)]
    lifeline: bool,
}

/// Runs until a signal, the lifeline's end or a daemon's.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let clock = Clock::system();
    let begun = clock.now();
    let mode = Mode::of_caller();
    let config = place::canonical(&args.config).map_err(Failure::Usage)?;
    let check::Checked {
        listen,
        mut shown,
        pinned,
        ..
    } = check::both(&config)?;
    // posternd shows this executable to the sandbox that unpacks.
    shown.extend(std::env::current_exe().ok());
    let state = state_directory(args.state.as_deref(), mode)?;
    access::check(mode, &config, &state).map_err(Failure::Usage)?;
    postern_daemon::process::harden().map_err(|error| Failure::Run(format!("prctl: {error}")))?;
    let doors = doors::Signals::block()?;
    let place = place::Place::make(&state, mode)?;
    let allow_weaker = args.allow_weaker.clone();
    let order = daemons::Order {
        config,
        shown,
        pinned,
        mode,
        allow_weaker,
        place,
    };
    let supervisor = supervisor::Supervisor::start(order, doors, (clock, begun), args.lifeline)?;
    supervisor.run(listen, args.json)
}

fn state_directory(asked: Option<&Path>, mode: Mode) -> Result<PathBuf, Failure> {
    let read = postern_daemon::environment::read;
    let chosen = match (asked, mode) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Mode::Root) => Some(PathBuf::from("/var/lib/postern")),
        (None, Mode::Ordinary(_)) => read("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| read("HOME").map(|home| Path::new(&home).join(".local/state")))
            .map(|base| base.join("postern")),
    };
    let Some(chosen) = chosen else {
        return Err(Failure::Usage(
            "no HOME is set: say where with --state".to_owned(),
        ));
    };
    std::path::absolute(&chosen).map_err(|error| Failure::path(&chosen, error))
}
