//! The path of a URL in its one canonical form, or a reason why it has none. What reads differently to different
//! servers is refused; never guessed, never passed on as it came.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use crate::escape::{self, BadEscape};

/// The longest path, in bytes, before and after it is made canonical.
pub const PATH_BYTES_MAX: usize = 8 * 1024;

/// An absolute path: no dot segment, no empty segment but a last one, escapes in one spelling, UTF-8 beneath them, no
/// control character, no `/` or `\` in an escape, nothing escaped twice, no `;`.
///
/// Dot segments are resolved and runs of slashes are merged; all else that is ambiguous is refused.
///
/// ```
/// use postern_policy::CanonicalPath;
///
/// let path: CanonicalPath = "/a//b/%2E%2E/%7euser/caf%c3%a9".parse()?;
/// assert_eq!(path.as_str(), "/a/~user/caf%C3%A9");
/// assert!("/a%2fb".parse::<CanonicalPath>().is_err());
/// # Ok::<(), postern_policy::BadPath>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath(Arc<str>);

/// Why a path has no canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// Too long.
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// Not absolute.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    #[error("`%` in a path is followed by two hexadecimal digits")]
    Percent,
    /// A control character or a space, escaped (the control character) or not.
    #[error("a path has no control characters, and a space is written `%20`")]
    Control,
    /// Escapes that are no UTF-8, overlong forms among them.
    #[error("the escapes of a path are UTF-8 in its shortest form")]
    NotUtf8,
    /// `#` or `?`, which end a path.
    #[error("`#` and `?` do not belong to a path")]
    Delimiter,
    /// `\`, escaped or not, which some servers read as `/`.
    #[error("a path has no backslash, escaped or not")]
    Backslash,
    /// `%2F`, which some servers read as `/`.
    #[error("a path has no `%2F`: servers disagree on what it means")]
    EscapedSlash,
    /// `;`, behind which some servers see parameters that are no part of the path.
    #[error("a path has no `;`: servers disagree on what it means; as data it is written `%3B`")]
    Parameters,
    /// `%25` before two hexadecimal digits.
    #[error("a path is not escaped twice, as `%252e` is")]
    EscapedTwice,
    /// `..` beyond the root.
    #[error("`..` leads above the root")]
    AboveRoot,
}

impl CanonicalPath {
    /// The path `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path as text, as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its escapes, to see whether two spellings name the same thing. Never sent.
    pub(crate) fn unescaped(&self) -> Cow<'_, str> {
        if self.0.contains('%') {
            Cow::Owned(String::from_utf8_lossy(&escape::decoded(&self.0)).into_owned())
        } else {
            Cow::Borrowed(&self.0)
        }
    }

    /// The path as a base that others lie beneath: without its final slash, so that the root is empty.
    pub(crate) fn as_base(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or(&self.0)
    }
}

impl FromStr for CanonicalPath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        if text.len() > PATH_BYTES_MAX {
            return Err(BadPath::TooLong);
        }
        check_characters(text)?;
        let path = escape::canonical(text, |b| b == b'/' || escape::is_segment_character(b))?;
        check_escapes(&path)?;
        let path = without_dots(&path)?;
        if path.len() > PATH_BYTES_MAX {
            Err(BadPath::TooLong)
        } else {
            Ok(Self(path.into()))
        }
    }
}

/// What is refused before any escape is looked at.
fn check_characters(text: &str) -> Result<(), BadPath> {
    if !text.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    match text
        .bytes()
        .find(|b| matches!(b, b'#' | b'?' | b'\\' | b';'))
    {
        Some(b'\\') => Err(BadPath::Backslash),
        Some(b';') => Err(BadPath::Parameters),
        Some(_) => Err(BadPath::Delimiter),
        None => Ok(()),
    }
}

/// What is refused for what its escapes stand for; the text is in canonical escapes.
fn check_escapes(path: &str) -> Result<(), BadPath> {
    if !path.contains('%') {
        return Ok(());
    }
    if path.contains("%2F") {
        return Err(BadPath::EscapedSlash);
    }
    if path.contains("%5C") {
        return Err(BadPath::Backslash);
    }
    if escape::is_escaped_twice(path) {
        return Err(BadPath::EscapedTwice);
    }
    // A server that cuts parameters off after decoding would see a dot segment here.
    if path
        .split('/')
        .any(|segment| segment.starts_with(".%3B") || segment.starts_with("..%3B"))
    {
        return Err(BadPath::Parameters);
    }
    let bytes = escape::decoded(path);
    let text = std::str::from_utf8(&bytes).map_err(|_| BadPath::NotUtf8)?;
    if text.chars().any(char::is_control) {
        Err(BadPath::Control)
    } else {
        Ok(())
    }
}

/// Resolves dot segments and merges slashes. A last segment that is empty or a dot leaves a final slash.
fn without_dots(path: &str) -> Result<String, BadPath> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_slash = true;
    for segment in path.split('/').skip(1) {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(BadPath::AboveRoot)?;
            }
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_slash {
        out.push('/');
    }
    Ok(out)
}

impl From<BadEscape> for BadPath {
    fn from(bad: BadEscape) -> Self {
        match bad {
            BadEscape::Percent => Self::Percent,
            BadEscape::Control => Self::Control,
        }
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
