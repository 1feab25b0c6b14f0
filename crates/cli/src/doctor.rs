//! `postern doctor`: what this machine can enforce, found out by building a sandbox, and what to do about the rest. Never
//! changes a setting.

use std::{fs, process::Command};

use postern_contract::{exit, launch::Standing};
use postern_sandbox::doctor::{Finding, probe};
use serde_json::{Value, json};

use crate::{
    Failure,
    identity::Mode,
    terminal::{complain, say},
};

/// Says what this machine can enforce, and what to do about the rest
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  postern doctor --json")]
pub(crate) struct Args {
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

/// Settings of the kernel that keep users from making namespaces: the file, the value that does, the one that does not.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("user.max_user_namespaces", "0", "15000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
];

/// Where postern-launcher.socket listens.
const SYSTEMD_SOCKET: &str = "/run/postern/launcher.sock";

/// Examines and tells. Ends with 1 where no sandbox can be built.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mode = Mode::of_caller();
    let findings = examine()?;
    let closed = closed_settings(mode);
    let works = !findings.iter().any(|finding| finding.stops_everything);
    if args.json {
        let layers: Vec<_> = findings.iter().map(shown_json).collect();
        let told = json!({
            "mode": mode_letter(mode), "who": mode.shown(), "works": works, "layers": layers,
            "closed_settings": closed, "systemd": systemd_listens(),
        });
        say(&told.to_string());
    } else {
        say(&format!("mode {}: {}", mode_letter(mode), mode.shown()));
        findings.iter().for_each(|finding| say(&shown(finding)));
        closed.iter().for_each(|line| say(line));
        if systemd_listens() {
            say(&format!(
                "mode a: systemd starts launchers at {SYSTEMD_SOCKET}"
            ));
        }
    }
    if works {
        Ok(())
    } else {
        Err(Failure::Told(exit::RUN))
    }
}

/// Builds a sandbox and tears it down.
pub(crate) fn examine() -> Result<Vec<Finding>, Failure> {
    let mut launcher = Command::new("/proc/self/exe");
    launcher.arg("launcher");
    probe(launcher).map_err(|error| Failure::Run(error.to_string()))
}

/// Which settings stand in the way here, and how to change them; root is bound by the first alone.
pub(crate) fn closed_settings(mode: Mode) -> Vec<String> {
    let bound = if mode == Mode::Root {
        &SETTINGS[..1]
    } else {
        SETTINGS
    };
    let closed = bound.iter().filter(|(name, closes, _)| {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::read_to_string(path).is_ok_and(|value| value.trim() == *closes)
    });
    closed
        .map(|(name, closes, opens)| {
            format!("{name} = {closes} forbids user namespaces: sudo sysctl -w {name}={opens}")
        })
        .collect()
}

/// Says on standard error why no sandbox can be built, and how to proceed.
pub(crate) fn explain(mode: Mode, obstacles: &[&Finding]) {
    let mut said = String::new();
    for Finding { standing, .. } in obstacles {
        let (Standing::Absent(why) | Standing::Enforced(why)) = standing;
        said += &format!("no sandbox can be built here: {why}\n");
    }
    for line in closed_settings(mode) {
        let name = line.split(' ').next().unwrap_or_default();
        if !said.contains(name) {
            said += &format!("{line}\n");
        }
    }
    if mode != Mode::Root && closed_settings(Mode::Root).is_empty() {
        said += "or run it as root, whom these settings do not bind: sudo postern tour\n";
    }
    complain(said.trim_end());
}

fn systemd_listens() -> bool {
    fs::symlink_metadata(SYSTEMD_SOCKET).is_ok()
}

fn mode_letter(mode: Mode) -> &'static str {
    match mode {
        Mode::Root => "b",
        Mode::Ordinary(_) => "c",
    }
}

fn shown(finding: &Finding) -> String {
    let name = finding
        .layer
        .map_or_else(|| "sandbox".to_owned(), |layer| layer.to_string());
    match &finding.standing {
        Standing::Enforced(how) => format!("  enforced  {name:<18}  {how}"),
        Standing::Absent(why) => format!("  absent    {name:<18}  {why}"),
    }
}

fn shown_json(finding: &Finding) -> Value {
    json!({
        "layer": finding.layer, "standing": finding.standing, "stops_everything": finding.stops_everything,
    })
}
