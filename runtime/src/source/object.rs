//! An agent packed in a file on this machine. The path comes from the config alone and leads nowhere but beneath the
//! config's directory or `object_roots`; it never comes from an API.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use serde::Deserialize;

use super::Digest;
use crate::config::{Places, Wrong};

/// `{ path, sha256, agent_setup }` as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    path: PathBuf,
    sha256: Option<String>,
    #[serde(default)]
    agent_setup: Vec<String>,
}

/// A checked path, and what must be found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    path: PathBuf,
    sha256: Option<Digest>,
    pub(super) agent_setup: Vec<String>,
}

impl Object {
    pub(super) fn mean(written: &Written, places: &Places) -> Result<Self, Wrong> {
        const PATH: &[&str] = &["source", "object", "path"];
        let path = places
            .resolve(&written.path)
            .map_err(|told| Wrong::at(PATH, told))?;
        if !path.is_file() {
            return Err(Wrong::at(
                PATH,
                format!("{} is no file", written.path.display()),
            ));
        }
        let sha256 = written
            .sha256
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error: super::NotADigest| {
                Wrong::at(&["source", "object", "sha256"], error.to_string())
            })?;
        Ok(Self {
            path,
            sha256,
            agent_setup: written.agent_setup.clone(),
        })
    }

    /// The archive's bytes, from the start.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(&self) -> io::Result<File> {
        // The path was resolved when the config was read; a link or a FIFO put there since is not what was checked.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no longer a file",
            ));
        }
        Ok(file)
    }

    /// The digest that the config pins, if it pins one.
    #[must_use]
    pub fn pinned(&self) -> Option<Digest> {
        self.sha256
    }

    /// What people recognise it by.
    #[must_use]
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_became_a_link_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        std::fs::write(&path, "x").unwrap();
        let object = Object {
            path: path.clone(),
            sha256: None,
            agent_setup: Vec::new(),
        };
        assert!(object.open().is_ok());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(object.open().is_err());
    }
}
