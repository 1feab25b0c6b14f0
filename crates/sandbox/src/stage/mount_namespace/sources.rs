//! What the plan shows of the host: opened beneath its permitted root without following a link, and mounted by that very
//! descriptor. Never reads what is in it, and never touches a directory that it did not make.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat},
};
use postern_contract::launch::{Access, Layer, Obstacle};
use postern_sys::{
    image::erofs,
    mount::{Attributes, Detached, copy},
};

use super::{overlay::Overlays, store, tree};
use crate::{
    checked::{Checked, Identity, Shown},
    ledger::stops,
};

/// A fresh directory: the agent's to write, everybody's to read, for other sandboxes will be shown it read-only.
const FRESH_MODE: Mode = Mode::from_bits_truncate(0o755);

/// One mount, ready to be put into a root.
#[derive(Debug)]
pub(crate) struct Source {
    mount: Detached,
    is_directory: bool,
    is_fresh: bool,
    target: PathBuf,
}

/// A directory that the launcher made, and takes away again if the sandbox does not come to be.
#[derive(Debug)]
pub(crate) struct Made {
    parent: OwnedFd,
    name: PathBuf,
}

impl Made {
    /// Removes the directory if it is still empty.
    pub(crate) fn undo(&self) {
        // Whoever put something in meanwhile keeps it.
        let _gone = unlinkat(&self.parent, &self.name, UnlinkatFlags::RemoveDir);
    }
}

/// Takes every source of the plan in hand. What was made on the way is in `made`, also when it fails.
pub(crate) fn take(checked: &Checked, made: &mut Vec<Made>) -> Result<Vec<Source>, Obstacle> {
    checked
        .shown
        .iter()
        .chain(checked.trusted.iter().flatten())
        .map(|shown| {
            let whole: PathBuf = shown
                .root
                .components()
                .chain(shown.beneath.components())
                .collect();
            take_one(shown, checked, made).map_err(|error| {
                let obstacle = Obstacle::plain(format!("cannot show {whole:?}: {error}"));
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::ELOOP) => obstacle.with_fix("name the path that the link leads to"),
                    _ => obstacle,
                }
            })
        })
        .collect()
}

fn take_one(shown: &Shown, checked: &Checked, made: &mut Vec<Made>) -> io::Result<Source> {
    let is_whole_root = shown.beneath.as_os_str().is_empty();
    // A root that is shown as it is may be a single file, such as the program that unpacks.
    let flags = if is_whole_root {
        OFlag::O_PATH | OFlag::O_CLOEXEC
    } else {
        directory()
    };
    let root = openat2(
        AT_FDCWD,
        &shown.root,
        OpenHow::new().flags(flags).resolve(no_links()),
    )?;
    let (mount, is_directory) = match shown.access {
        Access::ReadOnly if is_whole_root => shown_as_it_is(&root, Attributes::READ_ONLY)?,
        Access::ReadOnly => {
            let opened = beneath(root.as_fd(), &shown.beneath, OFlag::O_PATH)?;
            shown_as_it_is(&opened, Attributes::READ_ONLY)?
        }
        Access::Fresh => {
            let opened = fresh(&root, &shown.beneath, checked.identity, made)?;
            shown_as_it_is(&opened, Attributes::HARMLESS)?
        }
        Access::Image { sha256 } => {
            // What is no regular file is not waited for.
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
            let source = || beneath(root.as_fd(), &shown.beneath, flags);
            let image = store::image(&checked.images, sha256, source)?;
            (erofs(image.as_fd())?, true)
        }
    };
    Ok(Source {
        mount,
        is_directory,
        is_fresh: shown.access == Access::Fresh,
        target: shown.target.clone(),
    })
}

/// A copy of what is open here, and whether it is a directory.
fn shown_as_it_is(opened: &OwnedFd, attributes: Attributes) -> io::Result<(Detached, bool)> {
    let kind = kind(&fstat(opened)?);
    let is_directory = kind == SFlag::S_IFDIR;
    if !is_directory && kind != SFlag::S_IFREG {
        return Err(io::Error::other(
            "it is neither a directory nor a regular file",
        ));
    }
    let mount = copy(opened.as_fd())?;
    mount.restrict(attributes)?;
    Ok((mount, is_directory))
}

pub(super) fn kind(found: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT
}

fn directory() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// Also for the roots: posternd may own the directory that one lies in, and could put a link in its place.
pub(super) fn no_links() -> ResolveFlag {
    ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

pub(super) fn beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | no_links();
    let flags = OFlag::O_CLOEXEC | flags;
    Ok(openat2(
        root,
        path,
        OpenHow::new().flags(flags).resolve(resolve),
    )?)
}

fn fresh(
    root: &OwnedFd,
    path: &Path,
    identity: Identity,
    made: &mut Vec<Made>,
) -> io::Result<OwnedFd> {
    let name = path
        .file_name()
        .map(OsStr::to_owned)
        .map(PathBuf::from)
        .unwrap_or_default();
    let parent = match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => beneath(root.as_fd(), parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?,
        None => root.try_clone()?,
    };
    // Private until it is what it shall be, so that nobody gets at it in between.
    mkdirat(&parent, &name, Mode::S_IRWXU)?;
    made.push(Made {
        parent: parent.try_clone()?,
        name: name.clone(),
    });
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = openat2(&parent, &name, how)?;
    // Whoever owns the parent could have put another directory in its place; only one of ours is given away.
    if fstat(&opened)?.st_uid != geteuid().as_raw() {
        return Err(io::Error::other(
            "somebody replaced the directory that was just made",
        ));
    }
    fchmod(&opened, FRESH_MODE)?;
    if let Identity::Own { id } = identity {
        fchown(&opened, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))?;
    }
    Ok(opened)
}

impl Source {
    /// Puts it into the new root, which is the working directory.
    pub(super) fn attach(self, overlays: &mut Overlays<'_>) -> Result<(), Obstacle> {
        let Self {
            mount,
            is_directory,
            is_fresh,
            target,
        } = self;
        let step = format!(
            "cannot show something at {:?}",
            Path::new("/").join(&target)
        );
        tree::make(overlays.root(), &target, is_directory)
            .and_then(|onto| mount.attach(onto.as_fd()))
            .map_err(stops(Layer::MountNamespace, step))?;
        // Of a fresh directory everything is the agent's own already; one file that is a file is no door.
        if is_directory && !is_fresh {
            overlays.cover(&target);
        }
        Ok(())
    }
}
