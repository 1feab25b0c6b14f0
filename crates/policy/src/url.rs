//! A whole URL in its one canonical form: what is decided on and what is sent. Never holds user-info or a fragment.

use std::{fmt, str::FromStr};

use crate::{
    authority::{Authority, BadAuthority, Scheme},
    path::{BadPath, CanonicalPath},
    query::{BadQuery, CanonicalQuery},
};

/// An absolute `http` or `https` URL.
///
/// ```
/// use postern_policy::{Authority, CanonicalUrl, Scheme};
///
/// let url = CanonicalUrl::parse("http://user@example.com/");
/// assert!(url.is_err());
///
/// let authority = Authority::parse(Scheme::Https, "example.com")?;
/// let url = CanonicalUrl::from_target(authority, "/a/../b?c")?;
/// assert_eq!((url.to_string(), url.target()), ("https://example.com/b?c".into(), "/b?c".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalUrl {
    authority: Authority,
    path: CanonicalPath,
    query: Option<CanonicalQuery>,
}

/// Why a text is no URL that the gate speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// No `http://` or `https://`.
    #[error("a URL begins with `http://` or `https://`")]
    Scheme,
    /// `user@host`.
    #[error("a URL has no user-info: credentials do not belong there")]
    UserInfo,
    /// `#…`.
    #[error("a URL that is sent has no `#` fragment")]
    Fragment,
    /// The authority is none.
    #[error(transparent)]
    Authority(#[from] BadAuthority),
    /// The path has no canonical form.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// The query has no canonical form.
    #[error(transparent)]
    Query(#[from] BadQuery),
}

impl CanonicalUrl {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// Anything that is not in canonical form and cannot be brought into it without guessing.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadUrl::Scheme)?;
        let scheme: Scheme = scheme.parse().map_err(|()| BadUrl::Scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(BadUrl::UserInfo);
        }
        let authority = Authority::parse(scheme, authority)?;
        if target.starts_with('/') {
            return Self::from_target(authority, target);
        }
        Self::from_target(authority, &format!("/{target}"))
    }

    /// Puts a URL together from an authority and a request target in origin form: `/path` or `/path?query`.
    ///
    /// # Errors
    /// A target that is in another form or has no canonical one.
    pub fn from_target(authority: Authority, target: &str) -> Result<Self, BadUrl> {
        if target.contains('#') {
            return Err(BadUrl::Fragment);
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let query = query.map(str::parse).transpose()?;
        Ok(Self {
            authority,
            path: path.parse()?,
            query,
        })
    }

    /// Puts a URL together from finished parts.
    #[must_use]
    pub fn new(authority: Authority, path: CanonicalPath, query: Option<CanonicalQuery>) -> Self {
        Self {
            authority,
            path,
            query,
        }
    }

    /// The URL that a tunnel to an authority is judged by: its root.
    #[must_use]
    pub fn of_authority(authority: Authority) -> Self {
        Self {
            authority,
            path: CanonicalPath::root(),
            query: None,
        }
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    /// The query, where there is a `?`.
    #[must_use]
    pub fn query(&self) -> Option<&CanonicalQuery> {
        self.query.as_ref()
    }

    /// The request target in origin form, as it is sent.
    #[must_use]
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }
}

impl FromStr for CanonicalUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        Self::parse(text)
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.authority.scheme(),
            self.authority,
            self.path
        )?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for (text, canonical) in [
            ("http://a.b", "http://a.b/"),
            ("http://a.b?x", "http://a.b/?x"),
            ("http://a.b/?", "http://a.b/?"),
            ("HTTPS://A.B:443/", "https://a.b/"),
            ("http://a.b:443/", "http://a.b:443/"),
            ("https://[::1]:8443/x?y=@/", "https://[::1]:8443/x?y=@/"),
        ] {
            let url = CanonicalUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), canonical);
            assert_eq!(CanonicalUrl::parse(canonical), Ok(url));
        }
    }

    #[test]
    fn what_is_no_url_of_ours() {
        for (text, why) in [
            ("", BadUrl::Scheme),
            ("a.b/", BadUrl::Scheme),
            ("ftp://a.b/", BadUrl::Scheme),
            ("http:/a.b/", BadUrl::Scheme),
            (" http://a.b/", BadUrl::Scheme),
            ("http://u@a.b/", BadUrl::UserInfo),
            ("http://u:p@a.b/", BadUrl::UserInfo),
            ("http://a.b/#f", BadUrl::Fragment),
            ("http://a.b#f", BadUrl::Fragment),
            ("http://a.b/?x#f", BadUrl::Fragment),
        ] {
            assert_eq!(CanonicalUrl::parse(text), Err(why), "{text}");
        }
        for text in [
            "http://",
            "http:///x",
            "http://a.b\\x",
            "http://a.b:/",
            "http://a b/",
            "http://*/",
        ] {
            assert!(
                matches!(CanonicalUrl::parse(text), Err(BadUrl::Authority(_))),
                "{text}"
            );
        }
    }
}
