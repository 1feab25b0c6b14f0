//! One agent's versions on disk: `versions/{version}`, a tree, an image of one or a symlink to either, the symlink `current`, and where the way back
//! leads. Only names are changed here; what lies in a version belongs to an agent's uid and is never opened.
//!
//! ```text
//! current ─▶ versions/B   previous: A                        B was installed after A
//! rollback:   rolled-back: {from: B, to: A}, then current ─▶ A     in force only while `current` is `to`
//! rollback:   current ─▶ B, then no `rolled-back`                  forward again
//! install C:  previous: what was live, then current ─▶ C, then no `rolled-back`
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use postern_contract::AgentName;
use postern_daemon::files;
use serde::{Deserialize, Serialize};

use super::{
    InstallError,
    version::{Kept, Note, Standing, Version},
};
use crate::source::Digest;

/// How a directory begins whose content is not whole.
pub(super) const STAGING: &str = ".staging-";

/// The symlink to the version that is live.
pub(super) const CURRENT: &str = "current";

/// What stands behind a version's name in the file that says what its source led to.
pub(super) const NOTE: &str = ".json";

/// How the symlink is called while it is made.
const CURRENT_STAGED: &str = ".current";

/// Which version was live before the live one was installed.
const PREVIOUS: &str = "previous";

/// What `rollback` did, while that is in force.
const ROLLED_BACK: &str = "rolled-back";

/// One step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Version,
    pub(super) to: Version,
}

#[derive(Serialize, Deserialize)]
struct StepWritten {
    from: String,
    to: String,
}

/// One agent's directory.
#[derive(Debug)]
pub(super) struct Tree {
    directory: PathBuf,
}

impl Tree {
    /// What is there of an agent, if anything is.
    pub(super) fn of(agents: &Path, name: &AgentName) -> Self {
        Self::at(agents.join(name.as_str()))
    }

    /// What is there in a directory, whoever's versions they are.
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes the directories, passable but not listable for others: an agent's uid passes them.
    pub(super) fn prepare(agents: &Path, name: &str) -> Result<Self, InstallError> {
        let tree = Self::at(agents.join(name));
        let versions = tree.versions();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&versions)
            .map_err(|source| InstallError::Place {
                path: versions,
                source,
            })?;
        Ok(tree)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn versions(&self) -> PathBuf {
        self.directory.join("versions")
    }

    /// Where a version is or will be.
    pub(super) fn version(&self, version: Version) -> PathBuf {
        self.versions().join(version.to_string())
    }

    /// Whether a version is there; only whole ones have such a name.
    fn has(&self, version: Version) -> bool {
        let found = fs::metadata(self.version(version));
        found.is_ok_and(|found| found.is_dir() || found.is_file())
    }

    /// The last tree that was made of this digest and is there.
    pub(super) fn newest(&self, digest: Digest) -> Option<Version> {
        let entries = fs::read_dir(self.versions()).ok()?;
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let versions = names.filter_map(|name| name.parse::<Version>().ok());
        versions
            .filter(|version| version.digest == digest && self.has(*version))
            .max_by_key(|version| version.renewal)
    }

    /// A name for one more tree of a digest.
    pub(super) fn next(&self, digest: Digest) -> Version {
        match self.newest(digest) {
            None => Version::first(digest),
            Some(last) => Version {
                digest,
                renewal: last.renewal + 1,
            },
        }
    }

    /// The live version, if it is there.
    pub(super) fn live(&self) -> Option<Version> {
        let link = fs::read_link(self.directory.join(CURRENT)).ok()?;
        let version = link.file_name()?.to_str()?.parse().ok()?;
        self.has(version).then_some(version)
    }

    /// What `rollback` did, if that is what is live.
    pub(super) fn rolled_back(&self) -> Option<Step> {
        let text = fs::read(self.directory.join(ROLLED_BACK)).ok()?;
        let written: StepWritten = serde_json::from_slice(&text).ok()?;
        let step = Step {
            from: written.from.parse().ok()?,
            to: written.to.parse().ok()?,
        };
        (self.live() == Some(step.to)).then_some(step)
    }

    /// The version that `rollback` leads to, if it is there.
    pub(super) fn way_back(&self) -> Option<Version> {
        let before = match self.rolled_back() {
            Some(step) => step.from,
            None => {
                let text = fs::read_to_string(self.directory.join(PREVIOUS)).ok()?;
                text.parse().ok()?
            }
        };
        (self.has(before) && self.live() != Some(before)).then_some(before)
    }

    /// What is live and what could be.
    pub(super) fn standing(&self) -> Option<Standing> {
        let kept = |version| Kept {
            version,
            note: self.noted(version),
        };
        Some(Standing {
            live: kept(self.live()?),
            way_back: self.way_back().map(kept),
            rolled_back: self.rolled_back().is_some(),
        })
    }

    /// A name for a directory that the launcher will make.
    pub(super) fn staging(&self) -> Result<PathBuf, InstallError> {
        let versions = self.versions();
        match files::random_hex(8) {
            Ok(random) => Ok(versions.join(format!("{STAGING}{random}"))),
            Err(source) => Err(InstallError::Place {
                path: versions,
                source,
            }),
        }
    }

    /// Gives a whole tree its name.
    pub(super) fn name(&self, staging: &Path, version: Version) -> Result<(), InstallError> {
        let path = self.version(version);
        let named = fs::rename(staging, &path).and_then(|()| sync(&self.versions()));
        named.map_err(|source| InstallError::Place { path, source })
    }

    /// Makes a tree that lies elsewhere a version.
    pub(super) fn show(&self, version: Version, lies: &Path) -> Result<(), InstallError> {
        let path = self.version(version);
        // One that is there leads to a tree that was deleted.
        let shown = remove_if_there(&path)
            .and_then(|()| std::os::unix::fs::symlink(lies, &path))
            .and_then(|()| sync(&self.versions()));
        shown.map_err(|source| InstallError::Place { path, source })
    }

    fn note_of(&self, version: Version) -> PathBuf {
        self.versions().join(format!("{version}{NOTE}"))
    }

    /// Keeps how a version came to be; the version itself gets its name after this.
    pub(super) fn note(&self, version: Version, note: &Note) -> Result<(), InstallError> {
        let path = self.note_of(version);
        let text = serde_json::to_vec(note).unwrap_or_default();
        fs::write(&path, text).map_err(|source| InstallError::Place { path, source })
    }

    /// How a version came to be.
    pub(super) fn noted(&self, version: Version) -> Option<Note> {
        serde_json::from_slice(&fs::read(self.note_of(version)).ok()?).ok()
    }

    /// Makes a version the live one in one step; what was live before is the way back, and what `rollback` did is over.
    pub(super) fn go_live(&self, version: Version) -> Result<(), InstallError> {
        let before = match self.live() {
            Some(live) if live == version => self.way_back(),
            live => live,
        };
        if let Some(before) = before {
            self.write(PREVIOUS, before.to_string().as_bytes())?;
        }
        self.point_at(version)?;
        self.forget(ROLLED_BACK)
    }

    /// Makes the way back the live version, and the live one the way back. Nothing where there is no way back.
    pub(super) fn roll_back(&self) -> Result<Option<Step>, InstallError> {
        let (Some(from), Some(to)) = (self.live(), self.way_back()) else {
            return Ok(None);
        };
        if self.rolled_back().is_some() {
            self.point_at(to)?;
            self.forget(ROLLED_BACK)?;
        } else {
            let written = StepWritten {
                from: from.to_string(),
                to: to.to_string(),
            };
            let text = serde_json::to_vec(&written).unwrap_or_default();
            self.write(ROLLED_BACK, &text)?;
            self.point_at(to)?;
        }
        Ok(Some(Step { from, to }))
    }

    /// What a start keeps: the others are nobody's way to anything.
    pub(super) fn kept(&self) -> Vec<Version> {
        self.live().into_iter().chain(self.way_back()).collect()
    }

    fn point_at(&self, version: Version) -> Result<(), InstallError> {
        let current = self.directory.join(CURRENT);
        let target = Path::new("versions").join(version.to_string());
        if fs::read_link(&current).is_ok_and(|link| link == target) {
            return Ok(());
        }
        let staged = self.directory.join(CURRENT_STAGED);
        remove_if_there(&staged)
            .and_then(|()| std::os::unix::fs::symlink(target, &staged))
            .and_then(|()| fs::rename(&staged, &current))
            .and_then(|()| sync(&self.directory))
            .map_err(|source| InstallError::Place {
                path: current,
                source,
            })
    }

    /// A file of ours beside the symlink, whole or not there.
    fn write(&self, name: &str, text: &[u8]) -> Result<(), InstallError> {
        let (path, staged) = (
            self.directory.join(name),
            self.directory.join(format!(".{name}")),
        );
        let written = fs::File::create(&staged)
            .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&staged, &path))
            .and_then(|()| sync(&self.directory));
        written.map_err(|source| InstallError::Place { path, source })
    }

    fn forget(&self, name: &str) -> Result<(), InstallError> {
        let path = self.directory.join(name);
        remove_if_there(&path).map_err(|source| InstallError::Place { path, source })
    }

    /// Trees that are none of the kept ones: leftovers of installs that failed, and versions nobody goes back to.
    pub(super) fn stale(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.versions()) else {
            return Vec::new();
        };
        let kept: Vec<_> = self.kept().iter().map(Version::to_string).collect();
        let stale = entries.flatten().filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let whose = name.strip_suffix(NOTE).unwrap_or(&name);
            !kept.iter().any(|kept| kept == whose)
        });
        let (trees, files): (Vec<_>, Vec<_>) = stale
            .map(|entry| entry.path())
            .partition(|path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()));
        // Notes, images and symlinks are this daemon's own.
        for file in files {
            drop(fs::remove_file(file));
        }
        trees
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
