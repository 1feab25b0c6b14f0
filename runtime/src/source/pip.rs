//! An agent that is a package of pip: uv or pip installs it into a virtual environment of its own, in a sandbox, through the gate,
//! and its commands stand on the agent's PATH. Never builds one: wheels alone are taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fetched::{Script, place, plain};
use crate::config::Wrong;

/// `{ package_name, version, registry_url, agent_setup, renew }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pip {
    /// Its name, with its extras.
    package_name: String,
    /// A version, or specifiers such as `>=1,<2`; the newest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The index where it is, if not where pip looks by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry_url: Option<String>,
    /// Commands that make it ready, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) agent_setup: Vec<String>,
    /// Any text: another one has it fetched anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renew: Option<String>,
}

impl Pip {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if !is_a_name(&self.package_name) {
            let told = "a package of pip is called `name` or `name[extra,extra]`";
            return Err(Wrong::at(&["source", "pip", "package_name"], told));
        }
        if !self.version.as_deref().is_none_or(is_a_version) {
            let told = "a version is one such as `1.2.3`, or specifiers such as `>=1.2,<2`";
            return Err(Wrong::at(&["source", "pip", "version"], told));
        }
        if let Some(url) = &self.registry_url {
            place(url).map_err(|told| Wrong::at(&["source", "pip", "registry_url"], told))?;
        }
        Ok(())
    }

    /// Whether what it leads to can never be another version.
    pub(super) fn is_pinned(&self) -> bool {
        let exact = |text: &str| !text.contains(['<', '>', '=', '~', '!', '*', ',']);
        self.version
            .as_deref()
            .is_some_and(|text| exact(text.trim_start_matches("==")))
    }

    pub(super) fn shown(&self) -> String {
        let version = self.version.as_deref().unwrap_or("latest");
        format!("pip package {} {version}", self.package_name)
    }

    pub(super) fn script(&self) -> Script {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
        Script {
            program: "pip",
            text: include_str!("pip.sh"),
            arguments: vec![
                self.package_name.clone(),
                or_nothing(&self.version),
                or_nothing(&self.registry_url),
            ],
            env: BTreeMap::from([("PIP_CONFIG_FILE".to_owned(), "/dev/null".to_owned())]),
        }
    }
}

fn is_a_name(name: &str) -> bool {
    let part = |text: &str| {
        plain(text)
            && !text.starts_with(['.', '_'])
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    match name.split_once('[') {
        Some((name, extras)) => {
            let extras = extras.strip_suffix(']');
            part(name) && extras.is_some_and(|extras| extras.split(',').all(part))
        }
        None => part(name),
    }
}

fn is_a_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".,<>=!~*+".contains(&byte);
    plain(text) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_packages_and_versions_are_versions() {
        for name in [
            "requests",
            "Django",
            "zope.interface",
            "uvicorn[standard,test]",
        ] {
            assert!(is_a_name(name), "{name}");
        }
        for name in [
            "",
            "-r",
            "./x",
            "a b",
            "a @ https://x",
            "a[",
            "a[b",
            "a[b]c",
            "a;b",
            "a==1",
        ] {
            assert!(!is_a_name(name), "{name}");
        }
        for version in ["1.2.3", ">=1.2,<2", "~=1.4", "2!1.0+cpu", "==1.*"] {
            assert!(is_a_version(version), "{version}");
        }
        for version in [
            "",
            "-1",
            "1 2",
            "1;python_version>'3'",
            "@https://x",
            "$(x)",
        ] {
            assert!(!is_a_version(version), "{version}");
        }
    }

    #[test]
    fn one_version_is_pinned_and_many_are_not() {
        let of = |version: Option<&str>| Pip {
            package_name: "x".to_owned(),
            version: version.map(str::to_owned),
            registry_url: None,
            agent_setup: Vec::new(),
            renew: None,
        };
        assert!(of(Some("1.2")).is_pinned() && of(Some("==1.2")).is_pinned());
        assert!(
            !of(None).is_pinned() && !of(Some(">=1")).is_pinned() && !of(Some("==1.*")).is_pinned()
        );
    }
}
