//! What is packed as the bytes of an archive: a file as it is, or a directory as tar. Never follows a link.

use std::{fs::File, io, os::fd::OwnedFd, path::Path, thread};

use crate::Failure;

/// An archive that can be read, and what makes it, if anything does.
pub(super) struct Feed {
    pub(super) bytes: OwnedFd,
    /// What a single file in it is called.
    pub(super) name: String,
    pub(super) reading: Reading,
}

/// Opens a file, or begins to read a directory.
pub(super) fn open(from: &Path) -> Result<Feed, Failure> {
    let failed = |error| Failure::path(from, error);
    let file = File::open(from).map_err(failed)?;
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let is_directory = file.metadata().map_err(failed)?.is_dir();
    if !is_directory {
        return Ok(Feed {
            bytes: file.into(),
            name: name.into_owned(),
            reading: Reading(None),
        });
    }
    let (bytes, into) = io::pipe().map_err(failed)?;
    let directory = from.to_owned();
    let reading = thread::spawn(move || {
        let mut tar = tar::Builder::new(io::BufWriter::new(into));
        tar.follow_symlinks(false);
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all("", directory)?;
        io::Write::flush(&mut tar.into_inner()?)
    });
    Ok(Feed {
        bytes: bytes.into(),
        name: name.into_owned(),
        reading: Reading(Some(reading)),
    })
}

/// What reads a directory meanwhile.
pub(super) struct Reading(Option<thread::JoinHandle<io::Result<()>>>);

impl Reading {
    /// Why not all of it was read, if that is so. Whoever unpacks is to be gone by then.
    pub(super) fn trouble(self) -> Option<io::Error> {
        let ended = self.0?.join();
        let ended = ended.unwrap_or_else(|_| Err(io::Error::other("reading it ended early")));
        ended
            .err()
            .filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}
