//! An agent that is a package of pip: uv or pip installs it into a virtual environment of its own, in a sandbox, through the gate,
//! and its commands stand on the agent's PATH. Never builds one: wheels alone are taken.

use serde::{Deserialize, Serialize};

use super::{
    fetched::{Script, plain},
    lock,
    package::{Package, Rules},
};
use crate::config::{Places, Wrong};

/// A package, with its extras; its version is one, or specifiers such as `>=1,<2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pip(pub(super) Package);

const RULES: Rules = Rules {
    word: "pip",
    name: (
        is_a_name,
        "a package of pip is called `name` or `name[extra,extra]`",
    ),
    version: (
        is_a_version,
        "a version is one such as `1.2.3`, or specifiers such as `>=1.2,<2`",
    ),
    lock: lock::requirements,
};

/// No file of settings but those that stand here.
const SETTINGS: [(&str, &str); 1] = [("PIP_CONFIG_FILE", "/dev/null")];

impl Pip {
    pub(super) fn mean(&self, places: &Places) -> Result<Self, Wrong> {
        self.0.locked(&RULES, places).map(Self)
    }

    /// Whether what it leads to can never be another version.
    pub(super) fn is_pinned(&self) -> bool {
        let version = self.0.version.as_deref();
        self.0.is_locked()
            || version.is_some_and(|text| is_one_version(text.trim_start_matches("==")))
    }

    pub(super) fn shown(&self) -> String {
        let (name, version) = (&self.0.package_name, self.0.version_shown());
        format!("pip package {name} {version}")
    }

    pub(super) fn script(&self) -> Script {
        self.0.script(("pip", include_str!("pip.sh")), &SETTINGS)
    }
}

/// Whether it is a version and not specifiers, of which more than one may fit.
pub(super) fn is_one_version(text: &str) -> bool {
    is_a_version(text) && !text.contains(['<', '>', '=', '~', '!', '*', ','])
}

pub(super) fn is_a_name(name: &str) -> bool {
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
        let of = |version: Option<&str>| -> Pip {
            let written = serde_json::json!({ "package_name": "x", "version": version });
            serde_json::from_value(written).unwrap()
        };
        assert!(of(Some("1.2")).is_pinned() && of(Some("==1.2")).is_pinned());
        assert!(
            !of(None).is_pinned() && !of(Some(">=1")).is_pinned() && !of(Some("==1.*")).is_pinned()
        );
    }
}
