//! Forms of paths: `*` is one segment, a final `**` any rest. Never compares across the border between two segments.

use crate::{
    path::{BadPath, CanonicalPath},
    shelf::Step,
};

/// A form of paths, from the host's root.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    segments: Vec<Segment>,
    /// Whether anything may follow behind a slash.
    open: bool,
}

#[derive(Debug, Clone)]
enum Segment {
    /// This one, in its canonical and its unescaped spelling.
    Literal(String, String),
    /// Any that is not empty.
    Any,
}

/// Why a text is no form of paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadGlob {
    #[error(
        "in `paths` a `*` is a whole segment, as in `/repos/*/issues`, and `**` is the last one"
    )]
    Wildcard,
    #[error("write the path as it is sent: `{0}`")]
    NotCanonical(String),
    #[error(transparent)]
    Path(#[from] BadPath),
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Self, BadGlob> {
        let path: CanonicalPath = text.parse()?;
        if path.as_str() != text {
            return Err(BadGlob::NotCanonical(path.to_string()));
        }
        let (written, open) = match text.strip_suffix("/**") {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        let segments = written.split('/').skip(1).map(segment);
        Ok(Self {
            segments: segments.collect::<Result<_, _>>()?,
            open,
        })
    }

    /// Whether a canonical path has the form, letter by letter.
    pub(crate) fn fits(&self, path: &str) -> bool {
        self.fits_by(path, |segment, found| match segment {
            Segment::Literal(text, _) => text == found,
            Segment::Any => !found.is_empty(),
        })
    }

    /// Whether a path without its escapes has the form without its own.
    pub(crate) fn fits_unescaped(&self, path: &str) -> bool {
        self.fits_by(path, |segment, found| match segment {
            Segment::Literal(_, text) => text == found,
            Segment::Any => !found.is_empty(),
        })
    }

    fn fits_by(&self, path: &str, is: impl Fn(&Segment, &str) -> bool) -> bool {
        let mut found = path.split('/').skip(1);
        let all = self
            .segments
            .iter()
            .all(|segment| found.next().is_some_and(|found| is(segment, found)));
        all && found.next().is_some() == self.open
    }

    /// The way to the paths that can fit.
    pub(crate) fn trail(&self) -> Vec<Step> {
        let steps = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_, text) => Step::Segment(text.as_str().into()),
            Segment::Any => Step::Any,
        });
        steps.collect()
    }
}

fn segment(text: &str) -> Result<Segment, BadGlob> {
    if text == "*" {
        return Ok(Segment::Any);
    }
    if text.contains('*') {
        return Err(BadGlob::Wildcard);
    }
    let path: CanonicalPath = format!("/{text}").parse()?;
    let unescaped = path.unescaped();
    Ok(Segment::Literal(
        text.to_owned(),
        unescaped.trim_start_matches('/').to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_any_rest() {
        for (glob, path, fits) in [
            ("/repos/*/issues", "/repos/a/issues", true),
            ("/repos/*/issues", "/repos/a/b/issues", false),
            ("/repos/*/issues", "/repos/issues", false),
            ("/repos/*/issues", "/repos/a/issues/", false),
            ("/repos/*/issues", "/repos/a/issues/1", false),
            ("/repos/*", "/repos/", false),
            ("/repos/*", "/repos", false),
            ("/*/*", "/a/b", true),
            ("/repos/**", "/repos/", true),
            ("/repos/**", "/repos/a/b/c", true),
            ("/repos/**", "/repos", false),
            ("/repos/**", "/reposx/a", false),
            ("/repos/*/**", "/repos/a/b", true),
            ("/repos/*/**", "/repos/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().fits(path), fits, "{glob} {path}");
        }
    }

    #[test]
    fn escapes_are_seen_through() {
        let glob = Glob::parse("/@me/*").unwrap();
        assert!(!glob.fits("/%40me/x") && glob.fits_unescaped("/@me/x"));
        let glob = Glob::parse("/%40me/*").unwrap();
        assert!(glob.fits("/%40me/x") && glob.fits_unescaped("/@me/x"));
    }

    #[test]
    fn what_is_no_form() {
        for text in ["/a*", "/**/b", "/a/***", "/*.json", "/a**"] {
            assert_eq!(Glob::parse(text).unwrap_err(), BadGlob::Wildcard, "{text}");
        }
        assert_eq!(
            Glob::parse("/a/../b/*").unwrap_err(),
            BadGlob::NotCanonical("/b/*".into())
        );
        for text in ["", "a", "*", "/a?b", "/a%2Fb"] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
    }
}
