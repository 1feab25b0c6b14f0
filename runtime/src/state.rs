//! posternd's directory: what lies where, and who may pass. Never holds anything of the gate's.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Directories that an agent's uid passes but cannot list.
const PASSABLE: u32 = 0o711;

/// Directories of this daemon alone.
const PRIVATE: u32 = 0o700;

/// Where things are. While this value lives, no other daemon has them: the kernel drops the lock with its holder.
#[derive(Debug)]
pub(crate) struct State {
    #[expect(dead_code, reason = "the lock ends with its descriptor")]
    lock: File,
    /// Runs and events.
    pub(crate) runs: PathBuf,
    /// Installed agents.
    pub(crate) agents: PathBuf,
    /// Files of ours that sandboxes are shown.
    pub(crate) shims: PathBuf,
    /// Sockets of agents without code.
    pub(crate) sockets: PathBuf,
    /// The operator's key.
    pub(crate) operator_key: PathBuf,
    /// The key of callers who may name an end user.
    pub(crate) callers_key: PathBuf,
}

impl State {
    /// Makes the directories that are not there.
    ///
    /// # Errors
    /// A directory that cannot be made, or that another daemon works in: its runs would be taken for those of one that died.
    pub(crate) fn prepare(directory: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let directory =
            std::path::absolute(directory).map_err(|error| (directory.to_owned(), error))?;
        make(&directory, PASSABLE).map_err(|error| (directory.clone(), error))?;
        let lock = lock(&directory).map_err(|error| (directory.clone(), error))?;
        let state = Self {
            lock,
            runs: directory.join("runs.db"),
            agents: directory.join("agents"),
            shims: directory.join("shims"),
            sockets: directory.join("sockets"),
            operator_key: directory.join("operator.key"),
            callers_key: directory.join("callers.key"),
        };
        let wanted = [
            (&state.agents, PASSABLE),
            (&state.shims, PASSABLE),
            (&state.sockets, PRIVATE),
        ];
        for (path, mode) in wanted {
            make(path, mode).map_err(|error| (path.clone(), error))?;
        }
        Ok(state)
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)?;
    // The umask may have taken bits away, and an older version may have left others.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::WouldBlock,
            "another posternd uses this state directory; give this one its own with --state",
        ),
        TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_at_a_time_works_in_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let first = State::prepare(folder.path()).unwrap();
        let (path, error) = State::prepare(folder.path()).unwrap_err();
        assert_eq!(path, folder.path());
        assert!(error.to_string().contains("--state"), "{error}");
        drop(first);
        State::prepare(folder.path()).unwrap();
    }
}
