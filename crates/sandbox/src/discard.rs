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
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        stat::{Mode, fstat},
    },
    unistd::{Uid, UnlinkatFlags, seteuid, unlinkat},
};
use postern_contract::launch::Obstacle;
use postern_sys::capability;

use crate::{
    checked::strictly_within,
    config::{Config, Ids, is_plain},
};

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
    strictly_within(tree, roots).ok_or_else(|| {
        Obstacle::plain(format!("{tree:?} is beneath no permitted directory"))
            .with_fix("add its directory to discard_roots in launcher.toml")
    })
}

fn delete(root: &Path, beneath: &Path, ids: Ids) -> io::Result<()> {
    let tree = Tree::open(root, beneath)?;
    let permitted = match ids {
        Ids::Range(range) => range.holds(tree.owner),
        Ids::Caller { uid } => uid == tree.owner,
    };
    if !permitted {
        let owner = tree.owner;
        return Err(io::Error::other(format!(
            "uid {owner} owns it, and that is no agent's"
        )));
    }
    as_owner(tree.owner, ids, || tree.delete())
}

/// A tree whose owner is known. The descriptor, not the name, says which one: the name may lead elsewhere by now.
struct Tree {
    parent: OwnedFd,
    name: CString,
    top: OwnedFd,
    owner: u32,
}

impl Tree {
    fn open(root: &Path, beneath: &Path) -> io::Result<Self> {
        // posternd may own the directory that the root lies in, and could put a link in its place.
        let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(pinned()).resolve(resolve);
        let root = openat2(AT_FDCWD, root, how)?;
        let above = beneath.parent().filter(|path| !path.as_os_str().is_empty());
        let how = OpenHow::new().flags(pinned()).resolve(strictly());
        let parent = match above {
            Some(above) => openat2(&root, above, how)?,
            None => root,
        };
        let name = CString::new(beneath.file_name().map_or(&[][..], OsStr::as_encoded_bytes))?;
        let top = openat2(&parent, name.as_c_str(), how)?;
        let owner = fstat(&top)?.st_uid;
        Ok(Self {
            parent,
            name,
            top,
            owner,
        })
    }

    fn delete(self) -> io::Result<()> {
        empty(opened_up(&self.top)?)?;
        // Whatever has the name by now: only an empty directory goes.
        let flag = UnlinkatFlags::RemoveDir;
        Ok(unlinkat(&self.parent, self.name.as_c_str(), flag)?)
    }
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

fn empty(top: OwnedFd) -> io::Result<()> {
    let mut walk = Walk { top, brought_up: 0 };
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

fn pinned() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

/// Opens a directory, also one that its owner made unreadable.
fn open_directory(parent: &OwnedFd, name: &CString) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(pinned()).resolve(strictly());
    opened_up(&openat2(parent, name.as_c_str(), how)?)
}

/// The same directory, to be read, entered and emptied whatever its owner took away.
fn opened_up(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(fstat(directory)?.st_mode);
    if !mode.contains(Mode::S_IRWXU) {
        // By descriptor, which O_PATH allows in this way only. If it fails, what follows does, and says what is missing.
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let _changed = fs::set_permissions(path, Permissions::from_mode(0o700));
    }
    Ok(openat2(directory, ".", OpenHow::new().flags(readable()))?)
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
        // To move a directory is to change its "..", which takes the permission to write it.
        open_directory(parent, name)?;
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
