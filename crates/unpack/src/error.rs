//! Why an archive was refused: a stable code for programs, a sentence for people. Never shows a name from the archive unescaped.

use serde::{Deserialize, Serialize};

/// How much of a name or a text from outside is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// Why an archive was refused. Serialises as `{"code": …, "detail": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnpackError {
    /// The bytes are of a kind that is not unpacked.
    #[error("it is {0}")]
    UnknownKind(String),
    /// The archive is broken, cut off, or says two things at once.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// Something follows the archive.
    #[error("something follows the archive: {0}")]
    Trailing(String),
    /// An entry has a name that could lead elsewhere.
    #[error("the name `{name}` {why}")]
    Name {
        /// The name, escaped and cut.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry is of a kind that is never made.
    #[error("`{name}` is {what}, which is not unpacked")]
    Forbidden {
        /// The name, escaped and cut.
        name: String,
        /// What it is.
        what: String,
    },
    /// A link leads outside, or nowhere.
    #[error("the link `{name}` {why}")]
    Link {
        /// The name, escaped and cut.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two entries want the same place.
    #[error("`{name}` {why}")]
    Clash {
        /// The name of the second, escaped and cut.
        name: String,
        /// What is in its way.
        why: String,
    },
    /// The archive holds more than allowed.
    #[error("the archive is too much: {0}")]
    Limit(String),
    /// The archive could not be read, or the system refused something.
    #[error("{doing}: {why}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system says.
        why: String,
    },
}

impl UnpackError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    /// The stream ended inside something.
    pub(crate) fn cut_off() -> Self {
        Self::damaged("it is cut off")
    }

    /// An entry that is not sound.
    pub(crate) fn entry(name: &str, why: &str) -> Self {
        Self::Damaged(format!("`{}` {why}", shown(name)))
    }

    pub(crate) fn name(name: &str, why: &str) -> Self {
        Self::Name {
            name: shown(name),
            why: why.to_owned(),
        }
    }

    pub(crate) fn forbidden(name: &str, what: &str) -> Self {
        Self::Forbidden {
            name: shown(name),
            what: what.to_owned(),
        }
    }

    pub(crate) fn link(name: &str, why: &str) -> Self {
        Self::Link {
            name: shown(name),
            why: why.to_owned(),
        }
    }

    pub(crate) fn clash(name: &str, why: &str) -> Self {
        Self::Clash {
            name: shown(name),
            why: why.to_owned(),
        }
    }

    pub(crate) fn system(doing: &str, name: &str, why: impl std::fmt::Display) -> Self {
        Self::System {
            doing: format!("{doing} `{}`", shown(name)),
            why: why.to_string(),
        }
    }
}

/// A text from outside, safe to print and not too long.
pub(crate) fn shown(text: &str) -> String {
    text.escape_debug().take(SHOWN_CHARS_MAX).collect()
}
