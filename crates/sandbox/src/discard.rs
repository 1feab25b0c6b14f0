//! Deletes one tree that an agent owns. The tree is an attacker's: it may be deep, wide, change while it is deleted, and
//! hold links, mount points and directories that nobody may enter. Never follows a link or crosses into another mount.

use std::{
    ffi::{CString, OsStr},
    fs::{self, Permissions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, renameat},
    sys::{prctl::set_pdeathsig, signal::Signal, stat::fstat},
    unistd::{Uid, UnlinkatFlags, seteuid, unlinkat},
};
use postern_contract::launch::Obstacle;
use postern_sys::capability;

use crate::config::{Config, Ids, is_plain};

/// How deep a walk goes before it brings a directory up instead; bounds open descriptors and stack.
const DEPTH_MAX: u32 = 64;

/// How often a tree is walked: each walk takes 64 levels away, and somebody may add to it meanwhile.
const WALKS_MAX: u32 = 4_096;

/// How a directory is called that was brought up; the number follows.
const BROUGHT_UP: &str = ".postern-discard-";

/// Deletes the tree if it lies beneath a permitted root and belongs to an agent.
pub(crate) fn discard(tree: &Path, config: &Config) -> Result<(), Obstacle> {
    let (root, beneath) = place(tree, &config.discard_roots)?;
    delete(&root, &beneath, config.ids)
        .map_err(|error| Obstacle::plain(format!("cannot delete {tree:?}: {error}")))
}

fn place(tree: &Path, roots: &[PathBuf]) -> Result<(PathBuf, PathBuf), Obstacle> {
    if !is_plain(tree) {
        return Err(Obstacle::plain(format!(
            "{tree:?} is not an absolute path without `..`"
        )));
    }
    roots
        .iter()
        .filter_map(|root| Some((root.clone(), tree.strip_prefix(root).ok()?.to_owned())))
        .find(|(_, beneath)| !beneath.as_os_str().is_empty())
        .ok_or_else(|| {
            Obstacle::plain(format!("{tree:?} is beneath no permitted directory"))
                .with_fix("add its directory to discard_roots in launcher.toml")
        })
}

fn delete(root: &Path, beneath: &Path, ids: Ids) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = openat2(AT_FDCWD, root, OpenHow::new().flags(flags))?;
    let parent = match beneath
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => openat2(
            &root,
            parent,
            OpenHow::new().flags(flags).resolve(strictly()),
        )?,
        None => root,
    };
    let name = CString::new(beneath.file_name().map_or(&[][..], OsStr::as_encoded_bytes))?;
    let top = openat2(
        &parent,
        name.as_c_str(),
        OpenHow::new().flags(flags).resolve(strictly()),
    )?;
    let owner = fstat(&top)?.st_uid;
    let permitted = match ids {
        Ids::Range(range) => range.holds(owner),
        Ids::Caller { uid } => uid == owner,
    };
    if !permitted {
        return Err(io::Error::other(format!(
            "uid {owner} owns it, and that is no agent's"
        )));
    }
    as_owner(owner, ids, || {
        empty(&parent, &name)?;
        Ok(unlinkat(
            &parent,
            name.as_c_str(),
            UnlinkatFlags::RemoveDir,
        )?)
    })
}

/// Works with the owner's uid, so that sticky directories are no obstacle; as root, unreadable ones are none either.
fn as_owner(owner: u32, ids: Ids, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if matches!(ids, Ids::Caller { .. }) {
        return work();
    }
    seteuid(Uid::from_raw(owner))?;
    // The change of uid let go of the tie to the launcher's life.
    set_pdeathsig(Signal::SIGKILL)?;
    let done = capability::raise(capability::DAC_OVERRIDE).and_then(|()| work());
    capability::raise(capability::SETUID)?;
    seteuid(Uid::from_raw(0))?;
    set_pdeathsig(Signal::SIGKILL)?;
    done
}

fn strictly() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV
}

fn empty(parent: &OwnedFd, name: &CString) -> io::Result<()> {
    let mut walk = Walk {
        top: open_directory(parent, name)?,
        brought_up: 0,
    };
    for _ in 0..WALKS_MAX {
        let top = openat2(&walk.top, ".", OpenHow::new().flags(readable()))?;
        if walk.clear(&top, 0)? == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("it grows as fast as it is deleted"))
}

fn readable() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Opens a directory, also one that its owner made unreadable.
fn open_directory(parent: &OwnedFd, name: &CString) -> io::Result<OwnedFd> {
    let how = || OpenHow::new().resolve(strictly());
    let open = || openat2(parent, name.as_c_str(), how().flags(readable()));
    match open() {
        Err(Errno::EACCES) => {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let closed = openat2(parent, name.as_c_str(), how().flags(flags))?;
            // By descriptor: the name may lead elsewhere by now.
            let path = format!("/proc/self/fd/{}", closed.as_raw_fd());
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

struct Walk {
    top: OwnedFd,
    brought_up: u64,
}

impl Walk {
    /// Deletes what is in the directory; tells how many entries there were.
    fn clear(&mut self, directory: &OwnedFd, depth: u32) -> io::Result<u64> {
        let mut entries = Dir::from_fd(directory.try_clone()?)?;
        let mut count = 0;
        for entry in entries.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            count += 1;
            let name = name.to_owned();
            if entry.file_type() != Some(Type::Directory) {
                match unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => continue,
                    Err(Errno::EISDIR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            self.clear_directory(directory, &name, depth)?;
        }
        Ok(count)
    }

    fn clear_directory(&mut self, parent: &OwnedFd, name: &CString, depth: u32) -> io::Result<()> {
        if depth >= DEPTH_MAX {
            return self.bring_up(parent, name);
        }
        let directory = open_directory(parent, name)?;
        self.clear(&directory, depth + 1)?;
        match unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
            // Something came back meanwhile or was skipped; the next walk has it.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn bring_up(&mut self, parent: &OwnedFd, name: &CString) -> io::Result<()> {
        self.brought_up += 1;
        let new = CString::new(format!("{BROUGHT_UP}{}", self.brought_up))?;
        match renameat(parent, name.as_c_str(), &self.top, new.as_c_str()) {
            // A name that is taken or a directory that moved: the next walk tries again.
            Ok(()) | Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR | Errno::ENOENT) => {
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests;
