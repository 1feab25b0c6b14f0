//! `postern secrets`: the operator's own store, which the gate reads. Never takes a value from its command line or its environment,
//! and never shows one.

mod typed;

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use postern_contract::{Secret, SecretName};
use postern_daemon::{Clock, clock, process};
use postern_proxy::store::{Desk, Kept, NoDesk, NoStore, Unlocking};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    Failure,
    terminal::{complain, say},
};

/// The longest value, in bytes, as the gate has it.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Sets, lists and removes the secrets of the store that a config names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  postern secrets set stripe --config postern.toml\n  postern secrets list --config postern.toml"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    work: Work,
    /// The config
    #[arg(
        long,
        global = true,
        default_value = "/etc/postern/postern.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
    /// A file with the store's key or passphrase, instead of where the config says that it is
    #[arg(long, global = true, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Takes a value from standard input, or asks for it
    #[command(
        after_help = "Example:\n  postern secrets set stripe --config postern.toml\n  postern secrets set stripe --config postern.toml < stripe.key"
    )]
    Set {
        /// The secret
        name: SecretName,
    },
    /// Names, when each was set, and what uses it
    #[command(after_help = "Example:\n  postern secrets list --config postern.toml")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Drops a value; a gate that runs uses it no more
    #[command(after_help = "Example:\n  postern secrets remove stripe --config postern.toml")]
    Remove {
        /// The secret
        name: SecretName,
    },
}

/// Does the work.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    process::harden().map_err(|error| Failure::Run(error.to_string()))?;
    let desk = Desk::of(&args.config).map_err(|error| match error {
        NoDesk::Config(lines) => Failure::Config(lines.to_string()),
        NoDesk::None(_) => Failure::Usage(error.to_string()),
    })?;
    match &args.work {
        Work::Set { name } => set(args, &desk, name),
        Work::Remove { name } => {
            desk.remove(name, unlocking(args, &desk)?)
                .map_err(|error| failed(&error))?;
            say(&format!("`{name}` is removed"));
            Ok(())
        }
        Work::List { json } => {
            let kept = desk.list().map_err(|error| failed(&error))?;
            list(&kept, *json);
            Ok(())
        }
    }
}

fn set(args: &Args, desk: &Desk, name: &SecretName) -> Result<(), Failure> {
    let unlocking = unlocking(args, desk)?;
    let value = value(name).map_err(|error| Failure::path(Path::new("standard input"), error))?;
    let now = u64::try_from(Clock::system().unix_ms() / 1000).unwrap_or_default();
    let replaced = desk
        .set((name, now), &value, unlocking)
        .map_err(|error| failed(&error))?;
    let done = if replaced {
        "has another value"
    } else {
        "is set"
    };
    say(&format!("`{name}` {done}"));
    if !desk.wants(name) {
        complain(&format!(
            "postern: the config does not take it from the store: say `store = true` in `[secrets.{name}]`"
        ));
    }
    Ok(())
}

/// What is typed without being shown, or all of standard input; a line break at its end is no part of it.
fn value(name: &SecretName) -> io::Result<Secret> {
    if io::stdin().is_terminal() {
        return typed::ask(&format!("{name}: "));
    }
    // Whole from the start: what grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 2));
    unbuffered()?
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)?;
    if text.len() > VALUE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "a value has at most 64 KiB",
        ));
    }
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Secret::new(line.to_vec()))
}

/// Standard input, not by way of the standard library's buffer, which is not wiped.
fn unbuffered() -> io::Result<File> {
    Ok(File::from(nix::unistd::dup(io::stdin())?))
}

fn unlocking<'a>(args: &'a Args, desk: &Desk) -> Result<Unlocking<'a>, Failure> {
    if let Some(file) = &args.key_file {
        return Ok(Unlocking::File(file));
    }
    if !desk.wants_passphrase() || !io::stdin().is_terminal() {
        return Ok(Unlocking::Config);
    }
    let typed = typed::ask("passphrase of the store: ");
    typed
        .map(Unlocking::Typed)
        .map_err(|error| Failure::path(Path::new("the terminal"), error))
}

fn list(kept: &[Kept], as_json: bool) {
    let when = |kept: &Kept| {
        let ms = i64::try_from(kept.set?).ok()?.checked_mul(1000)?;
        Some(clock::rfc3339(ms))
    };
    if as_json {
        let kept = kept.iter().map(|one| {
            json!({
                "name": one.name, "set": when(one), "in_config": one.wanted, "used_by": one.used_by,
            })
        });
        return say(&kept.collect::<serde_json::Value>().to_string());
    }
    if kept.is_empty() {
        return say("no secrets");
    }
    for one in kept {
        let set = when(one).map_or("not set".to_owned(), |when| format!("set {when}"));
        let used = match (one.used_by.as_slice(), one.wanted) {
            (_, false) => "not taken from here by the config".to_owned(),
            ([], true) => "used by nothing".to_owned(),
            (users, true) => users.join(", "),
        };
        say(&format!("{}  {set}  {used}", one.name));
    }
}

fn failed(error: &NoStore) -> Failure {
    Failure::Run(error.to_string())
}
