//! A secret in a variable of the gate's own environment, which is wiped when it was read. Never the agent's environment: that is made from nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::Secret;
use postern_daemon::environment;
use serde::Deserialize;

use super::{Base, Fetch, NoSecret};

/// Variables that were taken out of the gate's environment at its start. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Taken(Arc<BTreeMap<String, Secret>>);

impl Taken {
    /// Takes these out, so that they are in no `/proc` and no dump. Where that cannot be they stay, and are read from there.
    pub(super) fn take<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        match environment::take(names) {
            Ok(taken) => Self(Arc::new(taken)),
            Err(error) => {
                tracing::warn!(%error, "secrets stay in the gate's environment");
                Self::default()
            }
        }
    }
}

/// `env = "NAME"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Env(String);

impl Env {
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Fetch for Env {
    fn fetch(&self, base: Base<'_>) -> Result<Secret, NoSecret> {
        // One that the config has named since the start is where it was.
        let taken = base.taken.and_then(|taken| taken.0.get(&self.0));
        let value = taken.map(|value| value.expose().to_vec());
        let value = value.or_else(|| environment::read(&self.0).map(String::into_bytes));
        let value = value.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| NoSecret::Unset(self.0.clone()))?;
        Ok(Secret::new(value))
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
