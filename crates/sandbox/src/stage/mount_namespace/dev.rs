//! A /dev with the devices that every program may have, and nothing that leads to hardware or a terminal of the host.
//! Terminals come only where the kernel lets a namespace without root have them.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::symlink,
    },
    path::Path,
};

use nix::mount::{MsFlags, mount};
use postern_sys::mount::{Attributes, restrict};

use super::tree::{bind_if_there, open};

const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
];

/// Room for shared memory of the sandbox's processes.
const SHM_OPTIONS: &str = "mode=1777,size=64m,nr_inodes=4k";

const DEV_OPTIONS: &str = "mode=755,size=64k,nr_inodes=64";

const PTS_OPTIONS: &str = "newinstance,ptmxmode=0666,mode=0620";

/// Makes /dev in the working directory.
pub(super) fn make(root: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fs::create_dir("dev")?;
    mount(Some("dev"), "dev", Some("tmpfs"), flags, Some(DEV_OPTIONS))?;
    for device in DEVICES {
        bind_if_there(root, Path::new(device), Attributes::DEVICE)?;
    }
    for (to, link) in LINKS {
        symlink(to, link)?;
    }
    fs::create_dir("dev/shm")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("shm"),
        "dev/shm",
        Some("tmpfs"),
        flags,
        Some(SHM_OPTIONS),
    )?;
    terminals()
}

fn terminals() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fs::create_dir("dev/pts")?;
    match mount(
        Some("devpts"),
        "dev/pts",
        Some("devpts"),
        flags,
        Some(PTS_OPTIONS),
    ) {
        Ok(()) => symlink("pts/ptmx", "dev/ptmx"),
        // The kernel wants root to be mapped; the agent then has no terminals of its own.
        Err(_) => fs::remove_dir("dev/pts"),
    }
}

/// Closes /dev itself for writing; the devices and shared memory stay as they are.
pub(super) fn seal(root: BorrowedFd<'_>) -> io::Result<()> {
    let dev = open(root, Path::new("dev"))?;
    restrict(dev.as_fd(), Attributes::DEVICE)
}
