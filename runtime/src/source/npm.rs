//! An agent that is a package of npm: npm installs it in a sandbox, through the gate, and its commands stand on the agent's PATH.
//! Never runs a package's scripts: whoever wants them says so in `agent_setup`.

use serde::{Deserialize, Serialize};

use super::{
    fetched::{Script, plain},
    lock,
    package::{Package, Rules},
};
use crate::config::{Places, Wrong};

/// A package; its version is one, a range or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Npm(pub(super) Package);

const RULES: Rules = Rules {
    word: "npm",
    name: (
        is_a_name,
        "a package of npm is called `name` or `@scope/name`, in lower case",
    ),
    version: (
        is_a_version,
        "a version is one such as `1.2.3`, a range such as `^1.2`, or a tag such as `latest`",
    ),
    lock: lock::npm,
};

/// Where npm keeps what it has loaded meanwhile, and how long it tries: whoever waits is told soon. No script runs, and nothing
/// comes out of a repository: there npm takes the word of the repository's own `.npmrc` for which program git is.
const SETTINGS: [(&str, &str); 6] = [
    ("npm_config_ignore_scripts", "true"),
    ("npm_config_allow_git", "none"),
    // For an npm that does not know the setting before.
    ("npm_config_git", "/bin/false"),
    ("npm_config_cache", "/tmp/npm"),
    ("npm_config_fetch_retries", "1"),
    ("npm_config_fetch_retry_mintimeout", "1000"),
];

impl Npm {
    pub(super) fn mean(&self, places: &Places) -> Result<Self, Wrong> {
        self.0.locked(&RULES, places).map(Self)
    }

    /// Whether what it leads to can never be another version.
    pub(super) fn is_pinned(&self) -> bool {
        self.0.is_locked() || self.0.version.as_deref().is_some_and(is_one_version)
    }

    pub(super) fn shown(&self) -> String {
        let (name, version) = (&self.0.package_name, self.0.version_shown());
        format!("npm package {name}@{version}")
    }

    pub(super) fn script(&self) -> Script {
        self.0.script(("npm", include_str!("npm.sh")), &SETTINGS)
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

/// Three numbers, and what may follow them (semver.org): `1.2.x` is a range, and so is `1.2.3||2`.
fn is_one_version(text: &str) -> bool {
    let (numbers, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let follows = |byte: u8| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte);
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && rest.bytes().all(follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_pinned_and_a_range_is_not() {
        for version in ["1.2.3", "1.2.3-rc.1", "1.2.3+build"] {
            assert!(is_one_version(version), "{version}");
        }
        for range in [
            "1.2.x",
            "1.2.*",
            "1.2.3||2.0.0",
            "1.2.3-rc||2",
            "^1.2.3",
            "1.2",
            "latest",
            "1.2.3.x",
        ] {
            assert!(!is_one_version(range), "{range}");
        }
    }

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
