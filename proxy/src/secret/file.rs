//! A secret in a file of its own. Never in a file that group or others can read.

use std::{
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use postern_contract::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Base, Fetch, NoSecret, SECRET_BYTES_MAX};

/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// `file = "PATH"`; a relative path starts from the config's directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct File(PathBuf);

impl Fetch for File {
    fn fetch(&self, base: Base<'_>) -> Result<Secret, NoSecret> {
        read(&base.directory.join(&self.0), judge)
    }

    /// Whether the file is there and as private as it must be; one that only the gate's user can see is taken as good.
    fn inspect(&self, directory: &Path) -> Result<(), NoSecret> {
        look(&directory.join(&self.0))
    }

    fn key(&self) -> &'static str {
        "file"
    }

    fn file(&self, directory: &Path) -> Option<PathBuf> {
        Some(directory.join(&self.0))
    }
}

/// Whether a file is there and as private as a secret's must be, as far as whoever asks can see.
pub(super) fn look(path: &Path) -> Result<(), NoSecret> {
    match fs::metadata(path) {
        Ok(found) => judge(path, &found),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(NoSecret::Unreadable {
            path: path.display().to_string(),
            error,
        }),
    }
}

/// Reads a file that `judge` finds good; a line break at its end is no part of the value.
pub(super) fn read(
    path: &Path,
    judge: fn(&Path, &Metadata) -> Result<(), NoSecret>,
) -> Result<Secret, NoSecret> {
    let unreadable = |error| NoSecret::Unreadable {
        path: path.display().to_string(),
        error,
    };
    // Looked at before it is opened, since opening a FIFO waits; judged again on the open file, which is what is read.
    judge(path, &fs::metadata(path).map_err(unreadable)?)?;
    let file = fs::File::open(path).map_err(unreadable)?;
    judge(path, &file.metadata().map_err(unreadable)?)?;
    // Whole from the start: what grows leaves copies behind.
    let bytes_max = usize::try_from(SECRET_BYTES_MAX).unwrap_or(usize::MAX) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(without_last_line_break(bytes.to_vec()))
}

/// What an editor or a program ends its last line with is no part of a value.
pub(super) fn without_last_line_break(mut bytes: Vec<u8>) -> Secret {
    for end in [b"\n", b"\r"] {
        let line = bytes.strip_suffix(end).map_or(bytes.len(), <[u8]>::len);
        bytes.truncate(line);
    }
    Secret::new(bytes)
}

/// Whether it is a file at all.
pub(super) fn regular(path: &Path, found: &Metadata) -> Result<(), NoSecret> {
    if found.is_file() {
        return Ok(());
    }
    let path = path.display().to_string();
    Err(NoSecret::NotAFile { path })
}

/// Whether it is a file that nobody but its owner can read.
pub(super) fn judge(path: &Path, found: &Metadata) -> Result<(), NoSecret> {
    regular(path, found)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        let path = path.display().to_string();
        return Err(NoSecret::Exposed { path, mode });
    }
    Ok(())
}
