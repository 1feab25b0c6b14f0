//! What posternd and the launcher say to each other: a plan, the report of what was really built, then verbs until the
//! connection ends. The connection is the sandbox's life. Never holds a secret of ours; `argv` and `env` are the agent's and are
//! not for logs.
//!
//! ```text
//! posternd ── Plan ──────────────▶ launcher        one SOCK_SEQPACKET connection per sandbox
//!          ◀─ Built + listeners ──                 or Refused, and the connection ends
//!          ── Verb{seq} (+ fds) ─▶
//!          ◀─ Answer{re: seq} ────                 Exited comes by itself, with the process's number
//! ```
//!
//! One message is one packet of JSON, at most [`crate::MESSAGE_BYTES_MAX`] bytes, unknown fields refused.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Digest, GATE_PORT, SandboxId};

/// The uid and gid of the agent as it sees itself, in every mode.
pub const AGENT_UID: u32 = 1000;

/// The agent's home in the sandbox.
pub const AGENT_HOME: &str = "/home/agent";

/// The agent's scratch directory in the sandbox.
pub const WORKSPACE: &str = "/workspace";

/// Where programs in the sandbox find the certificates of the authorities that they trust.
pub const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Where Java finds the same.
pub const TRUSTED_BY_JAVA: &str = "/etc/ssl/certs/java/cacerts";

/// The most ports of one sandbox at which connections by address are captured.
pub const CAPTURED_PORTS_MAX: usize = 32;

/// Ports at which connections by address are always captured.
pub const CAPTURED_ALWAYS: [u16; 2] = [80, 443];

/// Where connections to all ports that are not captured are led to. No agent can listen there: it is below 1024.
pub const OTHERS_PORT: u16 = 4;

/// Ports that something else answers at: names, the gate itself, and what is led to [`OTHERS_PORT`].
pub const KEPT_PORTS: [u16; 3] = [53, GATE_PORT, OTHERS_PORT];

/// Everything a sandbox shall be. The launcher's own config can only narrow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Whose plan it is.
    pub sandbox: SandboxId,
    /// What the sandbox is for.
    pub purpose: Purpose,
    /// The host name inside.
    pub hostname: String,
    /// Which uid of the launcher's range the agent gets; no two living sandboxes share one.
    pub uid_slot: u16,
    /// What of the host is shown, beside the system directories that the launcher always shows.
    pub mounts: Vec<Mount>,
    /// Whom programs inside shall trust in place of whom the host trusts.
    pub trusted: Option<Trusted>,
    /// Sockets to make inside and hand out, in this order.
    pub listeners: Vec<Listener>,
    /// Bounds on what runs inside.
    pub limits: Limits,
    /// Layers without which the sandbox must not start. Every other layer is best effort.
    pub required: Vec<Layer>,
}

/// The certificates of all authorities that programs trust, in files of the host beneath the launcher's permitted roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// In PEM, one behind the other: shown at [`TRUSTED`].
    pub list: PathBuf,
    /// The same as a key store of Java's: shown at [`TRUSTED_BY_JAVA`].
    pub java: PathBuf,
}

/// What a sandbox is for; an install sandbox gets no listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Runs an agent.
    Agent,
    /// Unpacks or builds an agent.
    Install,
}

/// A directory or file of the host, shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path on the host, beneath one of the launcher's permitted roots.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// What may be done with it.
    pub access: Access,
}

/// What a sandbox may do with a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look, not touch.
    ReadOnly,
    /// The launcher makes the directory anew, owned by the agent's uid; it must not exist before.
    Fresh,
    /// Look, not touch, at what is in an EROFS image: the source is a file with this digest, of which the launcher keeps a copy of its
    /// own, and that copy is mounted. The kernel parses it, so `launcher.toml` names the digests that may be. Only root can mount one.
    Image {
        /// What the whole image hashes to.
        sha256: Digest,
    },
}

/// A socket inside the sandbox's network namespace, for others to answer on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Listener {
    /// Tools, models and the explicit proxy, on `127.127.0.1:4180`.
    Gate,
    /// Whatever is connected to at this port, by any address at all. With any but the gate's own listener every address
    /// leads to the sandbox itself.
    Captured {
        /// The port: not 0, and none of [`KEPT_PORTS`].
        port: u16,
    },
    /// Whatever is connected to at any other port, by any address that is not the sandbox's own: nobody of the sandbox gets
    /// it. Where the kernel cannot lead it here the socket stands all the same, and such a connection ends as if every
    /// address were the sandbox's own.
    Others,
    /// Questions for names (DNS) in datagrams, whichever server they are meant for.
    NamesByDatagram,
    /// The same on connections.
    NamesByStream,
}

/// Bounds; an absent one is the launcher's default. Writing memory, processes or open files requires `resource_limits`,
/// which holds them one way or another; whoever wants no weaker way requires `cgroup` too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all processes and of the scratch directories together, in bytes; the `cgroup` layer. Where that is absent,
    /// `resource_limits` bounds the private memory of each process alone.
    pub memory_bytes: Option<u64>,
    /// CPU time of all processes together, in percent of one CPU; the `cgroup` layer.
    pub cpu_percent: Option<u32>,
    /// Processes and threads together.
    pub processes: Option<u32>,
    /// Open files of each process.
    pub open_files: Option<u32>,
    /// Size of each of the four writable tmpfs (`/tmp`, `/run`, `/home`, `/workspace`), in bytes.
    pub scratch_bytes: Option<u64>,
}

/// One wall. Its snake-case name is what `allow_weaker`, `doctor` and `/readyz` use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// A user namespace of its own.
    UserNamespace,
    /// A mount namespace with a root of its own.
    MountNamespace,
    /// A pid namespace whose init dies with the launcher.
    PidNamespace,
    /// A network namespace with `lo` alone.
    NetNamespace,
    /// Connections to ports that nobody captures led to a listener that records them; the kernel needs nf_tables for it.
    Divert,
    /// An overlay over what is shown of the host, so that no socket, pipe or lock in it is the host's.
    Overlay,
    /// An IPC namespace.
    IpcNamespace,
    /// A host name of its own.
    UtsNamespace,
    /// A cgroup namespace.
    CgroupNamespace,
    /// A host uid that no other sandbox and no daemon has.
    SeparateUid,
    /// A /proc of its own pid namespace.
    FreshProc,
    /// No capability in any set.
    Capabilities,
    /// No new privileges, no core dumps.
    NoNewPrivileges,
    /// A system call filter.
    Seccomp,
    /// Landlock rules.
    Landlock,
    /// Memory, process and CPU limits by cgroup.
    Cgroup,
    /// Resource limits by setrlimit.
    ResourceLimits,
}

impl fmt::Display for Layer {
    /// The name that configs, reports and people use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Whether a layer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "detail")]
pub enum Standing {
    /// It holds; the detail says how.
    Enforced(String),
    /// It does not; the detail says why.
    Absent(String),
}

/// What the launcher really enforced, layer by layer.
pub type Enforced = BTreeMap<Layer, Standing>;

/// What posternd asks of a built sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Counts up; the answer repeats it.
    pub seq: u64,
    /// What to do.
    pub verb: Verb,
}

/// The launcher's verbs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Starts a program as the agent. With it travel stdin, stdout, stderr and, if `channel`, a fourth descriptor that
    /// the program finds as descriptor 3.
    Exec {
        /// The program (looked up on the PATH of `env` unless it is a path, or on the system's where that has none) and its
        /// arguments.
        argv: Vec<String>,
        /// The whole environment; nothing is inherited.
        env: BTreeMap<String, String>,
        /// Working directory inside.
        cwd: PathBuf,
        /// Whether a fourth descriptor travels along.
        channel: bool,
    },
    /// Sends a signal to one process that `Exec` started, and to its group.
    Signal {
        /// The number that `Started` gave.
        process: u32,
        /// The signal's number.
        signal: i32,
    },
    /// Ends every process inside but the first; answered when all are gone. Files and listeners stay.
    Clear,
    /// Connects to a port on 127.0.0.1 inside: the way to an `http` agent.
    Dial {
        /// The port, not 0.
        port: u16,
    },
    /// Deletes a tree that an agent's uid owns, opened beneath the launcher's `discard_roots`.
    Discard {
        /// Absolute path on the host.
        tree: PathBuf,
    },
}

/// What the launcher says. `Built` or `Refused` comes first and once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Said {
    /// The sandbox stands; the plan's listeners travel along.
    Built {
        /// What holds.
        enforced: Enforced,
    },
    /// The sandbox was not built, and nothing of it is left.
    Refused(Obstacle),
    /// A verb was done.
    Done {
        /// The verb's number.
        re: u64,
        /// What came of it; a descriptor travels along for `Dial`.
        outcome: Outcome,
    },
    /// A verb failed; the sandbox goes on.
    Failed {
        /// The verb's number.
        re: u64,
        /// Why.
        obstacle: Obstacle,
    },
    /// A process that `Exec` started has ended.
    Exited {
        /// Its number.
        process: u32,
        /// Its end.
        status: ExitStatus,
        /// Limits that the sandbox has run into since the last such message; the likely reason of an end by signal.
        hits: Vec<Hit>,
    },
}

/// A limit of a whole sandbox that was run into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hit {
    /// There was no more memory, and the kernel ended a process for it.
    Memory,
    /// There was no room for another process.
    Processes,
    /// A directory that the agent may write is full, of bytes or of files.
    Disk,
}

/// What came of a verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// `Exec`: the process runs.
    Started {
        /// Its number on this connection.
        process: u32,
    },
    /// `Signal`, `Discard`: done.
    Plain,
    /// `Dial`: the descriptor travels along.
    Descriptor,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Why something could not be built or done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{what}{}", .fix.as_ref().map(|fix| format!("; {fix}")).unwrap_or_default())]
pub struct Obstacle {
    /// The layer concerned, where there is one.
    pub layer: Option<Layer>,
    /// What went wrong, in a sentence without a full stop.
    pub what: String,
    /// What the operator can do, where there is something.
    pub fix: Option<String>,
}

impl Obstacle {
    /// An obstacle with no layer and no known remedy.
    #[must_use]
    pub fn plain(what: impl Into<String>) -> Self {
        Self {
            layer: None,
            what: what.into(),
            fix: None,
        }
    }

    /// An obstacle to one layer.
    #[must_use]
    pub fn layer(layer: Layer, what: impl Into<String>) -> Self {
        Self {
            layer: Some(layer),
            what: what.into(),
            fix: None,
        }
    }

    /// Says what can be done about it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused() {
        let text = r#"{"seq":1,"verb":{"dial":{"port":80,"host":"evil"}}}"#;
        assert!(serde_json::from_str::<Ask>(text).is_err());
        let text = r#"{"seq":1,"verb":{"dial":{"port":80}}}"#;
        assert!(serde_json::from_str::<Ask>(text).is_ok());
    }

    #[test]
    fn the_wire_forms_come_back_whole() {
        let said = Said::Built {
            enforced: Enforced::from([
                (
                    Layer::SeparateUid,
                    Standing::Absent("ordinary user".to_owned()),
                ),
                (
                    Layer::NetNamespace,
                    Standing::Enforced("lo only".to_owned()),
                ),
            ]),
        };
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said);
    }
}
