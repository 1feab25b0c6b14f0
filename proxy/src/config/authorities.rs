//! The files of authorities that a config names with `ca`: each read once, and remembered for the day on which it cannot be
//! read any more. Never believes anybody by itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::Written;
use crate::dial::{Roots, UnreadableRoots};

/// What was read, by file.
pub(crate) type Known = BTreeMap<PathBuf, Roots>;

/// Reads the files of one config.
pub(super) struct Authorities<'a> {
    directory: &'a Path,
    /// What goes on where a file cannot be read any more.
    before: &'a Known,
    pub(super) known: Known,
}

impl<'a> Authorities<'a> {
    /// A reader from this directory on.
    pub(super) fn new(directory: &'a Path, before: &'a Known) -> Self {
        Self {
            directory,
            before,
            known: Known::new(),
        }
    }

    /// The authorities of one file.
    pub(super) fn read(&mut self, file: &Path) -> Result<Roots, UnreadableRoots> {
        let path = self.directory.join(file);
        if let Some(known) = self.known.get(&path) {
            return Ok(known.clone());
        }
        let roots =
            Roots::read(&path).or_else(|error| self.before.get(&path).cloned().ok_or(error))?;
        self.known.insert(path, roots.clone());
        Ok(roots)
    }
}

/// The files that a config names.
pub(super) fn files(document: &Written, directory: &Path) -> Vec<PathBuf> {
    let tools = document.tools.values().map(|tool| &tool.ca);
    let providers = document.providers.values().map(|provider| &provider.ca);
    let named = tools.chain(providers).flatten();
    named.map(|file| directory.join(file)).collect()
}
