//! How the supervisor's children are started, all from this executable. Never waits for one.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use postern_contract::{Digest, Secret};
use postern_daemon::files;

use super::place::Place;
use crate::{Failure, identity::Mode};

/// This executable, also where its path cannot be reached by a child's uid.
const SELF: &str = "/proc/self/exe";

/// Bytes of the token that the daemons show each other.
const TOKEN_BYTES: usize = 32;

/// How much the daemons log to this terminal, unless the caller says otherwise.
const LOG_DEFAULT: &str = "warn";

/// What posternd gets of the environment. Secrets may stand in the rest, and those are the gate's alone.
const RUNTIME_VARIABLES: &[&str] = &["POSTERN_LOG", "RUST_LOG", "RUST_BACKTRACE", "LANG", "TZ"];

/// What shall be started.
pub(super) struct Order {
    pub(super) config: PathBuf,
    /// What of the host sandboxes may be shown, beside posternd's state.
    pub(super) shown: Vec<PathBuf>,
    /// What archives and images must hash to.
    pub(super) pinned: Vec<Digest>,
    pub(super) mode: Mode,
    pub(super) allow_weaker: Vec<String>,
    pub(super) place: Place,
}

/// The first line that a daemon reads.
pub(super) struct Boot(Secret);

/// A child and the pipe whose end tells it to go.
pub(super) struct Held {
    pub(super) child: Child,
    lifeline: Option<ChildStdin>,
}

impl Held {
    /// Cuts the lifeline and waits for the child's end.
    pub(super) fn release(mut self) {
        drop(self.lifeline.take());
        drop(self.child.wait());
    }
}

impl Order {
    /// The process that removes the run directory when this one is gone.
    pub(super) fn sweeper(&self) -> Result<Held, Failure> {
        let mut command = command(["sweep".into(), self.place.run().into()]);
        command.env_clear().current_dir("/").stdin(Stdio::piped());
        held(&mut command, None)
    }

    /// What both daemons of this run are told before they read anything: the token that they show each other.
    pub(super) fn boot() -> Result<Boot, Failure> {
        let token =
            files::random_hex(TOKEN_BYTES).map_err(|error| Failure::Run(error.to_string()))?;
        let line = serde_json::json!({ "link_token": token }).to_string() + "\n";
        Ok(Boot(Secret::new(line.into_bytes())))
    }

    /// The gate, also one after another.
    pub(super) fn start_gate(&self, boot: &Boot) -> Result<Held, Failure> {
        self.daemon(command(self.gate()), self.mode.gate_uid(), boot)
    }

    /// posternd.
    pub(super) fn start_runtime(&self, boot: &Boot) -> Result<Held, Failure> {
        let mut runtime = command(self.runtime());
        keep_only(&mut runtime, RUNTIME_VARIABLES);
        self.daemon(runtime, self.mode.runtime_uid(), boot)
    }

    /// One launcher, whose standard input is posternd's connection.
    pub(super) fn launcher(&self, connection: OwnedFd) -> io::Result<Child> {
        command([
            "launcher".into(),
            "--config".into(),
            self.place.launcher_config().into(),
        ])
        .env_clear()
        .current_dir("/")
        .stdin(connection)
        .stdout(Stdio::null())
        .spawn()
    }

    fn gate(&self) -> Vec<OsString> {
        let runtime_uid = self.mode.runtime_uid().to_string();
        let mut arguments = vec!["proxy".into()];
        arguments.extend(options(&[
            ("--config", &self.config),
            ("--state", &self.place.gate_state()),
            ("--link", &self.place.link()),
            ("--runtime-uid", Path::new(&runtime_uid)),
        ]));
        arguments
    }

    fn runtime(&self) -> Vec<OsString> {
        let gate_uid = self.mode.gate_uid().to_string();
        let mut arguments = vec!["runtime".into()];
        arguments.extend(options(&[
            ("--config", &self.config),
            ("--state", &self.place.runtime_state()),
            ("--link", &self.place.link()),
            ("--launcher", &self.place.launcher_socket()),
            ("--gate-uid", Path::new(&gate_uid)),
        ]));
        if !self.allow_weaker.is_empty() {
            arguments.extend(["--allow-weaker".into(), self.allow_weaker.join(",").into()]);
        }
        arguments
    }

    fn daemon(&self, mut command: Command, uid: u32, boot: &Boot) -> Result<Held, Failure> {
        command
            .arg("--lifeline")
            .env("NOTIFY_SOCKET", self.place.notify_socket());
        if postern_daemon::environment::read("POSTERN_LOG").is_none() {
            command.env("POSTERN_LOG", LOG_DEFAULT);
        }
        command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        if self.mode == Mode::Root {
            command.uid(uid).gid(uid);
        }
        held(&mut command, Some(boot))
    }
}

fn keep_only(command: &mut Command, names: &[&str]) {
    command.env_clear();
    for name in names {
        if let Some(value) = postern_daemon::environment::read(name) {
            command.env(name, value);
        }
    }
}

fn options(pairs: &[(&str, &Path)]) -> Vec<OsString> {
    pairs
        .iter()
        .flat_map(|(name, value)| [name.into(), value.into()])
        .collect()
}

/// A child in a process group of its own, so that Ctrl-C reaches the supervisor alone and it ends them in order.
fn command(arguments: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Command::new(SELF);
    command.arg0("postern").args(arguments).process_group(0);
    command
}

fn held(command: &mut Command, boot: Option<&Boot>) -> Result<Held, Failure> {
    let failed = |error: io::Error| Failure::Run(format!("starting a daemon: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let mut lifeline = child.stdin.take();
    if let (Some(pipe), Some(Boot(line))) = (&mut lifeline, boot) {
        // A child that is gone already is noticed by its end.
        let _ = pipe.write_all(line.expose());
    }
    Ok(Held { child, lifeline })
}
