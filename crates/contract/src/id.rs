//! Ids of things that come and go: sandboxes, runs, requests. An id is opaque and never grants anything.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

/// The longest id that a caller may choose, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an id is 1 to 128 letters, digits, `-`, `_`, `.` or `:`, and begins with a letter or digit"
)]
pub struct NotAnId;

fn check(text: &str) -> Result<(), NotAnId> {
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'));
    if begins && rest && text.len() <= ID_BYTES_MAX {
        Ok(())
    } else {
        Err(NotAnId)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A fresh id, unique in time and space (UUID version 7: sorts by age).
            #[must_use]
            pub fn fresh() -> Self {
                Self(format!(concat!($prefix, "{}"), Uuid::now_v7().simple()).into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                (*id.0).to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// One sandbox from its making to its end; never reused.
    SandboxId, "sbx_";
    /// One run of an agent. Callers may choose it (`X-Run-ID`).
    RunId, "run_";
    /// One request at the public API or at the gate. Callers may choose it (`X-Request-Id`).
    RequestId, "req_";
    /// One request that waits for a human's answer, or did.
    ActionId, "act_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_pass_their_own_check() {
        let (one, two) = (RunId::fresh(), RunId::fresh());
        assert_ne!(one, two);
        assert!(one.as_str().parse::<RunId>().is_ok());
    }

    #[test]
    fn ids_that_could_become_paths_are_refused() {
        for bad in [
            "",
            "../x",
            "a/b",
            "a b",
            "a\r\nb",
            ".",
            "..",
            &"x".repeat(129),
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
