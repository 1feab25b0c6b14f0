//! Mounts by descriptor (open_tree(2), mount_setattr(2), move_mount(2)): what was checked is what is mounted. Never
//! walks a path but the one that it is given.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use libc::{c_int, c_uint};
use nix::errno::Errno;

const HERE: &CStr = c"";

/// What may be done in a mount; everything that is not said may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// No program gains privilege by its file, and no device works.
    pub const HARMLESS: Self = Self(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV);
    /// As [`Self::HARMLESS`], and nothing can be written.
    pub const READ_ONLY: Self = Self(Self::HARMLESS.0 | libc::MOUNT_ATTR_RDONLY);
    /// One device node, which works, and nothing else does.
    pub const DEVICE: Self =
        Self(libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY);

    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// A mount that is nowhere yet. Dropping it lets it go.
#[derive(Debug)]
pub struct Detached(OwnedFd);

/// Copies the mount that an open file or directory lies in, from there down, with everything mounted beneath it.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN in the mount namespace's user namespace; `EINVAL` for a descriptor of another mount
/// namespace.
pub fn copy(of: BorrowedFd<'_>) -> io::Result<Detached> {
    let at = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let flags = at.cast_unsigned() | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // NEEDED: neither std nor nix has open_tree. SAFETY: takes numbers and a constant string.
    let code = unsafe { libc::syscall(libc::SYS_open_tree, of.as_raw_fd(), HERE.as_ptr(), flags) };
    let raw = c_int::try_from(Errno::result(code)?).map_err(io::Error::other)?;
    // NEEDED: the system call returns a bare number. SAFETY: the kernel just made it for us.
    Ok(Detached(unsafe { OwnedFd::from_raw_fd(raw) }))
}

impl Detached {
    pub(crate) fn new(mount: OwnedFd) -> Self {
        Self(mount)
    }

    /// Restricts this mount and everything beneath it, and cuts it off from what is mounted elsewhere later.
    ///
    /// # Errors
    /// As mount_setattr(2) says; `ENOSYS` before Linux 5.12.
    pub fn restrict(&self, attributes: Attributes) -> io::Result<()> {
        set(self.0.as_fd(), attributes, libc::AT_RECURSIVE)
    }

    /// Puts the mount onto an open file or directory.
    ///
    /// # Errors
    /// As move_mount(2) says; `ENOTDIR` when one is a directory and the other is not.
    pub fn attach(self, onto: BorrowedFd<'_>) -> io::Result<()> {
        let flags: c_uint = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        let (from, to) = (self.0.as_raw_fd(), onto.as_raw_fd());
        let here = HERE.as_ptr();
        // NEEDED: neither std nor nix has move_mount. SAFETY: takes numbers and a constant string.
        let code = unsafe { libc::syscall(libc::SYS_move_mount, from, here, to, here, flags) };
        Errno::result(code)?;
        Ok(())
    }
}

/// Restricts the one mount whose root directory is open here; those beneath it stay as they are.
///
/// # Errors
/// As mount_setattr(2) says; `EINVAL` when it is no mount's root.
pub fn restrict(root: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    set(root, attributes, 0)
}

fn set(root: BorrowedFd<'_>, attributes: Attributes, how: c_int) -> io::Result<()> {
    let wanted = libc::mount_attr {
        attr_set: attributes.0,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = (libc::AT_EMPTY_PATH | how).cast_unsigned();
    let size = size_of::<libc::mount_attr>();
    let (at, here, wanted) = (root.as_raw_fd(), HERE.as_ptr(), &raw const wanted);
    // NEEDED: neither std nor nix has mount_setattr. SAFETY: the pointer is to a live structure of the size given.
    let code = unsafe { libc::syscall(libc::SYS_mount_setattr, at, here, flags, wanted, size) };
    Errno::result(code)?;
    Ok(())
}
