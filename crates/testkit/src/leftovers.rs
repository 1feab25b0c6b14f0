//! A directory of a test that is gone with it, or is left behind whole where a search for secrets is to come (`scripts/secrets`).
//! Never judges what is in it.

use std::{
    env, fs,
    ops::Deref,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// The variable with the directory that is searched.
const PLACE: &str = "POSTERN_LEFTOVERS";

/// A directory that is left behind or removed when this is dropped.
#[derive(Debug)]
pub struct Folder(Option<TempDir>);

impl Folder {
    /// A directory as the system makes them, beneath /tmp.
    ///
    /// # Panics
    /// When there is no room for one.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
        Self(Some(
            folder.unwrap_or_else(|error| panic!("no folder: {error}")),
        ))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0
            .as_ref()
            .map_or(Path::new("/nonexistent"), TempDir::path)
    }

    /// Adds a secret that was in no file of `[secrets]`, or is there no more, to what is searched for.
    pub fn had_secret(&self, value: impl AsRef<[u8]>) {
        if wanted().is_none() {
            return;
        }
        let at = self.path().join(".had-secrets");
        let mut had = fs::read(&at).unwrap_or_default();
        had.extend_from_slice(value.as_ref());
        had.push(b'\n');
        drop(fs::write(at, had));
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let (Some(folder), Some(place)) = (self.0.take(), wanted()) else {
            return;
        };
        let name = folder
            .path()
            .file_name()
            .map(ToOwned::to_owned)
            .unwrap_or_default();
        let path = folder.keep();
        if let Err(error) = fs::rename(&path, place.join(name)) {
            panic!("{} cannot be left behind: {error}", path.display());
        }
    }
}

/// Where directories are left behind, if they are.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "of tests alone: no daemon is linked here, nor what reads their environment"
)]
pub fn wanted() -> Option<PathBuf> {
    env::var_os(PLACE)
        .filter(|place| !place.is_empty())
        .map(PathBuf::from)
}
