//! A user namespace in which uid and gid 1000 are the agent's host ids and no other id exists, root least of all. Never
//! maps a second id.

use std::{fs, io, os::unix::fs::MetadataExt};

use nix::{
    sched::{CloneFlags, unshare},
    sys::prctl::set_dumpable,
    unistd::getgroups,
};
use postern_contract::launch::{AGENT_UID, Layer, Obstacle};

use crate::{
    checked::Identity,
    ledger::{Ledger, stops},
};

/// How many user namespaces may be made in the sandbox.
const MORE_NAMESPACES: &str = "0";

/// Enters a user namespace and maps the agent's ids. All capabilities in it are the launcher's until it drops them.
pub(crate) fn enter(identity: Identity, ledger: &mut Ledger) -> Result<(), Obstacle> {
    let (uid, gid) = match identity {
        Identity::Own { id } => (id, id),
        Identity::Caller { uid, gid } => (uid, gid),
    };
    let step = "cannot make a user namespace";
    let groups = getgroups().unwrap_or_default();
    unshare(CloneFlags::CLONE_NEWUSER).map_err(stops(Layer::UserNamespace, step))?;
    let step = "cannot map ids into the user namespace";
    map(uid, gid).map_err(stops(Layer::UserNamespace, step))?;
    let mut how = format!("uid and gid {AGENT_UID} are host uid {uid} and gid {gid}");
    if matches!(identity, Identity::Caller { .. }) {
        // The kernel lets nobody give up groups without privilege; that they are all unmapped takes nothing from them.
        let kept = groups.iter().filter(|group| group.as_raw() != gid).count();
        if kept > 0 {
            how.push_str(&format!("; with {kept} more groups of the user's"));
        }
    }
    if fs::write("/proc/sys/user/max_user_namespaces", MORE_NAMESPACES).is_ok() {
        how.push_str("; no user namespaces inside");
    }
    ledger.enforced(Layer::UserNamespace, how);
    Ok(())
}

fn map(uid: u32, gid: u32) -> io::Result<()> {
    // The files belong to root while the process is not dumpable, as after a change of uid. `no_new_privileges` ends it,
    // before there is an agent.
    set_dumpable(true)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{AGENT_UID} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{AGENT_UID} {gid} 1"))
}

/// Adds to an obstacle without a remedy what is known to be in the way of namespaces here. A setting may let the
/// namespace be made and forbid everything in it, so that it is another layer that fails.
pub(crate) fn explain(obstacle: Obstacle, identity: Identity) -> Obstacle {
    let namespaces = [
        Layer::UserNamespace,
        Layer::MountNamespace,
        Layer::NetNamespace,
    ];
    let concerned = obstacle
        .layer
        .is_some_and(|layer| namespaces.contains(&layer));
    match culprit(identity).filter(|_| concerned && obstacle.fix.is_none()) {
        Some(fix) => obstacle.with_fix(fix),
        None => obstacle,
    }
}

/// The remedy for whatever of the known settings forbids user namespaces here.
fn culprit(identity: Identity) -> Option<String> {
    let ordinary = matches!(identity, Identity::Caller { .. });
    let fix = |name: &str, value: u64, also: &str| {
        let is = setting(name).unwrap_or_default();
        Some(format!(
            "{name} is {is}: run `sysctl -w {name}={value}` as root{also}"
        ))
    };
    let limit = "user.max_user_namespaces";
    let clone = "kernel.unprivileged_userns_clone";
    let apparmor = "kernel.apparmor_restrict_unprivileged_userns";
    if setting(limit) == Some(0) {
        return fix(limit, 15_000, "");
    }
    if ordinary && setting(clone) == Some(0) {
        return fix(clone, 1, ", or start postern as root");
    }
    if ordinary && setting(apparmor) == Some(1) {
        let also =
            ", or give the launcher an AppArmor profile with `userns,`, or start postern as root";
        return fix(apparmor, 0, also);
    }
    in_chroot().then(|| "the kernel makes none in a chroot: start postern outside".to_owned())
}

fn setting(name: &str) -> Option<u64> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the root directory is not that of the mount namespace; only visible to who may look at process 1.
fn in_chroot() -> bool {
    let identity = |path: &str| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    matches!((identity("/"), identity("/proc/1/root/.")), (Some(here), Some(there)) if here != there)
}
