//! The command line of the gate. Never carries a secret: argv is for everybody to read.

use std::path::PathBuf;

use clap::Parser;

/// The gate: the only way out of a sandbox.
#[derive(Debug, Clone, Parser)]
#[command(name = "postern-proxy", version)]
pub struct Options {
    /// The config file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The gate's own directory: database and audit log.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Where to listen for posternd.
    #[arg(long, value_name = "PATH")]
    pub link: PathBuf,
    /// The user that posternd runs as; the gate's own if not given.
    #[arg(long, value_name = "N")]
    pub runtime_uid: Option<u32>,
    /// Standard input is a supervisor's pipe: its first line is the boot line, its end is the gate's.
    #[arg(long)]
    pub lifeline: bool,
    /// Log lines as JSON.
    #[arg(long)]
    pub json_log: bool,
}
