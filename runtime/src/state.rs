//! posternd's directory: what lies where, and who may pass. Never holds anything of the gate's.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Directories that an agent's uid passes but cannot list.
const PASSABLE: u32 = 0o711;

/// Directories of this daemon alone.
const PRIVATE: u32 = 0o700;

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct State {
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
    pub(crate) fn prepare(directory: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let directory =
            std::path::absolute(directory).map_err(|error| (directory.to_owned(), error))?;
        let state = Self {
            runs: directory.join("runs.db"),
            agents: directory.join("agents"),
            shims: directory.join("shims"),
            sockets: directory.join("sockets"),
            operator_key: directory.join("operator.key"),
            callers_key: directory.join("callers.key"),
        };
        let wanted = [
            (&directory, PASSABLE),
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
