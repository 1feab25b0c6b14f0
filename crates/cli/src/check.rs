//! `postern check`: what both daemons would say of a config, and the rules it compiles to. Never starts, makes or reads
//! a secret.

use std::path::PathBuf;

use postern_contract::exit;

use crate::{Failure, terminal::say, up};

/// Checks a config as both daemons would, and prints the compiled rules
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  postern check examples/support-desk/postern.toml")]
pub(crate) struct Args {
    /// The config
    config: PathBuf,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Runs the check.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = &args.config;
    match (up::checked(config), args.json) {
        (Ok(checked), true) => {
            let told = serde_json::json!({
                "config": config, "ok": true, "rules": checked.rules, "weakened": checked.weakened,
                "warnings": checked.warnings,
            });
            say(&told.to_string());
            Ok(())
        }
        (Ok(checked), false) => {
            say(&format!("{}: good\n", config.display()));
            for line in &checked.weakened {
                say(&format!("weakened: {line}\n"));
            }
            for line in &checked.warnings {
                say(&format!("warning: {line}\n"));
            }
            checked.rules.iter().for_each(|line| say(line));
            Ok(())
        }
        (Err(Failure::Config(lines)), true) => {
            let problems: Vec<_> = lines.lines().collect();
            let told = serde_json::json!({ "config": config, "ok": false, "problems": problems });
            say(&told.to_string());
            Err(Failure::Told(exit::CONFIG))
        }
        (Err(other), _) => Err(other),
    }
}
