//! What a tool can do, as a second guard behind the rules: method and path beneath the tool's URL. Never widens what
//! the rules allow.

use std::fmt;

use crate::{
    method::{Method, NotAMethod},
    path::{BadPath, CanonicalPath},
};

/// One operation of a tool.
#[derive(Debug, Clone)]
pub(crate) struct Capability {
    pub(crate) name: String,
    pub(crate) method: Method,
    pub(crate) path: Template,
}

/// A path with places to fill in: `{name}` is one segment, a final `*` any rest.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    written: String,
    segments: Vec<Segment>,
    /// Whether the last segment is only a beginning, and more may follow.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTemplate {
    #[error(
        "a place in a path is a whole segment: `/charges/{{id}}`, with letters, digits, `-` or `_` in the braces"
    )]
    Place,
    #[error("in a path `*` may only be the last character, and not directly behind a place")]
    Wildcard,
    #[error("write the path as it is sent: `{0}`")]
    NotCanonical(String),
    #[error(transparent)]
    Path(#[from] BadPath),
}

/// Why a capability cannot be compiled, and at which key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCapability {
    #[error(transparent)]
    Method(#[from] NotAMethod),
    #[error("a tool is never called by CONNECT: name the methods that it answers")]
    Connect,
    #[error(transparent)]
    Path(#[from] BadTemplate),
}

impl BadCapability {
    /// The key that the mistake stands at.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Method(_) | Self::Connect => "method",
            Self::Path(_) => "path",
        }
    }
}

impl Capability {
    pub(crate) fn compile(
        written: &postern_contract::config::Capability,
    ) -> Result<Self, BadCapability> {
        let method: Method = written.method.parse()?;
        if method.is_connect() {
            return Err(BadCapability::Connect);
        }
        Ok(Self {
            name: written.name.clone(),
            method,
            path: Template::parse(&written.path)?,
        })
    }

    /// Whether a call is this operation; `rest` is the part of its path beneath the tool's base.
    pub(crate) fn covers(&self, method: &Method, rest: &str) -> bool {
        self.method == *method && self.path.fits(rest)
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, BadTemplate> {
        let (written, open) = match text.strip_suffix('*') {
            Some("") => ("/", true),
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        let segments: Vec<_> = written
            .split('/')
            .skip(1)
            .map(segment)
            .collect::<Result<_, BadTemplate>>()?;
        if open && segments.last() == Some(&Segment::Any) {
            return Err(BadTemplate::Wildcard);
        }
        check_canonical(written)?;
        Ok(Self {
            written: text.to_owned(),
            segments,
            open,
        })
    }

    /// The base itself, which has no rest, counts as `/`.
    fn fits(&self, rest: &str) -> bool {
        let mut path = rest.strip_prefix('/').unwrap_or(rest).split('/');
        let Some((last, before)) = self.segments.split_last() else {
            return false;
        };
        for wanted in before {
            if !path.next().is_some_and(|found| wanted.is(found)) {
                return false;
            }
        }
        match (last, path.next()) {
            (Segment::Literal(beginning), Some(found)) if self.open => found.starts_with(beginning),
            (wanted, Some(found)) => wanted.is(found) && path.next().is_none(),
            (_, None) => false,
        }
    }
}

impl Segment {
    fn is(&self, found: &str) -> bool {
        match self {
            Self::Literal(text) => text == found,
            Self::Any => !found.is_empty(),
        }
    }
}

fn segment(text: &str) -> Result<Segment, BadTemplate> {
    if text.contains('*') {
        return Err(BadTemplate::Wildcard);
    }
    let Some(place) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        let braces = text.contains(['{', '}']);
        return if braces {
            Err(BadTemplate::Place)
        } else {
            Ok(Segment::Literal(text.to_owned()))
        };
    };
    let named = place
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if named && !place.is_empty() {
        Ok(Segment::Any)
    } else {
        Err(BadTemplate::Place)
    }
}

/// A template whose literal parts are not canonical would never fit; the braces stand for any one segment here.
fn check_canonical(written: &str) -> Result<(), BadTemplate> {
    let plain = written.replace(['{', '}'], "");
    let path: CanonicalPath = plain.parse()?;
    if path.as_str() == plain {
        Ok(())
    } else {
        Err(BadTemplate::NotCanonical(path.to_string()))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_segment_and_a_star_any_rest() {
        for (template, fits, misses) in [
            (
                "/v1/charges",
                &["/v1/charges"][..],
                &["/v1/charges/", "/v1/charges/x", "/v1", ""][..],
            ),
            (
                "/c/{id}",
                &["/c/1"],
                &["/c/", "/c", "/c/1/", "/c/1/2", "/d/1"],
            ),
            (
                "/c/{id}/refund",
                &["/c/1/refund"],
                &["/c/1", "/c//refund", "/c/1/2/refund"],
            ),
            ("/c/*", &["/c/", "/c/1", "/c/1/2"], &["/c", "/cc/1", "/"]),
            ("/c/{id}/*", &["/c/1/", "/c/1/2/3"], &["/c/1", "/c//2"]),
            (
                "/v1/ch*",
                &["/v1/ch", "/v1/charges", "/v1/ch/x"],
                &["/v1/c", "/v1/"],
            ),
            ("/*", &["", "/", "/a/b"], &[]),
            ("*", &["", "/", "/a/b"], &[]),
            ("/", &["", "/"], &["/a"]),
        ] {
            let parsed = Template::parse(template).unwrap();
            for rest in fits {
                assert!(parsed.fits(rest), "{template} fits {rest:?}");
            }
            for rest in misses {
                assert!(!parsed.fits(rest), "{template} misses {rest:?}");
            }
        }
    }

    #[test]
    fn what_is_no_template() {
        use BadTemplate::{NotCanonical, Path, Place, Wildcard};
        for (text, why) in [
            ("", Path(BadPath::NotAbsolute)),
            ("c", Path(BadPath::NotAbsolute)),
            ("/a*b", Wildcard),
            ("/a/*/b", Wildcard),
            ("/a/**", Wildcard),
            ("/a/{id}*", Wildcard),
            ("/a/{id}.json", Place),
            ("/a/{}", Place),
            ("/a/{i d}", Place),
            ("/a/{{id}}", Place),
            ("/a/../b", NotCanonical("/b".into())),
            ("/a/%7eb", NotCanonical("/a/~b".into())),
            ("/a?b", Path(BadPath::Delimiter)),
            ("/a%2Fb", Path(BadPath::EscapedSlash)),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), why, "{text}");
        }
    }
}
