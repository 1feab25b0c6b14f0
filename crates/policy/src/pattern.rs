//! Which URLs a rule is about: a URL as it is, or one that ends in `*`. Never compares text across the border between
//! host and path, so that no host can pass for another one's beginning.

use crate::{
    authority::{Authority, Scheme},
    host::{Host, HostName},
    path::CanonicalPath,
    shelf::Step,
    url::CanonicalUrl,
};

/// A pattern over URLs. Queries are no part of it: every query fits.
///
/// ```text
/// https://api.example.com/v1/charges     this path alone
/// https://api.example.com/v1/*           all that begins so
/// https://*.example.com:8443/*           every host beneath example.com, itself not
/// https://api.example.com:*/*            every port; for rules that deny
/// tcp://db.example.com:5432              connections that are no HTTP, of which nobody sees more
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    scheme: Scheme,
    host: HostPattern,
    /// `None`: every port.
    port: Option<u16>,
    path: PathPattern,
}

/// Hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostPattern {
    /// This one.
    Exact(Host),
    /// All beneath it, at any depth.
    Beneath(HostName),
}

/// Paths, each in its canonical and its unescaped spelling.
#[derive(Debug, Clone)]
struct PathPattern {
    canonical: String,
    unescaped: String,
    /// Whether anything may follow.
    open: bool,
}

/// How well a path fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Letter by letter.
    Yes,
    /// Only if what one of them escapes and the other does not is taken for the same, as many servers do.
    Unescaped,
    /// Not at all.
    No,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPattern {
    #[error("a resource begins with `http://`, `https://` or `tcp://`")]
    Scheme,
    #[error("`tcp://HOST:PORT` is all that can be said of what is no HTTP: leave the path out")]
    PathOfTcp,
    #[error("a resource needs a path: `{0}/` is that page alone, `{0}/*` everything on that host")]
    NoPath(String),
    #[error("in a host `*` may only be the whole first label, as in `https://*.example.com/*`")]
    HostWildcard,
    #[error("in a path `*` may only be the last character")]
    PathWildcard,
    #[error("a resource has no query and no fragment: a rule holds whatever the query")]
    Query,
    #[error("a resource has no user-info")]
    UserInfo,
    #[error("write the path as it is sent: `{0}`")]
    NotCanonical(String),
    #[error(transparent)]
    Authority(#[from] crate::BadAuthority),
    #[error(transparent)]
    Path(#[from] crate::BadPath),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let (scheme, rest) = text.split_once("://").ok_or(BadPattern::Scheme)?;
        let scheme = Scheme::of_config(scheme).ok_or(BadPattern::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(BadPattern::Query);
        }
        let (authority, path) = match (scheme, rest.find('/')) {
            (Scheme::Tcp, None) => (rest, "/*"),
            (Scheme::Tcp, Some(_)) => return Err(BadPattern::PathOfTcp),
            (_, Some(slash)) => rest.split_at(slash),
            (_, None) => {
                return Err(BadPattern::NoPath(text.trim_end_matches('*').to_owned()));
            }
        };
        if authority.contains('@') {
            return Err(BadPattern::UserInfo);
        }
        let (beneath, authority) = match authority.strip_prefix("*.") {
            Some(zone) => (true, zone),
            None => (false, authority),
        };
        let (every_port, authority) = match authority.strip_suffix(":*") {
            Some(host) => (true, host),
            None => (false, authority),
        };
        if authority.contains('*') {
            return Err(BadPattern::HostWildcard);
        }
        if every_port && has_port(authority) {
            return Err(crate::BadAuthority::Port.into());
        }
        // Where every port is meant, that of the scheme stands in for what is not looked at.
        let read_as = if every_port { Scheme::Https } else { scheme };
        let authority = Authority::parse(read_as, authority)?;
        let host = match (beneath, authority.host()) {
            (false, host) => HostPattern::Exact(host.clone()),
            (true, Host::Name(zone)) => HostPattern::Beneath(zone.clone()),
            (true, Host::Ip(_)) => return Err(BadPattern::HostWildcard),
        };
        Ok(Self {
            scheme,
            host,
            port: (!every_port).then_some(authority.port()),
            path: PathPattern::parse(path)?,
        })
    }

    pub(crate) fn host(&self) -> &HostPattern {
        &self.host
    }

    /// Whether it is about what is no HTTP.
    pub(crate) fn is_raw(&self) -> bool {
        self.scheme == Scheme::Tcp
    }

    /// The one port; `None` where every port fits.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// The way to the paths that can fit.
    pub(crate) fn trail(&self) -> Vec<Step> {
        let mut segments: Vec<_> = self.path.unescaped.split('/').skip(1).collect();
        if self.path.open {
            // Only a beginning of a segment.
            segments.pop();
        }
        let steps = segments.into_iter();
        steps.map(|segment| Step::Segment(segment.into())).collect()
    }

    /// Whether every path on the host fits.
    pub(crate) fn is_whole_host(&self) -> bool {
        self.path.open && self.path.canonical == "/"
    }

    /// Whether host and port fit; a tunnel has no scheme to compare.
    pub(crate) fn fits_place(&self, authority: &Authority) -> bool {
        self.port.is_none_or(|port| port == authority.port()) && self.host.fits(authority.host())
    }

    /// Whether a URL fits; `unescaped` is its path without escapes.
    pub(crate) fn fits(&self, url: &CanonicalUrl, unescaped: &str) -> Fit {
        if self.scheme != url.authority().scheme() || !self.fits_place(url.authority()) {
            return Fit::No;
        }
        self.path.fits(url.path().as_str(), unescaped)
    }
}

/// Whether a port is written; a colon inside brackets is the address's own.
fn has_port(authority: &str) -> bool {
    authority
        .rsplit_once(']')
        .map_or(authority, |(_, rest)| rest)
        .contains(':')
}

impl HostPattern {
    fn fits(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Exact(wanted), _) => wanted == host,
            (Self::Beneath(zone), Host::Name(name)) => {
                name.parents().any(|parent| parent == zone.as_str())
            }
            (Self::Beneath(_), Host::Ip(_)) => false,
        }
    }
}

impl PathPattern {
    fn parse(text: &str) -> Result<Self, BadPattern> {
        let (written, open) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        if written.contains('*') {
            return Err(BadPattern::PathWildcard);
        }
        let path: CanonicalPath = written.parse()?;
        if path.as_str() != written {
            let star = if open { "*" } else { "" };
            return Err(BadPattern::NotCanonical(format!("{path}{star}")));
        }
        let unescaped = path.unescaped().into_owned();
        Ok(Self {
            canonical: written.to_owned(),
            unescaped,
            open,
        })
    }

    fn fits(&self, canonical: &str, unescaped: &str) -> Fit {
        let fits = |path: &str, wanted: &str| {
            if self.open {
                path.starts_with(wanted)
            } else {
                path == wanted
            }
        };
        if fits(canonical, &self.canonical) {
            Fit::Yes
        } else if fits(unescaped, &self.unescaped) {
            Fit::Unescaped
        } else {
            Fit::No
        }
    }
}

#[cfg(test)]
mod tests;
