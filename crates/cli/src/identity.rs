//! Who runs what: the uids of the daemons and the agents in each mode. Never changes a uid itself.
//!
//! | mode | posternd, gate | agents |
//! |---|---|---|
//! | systemd | the units' users | a range |
//! | `postern up` as root | two numeric ids | a range |
//! | an ordinary user | the caller | the caller |

use nix::unistd::geteuid;
use postern_sandbox::config::AgentIds;

/// posternd's uid and gid under `postern up` as root. Numeric ids need no entry in passwd.
pub(crate) const RUNTIME_UID: u32 = 64_100;

/// The gate's uid and gid under `postern up` as root.
pub(crate) const GATE_UID: u32 = 64_101;

/// Uids of agents under `postern up` as root.
pub(crate) const AGENT_IDS: AgentIds = AgentIds {
    first: 64_200,
    count: 256,
};

/// In which mode this process starts daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As root: each daemon and each sandbox gets a uid of its own.
    Root,
    /// As an ordinary user with this uid, which everything shares.
    Ordinary(u32),
}

impl Mode {
    /// The mode of this process.
    pub(crate) fn of_caller() -> Self {
        match geteuid().as_raw() {
            0 => Self::Root,
            uid => Self::Ordinary(uid),
        }
    }

    /// posternd's uid.
    pub(crate) fn runtime_uid(self) -> u32 {
        match self {
            Self::Root => RUNTIME_UID,
            Self::Ordinary(uid) => uid,
        }
    }

    /// The gate's uid.
    pub(crate) fn gate_uid(self) -> u32 {
        match self {
            Self::Root => GATE_UID,
            Self::Ordinary(uid) => uid,
        }
    }

    /// What people are told.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::Root => format!(
                "root: posternd runs as uid {RUNTIME_UID}, the gate as {GATE_UID}, each sandbox as one of {} to {}",
                AGENT_IDS.first,
                AGENT_IDS.first + AGENT_IDS.count - 1
            ),
            Self::Ordinary(uid) => {
                format!(
                    "an ordinary user: everything runs as uid {uid}, sandboxes in user namespaces"
                )
            }
        }
    }
}
