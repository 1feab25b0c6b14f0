//! Where a credential stands, and what it must know of a request before it can be added. Never knows a value.

use super::path;

/// Where a credential stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In the header field of this name.
    Header(&'a str),
    /// In the query parameter of this name.
    Query(&'a str),
    /// In the cookie of this name.
    Cookie(&'a str),
    /// In the path, which begins in one of these ways.
    Path(&'a [path::Spot]),
    /// In none: the connection carries it.
    Connection,
    /// In none: the gate logs in with it.
    Login,
}

impl Place<'_> {
    /// The header field, spelt as a careless server reads it.
    pub(super) fn field(self) -> Option<String> {
        match self {
            Self::Header(name) => Some(name.to_ascii_lowercase().replace('_', "-")),
            Self::Query(_) | Self::Cookie(_) | Self::Path(_) | Self::Connection | Self::Login => {
                None
            }
        }
    }

    /// The place, for people.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Header(name) => format!("header `{}`", name.to_ascii_lowercase()),
            Self::Query(name) => format!("query parameter `{name}`"),
            Self::Cookie(name) => format!("cookie `{name}`"),
            Self::Path(_) => "the path".to_owned(),
            Self::Connection => "the connection".to_owned(),
            Self::Login => "a login".to_owned(),
        }
    }
}

/// What of a body must be known before a credential can be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// None of it.
    Nothing,
    /// So many bytes of it are held at a time while it passes.
    Pieces(usize),
    /// All of it, up to so many bytes; beyond them it goes `or_not`.
    Whole { bytes_max: usize, or_not: bool },
}

impl Reads {
    /// What is enough for both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, both) | (both, Self::Nothing) => both,
            (Self::Pieces(one), Self::Pieces(two)) => Self::Pieces(one.max(two)),
            (whole @ Self::Whole { .. }, Self::Pieces(_))
            | (Self::Pieces(_), whole @ Self::Whole { .. }) => whole,
            (
                Self::Whole { bytes_max, or_not },
                Self::Whole {
                    bytes_max: other,
                    or_not: too,
                },
            ) => Self::Whole {
                bytes_max: bytes_max.min(other),
                or_not: or_not && too,
            },
        }
    }
}
