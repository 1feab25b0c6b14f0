//! `launcher.toml`: what no plan can widen. Read once, before anything that came over a connection is looked at; never
//! believed unless its owner is the one who could start the launcher anyway.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::unistd::geteuid;
use postern_contract::{Digest, launch::Layer};
use serde::{Deserialize, Serialize};

/// The largest config that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 * 1024;

/// The most uids that [`AgentIds`] may hold.
pub const AGENT_IDS_MAX: u32 = 65_536;

/// The file as written. `postern up` fills one in and writes [`Written::to_toml`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// A plan's sources must lie in one of these directories; absolute, and no part of them a link.
    #[serde(default)]
    pub source_roots: Vec<PathBuf>,
    /// Agents' trees live beneath these directories: only there is a fresh one made, and only there does `Discard` delete,
    /// never one of them itself; absolute.
    #[serde(default)]
    pub discard_roots: Vec<PathBuf>,
    /// Host uids for agents; required when root runs the launcher, refused otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_ids: Option<AgentIds>,
    /// Who may be at the other end of the connection (SO_PEERCRED); the launcher's own uid when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_uid: Option<u32>,
    /// Layers without which no sandbox starts, whatever its plan says.
    #[serde(default)]
    pub mandatory_layers: Vec<Layer>,
    /// The EROFS images that plans may have mounted, which the kernel parses: those that have one of these digests. Only root can mount one.
    #[serde(default)]
    pub images: Vec<Digest>,
    /// Where the launcher keeps images: a directory that root alone can write, on no path with a link; absolute. Needed where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_store: Option<PathBuf>,
}

/// A range of host uids (and gids of the same numbers) that belong to nobody but agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentIds {
    /// The first uid of the range.
    pub first: u32,
    /// How many there are, 1 to [`AGENT_IDS_MAX`].
    pub count: u32,
}

impl AgentIds {
    /// Whether the range holds the uid.
    #[must_use]
    pub fn holds(self, uid: u32) -> bool {
        uid.checked_sub(self.first)
            .is_some_and(|offset| offset < self.count)
    }

    /// The uid of a slot, if the range has that many.
    #[must_use]
    pub fn slot(self, slot: u16) -> Option<u32> {
        let slot = u32::from(slot);
        (slot < self.count)
            .then(|| self.first.checked_add(slot))
            .flatten()
    }
}

/// The file as meant: checked against who runs the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Permitted sources.
    pub(crate) source_roots: Vec<PathBuf>,
    /// Where trees may be deleted.
    pub(crate) discard_roots: Vec<PathBuf>,
    /// Whose uid agents get.
    pub(crate) ids: Ids,
    /// Who may give orders, besides root.
    pub(crate) peer_uid: u32,
    /// Layers that every sandbox has.
    pub(crate) mandatory: Vec<Layer>,
    /// What of images is mounted.
    pub(crate) images: Images,
}

/// Images as meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Images {
    /// Where they are kept; of no meaning where none is listed.
    pub(crate) store: PathBuf,
    /// What each hashes to.
    pub(crate) listed: Vec<Digest>,
}

/// Whose host uid an agent gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// One of a range for each sandbox; the launcher runs as root.
    Range(AgentIds),
    /// That of the ordinary user who runs the launcher.
    Caller {
        /// The user's uid.
        uid: u32,
    },
}

/// Why the config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could have written it.
    #[error("{path}: {why}")]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// What is wrong with its owner or mode.
        why: String,
    },
    /// It is no TOML of the right shape.
    #[error("{path}: {message}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Where and what, in one line.
        message: String,
    },
    /// A value cannot be.
    #[error("{key}: {why}")]
    Value {
        /// The key concerned.
        key: &'static str,
        /// What is wrong with its value.
        why: String,
    },
}

impl Written {
    /// The file's text.
    ///
    /// # Errors
    /// When a path is not UTF-8, which TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Reads the file if it is trustworthy: owned by root or by the caller, and by nobody else to be written.
    ///
    /// # Errors
    /// When it cannot be read, somebody else can write it, or its shape is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        trusted(&meta).map_err(|why| ConfigError::Untrusted {
            path: path.to_owned(),
            why,
        })?;
        let mut text = String::new();
        file.by_ref()
            .take(CONFIG_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        toml::from_str(&text).map_err(|error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let message = format!("line {line}: {}", error.message());
            ConfigError::Shape {
                path: path.to_owned(),
                message,
            }
        })
    }
}

impl TryFrom<Written> for Config {
    type Error = ConfigError;

    fn try_from(written: Written) -> Result<Self, ConfigError> {
        Self::meant(written, geteuid().as_raw())
    }
}

impl Config {
    /// What the file means when `own_uid` runs the launcher.
    fn meant(written: Written, own_uid: u32) -> Result<Self, ConfigError> {
        let source_roots = roots("source_roots", written.source_roots)?;
        let discard_roots = roots("discard_roots", written.discard_roots)?;
        let peer_uid = written.peer_uid.unwrap_or(own_uid);
        let ids = match (written.agent_ids, own_uid) {
            (Some(range), 0) => Ids::Range(checked_range(range, peer_uid)?),
            (None, 0) => {
                return Err(value("agent_ids", "root needs a range of uids for agents"));
            }
            (Some(_), _) => {
                return Err(value(
                    "agent_ids",
                    "only root can give agents uids of their own",
                ));
            }
            (None, uid) => Ids::Caller { uid },
        };
        let images = images(written.images, written.image_store)?;
        let mandatory = written.mandatory_layers;
        Ok(Self {
            source_roots,
            discard_roots,
            ids,
            peer_uid,
            mandatory,
            images,
        })
    }
}

fn value(key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key,
        why: why.into(),
    }
}

fn trusted(meta: &std::fs::Metadata) -> Result<(), String> {
    const OTHERS_WRITE: u32 = 0o022;
    let own = geteuid().as_raw();
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    if meta.uid() != 0 && meta.uid() != own {
        return Err(format!(
            "owned by uid {}, not by root or uid {own}",
            meta.uid()
        ));
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        return Err("others can write it: take group and world write permission away".to_owned());
    }
    if meta.len() > CONFIG_BYTES_MAX {
        return Err(format!("larger than {CONFIG_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn roots(key: &'static str, paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, ConfigError> {
    match paths.iter().find(|path| !is_plain(path)) {
        None => Ok(paths),
        Some(bad) => Err(value(
            key,
            format!("{bad:?} is not an absolute path without `..`"),
        )),
    }
}

fn images(listed: Vec<Digest>, store: Option<PathBuf>) -> Result<Images, ConfigError> {
    let store = roots("image_store", store.into_iter().collect())?.pop();
    match store {
        None if !listed.is_empty() => Err(value(
            "image_store",
            "images need a directory where root alone keeps them",
        )),
        store => Ok(Images {
            store: store.unwrap_or_default(),
            listed,
        }),
    }
}

fn checked_range(range: AgentIds, peer_uid: u32) -> Result<AgentIds, ConfigError> {
    // The kernel answers 65534 for every uid that has no mapping, and -1 means "leave as it is".
    const RESERVED: [u32; 4] = [0, 65_534, 65_535, u32::MAX];
    if range.count == 0 || range.count > AGENT_IDS_MAX {
        return Err(value(
            "agent_ids",
            format!("count must be 1 to {AGENT_IDS_MAX}"),
        ));
    }
    if range.first.checked_add(range.count).is_none() {
        return Err(value("agent_ids", "the range goes beyond the largest uid"));
    }
    match RESERVED
        .into_iter()
        .chain([peer_uid])
        .find(|uid| range.holds(*uid))
    {
        None => Ok(range),
        Some(uid) => Err(value(
            "agent_ids",
            format!("the range holds {uid}, which is taken"),
        )),
    }
}

/// Whether a path is absolute and says where it leads: no `..`, no `.`, no doubled or trailing slash.
pub(crate) fn is_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let parts = path.components().skip(1);
    path.is_absolute()
        && !text.contains(&0)
        && parts
            .clone()
            .all(|part| matches!(part, Component::Normal(_)))
        && Path::new("/").join(parts.collect::<PathBuf>()).as_os_str() == path.as_os_str()
}

#[cfg(test)]
mod tests;
