//! Where an agent's files come from: a kind a file, and the one match over them. Never fetches or unpacks anything.

mod fetched;
pub mod git;
mod lock;
pub mod npm;
pub mod object;
mod package;
pub mod pip;
pub mod remote;

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use postern_contract::{Digest, NotADigest};

pub use fetched::{Resolved, Script};
pub use git::Git;
pub use npm::Npm;
pub use object::Object;
pub use pip::Pip;
pub use remote::Remote;

use self::object::At;
use crate::config::{Places, Wrong};

/// `source = { KIND = { … } }` as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// An archive in a file, or somewhere in the world.
    Object(object::Written),
    /// A commit of a repository.
    Git(Git),
    /// A package of npm.
    Npm(Npm),
    /// A package of pip.
    Pip(Pip),
}

/// Where an agent's files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An archive in a file.
    Object(Object),
    /// An archive somewhere in the world.
    Remote(Remote),
    /// A commit of a repository.
    Git(Git),
    /// A package of npm.
    Npm(Npm),
    /// A package of pip.
    Pip(Pip),
}

/// How a source's files are had.
#[derive(Debug)]
pub enum Way<'source> {
    /// By unpacking an archive on this machine.
    Unpack(&'source Object),
    /// By unpacking an archive while it is downloaded.
    Download(&'source Remote),
    /// By a script that fetches them.
    Fetch(Script),
}

impl Source {
    pub(crate) fn mean(written: &Written, places: &Places) -> Result<Self, Wrong> {
        let source = match written {
            Written::Object(object) => match object.at()? {
                At::File(path) => Self::Object(Object::mean(path, object, places)?),
                At::World(url) => Self::Remote(Remote::mean(url, object)?),
            },
            Written::Git(git) => git.check().map(|()| Self::Git(git.clone()))?,
            Written::Npm(npm) => Self::Npm(npm.mean(places)?),
            Written::Pip(pip) => Self::Pip(pip.mean(places)?),
        };
        if source
            .setup()
            .iter()
            .any(|line| line.trim().is_empty() || line.contains('\0'))
        {
            let told = "a command is a line for the shell, and none is empty";
            return Err(Wrong::at(&["source", source.word(), "agent_setup"], told));
        }
        Ok(source)
    }

    /// What the config calls the kind.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Object(_) | Self::Remote(_) => "object",
            Self::Git(_) => "git",
            Self::Npm(_) => "npm",
            Self::Pip(_) => "pip",
        }
    }

    /// What people recognise it by.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Object(object) => object.shown(),
            Self::Remote(object) => object.shown(),
            Self::Git(git) => git.shown(),
            Self::Npm(npm) => npm.shown(),
            Self::Pip(pip) => pip.shown(),
        }
    }

    /// How its files are had.
    #[must_use]
    pub fn way(&self) -> Way<'_> {
        match self {
            Self::Object(object) => Way::Unpack(object),
            Self::Remote(object) => Way::Download(object),
            Self::Git(git) => Way::Fetch(git.script()),
            Self::Npm(npm) => Way::Fetch(npm.script()),
            Self::Pip(pip) => Way::Fetch(pip.script()),
        }
    }

    /// Commands that make the files ready, in order, each a line for the shell.
    #[must_use]
    pub fn setup(&self) -> &[String] {
        match self {
            Self::Object(object) => &object.agent_setup,
            Self::Remote(object) => &object.agent_setup,
            Self::Git(git) => &git.agent_setup,
            Self::Npm(npm) => &npm.0.agent_setup,
            Self::Pip(pip) => &pip.0.agent_setup,
        }
    }

    /// Whether setup begins in the agent's home: a package's files are nobody's to change.
    #[must_use]
    pub fn is_a_package(&self) -> bool {
        matches!(self, Self::Npm(_) | Self::Pip(_))
    }

    /// Whether it can lead to no other version ever.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        match self {
            Self::Object(object) => object.pinned().is_some(),
            Self::Remote(object) => object.pinned().is_some(),
            Self::Git(git) => git.is_pinned(),
            Self::Npm(npm) => npm.is_pinned(),
            Self::Pip(pip) => pip.is_pinned(),
        }
    }

    /// What its bytes must hash to, if the config says so.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        match self {
            Self::Object(object) => object.pinned(),
            Self::Remote(object) => object.pinned(),
            Self::Git(_) | Self::Npm(_) | Self::Pip(_) => None,
        }
    }

    /// Directories beneath the mount that hold its commands; the first is looked through first.
    #[must_use]
    pub fn commands(&self) -> &'static [&'static str] {
        match self {
            Self::Object(_) | Self::Remote(_) | Self::Git(_) => &[],
            Self::Npm(_) => &["node_modules/.bin"],
            Self::Pip(_) => &["bin"],
        }
    }

    /// All of what the config says of it.
    #[must_use]
    pub fn described(&self) -> Value {
        match self {
            Self::Object(object) => json!({ "object": { "path": object.shown() } }),
            Self::Remote(object) => json!({ "object": object.described() }),
            Self::Git(git) => json!({ "git": git }),
            Self::Npm(npm) => json!({ "npm": npm }),
            Self::Pip(pip) => json!({ "pip": pip }),
        }
    }

    /// The name of the tree that it leads to at a mount, by what is written of it and what is known of its bytes.
    #[must_use]
    pub fn version(&self, content: Option<&Content>, mount: &Path) -> Digest {
        match content {
            // Nothing else makes a difference to what is in an archive.
            Some(Content { digest, name: None }) if self.setup().is_empty() => *digest,
            Some(Content { digest, name: None }) => {
                digest_of(&json!([digest.to_string(), self.setup(), mount]))
            }
            Some(Content {
                digest,
                name: Some(name),
            }) => digest_of(&json!([digest.to_string(), name, self.setup(), mount])),
            None => match self {
                Self::Remote(object) => digest_of(&json!([object.identity(), mount])),
                _ => digest_of(&json!([self.described(), mount])),
            },
        }
    }
}

/// What stands for a value, as long as nothing of it changes.
pub(crate) fn digest_of(value: &Value) -> Digest {
    Digest::of(Sha256::digest(value.to_string()).into())
}

/// What is known of an object's bytes before they are unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What they hash to.
    pub digest: Digest,
    /// What they are called, unless they are known to be an archive, whose name makes no difference.
    pub name: Option<String>,
}
