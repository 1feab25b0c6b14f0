//! What packages have in common, whoever installs them: how they are written, what is checked of it, and what their script is told.
//! Never knows what a registry calls a name or a version: that is each kind's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fetched::{Script, told};
use crate::config::Wrong;

/// `{ package_name, version, registry_url, agent_setup, renew }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Package {
    /// Its name, as its registry has it.
    pub(super) package_name: String,
    /// Which versions will do; the newest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
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
        match self.registry_url.as_deref().map(told) {
            Some(Err(wrong_with)) => wrong("registry_url", &wrong_with),
            _ => Ok(()),
        }
    }

    pub(super) fn version_shown(&self) -> &str {
        self.version.as_deref().unwrap_or("latest")
    }

    /// The script of this program: its name, its version and its registry are the arguments, each empty where nothing is said.
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
            ],
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}
