//! `postern`: the operator's command and a multi-call binary. Each command is a file; the daemons and the launcher are
//! the same libraries that packages ship as executables of their own. Never holds a secret of a tool or provider, but
//! for the moment in which `postern secrets set` seals one.
//!
//! ```text
//! postern tour              stages the example, starts `up` as a child, walks through it      tour/
//! postern up CONFIG         supervises posternd, the gate and a launcher for each sandbox     up/
//! postern check CONFIG      both daemons' checks and the compiled rules                       check.rs
//! postern policy ...        what the rules say of a call, or of a table of calls                policy/
//! postern audit ...         the audit log checked and exported                                audit/
//! postern approvals ...     calls that wait for a human: shown, and answered                   approvals/
//! postern consents ...      what end users have consented to: shown, and taken back            consents.rs
//! postern agents ...        what is installed: shown, installed anew, rolled back                agents.rs
//! postern pack FROM -o IMAGE an agent's files as an image that sandboxes mount                 pack/
//! postern secrets ...       the operator's own store: set, listed, removed                        secrets/
//! postern doctor            what this machine can enforce                                     doctor.rs
//! postern runtime|proxy|launcher|unpack|sweep    what `up` starts; hidden                     below
//! ```

#![forbid(unsafe_code)]

mod agents;
mod approvals;
mod ask;
mod audit;
mod check;
mod consents;
mod doctor;
mod failure;
mod identity;
mod logs;
mod pack;
mod policy;
mod secrets;
mod sweep;
mod terminal;
mod tour;
mod up;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use nix::sys::signal::SigSet;
use postern_contract::exit;

use failure::Failure;

/// What stands before the command's own help.
#[derive(Debug, Parser)]
#[command(
    name = "postern",
    version,
    about = "AI agents behind one guarded gate",
    after_help = "Example:\n  postern tour --once"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tour(tour::Args),
    Up(up::Args),
    Check(check::Args),
    Policy(policy::Args),
    Audit(audit::Args),
    Agents(agents::Args),
    Pack(pack::Args),
    Secrets(secrets::Args),
    Approvals(approvals::Args),
    Consents(consents::Args),
    Logs(logs::Args),
    Doctor(doctor::Args),
}

/// Runs the command that `args` asks for; the first argument is the program's name.
#[must_use]
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // The supervisor reads its signals from a descriptor and blocks them meanwhile; a child must not inherit that.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        return Failure::Run(format!("the signal mask: {error}")).told();
    }
    let args: Vec<OsString> = args.into_iter().collect();
    match hidden(&args) {
        Some(code) => code,
        None => visible(args),
    }
}

/// The parts that `up` starts from this same executable. Each gets a name of its own as its first argument.
fn hidden(args: &[OsString]) -> Option<ExitCode> {
    let named = |name: &str| {
        let rest = args.iter().skip(2).cloned();
        [OsString::from(name)]
            .into_iter()
            .chain(rest)
            .collect::<Vec<_>>()
    };
    match args.get(1)?.to_str()? {
        "runtime" => Some(postern_runtime::main_with(named("posternd"))),
        "proxy" => Some(postern_proxy::main_with(named("postern-proxy"))),
        "launcher" => Some(postern_sandbox::main_with(named("postern-launcher"))),
        "unpack" => Some(postern_runtime::unpack_main(named("posternd unpack"))),
        "sweep" => Some(sweep::main(args.get(2))),
        _ => None,
    }
}

fn visible(args: Vec<OsString>) -> ExitCode {
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        Err(answer) => {
            // Help and versions come this way too; clap knows which stream and which code is theirs.
            drop(answer.print());
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(exit::CONFIG));
        }
    };
    let done = match command {
        Command::Tour(args) => tour::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Agents(args) => agents::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Secrets(args) => secrets::run(&args),
        Command::Approvals(args) => approvals::run(&args),
        Command::Consents(args) => consents::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    done.map_or_else(Failure::told, |()| ExitCode::SUCCESS)
}
