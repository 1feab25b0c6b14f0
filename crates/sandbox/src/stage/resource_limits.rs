//! Limits by setrlimit: open files of each process, and processes of the sandbox together (the kernel counts them in the
//! user namespace, which is the sandbox's own). Where there is no cgroup, also the memory of each process. Never above
//! what the launcher itself was given.

use std::fs;

use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use postern_contract::launch::{Layer, Obstacle};

use crate::{checked::Bounds, ledger::Ledger};

/// Out of memory, the kernel takes the sandbox before the daemons (-1000 to 1000).
const OOM_SCORE: &str = "500";

/// By how many processes this limit is wider than the group's.
const ROOM_BEHIND_A_GROUP: u64 = 16;

/// Asks the kernel to prefer the sandbox when memory runs out. Must come while this process can still write its own
/// files in /proc; without it the sandbox is as safe as before.
pub(crate) fn volunteer_for_oom() {
    // A preference only: nothing relies on it.
    let _preferred = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// Sets the limits for this process and all that come from it. A cgroup knows better what memory is used, and tells when there was no room; it comes first then.
pub(crate) fn apply(bounds: &Bounds, grouped: bool, ledger: &mut Ledger) -> Result<(), Obstacle> {
    let bounds = if grouped {
        behind_a_group(bounds)
    } else {
        *bounds
    };
    let mut how = format!(
        "{} processes, {} open files each",
        bounds.processes, bounds.open_files
    );
    if let Some(bytes) = bounds.memory_bytes {
        how.push_str(&format!(", {bytes} bytes of private memory per process"));
    }
    ledger.attempt(Layer::ResourceLimits, &how, set(&bounds))
}

fn behind_a_group(bounds: &Bounds) -> Bounds {
    Bounds {
        memory_bytes: None,
        processes: bounds.processes.saturating_add(ROOM_BEHIND_A_GROUP),
        ..*bounds
    }
}

fn set(bounds: &Bounds) -> Result<(), Errno> {
    lower(Resource::RLIMIT_NOFILE, bounds.open_files)?;
    lower(Resource::RLIMIT_NPROC, bounds.processes)?;
    // Not RLIMIT_AS: language runtimes reserve far more address space than they ever use.
    bounds
        .memory_bytes
        .map_or(Ok(()), |bytes| lower(Resource::RLIMIT_DATA, bytes))
}

fn lower(resource: Resource, wanted: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(resource)?;
    let limit = wanted.min(hard);
    setrlimit(resource, limit, limit)
}
