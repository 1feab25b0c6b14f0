//! The method of a request, in the one spelling that rules and upstreams agree on. Never says what a method does.

use std::{borrow::Cow, fmt, str::FromStr};

/// The longest method, in bytes; the longest registered one has 17.
const METHOD_BYTES_MAX: usize = 32;

/// Methods that need no memory of their own.
const USUAL: [&str; 9] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE",
];

/// An HTTP method in upper case: a letter, then letters, digits, `-` or `_`.
///
/// Lower case is refused and not folded: to HTTP `delete` is another method than `DELETE`, to some servers it is not,
/// and a rule must not depend on which kind answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(Cow<'static, str>);

/// Why a text is no method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a method is 1 to 32 upper-case letters, digits, `-` or `_`, such as `GET`")]
pub struct NotAMethod;

impl Method {
    /// The method as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The method of an opaque tunnel.
    #[must_use]
    pub fn connect() -> Self {
        Self(Cow::Borrowed("CONNECT"))
    }

    /// Whether this opens a tunnel whose inside nobody can judge.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.0 == "CONNECT"
    }
}

impl FromStr for Method {
    type Err = NotAMethod;

    fn from_str(text: &str) -> Result<Self, NotAMethod> {
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        let rest = text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if begins && rest && text.len() <= METHOD_BYTES_MAX {
            let usual = USUAL.into_iter().find(|usual| *usual == text);
            Ok(Self(usual.map_or_else(
                || Cow::Owned(text.to_owned()),
                Cow::Borrowed,
            )))
        } else {
            Err(NotAMethod)
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_upper_case_words() {
        for good in ["GET", "M-SEARCH", "VERSION-CONTROL", "UPDATEREDIRECTREF"] {
            assert!(good.parse::<Method>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "get",
            "Get",
            "GET ",
            "G\0T",
            "1GET",
            "GET\r\nX",
            &"A".repeat(33),
        ] {
            assert!(bad.parse::<Method>().is_err(), "{bad:?}");
        }
    }
}
