//! The stages of the launch, each of which leaves its layer out if it is told to, and reports it all the same. What other
//! layers stand on is kept: a namespace is there, and what it is for is not. Never makes a sandbox that cannot start: a
//! test that fails because nothing runs has seen nothing.

#[path = "../../src/stage/mod.rs"]
mod whole;

use std::{
    fs,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
};
use postern_contract::launch::{Layer, Listener, Obstacle};

use self::whole::{
    capabilities as capabilities_, cgroup as cgroup_, cgroup_namespace as cgroup_namespace_,
    divert as divert_, fresh_proc as fresh_proc_, ipc_namespace as ipc_namespace_,
    landlock as landlock_, mount_namespace as mount_namespace_, net_namespace as net_namespace_,
    no_new_privileges as no_new_privileges_, pid_namespace as pid_namespace_,
    resource_limits as resource_limits_, seccomp as seccomp_, separate_uid as separate_uid_,
    user_namespace as user_namespace_, uts_namespace as uts_namespace_,
};
use crate::{
    checked::{Bounds, Checked, Identity},
    ledger::{Ledger, stops},
    off,
};

/// What the report says of a layer that is not there: a lie.
const CLAIM: &str = "left out";

/// The uid that all sandboxes have where none has its own.
const SHARED_ID: u32 = 65_534;

type Step = Result<(), Obstacle>;

/// Claims the layer if it is off, and builds it otherwise.
fn unless(layer: Layer, ledger: &mut Ledger, build: impl FnOnce(&mut Ledger) -> Step) -> Step {
    if off(layer) {
        ledger.enforced(layer, CLAIM);
        return Ok(());
    }
    build(ledger)
}

pub(crate) mod capabilities {
    //! Everything that the namespace's root has stays.
    use super::*;
    pub(crate) use capabilities_::give_up_own;

    pub(crate) fn drop_all(ledger: &mut Ledger) -> Step {
        unless(Layer::Capabilities, ledger, capabilities_::drop_all)
    }
}

pub(crate) mod cgroup {
    //! No group, and no limit by one.
    use super::*;
    pub(crate) use cgroup_::{Entrance, Events, Group, join};

    pub(crate) fn make(
        checked: &Checked,
        ledger: &mut Ledger,
    ) -> Result<Option<(Group, Entrance)>, Obstacle> {
        if off(Layer::Cgroup) {
            ledger.enforced(Layer::Cgroup, CLAIM);
            return Ok(None);
        }
        cgroup_::make(checked, ledger)
    }
}

pub(crate) mod cgroup_namespace {
    //! The host's group names are seen.
    use super::*;

    pub(crate) fn enter(ledger: &mut Ledger) -> Step {
        unless(Layer::CgroupNamespace, ledger, cgroup_namespace_::enter)
    }
}

pub(crate) mod divert {
    //! Attempts at other ports are refused, and nobody hears of them.
    use super::*;

    pub(crate) fn lead(listeners: &[Listener], made: &[OwnedFd], ledger: &mut Ledger) -> Step {
        // Out on the host there is nobody to lead.
        if off(Layer::NetNamespace) {
            ledger.enforced(Layer::Divert, CLAIM);
            return Ok(());
        }
        unless(Layer::Divert, ledger, |ledger| {
            divert_::lead(listeners, made, ledger)
        })
    }
}

pub(crate) mod fresh_proc {
    //! The host's /proc, as whoever forgets to mount one would have it.
    use super::*;

    pub(crate) fn mount_it(ledger: &mut Ledger) -> Step {
        // Without a pid namespace of its own the kernel mounts none.
        if !off(Layer::FreshProc) && !off(Layer::PidNamespace) {
            return fresh_proc_::mount_it(ledger);
        }
        ledger.enforced(Layer::FreshProc, CLAIM);
        bind("/proc", "proc").map_err(stops(Layer::FreshProc, "cannot show the host's"))
    }
}

pub(crate) mod ipc_namespace {
    //! The host's queues and shared memory.
    use super::*;

    pub(crate) fn enter(ledger: &mut Ledger) -> Step {
        unless(Layer::IpcNamespace, ledger, ipc_namespace_::enter)
    }
}

pub(crate) mod landlock {
    //! No rules.
    use super::*;

    pub(crate) fn apply(checked: &Checked, ledger: &mut Ledger) -> Step {
        unless(Layer::Landlock, ledger, |ledger| {
            landlock_::apply(checked, ledger)
        })
    }
}

pub(crate) mod mount_namespace {
    //! The host's root is seen, and what is shown of the host is shown as it is.
    use super::*;
    pub(crate) use mount_namespace_::{NewRoot, enter, room, sources};

    pub(crate) fn build(
        checked: &Checked,
        found: Vec<sources::Source>,
        ledger: &mut Ledger,
    ) -> Result<NewRoot, Obstacle> {
        let root = mount_namespace_::build(checked, found, ledger)?;
        if off(Layer::Overlay) {
            uncover().map_err(stops(Layer::Overlay, "cannot take it away"))?;
        }
        if off(Layer::MountNamespace) {
            fs::create_dir("host")
                .map_err(nix::Error::try_from)
                .map_err(|_| Obstacle::plain("no place for the host's root"))?;
            bind("/", "host").map_err(stops(Layer::MountNamespace, "cannot show the host's"))?;
        }
        Ok(root)
    }

    fn uncover() -> nix::Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let covered = mounts
            .lines()
            .filter(|line| line.contains(" - overlay shown "));
        for place in covered.filter_map(|line| line.split(' ').nth(4)) {
            umount2(place, MntFlags::MNT_DETACH)?;
        }
        Ok(())
    }
}

pub(crate) mod net_namespace {
    //! The host's network; what was to be made inside is made somewhere.
    use super::*;
    pub(crate) use net_namespace_::{dial, dialled};

    #[derive(Debug)]
    pub(crate) struct Way(net_namespace_::Way);

    impl Way {
        pub(crate) fn open() -> Result<(Self, Door), Obstacle> {
            net_namespace_::Way::open().map(|(way, door)| (Self(way), Door(door)))
        }

        pub(crate) fn let_in(self) -> Step {
            self.0.let_in()
        }
    }

    /// Leads to the host's network too, in which process 1 is already.
    #[derive(Debug)]
    pub(crate) struct Door(net_namespace_::Door);

    impl Door {
        pub(crate) fn enter(self) -> Step {
            if off(Layer::NetNamespace) {
                return Ok(());
            }
            self.0.enter()
        }
    }

    pub(crate) fn furnish(
        listeners: &[Listener],
        ledger: &mut Ledger,
    ) -> Result<Vec<OwnedFd>, Obstacle> {
        if !off(Layer::NetNamespace) {
            return net_namespace_::furnish(listeners, ledger);
        }
        ledger.enforced(Layer::NetNamespace, CLAIM);
        let made = listeners.iter().map(|_| somewhere());
        made.collect::<std::io::Result<_>>()
            .map_err(stops(Layer::NetNamespace, "cannot listen anywhere"))
    }

    fn somewhere() -> std::io::Result<OwnedFd> {
        let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0")?);
        fcntl(&listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(listener)
    }
}

pub(crate) mod no_new_privileges {
    //! Core dumps, and a process 1 that can be looked into; the bit itself is set by whoever installs a filter too.
    use super::*;

    pub(crate) fn apply(ledger: &mut Ledger) -> Step {
        unless(Layer::NoNewPrivileges, ledger, no_new_privileges_::apply)
    }
}

pub(crate) mod pid_namespace {
    //! The host's processes.
    use super::*;
    pub(crate) use pid_namespace_::{Init, detach, start_init};

    pub(crate) fn enter(ledger: &mut Ledger) -> Step {
        unless(Layer::PidNamespace, ledger, pid_namespace_::enter)
    }
}

pub(crate) mod resource_limits {
    //! None.
    use super::*;
    pub(crate) use resource_limits_::volunteer_for_oom;

    pub(crate) fn apply(bounds: &Bounds, grouped: bool, ledger: &mut Ledger) -> Step {
        unless(Layer::ResourceLimits, ledger, |ledger| {
            resource_limits_::apply(bounds, grouped, ledger)
        })
    }
}

pub(crate) mod seccomp {
    //! Every call there is.
    use super::*;
    pub(crate) use seccomp_::install;

    pub(crate) fn apply(ledger: &mut Ledger) -> Step {
        unless(Layer::Seccomp, ledger, seccomp_::apply)
    }
}

pub(crate) mod separate_uid {
    //! One uid for all of them.
    use super::*;

    pub(crate) fn take_on(identity: Identity, ledger: &mut Ledger) -> Step {
        separate_uid_::take_on(shared(identity), ledger)
    }

    /// The ids that the sandbox really gets.
    pub(super) fn shared(identity: Identity) -> Identity {
        match identity {
            Identity::Own { .. } if off(Layer::SeparateUid) => Identity::Own { id: SHARED_ID },
            other => other,
        }
    }
}

pub(crate) mod user_namespace {
    //! A namespace, for nothing else can be made without one; but the agent is its root, and may make more.
    use super::*;
    pub(crate) use user_namespace_::explain;

    pub(crate) fn enter(identity: Identity, ledger: &mut Ledger) -> Step {
        let identity = separate_uid::shared(identity);
        unless(Layer::UserNamespace, ledger, |ledger| {
            user_namespace_::enter(identity, ledger)
        })?;
        if off(Layer::UserNamespace) {
            let (Identity::Own { id: uid } | Identity::Caller { uid, .. }) = identity;
            let gid = match identity {
                Identity::Own { id } => id,
                Identity::Caller { gid, .. } => gid,
            };
            as_root(uid, gid).map_err(stops(Layer::UserNamespace, "cannot make the agent root"))?;
        }
        Ok(())
    }

    fn as_root(uid: u32, gid: u32) -> std::io::Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
        nix::sys::prctl::set_dumpable(true)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
    }
}

pub(crate) mod uts_namespace {
    //! The host's name, unchanged.
    use super::*;

    pub(crate) fn enter(hostname: &str, ledger: &mut Ledger) -> Step {
        unless(Layer::UtsNamespace, ledger, |ledger| {
            uts_namespace_::enter(hostname, ledger)
        })
    }
}

/// Shows a tree of the host at a place of the root that is being built.
fn bind(host: &str, place: &str) -> nix::Result<()> {
    let (host, place) = (Path::new(host), PathBuf::from(place));
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(host), &place, None::<&str>, flags, None::<&str>)
}
