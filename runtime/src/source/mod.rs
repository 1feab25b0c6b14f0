//! Where an agent's files come from: a kind a file, and the one match over them. Never unpacks anything.

pub mod object;

use std::{fs::File, io};

use serde::{Deserialize, de::IgnoredAny};

pub use object::Object;

use crate::config::{Places, Wrong};

/// `source = { KIND = { … } }` as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// An archive in a file.
    Object(object::Written),
    /// A repository; not in this version.
    Git(IgnoredAny),
    /// A package of npm; not in this version.
    Npm(IgnoredAny),
    /// A package of pip; not in this version.
    Pip(IgnoredAny),
}

/// Where an agent's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An archive in a file.
    Object(Object),
}

/// What every source can do.
pub trait Fetch: Send + Sync {
    /// The archive's bytes, from the start.
    ///
    /// # Errors
    /// As the file system says.
    fn open(&self) -> io::Result<File>;

    /// The digest that the config pins, if it pins one.
    fn pinned(&self) -> Option<Digest>;

    /// What people recognise it by.
    fn shown(&self) -> String;
}

impl Source {
    pub(crate) fn mean(written: &Written, places: &Places) -> Result<Self, Wrong> {
        let absent = match written {
            Written::Object(object) => return Object::mean(object, places).map(Self::Object),
            Written::Git(_) => "git",
            Written::Npm(_) => "npm",
            Written::Pip(_) => "pip",
        };
        Err(Wrong::at(
            &["source", absent],
            format!("`{absent}` sources are not in this version: only `object` is"),
        ))
    }

    /// The kind behind the enum.
    #[must_use]
    pub fn kind(&self) -> &dyn Fetch {
        match self {
            Self::Object(object) => object,
        }
    }
}

/// The SHA-256 of an archive: the name of what was unpacked from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 is 64 hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// The digest of these bytes of a finished hash.
    #[must_use]
    pub fn of(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| NotADigest)?;
        Ok(Self(hash))
    }
}
