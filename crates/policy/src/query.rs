//! The query of a URL in its one canonical spelling. Never reorders, merges or drops a parameter, and never says what
//! one means: `+` and `%20` stay what they are, and so do two parameters of one name.

use std::{fmt, str::FromStr, sync::Arc};

use crate::escape::{self, BadEscape};

/// The longest query, in bytes, before and after it is made canonical.
pub const QUERY_BYTES_MAX: usize = 32 * 1024;

/// What stands behind `?`, without it: escapes in one spelling, no `#`, no NUL.
///
/// ```
/// use postern_policy::CanonicalQuery;
///
/// let query: CanonicalQuery = "b=%7e&a=1+2&a=%2b".parse()?;
/// assert_eq!(query.as_str(), "b=~&a=1+2&a=%2B");
/// # Ok::<(), postern_policy::BadQuery>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalQuery(Arc<str>);

/// Why a query has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// Too long.
    #[error("a query has at most {QUERY_BYTES_MAX} bytes")]
    TooLong,
    /// `%` without two hexadecimal digits.
    #[error("`%` in a query is followed by two hexadecimal digits")]
    Percent,
    /// A control character or a space as it is, or an escaped NUL.
    #[error("a query has no control characters and no NUL, and a space is written `%20` or `+`")]
    Control,
    /// A fragment, which is never sent.
    #[error("`#` does not belong to a query")]
    Fragment,
}

impl CanonicalQuery {
    /// The query as text, as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CanonicalQuery {
    type Err = BadQuery;

    fn from_str(text: &str) -> Result<Self, BadQuery> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(BadQuery::TooLong);
        }
        if text.contains('#') {
            return Err(BadQuery::Fragment);
        }
        let query = escape::canonical(text, |b| {
            escape::is_segment_character(b) || matches!(b, b'/' | b'?')
        })?;
        if query.contains("%00") {
            return Err(BadQuery::Control);
        }
        if query.len() > QUERY_BYTES_MAX {
            Err(BadQuery::TooLong)
        } else {
            Ok(Self(query.into()))
        }
    }
}

impl From<BadEscape> for BadQuery {
    fn from(bad: BadEscape) -> Self {
        match bad {
            BadEscape::Percent => Self::Percent,
            BadEscape::Control => Self::Control,
        }
    }
}

impl fmt::Display for CanonicalQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_order_number_and_plus() {
        for (text, canonical) in [
            ("", ""),
            ("a=1&a=2&b", "a=1&a=2&b"),
            ("q=a+b%20c", "q=a+b%20c"),
            ("q=%c3%a9&r=\u{e9}", "q=%C3%A9&r=%C3%A9"),
            ("u=https://x/?y=[z]|\"", "u=https://x/?y=%5Bz%5D%7C%22"),
            ("binary=%ff%0a", "binary=%FF%0A"),
            ("twice=%252e", "twice=%252e"),
        ] {
            let query: CanonicalQuery = text.parse().unwrap();
            assert_eq!(query.as_str(), canonical);
            assert_eq!(query.as_str().parse(), Ok(query));
        }
    }

    #[test]
    fn what_no_query_holds() {
        for (text, why) in [
            ("a=%", BadQuery::Percent),
            ("a=%2", BadQuery::Percent),
            ("a=%zz", BadQuery::Percent),
            ("a=%+1", BadQuery::Percent),
            ("a#b", BadQuery::Fragment),
            ("a b", BadQuery::Control),
            ("a\r\nb", BadQuery::Control),
            ("a=%00", BadQuery::Control),
        ] {
            assert_eq!(text.parse::<CanonicalQuery>(), Err(why), "{text:?}");
        }
        assert_eq!(
            "a".repeat(QUERY_BYTES_MAX + 1).parse::<CanonicalQuery>(),
            Err(BadQuery::TooLong)
        );
        let grows = "\u{e9}".repeat(QUERY_BYTES_MAX / 3);
        assert_eq!(grows.parse::<CanonicalQuery>(), Err(BadQuery::TooLong));
    }
}
