//! A mount namespace with a root that is built up from nothing: what no line here adds, the agent does not see. Never
//! shows /sys or a directory that can be written and is not the sandbox's own. Read-only does not stop connect(2): a Unix
//! socket that some program put into /usr, /opt or a directory of the plan is shut by the overlay over it.
//!
//! ```text
//! tmpfs /        read-only in the end
//!   usr bin …    the host's, read-only          (system.rs), under an overlay (overlay.rs)
//!   etc          generated                      (etc.rs)
//!   dev          six devices, links, own shm    (dev.rs)
//!   tmp run …    tmpfs, writable, with a size   (scratch.rs)
//!   proc         stage/fresh_proc.rs
//!   /agent …     what the plan shows            (sources.rs), under an overlay unless it is fresh
//! ```

mod dev;
mod etc;
mod overlay;
pub(crate) mod room;
mod scratch;
pub(crate) mod sources;
mod store;
mod system;
mod tree;

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{chdir, pivot_root},
};
use postern_contract::launch::{Layer, Obstacle};
use postern_sys::mount::{Attributes, restrict};

use self::{overlay::Overlays, sources::Source};
pub(crate) use self::{scratch::SCRATCH, system::DIRECTORIES as SYSTEM};
use crate::{
    checked::Checked,
    ledger::{Ledger, stops},
};

/// Where the new root is put together. Any directory does that surely exists; nothing of it is ever seen.
const BUILDING_SITE: &str = "/tmp";

/// What the root tmpfs may hold: directories, links and a few small files of /etc.
const ROOT_OPTIONS: &str = "mode=755,size=4m,nr_inodes=4k";

/// A root that is not in place yet; it is the working directory.
#[derive(Debug)]
pub(crate) struct NewRoot {
    root: OwnedFd,
}

/// Enters a mount namespace that hears nothing more of the host's.
pub(crate) fn enter() -> Result<(), Obstacle> {
    let step = "cannot make a mount namespace";
    unshare(CloneFlags::CLONE_NEWNS).map_err(stops(Layer::MountNamespace, step))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(stops(
        Layer::MountNamespace,
        "cannot cut it off from the host's",
    ))
}

/// Puts the root together; everything but /proc.
pub(crate) fn build(
    checked: &Checked,
    sources: Vec<Source>,
    ledger: &mut Ledger,
) -> Result<NewRoot, Obstacle> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("root"),
        BUILDING_SITE,
        Some("tmpfs"),
        flags,
        Some(ROOT_OPTIONS),
    )
    .map_err(stops(Layer::MountNamespace, "cannot mount a tmpfs"))?;
    chdir(BUILDING_SITE).map_err(stops(Layer::MountNamespace, "cannot enter the new root"))?;
    let part = |name: &'static str| {
        stops::<io::Error>(
            Layer::MountNamespace,
            format!("cannot build {name} of the new root"),
        )
    };
    let root = tree::open_root().map_err(part("the top"))?;
    fs::create_dir("proc").map_err(part("/proc"))?;
    let mut overlays = Overlays::new(root.as_fd()).map_err(part("/proc"))?;
    system::show(&mut overlays).map_err(part("the system directories"))?;
    etc::write(&checked.hostname, checked.trusted.is_some(), &mut overlays)
        .map_err(part("/etc"))?;
    dev::make(root.as_fd()).map_err(part("/dev"))?;
    scratch::mount_all(checked.bounds.scratch_bytes).map_err(part("the scratch directories"))?;
    for source in sources {
        source.attach(&mut overlays)?;
    }
    overlays.report(ledger)?;
    Ok(NewRoot { root })
}

impl NewRoot {
    /// Makes it the root of every process in the namespace, lets the host's go, and closes it for writing.
    pub(crate) fn settle(self, ledger: &mut Ledger) -> Result<(), Obstacle> {
        dev::seal(self.root.as_fd()).map_err(stops(Layer::MountNamespace, "cannot seal /dev"))?;
        // The old root comes to lie on the new one, so that taking away what is on top leaves the new one.
        pivot_root(".", ".")
            .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
            .map_err(stops(Layer::MountNamespace, "cannot change the root"))?;
        chdir("/")
            .map_err(io::Error::from)
            .and_then(|()| restrict(self.root.as_fd(), Attributes::READ_ONLY))
            .map_err(stops(Layer::MountNamespace, "cannot seal the root"))?;
        ledger.enforced(Layer::MountNamespace, "a root of its own, read-only");
        Ok(())
    }
}
