//! The system calls that make files, each beneath one directory descriptor. Never follows a symbolic link, never opens what is
//! there already, and sets modes on descriptors alone.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, fchmod, mkdirat},
    unistd::{linkat, symlinkat},
};

use crate::{UnpackError, member::cut_off, place::Place};

/// How much is copied at once, in bytes.
const COPY_BYTES: usize = 64 * 1024;

/// How often the kernel may say "again" about a path before it is taken as a no.
const AGAIN_MAX: usize = 16;

/// The destination.
pub(crate) struct Disk<'d> {
    root: BorrowedFd<'d>,
    /// The directory that was used last: archives go folder by folder.
    open: Option<(String, OwnedFd)>,
}

impl<'d> Disk<'d> {
    pub(crate) fn new(root: BorrowedFd<'d>) -> Self {
        Self { root, open: None }
    }

    /// Makes a directory, mode 0755, in one that exists.
    pub(crate) fn make_directory(&mut self, place: &Place) -> Result<(), UnpackError> {
        let failed =
            |errno: Errno| UnpackError::system("making the directory", place.path(), errno);
        let parent = self.parent(place)?;
        mkdirat(parent, place.name(), Mode::S_IRWXU).map_err(failed)?;
        let made = open_beneath(parent, place.name(), directory_flags()).map_err(failed)?;
        fchmod(&made, Mode::from_bits_truncate(0o755)).map_err(failed)?;
        self.open = Some((place.path().to_owned(), made));
        Ok(())
    }

    /// Makes an empty file that nobody else can open; [`settle`] gives it its mode.
    pub(crate) fn create_file(&mut self, place: &Place) -> Result<File, UnpackError> {
        let how = OpenHow::new()
            .flags(
                OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_WRONLY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC,
            )
            .mode(Mode::S_IRUSR | Mode::S_IWUSR)
            .resolve(beneath_without_links());
        let parent = self.parent(place)?;
        let made = again(|| openat2(parent, place.name(), how));
        let made = made.map_err(|e| UnpackError::system("making the file", place.path(), e))?;
        Ok(File::from(made))
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

/// Copies until the source ends or `bytes_max` are through, and says how many were.
pub(crate) fn copy(
    from: &mut impl Read,
    to: &mut File,
    bytes_max: u64,
) -> Result<u64, UnpackError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    while copied < bytes_max {
        let room =
            usize::try_from(bytes_max - copied).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let count = match from.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) => return Err(cut_off()),
        };
        to.write_all(&buffer[..count])
            .map_err(|error| UnpackError::System {
                doing: "writing a file".to_owned(),
                why: error.to_string(),
            })?;
        copied += count as u64;
    }
    Ok(copied)
}

/// Gives a written file its mode: 0644, or 0755 for programs.
pub(crate) fn settle(file: &File, is_executable: bool) -> Result<(), UnpackError> {
    let mode = Mode::from_bits_truncate(if is_executable { 0o755 } else { 0o644 });
    fchmod(file, mode).map_err(|e| UnpackError::System {
        doing: "setting a mode".to_owned(),
        why: e.to_string(),
    })
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
