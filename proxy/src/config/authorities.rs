//! The files of authorities that a config names with `ca`: each read once, and remembered for the day on which it cannot be
//! read any more. Never believes anybody by itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use postern_contract::config::Problem;

use super::Written;
use crate::{
    dial::{Roots, UnreadableRoots},
    inject::Credentials,
};

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

impl Authorities<'_> {
    /// Reads the files that credentials name, for the endpoints that these are asked for at.
    pub(super) fn settle(&mut self, document: &mut Written) -> Vec<Problem> {
        let tools = document.tools.iter_mut();
        let tools = tools.map(|(name, tool)| ("tools", name.as_str(), &mut tool.credential));
        let providers = document.providers.iter_mut();
        let providers = providers
            .map(|(name, provider)| ("providers", name.as_str(), &mut provider.credential));
        let settled = tools
            .chain(providers)
            .filter_map(|(table, name, credential)| {
                let error = credential
                    .as_mut()?
                    .settle(&mut |file| self.read(file))
                    .err()?;
                Some(Problem::at([table, name, "credential"], error.to_string()))
            });
        settled.collect()
    }
}

/// The files that a config names.
pub(super) fn files(document: &Written, directory: &Path) -> Vec<PathBuf> {
    let tools = document.tools.values().map(|tool| &tool.ca);
    let providers = document.providers.values().map(|provider| &provider.ca);
    let named = tools.chain(providers).flatten().map(PathBuf::as_path);
    let tools = document.tools.values().map(|tool| &tool.credential);
    let providers = document.providers.values();
    let credentials = tools.chain(providers.map(|provider| &provider.credential));
    let endpoints = credentials.flatten().flat_map(Credentials::authorities);
    named
        .chain(endpoints)
        .map(|file| directory.join(file))
        .collect()
}
