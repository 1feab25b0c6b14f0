//! A secret in a variable of the gate's own environment. Never the agent's environment: that is made from nothing.

use std::path::{Path, PathBuf};

use postern_contract::Secret;
use postern_daemon::environment;
use serde::Deserialize;

use super::{Fetch, NoSecret};

/// `env = "NAME"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Env(String);

impl Fetch for Env {
    fn fetch(&self, _directory: &Path) -> Result<Secret, NoSecret> {
        let value = environment::read(&self.0).ok_or_else(|| NoSecret::Unset(self.0.clone()))?;
        Ok(Secret::new(value.into_bytes()))
    }

    /// Whoever checks a config has another environment than the gate will have.
    fn inspect(&self, _directory: &Path) -> Result<(), NoSecret> {
        Ok(())
    }

    fn key(&self) -> &'static str {
        "env"
    }

    fn file(&self, _directory: &Path) -> Option<PathBuf> {
        None
    }
}
