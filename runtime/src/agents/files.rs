//! An agent's files as the config says: where they come from and where they stand in the sandbox. Never fetches them.

use std::path::{Path, PathBuf};

use crate::{
    config::{AgentWritten, Places, Wrong, plain_absolute},
    source::Source,
};

/// Where the agent's files stand in the sandbox, unless the config says otherwise.
const MOUNT_DEFAULT: &str = "/agent";

/// Directories of the sandbox that hold something else.
const TAKEN: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// Files, and their place.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where they come from.
    pub source: Source,
    /// Where they stand in the sandbox.
    pub mount: PathBuf,
}

impl Files {
    /// The files of an agent, if it has any.
    pub(super) fn mean(written: &AgentWritten, places: &Places) -> Result<Option<Self>, Wrong> {
        let Some(source) = &written.source else {
            return Ok(None);
        };
        let mount = written
            .mount
            .clone()
            .unwrap_or_else(|| PathBuf::from(MOUNT_DEFAULT));
        check_mount(&mount)?;
        Ok(Some(Self {
            source: Source::mean(source, places)?,
            mount,
        }))
    }

    /// Directories in the sandbox that hold the source's own commands.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let within = self.source.commands().iter();
        let paths = within.map(|directory| self.mount.join(directory));
        paths
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }

    /// The files of an agent whose program may be one of the system's.
    pub(super) fn of_a_program(
        written: &AgentWritten,
        places: &Places,
    ) -> Result<Option<Self>, Wrong> {
        let files = Self::mean(written, places)?;
        if files.is_none() && written.mount.is_some() {
            let told = "there is nothing to mount: say `source` too, or leave `mount` out";
            return Err(Wrong::at(&["mount"], told));
        }
        Ok(files)
    }
}

fn check_mount(mount: &Path) -> Result<(), Wrong> {
    if !plain_absolute(mount) {
        return Err(Wrong::at(
            &["mount"],
            "`mount` is an absolute path without `..`, such as `/agent`",
        ));
    }
    let first = mount
        .components()
        .nth(1)
        .map(|part| part.as_os_str().to_string_lossy());
    let first = first.unwrap_or_default();
    let is_home = mount == Path::new("/home") || mount == Path::new("/home/agent");
    if TAKEN.contains(&first.as_ref()) || is_home {
        return Err(Wrong::at(
            &["mount"],
            format!(
                "{} holds something else in the sandbox: choose another, such as `/agent`",
                mount.display()
            ),
        ));
    }
    Ok(())
}
