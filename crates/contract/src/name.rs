//! Names that people give to things in the config. A name is checked once, here, and is safe in a path, a header
//! and a log line ever after; it never carries a meaning beyond being equal or not.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

/// The longest name, in bytes: a DNS label, so that a name can become part of a host name or a directory.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no name: use 1 to 63 lower-case letters, digits, `-`, `_` or `.`, and begin with a letter or digit"
)]
pub struct NotAName {
    text: String,
}

fn check(text: &str) -> Result<(), NotAName> {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    if begins && rest && text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(NotAName {
        text: text
            .chars()
            .take(80)
            .flat_map(char::escape_default)
            .collect(),
    })
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<Self, NotAName> {
                check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                (*name.0).to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// An agent: `[agents.NAME]`.
    AgentName;
    /// A tool: `[tools.NAME]`.
    ToolName;
    /// A model as agents call it: `[models.NAME]`.
    ModelName;
    /// A policy: `[policies.NAME]`.
    PolicyName;
    /// A model provider: `[providers.NAME]`.
    ProviderName;
    /// A secret: `[secrets.NAME]`.
    SecretName;
    /// Somebody who may answer for people: `[approvals.approvers.NAME]`.
    ApproverName;
}

/// A name as part of an environment variable: upper case, everything else an underscore (`my-tool` → `MY_TOOL`).
#[must_use]
pub fn in_environment(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_lower_case_word() {
        for good in ["a", "support-desk", "gpt-4o.mini", "0day", "a_b"] {
            assert!(good.parse::<AgentName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".",
            "..",
            "a/b",
            "A",
            "a b",
            "a\n",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_name_is_shown_without_its_control_characters() {
        let error = "a\u{1b}[31m".parse::<ToolName>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn environment_form() {
        assert_eq!(in_environment("my-tool.v2"), "MY_TOOL_V2");
    }
}
