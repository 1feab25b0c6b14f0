//! One group of one tree: made, locked for as long as its sandbox lives, removed when it is empty. The lock, and not the
//! name, says whether a group is left over: it goes with whoever held it, however that ended.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    poll::{PollTimeout, poll},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};

/// How the groups of sandboxes are called; the sandbox's id follows.
const PREFIX: &str = "postern-";

/// Whoever writes a process's number here moves it into the group.
const PROCESSES: &str = "cgroup.procs";

/// The same for a thread, in version 1 alone.
const THREADS: &str = "tasks";

/// In version 2, ends everything in the group.
const KILL: &str = "cgroup.kill";

/// How often a new group may be taken for a left-over one before it is locked.
const TRIES_MAX: u32 = 8;

/// How often, and how long each time (in milliseconds), the end of the last process is waited for.
const WAITS_MAX: u32 = 200;
const WAIT_MS: u16 = 5;

/// A group that is ours. Held open and locked; whoever has a copy by fork holds it too.
#[derive(Debug)]
pub(super) struct Group {
    parent: File,
    name: String,
    dir: File,
}

impl Group {
    /// Makes a group in an open one.
    pub(super) fn make(parent: &Path, sandbox: &str) -> io::Result<Self> {
        let parent = File::open(parent)?;
        let name = format!("{PREFIX}{sandbox}");
        for tried in 0..TRIES_MAX {
            match mkdirat(&parent, name.as_str(), Mode::from_bits_truncate(0o755)) {
                // Whoever took it for a left-over one has not removed it yet.
                Err(Errno::EEXIST) if tried > 0 => {
                    poll(&mut [], PollTimeout::from(WAIT_MS))?;
                    continue;
                }
                made => made?,
            }
            let Some(dir) = lock(&parent, &name)? else {
                continue;
            };
            return Ok(Self { parent, name, dir });
        }
        Err(io::Error::other("somebody takes it away again"))
    }

    /// Writes one of its files.
    pub(super) fn set(&self, file: &str, value: &str) -> io::Result<()> {
        write(&self.dir, file, value)
    }

    /// Opens one of its files to be read, for whoever will not see the tree any more.
    pub(super) fn open(&self, file: &str) -> io::Result<File> {
        Ok(openat(
            &self.dir,
            file,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?
        .into())
    }

    /// The file that a process joins by, for whoever may not open it later.
    pub(super) fn door(&self) -> io::Result<File> {
        let open = |file: &str| openat(&self.dir, file, writable(), Mode::empty());
        // Whoever joins has one thread, and a thread that moves itself waits for nobody; for a process the kernel first
        // waits until every processor has been elsewhere, which takes 10 ms and more.
        Ok(open(THREADS).or_else(|_| open(PROCESSES))?.into())
    }

    /// Removes the group, once its last process has ended.
    pub(super) fn remove(&self) {
        // Version 1 has no such file; there the end of the pid namespace is the only one.
        let _killed = self.set(KILL, "1");
        for _ in 0..WAITS_MAX {
            let gone = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir);
            if gone != Err(Errno::EBUSY) {
                return;
            }
            // Nothing tells of the end of a group's last process in both versions.
            let _passed = poll(&mut [], PollTimeout::from(WAIT_MS));
        }
    }

    /// Removes the groups beside this one that nobody holds.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(descriptor_path(&self.parent)) else {
            return;
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| name.starts_with(PREFIX) && *name != self.name) {
            if let Ok(Some(dir)) = lock(&self.parent, &name) {
                let _killed = write(&dir, KILL, "1");
                let _gone = unlinkat(&self.parent, name.as_str(), UnlinkatFlags::RemoveDir);
            }
        }
    }
}

/// Opens a group and locks it; `None` if it is somebody's, or gone.
fn lock(parent: &File, name: &str) -> io::Result<Option<File>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir: File = match openat(parent, name, flags, Mode::empty()) {
        Ok(dir) => dir.into(),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    match dir.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    // Whoever had the lock before may have removed it.
    let here = openat(
        &dir,
        PROCESSES,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    Ok(here.is_ok().then_some(dir))
}

fn writable() -> OFlag {
    OFlag::O_WRONLY | OFlag::O_CLOEXEC
}

/// Writes a file of an open group, in one piece as the kernel wants it.
pub(super) fn write(dir: impl AsFd, file: &str, value: &str) -> io::Result<()> {
    let opened: OwnedFd = openat(dir, file, writable(), Mode::empty())?;
    File::from(opened).write_all(value.as_bytes())
}

fn descriptor_path(fd: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
