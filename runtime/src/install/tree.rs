//! One agent's versions on disk: `versions/{digest}` and the symlink `current`. Only names are changed here; what lies in
//! a version belongs to an agent's uid and is never opened.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use postern_contract::AgentName;
use postern_daemon::files;

use super::InstallError;
use crate::source::{Digest, Resolved};

/// How a directory begins whose content is not whole.
const STAGING: &str = ".staging-";

/// The symlink to the version that is live.
pub(super) const CURRENT: &str = "current";

/// What stands behind a version's name in the file that says what its source led to.
const NOTE: &str = ".json";

/// How the symlink is called while it is made.
const CURRENT_STAGED: &str = ".current";

/// One agent's directory.
#[derive(Debug)]
pub(super) struct Tree {
    directory: PathBuf,
}

impl Tree {
    /// Makes the directories, passable but not listable for others: an agent's uid passes them.
    pub(super) fn prepare(agents: &Path, name: &AgentName) -> Result<Self, InstallError> {
        let directory = agents.join(name.as_str());
        let versions = directory.join("versions");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&versions)
            .map_err(|source| InstallError::Place {
                path: versions,
                source,
            })?;
        Ok(Self { directory })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn versions(&self) -> PathBuf {
        self.directory.join("versions")
    }

    /// Where a version is or will be.
    pub(super) fn version(&self, digest: Digest) -> PathBuf {
        self.versions().join(digest.to_string())
    }

    /// Whether a version is there; only whole ones have such a name.
    pub(super) fn has(&self, digest: Digest) -> bool {
        fs::symlink_metadata(self.version(digest)).is_ok_and(|found| found.is_dir())
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
    pub(super) fn name(&self, staging: &Path, digest: Digest) -> Result<(), InstallError> {
        let named = fs::rename(staging, self.version(digest)).and_then(|()| sync(&self.versions()));
        named.map_err(|source| InstallError::Place {
            path: self.version(digest),
            source,
        })
    }

    fn note_of(&self, digest: Digest) -> PathBuf {
        self.versions().join(format!("{digest}{NOTE}"))
    }

    /// Keeps what the source of a version led to; the version itself gets its name after this.
    pub(super) fn note(
        &self,
        digest: Digest,
        resolved: Option<&Resolved>,
    ) -> Result<(), InstallError> {
        let Some(resolved) = resolved else {
            return Ok(());
        };
        let path = self.note_of(digest);
        let text = serde_json::to_vec(resolved).unwrap_or_default();
        fs::write(&path, text).map_err(|source| InstallError::Place { path, source })
    }

    /// What the source of a version led to, if it was fetched.
    pub(super) fn noted(&self, digest: Digest) -> Option<Resolved> {
        Resolved::read(&fs::read(self.note_of(digest)).ok()?)
    }

    /// Makes a version the live one in one step, and says which was before.
    pub(super) fn go_live(&self, digest: Digest) -> Result<Option<String>, InstallError> {
        let current = self.directory.join(CURRENT);
        let before = fs::read_link(&current).ok();
        let before = before.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        if before == Some(digest.to_string()) {
            return Ok(before);
        }
        let staged = self.directory.join(CURRENT_STAGED);
        let target = Path::new("versions").join(digest.to_string());
        let placed = remove_if_there(&staged)
            .and_then(|()| std::os::unix::fs::symlink(target, &staged))
            .and_then(|()| fs::rename(&staged, &current))
            .and_then(|()| sync(&self.directory));
        placed
            .map(|()| before)
            .map_err(|source| InstallError::Place {
                path: current,
                source,
            })
    }

    /// Trees that are none of the kept ones: leftovers of installs that failed, and versions nobody goes back to.
    pub(super) fn stale(&self, kept: &[Option<String>]) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.versions()) else {
            return Vec::new();
        };
        let stale = entries.flatten().filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let whose = name.strip_suffix(NOTE).unwrap_or(&name);
            !kept.contains(&Some(whose.to_owned()))
        });
        let (notes, trees): (Vec<_>, Vec<_>) = stale
            .map(|entry| entry.path())
            .partition(|path| path.to_string_lossy().ends_with(NOTE));
        // Notes are this daemon's own.
        for note in notes {
            drop(fs::remove_file(note));
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
