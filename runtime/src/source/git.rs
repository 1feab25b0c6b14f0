//! An agent in a git repository: one commit of it, by branch, tag or number. The git program fetches it in a sandbox, through
//! the gate; this says how it is asked. Never a credential: the gate adds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fetched::{Script, plain, told};
use crate::config::Wrong;

/// `{ repository, ref, submodules, lfs, agent_setup, renew }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// Its `https` URL.
    repository: String,
    /// A branch, a tag, or a commit of which at least four digits stand here; the repository's own choice if absent.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    /// Whether repositories inside come along.
    #[serde(default)]
    submodules: bool,
    /// Whether large files (Git LFS) come along.
    #[serde(default)]
    lfs: bool,
    /// Commands that make it ready, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) agent_setup: Vec<String>,
    /// Any text: another one has it fetched anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew: Option<String>,
}

/// What git is told before anything else: the repository's own wishes count for nothing.
const SETTINGS: [(&str, &str); 8] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("protocol.http.allow", "always"),
    ("transfer.fsckObjects", "true"),
    ("advice.detachedHead", "false"),
];

/// Digits of a whole commit number. More are a branch's name to git: the trees that it begins here count by SHA-1.
const COMMIT_DIGITS: usize = 40;

/// A branch, a tag or a commit, and nothing that git would read more into (gitrevisions(7), refspecs of git-fetch(1)).
fn is_a_name(reference: &str) -> bool {
    plain(reference)
        && !reference.contains([':', '+', '*', '^', '~', '?', '[', '\\', '@'])
        && !reference.contains("..")
}

impl Git {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        const AT: [&str; 2] = ["source", "git"];
        told(&self.repository).map_err(|wrong| Wrong::at(&[AT[0], AT[1], "repository"], wrong))?;
        let named = self.reference.as_deref().is_none_or(is_a_name);
        if !named {
            let told = "a ref is the name of a branch or a tag, or a commit's number";
            return Err(Wrong::at(&[AT[0], AT[1], "ref"], told));
        }
        Ok(())
    }

    /// Whether what it leads to can never be another.
    pub(super) fn is_pinned(&self) -> bool {
        self.reference.as_ref().is_some_and(|reference| {
            reference.len() == COMMIT_DIGITS
                && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    pub(super) fn shown(&self) -> String {
        match &self.reference {
            Some(reference) => format!("{} at {reference}", self.repository),
            None => self.repository.clone(),
        }
    }

    pub(super) fn script(&self) -> Script {
        let yes = |wanted: bool| if wanted { "yes" } else { "" }.to_owned();
        let mut env: BTreeMap<String, String> = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.insert("GIT_CONFIG_COUNT".to_owned(), SETTINGS.len().to_string());
        for (number, (key, value)) in SETTINGS.iter().enumerate() {
            env.insert(format!("GIT_CONFIG_KEY_{number}"), (*key).to_owned());
            env.insert(format!("GIT_CONFIG_VALUE_{number}"), (*value).to_owned());
        }
        Script {
            program: "git",
            text: include_str!("git.sh"),
            arguments: vec![
                self.repository.clone(),
                self.reference.clone().unwrap_or_default(),
                yes(self.submodules),
                yes(self.lfs),
            ],
            env,
            input: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_commit_is_pinned_and_what_looks_like_one_is_not() {
        let at = |reference: &str| -> Git {
            let written =
                serde_json::json!({ "repository": "https://git.example/a", "ref": reference });
            serde_json::from_value(written).unwrap()
        };
        assert!(at(&"a1".repeat(20)).is_pinned());
        for other in ["main", "a1b2c3d", &"a1".repeat(32), &"g1".repeat(20)] {
            assert!(!at(other).is_pinned(), "{other}");
        }
    }
}
