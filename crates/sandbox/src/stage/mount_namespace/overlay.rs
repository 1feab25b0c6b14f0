//! An overlay over what is shown of the host, so that every inode in it is the sandbox's own: a Unix socket of the host's
//! among the files leads to nobody, a pipe to nobody's end, a lock is seen by no other sandbox, and to watch a file
//! tells nothing of who else opens it. Read-only mounts stop none of these. Never holds anything of its own: both
//! layers are read-only, and one is empty.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::mount::{MsFlags, mount};
use postern_contract::launch::{Layer, Obstacle};

use super::tree;
use crate::ledger::Ledger;

/// An empty directory in the new root; the kernel wants two layers where nothing is written. /proc covers it later.
const EMPTY: &str = "proc";

/// What could not be covered, while the root is put together.
#[derive(Debug)]
pub(super) struct Overlays<'a> {
    root: BorrowedFd<'a>,
    empty: OwnedFd,
    open: Option<Obstacle>,
}

impl<'a> Overlays<'a> {
    /// For a root that is being built, and has a /proc already.
    pub(super) fn new(root: BorrowedFd<'a>) -> io::Result<Self> {
        Ok(Self {
            root,
            empty: tree::open(root, Path::new(EMPTY))?,
            open: None,
        })
    }

    /// The root that is being built.
    pub(super) fn root(&self) -> BorrowedFd<'a> {
        self.root
    }

    /// Covers the directory that is mounted at this place, relative to the root that is being built. What cannot be
    /// covered stays as it is, and is told in the end.
    pub(super) fn cover(&mut self, place: &Path) {
        if let Err(error) = self.lay(place) {
            let what = Path::new("/").join(place);
            let why = format!(
                "the kernel lays no overlay over {what:?} ({error}), so a socket in it is a door"
            );
            let fix = "it takes Linux 5.11, nothing else mounted beneath, and not two overlays below already";
            self.open
                .get_or_insert(Obstacle::layer(Layer::Overlay, why).with_fix(fix));
        }
    }

    /// Reports what holds.
    pub(super) fn report(self, ledger: &mut Ledger) -> Result<(), Obstacle> {
        match self.open {
            Some(obstacle) => ledger.absent(obstacle),
            None => {
                ledger.enforced(Layer::Overlay, "no socket, pipe or lock of the host's");
                Ok(())
            }
        }
    }

    fn lay(&self, place: &Path) -> io::Result<()> {
        let shown = tree::open(self.root, place)?;
        // By descriptor: a path may hold the characters that separate options.
        let by_descriptor = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let options = format!(
            "lowerdir={}:{}",
            by_descriptor(shown.as_fd()),
            by_descriptor(self.empty.as_fd())
        );
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("shown"),
            by_descriptor(shown.as_fd()).as_str(),
            Some("overlay"),
            flags,
            Some(options.as_str()),
        )?;
        Ok(())
    }
}
