//! Places in the root that is being built (the working directory), and binds onto them. Never follows a symbolic link
//! inside it.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use postern_sys::mount::{Attributes, copy};

/// The root that is being built.
pub(super) fn open_root() -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat2(AT_FDCWD, ".", OpenHow::new().flags(flags))?)
}

/// Opens a place beneath the root, not following any link.
pub(super) fn open(root: BorrowedFd<'_>, relative: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(resolve);
    Ok(openat2(root, relative, how)?)
}

/// Shows one of the host's files or directories, if there is one, at the same place inside. Tells whether it is a
/// directory that is shown now.
pub(super) fn bind_if_there(host: &Path, attributes: Attributes) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let from = match openat2(AT_FDCWD, host, OpenHow::new().flags(flags)) {
        Ok(from) => from,
        Err(nix::Error::ENOENT | nix::Error::EACCES) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let place: std::path::PathBuf = host.components().skip(1).collect();
    let is_directory = fs::metadata(host)?.is_dir();
    if is_directory {
        fs::create_dir_all(&place)?;
    } else {
        place.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::File::create_new(&place)?;
    }
    let onto = open(open_root()?.as_fd(), &place)?;
    let mount = copy(from.as_fd())?;
    mount.restrict(attributes)?;
    mount.attach(onto.as_fd())?;
    Ok(is_directory)
}
