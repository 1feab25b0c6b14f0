//! Images where root alone writes. One that is asked for the first time is copied out of posternd's hands, the copy is hashed, and only
//! what hashes to a digest of `launcher.toml` gets a name here; what has a name is mounted. Never mounts, and never keeps, another.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{Mode, fstat},
    unistd::{UnlinkatFlags, linkat, unlinkat},
};
use postern_contract::Digest;
use sha2::{Digest as _, Sha256};

use super::sources::{beneath, kind, no_links};
use crate::config::Images;

/// What stands behind the digest in an image's name.
const SUFFIX: &str = ".erofs";

/// Root's to read, and nobody's to write.
const IMAGE_MODE: Mode = Mode::S_IRUSR;

/// The mode bits of something that somebody besides its owner can write.
const OTHERS_WRITE: u32 = 0o022;

/// How much is hashed at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The kept image of this digest, open to be read. Of one that is not there yet `source` is copied.
///
/// # Errors
/// When others could have written the store or what is in it, when the source is something else, and as the system says.
pub(super) fn image(
    images: &Images,
    sha256: Digest,
    source: impl FnOnce() -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let store = opened(&images.store)?;
    match kept(&store, sha256) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        done => return done,
    }
    keep(&store, sha256, source()?)?;
    forget(&store, &images.listed);
    kept(&store, sha256)
}

fn opened(store: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(no_links());
    let unusable = |why: &dyn std::fmt::Display| {
        io::Error::other(format!(
            "{} keeps images, and is not to be used: {why}",
            store.display()
        ))
    };
    let opened = openat2(AT_FDCWD, store, how).map_err(|errno| unusable(&errno))?;
    roots_alone(opened.as_fd()).map_err(|why| unusable(&why))?;
    Ok(opened)
}

/// Whether root alone could have written what is open here.
fn roots_alone(opened: BorrowedFd<'_>) -> io::Result<()> {
    let found = fstat(opened)?;
    match found.st_uid == 0 && found.st_mode & OTHERS_WRITE == 0 {
        true => Ok(()),
        false => Err(io::Error::other("others than root could have written it")),
    }
}

fn kept(store: &OwnedFd, sha256: Digest) -> io::Result<OwnedFd> {
    let name = format!("{sha256}{SUFFIX}");
    let image = beneath(
        store.as_fd(),
        Path::new(&name),
        OFlag::O_RDONLY | OFlag::O_NONBLOCK,
    )?;
    is_file(&image)?;
    roots_alone(image.as_fd())?;
    Ok(image)
}

fn is_file(opened: &OwnedFd) -> io::Result<()> {
    match kind(&fstat(opened)?) == nix::sys::stat::SFlag::S_IFREG {
        true => Ok(()),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// Copies, and gives the copy its name if it is what it should be. Until then it has none, and goes with this process.
fn keep(store: &OwnedFd, sha256: Digest, source: OwnedFd) -> io::Result<()> {
    is_file(&source)?;
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .mode(IMAGE_MODE)
        .resolve(ResolveFlag::RESOLVE_BENEATH);
    let mut copy = File::from(openat2(store, ".", how)?);
    // As the file system can: one that shares blocks copies nothing.
    io::copy(&mut File::from(source), &mut copy)?;
    let found = hashed(&mut copy)?;
    if found != sha256 {
        let why = format!("its sha256 is {found}, and {sha256} was asked for");
        return Err(io::Error::other(why));
    }
    copy.sync_all()?;
    let open = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let name = format!("{sha256}{SUFFIX}");
    match linkat(
        AT_FDCWD,
        open.as_str(),
        store,
        name.as_str(),
        AtFlags::AT_SYMLINK_FOLLOW,
    ) {
        // Another launcher was faster, and looked as closely.
        Err(Errno::EEXIST) => Ok(()),
        done => Ok(done?),
    }
}

fn hashed(file: &mut File) -> io::Result<Digest> {
    file.rewind()?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest::of(hasher.finalize().into())),
            read => hasher.update(&piece[..read]),
        }
    }
}

/// Takes away what may not be mounted any more. Who has it mounted keeps it.
fn forget(store: &OwnedFd, listed: &[Digest]) {
    let Ok(mut directory) = store.try_clone().and_then(|store| Ok(Dir::from_fd(store)?)) else {
        return;
    };
    for entry in directory.iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        let digest = name
            .strip_suffix(SUFFIX)
            .and_then(|digest| digest.parse().ok());
        if digest.is_some_and(|digest| !listed.contains(&digest)) {
            // What cannot be taken away is not mounted all the same.
            let _gone = unlinkat(store, entry.file_name(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
