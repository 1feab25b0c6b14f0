//! What packages have in common, whoever installs them: how they are written, what is checked of it, and what their script is told.
//! Never knows what a registry calls a name or a version: that is each kind's.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    fetched::{Script, told},
    lock,
};
use crate::config::{Places, Wrong};

/// `{ package_name, version | lock_file, registry_url, agent_setup, renew }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    /// Its name, as its registry has it.
    pub(super) package_name: String,
    /// Which versions will do; the newest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// What says of all that is installed which version and which bytes it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_file: Option<PathBuf>,
    /// The digest of what that file says, as it is understood.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    locked: Option<String>,
    /// What it says.
    #[serde(skip)]
    lock: Option<Arc<str>>,
    /// Where it is, if not where its program looks by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_url: Option<String>,
    /// Commands that make it ready, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) agent_setup: Vec<String>,
    /// Any text: another one has it fetched anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew: Option<String>,
}

/// What a registry takes for a name and for a version, and what people are told of anything else.
pub(super) struct Rules {
    pub(super) word: &'static str,
    pub(super) name: (fn(&str) -> bool, &'static str),
    pub(super) version: (fn(&str) -> bool, &'static str),
    /// A lock as it is understood, if that is one, and has this package.
    pub(super) lock: fn(&str, &str) -> Result<String, String>,
}

impl Package {
    pub(super) fn check(&self, rules: &Rules) -> Result<(), Wrong> {
        let wrong = |key, told: &str| Err(Wrong::at(&["source", rules.word, key], told));
        if !rules.name.0(&self.package_name) {
            return wrong("package_name", rules.name.1);
        }
        if !self.version.as_deref().is_none_or(rules.version.0) {
            return wrong("version", rules.version.1);
        }
        if self.version.is_some() && self.lock_file.is_some() {
            return wrong(
                "lock_file",
                "the lock says which version it is: leave `version` out",
            );
        }
        match self.registry_url.as_deref().map(told) {
            Some(Err(wrong_with)) => wrong("registry_url", &wrong_with),
            _ => Ok(()),
        }
    }

    /// The same with what its lock says.
    pub(super) fn locked(&self, rules: &Rules, places: &Places) -> Result<Self, Wrong> {
        self.check(rules)?;
        let Some(path) = &self.lock_file else {
            return Ok(self.clone());
        };
        let wrong = |told| Wrong::at(&["source", rules.word, "lock_file"], told);
        let text = lock::read(path, places).map_err(wrong)?;
        let understood = (rules.lock)(&text, &self.package_name)
            .map_err(|told| wrong(format!("{}: {told}", path.display())))?;
        Ok(Self {
            locked: Some(hex::encode(Sha256::digest(&understood))),
            lock: Some(understood.into()),
            ..self.clone()
        })
    }

    /// Whether every byte that is installed is said before.
    pub(super) fn is_locked(&self) -> bool {
        self.lock_file.is_some()
    }

    pub(super) fn version_shown(&self) -> &str {
        match (&self.version, &self.lock_file) {
            (Some(version), _) => version,
            (None, Some(_)) => "locked",
            (None, None) => "latest",
        }
    }

    /// The script of this program: its name, its version, its registry and whether there is a lock are the arguments, each empty
    /// where nothing is said; the lock is on its standard input.
    pub(super) fn script(
        &self,
        (program, text): (&'static str, &'static str),
        env: &[(&str, &str)],
    ) -> Script {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
        Script {
            program,
            text,
            arguments: vec![
                self.package_name.clone(),
                or_nothing(&self.version),
                or_nothing(&self.registry_url),
                self.lock.as_ref().map_or("", |_| "locked").to_owned(),
            ],
            input: self.lock.clone(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}
