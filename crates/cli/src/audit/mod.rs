//! `postern audit`: what the gate wrote down, checked and exported. Never changes a line of it.
//!
//! ```text
//! source.rs  the files of a log, in order, line by line
//! chain.rs   whether each line is the one that the next names        heads.rs  what the gate told others about its log
//! verify.rs  both together, for people and as JSON                   export.rs, ocsf.rs  lines for other programs
//! ```

mod chain;
mod export;
mod heads;
mod ocsf;
pub(crate) mod source;
mod verify;

#[cfg(test)]
mod written;

use crate::Failure;

/// Checks and exports the gate's audit log
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  postern audit verify /var/lib/postern-proxy/audit.jsonl")]
pub(crate) struct Args {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    Verify(verify::Args),
    Export(export::Args),
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.work {
        Work::Verify(args) => verify::run(args),
        Work::Export(args) => export::run(args),
    }
}
