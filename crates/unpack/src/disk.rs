//! The system calls that make files, each beneath one directory descriptor. Never follows a symbolic link, never opens what is
//! there already, and sets modes on descriptors alone.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, fchmod, fstat, mkdirat},
    unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat},
};

use crate::{UnpackError, place::Place};

/// The modes that anything is made with.
const DIRECTORY_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// How often the kernel may say "again" about a path before it is taken as a no.
const AGAIN_MAX: usize = 16;

/// The destination.
pub(crate) struct Disk<'d> {
    root: BorrowedFd<'d>,
    /// The directory that was used last: archives go folder by folder.
    open: Option<(String, OwnedFd)>,
    /// Whether directories are made with the mode that was asked for.
    keeps_mode: bool,
}

/// Whether files are made with the mode that was asked for: the first of a kind shows it for all.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    files_keep: bool,
    programs_keep: bool,
}

impl<'d> Disk<'d> {
    pub(crate) fn new(root: BorrowedFd<'d>) -> Self {
        Self {
            root,
            open: None,
            keeps_mode: false,
        }
    }

    /// Makes a directory, mode 0755, in one that exists.
    pub(crate) fn make_directory(&mut self, place: &Place) -> Result<(), UnpackError> {
        let failed =
            |errno: Errno| UnpackError::system("making the directory", place.path(), errno);
        let mode = Mode::from_bits_truncate(DIRECTORY_MODE);
        let keeps_mode = self.keeps_mode;
        let parent = self.parent(place)?;
        mkdirat(parent, place.name(), mode).map_err(failed)?;
        if !keeps_mode {
            let made = open_beneath(parent, place.name(), directory_flags()).map_err(failed)?;
            self.keeps_mode = set_mode(&made, DIRECTORY_MODE).map_err(failed)?;
            self.open = Some((place.path().to_owned(), made));
        }
        Ok(())
    }

    /// Makes a written file a program.
    pub(crate) fn make_executable(&mut self, place: &Place) -> Result<(), UnpackError> {
        let failed = |errno: Errno| UnpackError::system("setting a mode", place.path(), errno);
        let file = open_beneath(self.root, place.path(), file_flags()).map_err(failed)?;
        set_mode(&file, PROGRAM_MODE).map(|_| ()).map_err(failed)
    }

    /// Takes a small file away again and gives what was in it.
    pub(crate) fn take_back(
        &mut self,
        place: &Place,
        bytes_max: u64,
    ) -> Result<Vec<u8>, UnpackError> {
        let failed = |errno: Errno| UnpackError::system("reading back", place.path(), errno);
        let file = open_beneath(self.root, place.path(), file_flags()).map_err(failed)?;
        let mut content = Vec::new();
        File::from(file)
            .take(bytes_max)
            .read_to_end(&mut content)
            .map_err(|error| UnpackError::system("reading back", place.path(), error))?;
        let parent = self.parent(place)?;
        unlinkat(parent, place.name(), UnlinkatFlags::NoRemoveDir).map_err(failed)?;
        Ok(content)
    }

    /// Gives a file one more name.
    pub(crate) fn make_hard_link(
        &mut self,
        target: &Place,
        place: &Place,
    ) -> Result<(), UnpackError> {
        let failed = |errno: Errno| UnpackError::system("making the link", place.path(), errno);
        let path_only = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let from = match target.parent() {
            "" => None,
            parent => Some(open_beneath(self.root, parent, path_only).map_err(failed)?),
        };
        let root = self.root;
        let to = self.parent(place)?;
        let from = from.as_ref().map_or(root, AsFd::as_fd);
        // Without AT_SYMLINK_FOLLOW a link to a link is a link to the link itself; and there is none yet.
        linkat(from, target.name(), to, place.name(), AtFlags::empty()).map_err(failed)
    }

    /// Makes a symbolic link.
    pub(crate) fn make_symbolic_link(
        &mut self,
        target: &str,
        place: &Place,
    ) -> Result<(), UnpackError> {
        let parent = self.parent(place)?;
        symlinkat(target, parent, place.name())
            .map_err(|e| UnpackError::system("making the link", place.path(), e))
    }

    /// Has the kernel follow a link and says whether it stays beneath the root and finds something there.
    pub(crate) fn leads_inside(&self, place: &Place) -> Result<(), UnpackError> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV,
            );
        let why = match again(|| openat2(self.root, place.path(), how)) {
            Ok(_) => return Ok(()),
            Err(Errno::EXDEV) => "leads outside",
            Err(Errno::ENOENT | Errno::ENOTDIR) => "leads nowhere",
            Err(Errno::ELOOP) => "leads in a circle",
            Err(errno) => {
                return Err(UnpackError::system(
                    "following the link",
                    place.path(),
                    errno,
                ));
            }
        };
        Err(UnpackError::link(place.path(), why))
    }

    fn parent(&mut self, place: &Place) -> Result<BorrowedFd<'_>, UnpackError> {
        let parent = place.parent();
        if parent.is_empty() {
            return Ok(self.root);
        }
        let open = match self.open.take() {
            Some((path, open)) if path == parent => (path, open),
            _ => {
                let open = open_beneath(self.root, parent, directory_flags())
                    .map_err(|e| UnpackError::system("opening the directory", parent, e))?;
                (parent.to_owned(), open)
            }
        };
        Ok(self.open.insert(open).1.as_fd())
    }
}

/// Makes an empty file, by a path beneath the root whose directories are there.
pub(crate) fn create_file(
    root: BorrowedFd<'_>,
    path: &str,
    is_executable: bool,
    modes: &mut Modes,
) -> Result<File, UnpackError> {
    let failed = |errno: Errno| UnpackError::system("making the file", path, errno);
    let (mode, keeps_mode) = if is_executable {
        (PROGRAM_MODE, &mut modes.programs_keep)
    } else {
        (FILE_MODE, &mut modes.files_keep)
    };
    let how = OpenHow::new()
        .flags(
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        )
        .mode(Mode::from_bits_truncate(mode))
        .resolve(beneath_without_links());
    let made = again(|| openat2(root, path, how)).map_err(failed)?;
    if !*keeps_mode {
        *keeps_mode = set_mode(&made, mode).map_err(failed)?;
    }
    Ok(File::from(made))
}

/// Sets a mode where something (a umask, a default ACL) has made another of it, and says whether nothing had.
fn set_mode(made: &OwnedFd, mode: u32) -> nix::Result<bool> {
    if fstat(made)?.st_mode & 0o7777 == mode {
        return Ok(true);
    }
    fchmod(made, Mode::from_bits_truncate(mode)).map(|()| false)
}

fn file_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn beneath_without_links() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS
        | ResolveFlag::RESOLVE_NO_XDEV
}

fn open_beneath(directory: BorrowedFd<'_>, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(beneath_without_links());
    again(|| openat2(directory, path, how))
}

/// The kernel says EAGAIN when somebody renames while it looks.
fn again(mut open: impl FnMut() -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    for _ in 1..AGAIN_MAX {
        match open() {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            done => return done,
        }
    }
    open()
}
