//! Starts `postern up` on free ports with a state of its own, as root or as an ordinary user, and ends it by its pid.
//! Never shares anything with another devbox.

mod setup;
mod traces;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

pub use setup::{GATE_UID, ORDINARY_UID, Setup};
pub use traces::of as traces;

use crate::{Curl, Folder, curl::Response, leftovers, wait};

/// A running devbox; it is ended with this value.
#[derive(Debug)]
pub struct Devbox {
    child: Child,
    folder: Option<Folder>,
    ready: Ready,
}

/// How a `postern up` ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it and its daemons wrote on standard error.
    pub stderr: String,
    /// The devbox's folder, still there.
    pub folder: Folder,
}

/// What `postern up --json` prints once both daemons are ready.
#[derive(Debug)]
struct Ready {
    api: SocketAddr,
    operator: SocketAddr,
    runtime: Pid,
    gate: Pid,
}

impl Ready {
    fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let address = |key: &str| value[key].as_str()?.parse().ok();
        let pid = |key: &str| Some(Pid::from_raw(value[key].as_i64()?.try_into().ok()?));
        Some(Self {
            api: address("api")?,
            operator: address("operator")?,
            runtime: pid("runtime_pid")?,
            gate: pid("gate_pid")?,
        })
    }
}

impl Devbox {
    /// A URL of the public API; `path` begins with a slash.
    #[must_use]
    pub fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.ready.api)
    }

    /// Where the public API listens.
    #[must_use]
    pub fn api_address(&self) -> SocketAddr {
        self.ready.api
    }

    /// Where the operator API listens.
    #[must_use]
    pub fn operator_address(&self) -> SocketAddr {
        self.ready.operator
    }

    /// Invokes the default agent with a message.
    #[must_use]
    pub fn invoke(&self, message: &str) -> Response {
        let body = serde_json::json!({ "message": message });
        Curl::post(self.api("/invoke"), body.to_string()).send()
    }

    /// The supervisor.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// posternd.
    #[must_use]
    pub fn runtime_pid(&self) -> Pid {
        self.ready.runtime
    }

    /// The gate.
    #[must_use]
    pub fn gate_pid(&self) -> Pid {
        self.ready.gate
    }

    /// Everything this devbox has on disk.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder
            .as_ref()
            .map_or(Path::new("/nonexistent"), Folder::path)
    }

    /// As [`Folder::had_secret`].
    pub fn had_secret(&self, value: impl AsRef<[u8]>) {
        if let Some(folder) = &self.folder {
            folder.had_secret(value);
        }
    }

    /// Its config.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder().join(setup::CONFIG)
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder().join(setup::STATE)
    }

    /// What it and its daemons have written on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        setup::stderr(self.folder())
    }

    /// The gate's audit so far, a value a line.
    ///
    /// # Panics
    /// When a line is no JSON.
    #[must_use]
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.state().join("gate/audit.jsonl")).unwrap_or_default();
        let value = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{error} in the audit: {line}"))
        };
        text.lines().map(value).collect()
    }

    /// Processes and sockets of this devbox, one line each.
    #[must_use]
    pub fn traces(&self) -> Vec<String> {
        traces::of(self.folder())
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(self.pid(), signal);
    }

    /// Waits for the supervisor's end.
    ///
    /// # Panics
    /// After [`wait::DEADLINE`].
    #[must_use]
    pub fn ended(mut self) -> Ended {
        let status = wait_for_end(&mut self.child);
        let Some(folder) = self.folder.take() else {
            unreachable!("taken here alone")
        };
        Ended {
            code: status.code(),
            stderr: setup::stderr(folder.path()),
            folder,
        }
    }

    /// Leaves what `/metrics` says now, where somebody will search what is left. A gate that was killed says nothing.
    fn leave_numbers(&self) {
        if leftovers::wanted().is_none() {
            return;
        }
        let socket = self.state().join("gate/admin.sock");
        let said = Curl::get("http://gate/metrics")
            .flag("--max-time")
            .flag("5")
            .flag("--unix-socket")
            .flag(&socket.display().to_string())
            .send();
        drop(fs::write(self.folder().join("metrics.txt"), said.body));
    }

    /// Asks it to stop, and waits.
    #[must_use]
    pub fn stop(self) -> Ended {
        self.leave_numbers();
        self.signal(Signal::SIGTERM);
        self.ended()
    }
}

impl Ended {
    /// Waits until no process, mount and socket of the devbox is left.
    ///
    /// # Panics
    /// With what is left after [`wait::DEADLINE`].
    pub fn assert_nothing_left(&self) {
        let folder = self.folder.path();
        let gone = wait::within(wait::DEADLINE, || {
            traces::of(folder).is_empty().then_some(())
        });
        assert!(gone.is_some(), "left behind: {:#?}", traces::of(folder));
    }
}

impl Drop for Devbox {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.leave_numbers();
        self.signal(Signal::SIGTERM);
        if wait::within(wait::DEADLINE, || self.child.try_wait().ok().flatten()).is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.stderr().as_bytes());
        }
    }
}

fn wait_for_end(child: &mut Child) -> ExitStatus {
    wait::until("postern up has ended", || child.try_wait().ok().flatten())
}
