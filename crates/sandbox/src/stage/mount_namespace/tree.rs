//! Places in the root that is being built (the working directory), and binds onto them. Never follows a symbolic link
//! inside it.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{SFlag, fstat},
};
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
pub(super) fn bind_if_there(
    root: BorrowedFd<'_>,
    host: &Path,
    attributes: Attributes,
) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let from = match openat2(AT_FDCWD, host, OpenHow::new().flags(flags)) {
        Ok(from) => from,
        Err(nix::Error::ENOENT | nix::Error::EACCES) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    let place: PathBuf = host.components().skip(1).collect();
    let kind = SFlag::from_bits_truncate(fstat(&from)?.st_mode) & SFlag::S_IFMT;
    let is_directory = kind == SFlag::S_IFDIR;
    let onto = make(root, &place, is_directory)?;
    let mount = copy(from.as_fd())?;
    mount.restrict(attributes)?;
    mount.attach(onto.as_fd())?;
    Ok(is_directory)
}

/// Makes a place for a directory or a file, and what leads there.
pub(super) fn make(root: BorrowedFd<'_>, place: &Path, is_directory: bool) -> io::Result<OwnedFd> {
    let made = || match is_directory {
        true => fs::create_dir(place),
        false => fs::File::create_new(place).map(drop),
    };
    match made() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            made()?;
        }
        // A plan may show something beneath what is there already, as /tmp is.
        Err(error) if is_directory && error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    open(root, place)
}
