//! An agent in a file on this machine, packed or as it is. The path comes from the config alone and leads nowhere but beneath the
//! config's directory or `object_roots`; it never comes from an API.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::Digest;
use crate::config::{Places, Wrong};

/// `{ path | url, sha256, agent_setup, renew }` as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    path: Option<PathBuf>,
    url: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    pub(super) agent_setup: Vec<String>,
    pub(super) renew: Option<String>,
}

/// Where an object is.
pub(super) enum At<'written> {
    /// In a file on this machine.
    File(&'written Path),
    /// Somewhere in the world.
    World(&'written str),
}

impl Written {
    /// Whether it comes through the gate.
    pub(crate) fn is_fetched(&self) -> bool {
        self.url.is_some()
    }

    pub(super) fn at(&self) -> Result<At<'_>, Wrong> {
        match (&self.path, &self.url) {
            (Some(_), None) if self.renew.is_some() => {
                let told = "a file on this machine is looked at with every start: leave it out";
                Err(Wrong::at(&["source", "object", "renew"], told))
            }
            (Some(path), None) => Ok(At::File(path)),
            (None, Some(url)) => Ok(At::World(url)),
            _ => {
                let told = "an object has a `path` on this machine or a `url`, and one of them";
                Err(Wrong::at(&["source", "object"], told))
            }
        }
    }

    /// The digest that it must have, if it must have one.
    pub(super) fn pinned(&self) -> Result<Option<Digest>, Wrong> {
        let parsed = self.sha256.as_deref().map(str::parse).transpose();
        parsed.map_err(|error: super::NotADigest| {
            Wrong::at(&["source", "object", "sha256"], error.to_string())
        })
    }
}

/// A checked path, and what must be found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    path: PathBuf,
    name: String,
    sha256: Option<Digest>,
    pub(super) agent_setup: Vec<String>,
}

impl Object {
    pub(super) fn mean(path: &Path, written: &Written, places: &Places) -> Result<Self, Wrong> {
        const PATH: &[&str] = &["source", "object", "path"];
        let resolved = places.resolve(path).map_err(|told| Wrong::at(PATH, told))?;
        if !resolved.is_file() {
            return Err(Wrong::at(PATH, format!("{} is no file", path.display())));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            path: resolved,
            name: name.into_owned(),
            sha256: written.pinned()?,
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

    /// Its name as the config writes it, which a single file keeps.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
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
            name: "a.tar".to_owned(),
            sha256: None,
            agent_setup: Vec::new(),
        };
        assert!(object.open().is_ok());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(object.open().is_err());
    }
}
