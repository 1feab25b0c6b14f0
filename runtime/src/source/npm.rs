//! An agent that is a package of npm: npm installs it in a sandbox, through the gate, and its commands stand on the agent's PATH.
//! Never runs a package's scripts: whoever wants them says so in `agent_setup`.

use serde::{Deserialize, Serialize};

use super::fetched::{Script, place, plain};
use crate::config::Wrong;

/// `{ package_name, version, registry_url, agent_setup, renew }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// Its name, with its scope.
    package_name: String,
    /// A version, a range or a tag; the newest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Where it is, if not where npm looks by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_url: Option<String>,
    /// Commands that make it ready, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) agent_setup: Vec<String>,
    /// Any text: another one has it fetched anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew: Option<String>,
}

/// Where npm keeps what it has loaded meanwhile, and how long it tries: whoever waits is told soon.
const SETTINGS: [(&str, &str); 3] = [
    ("npm_config_cache", "/tmp/npm"),
    ("npm_config_fetch_retries", "1"),
    ("npm_config_fetch_retry_mintimeout", "1000"),
];

impl Npm {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if !is_a_name(&self.package_name) {
            let told = "a package of npm is called `name` or `@scope/name`, in lower case";
            return Err(Wrong::at(&["source", "npm", "package_name"], told));
        }
        if !self.version.as_deref().is_none_or(is_a_version) {
            let told = "a version is one such as `1.2.3`, a range such as `^1.2`, or a tag such as `latest`";
            return Err(Wrong::at(&["source", "npm", "version"], told));
        }
        if let Some(url) = &self.registry_url {
            place(url).map_err(|told| Wrong::at(&["source", "npm", "registry_url"], told))?;
        }
        Ok(())
    }

    /// Whether what it leads to can never be another version.
    pub(super) fn is_pinned(&self) -> bool {
        let digits =
            |text: &str| text.split('.').count() == 3 && text.as_bytes()[0].is_ascii_digit();
        self.version.as_deref().is_some_and(digits)
    }

    pub(super) fn shown(&self) -> String {
        let version = self.version.as_deref().unwrap_or("latest");
        format!("npm package {}@{version}", self.package_name)
    }

    pub(super) fn script(&self) -> Script {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
        Script {
            program: "npm",
            text: include_str!("npm.sh"),
            arguments: vec![
                self.package_name.clone(),
                or_nothing(&self.version),
                or_nothing(&self.registry_url),
            ],
            env: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }
}

fn is_a_name(name: &str) -> bool {
    let part = |text: &str| {
        plain(text)
            && !text.starts_with(['.', '_'])
            && text.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._~".contains(&byte)
            })
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| part(scope) && part(name)),
        None => part(name),
    }
}

/// No path, no URL and no other package, all of which npm would take in this place.
fn is_a_version(text: &str) -> bool {
    plain(text) && !text.contains(['/', ':', '@', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_packages_and_versions_are_versions() {
        for name in ["left-pad", "@anthropic-ai/claude-code", "a.b_c~d"] {
            assert!(is_a_name(name), "{name}");
        }
        for name in [
            "",
            "-g",
            "../x",
            "Left",
            "@a",
            "a/b",
            "git+https://x",
            "@a/b/c",
            "a b",
            ".a",
        ] {
            assert!(!is_a_name(name), "{name}");
        }
        for version in ["1.2.3", "^1.2", ">=1", "latest", "1.x"] {
            assert!(is_a_version(version), "{version}");
        }
        for version in [
            "",
            "npm:other@1",
            "file:/etc",
            "../x",
            "https://x",
            "1 2",
            "-1",
        ] {
            assert!(!is_a_version(version), "{version}");
        }
    }
}
