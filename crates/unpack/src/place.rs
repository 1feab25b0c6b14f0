//! Where an entry goes: a path whose every component was checked, relative to the destination. Never normalises a name into
//! another one: what is odd is refused.

use unicode_normalization::UnicodeNormalization;

use crate::UnpackError;

/// The longest component, in bytes: what file systems take.
const COMPONENT_BYTES_MAX: usize = 255;

/// The longest path, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 4_096;

/// A checked path: no empty, `.` or `..` component, nothing absolute. The root itself has no component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: String,
}

impl Place {
    /// Checks a name of the archive. A leading `./` and one final `/` mean nothing.
    pub(crate) fn parse(bytes: &[u8], depth_max: usize) -> Result<Self, UnpackError> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let shown = String::from_utf8_lossy(bytes);
            return Err(UnpackError::name(&shown, "is not UTF-8"));
        };
        let refuse = |why: &str| Err(UnpackError::name(text, why));
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > PATH_BYTES_MAX {
            return refuse("is too long");
        }
        if text.starts_with('/') {
            return refuse("is absolute");
        }
        if matches!(text, "." | "./") {
            return Ok(Self {
                path: String::new(),
            });
        }
        let path = text.strip_prefix("./").unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        for component in path.split('/') {
            if let Some(why) = wrong_with(component) {
                return refuse(why);
            }
        }
        let place = Self {
            path: path.to_owned(),
        };
        if place.depth() > depth_max {
            return Err(UnpackError::Limit(format!(
                "a path has more than {depth_max} components"
            )));
        }
        Ok(place)
    }

    /// The whole path, without a slash at either end; empty for the root.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The last component.
    pub(crate) fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(self.path.as_str(), |(_, name)| name)
    }

    /// Everything but the last component; empty for what lies in the root.
    pub(crate) fn parent(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    pub(crate) fn depth(&self) -> usize {
        if self.is_root() {
            0
        } else {
            self.path.split('/').count()
        }
    }

    /// The directories above, outermost first.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = Self> {
        self.path.match_indices('/').map(|(end, _)| Self {
            path: self.path[..end].to_owned(),
        })
    }

    /// The path as file systems that ignore case or Unicode form would see it.
    pub(crate) fn folded(&self) -> String {
        if self.path.is_ascii() {
            return self.path.to_ascii_lowercase();
        }
        let upper = self.path.nfd().flat_map(char::to_uppercase);
        upper.flat_map(char::to_lowercase).nfc().collect()
    }
}

fn wrong_with(component: &str) -> Option<&'static str> {
    match component {
        "" => Some("has an empty component"),
        "." => Some("has a `.` in it"),
        ".." => Some("has a `..` in it"),
        _ if component.len() > COMPONENT_BYTES_MAX => {
            Some("has a component of more than 255 bytes")
        }
        _ if component.contains('\\') => Some("has a backslash in it"),
        _ if component.contains(char::is_control) => Some("has a control character in it"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "x".repeat(256);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/..",
            "./../x",
            "a//b",
            "a/./b",
            "././a",
            "a//",
            "//a",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{1b}[0m",
            "a\u{85}b",
            "a\u{7f}",
            &long,
            &"a/".repeat(2_049),
        ] {
            assert!(Place::parse(bad.as_bytes(), 5_000).is_err(), "{bad:?}");
        }
        assert!(Place::parse(b"a\xff", 9).is_err());
        assert!(matches!(
            Place::parse(b"a/b/c", 2),
            Err(UnpackError::Limit(_))
        ));
    }

    #[test]
    fn good_names_keep_their_form() {
        for (text, path, parent, name) in [
            ("./a/b/", "a/b", "a", "b"),
            ("a", "a", "", "a"),
            ("..a/...", "..a/...", "..a", "..."),
            ("é/ü", "é/ü", "é", "ü"),
        ] {
            let place = Place::parse(text.as_bytes(), 9).unwrap();
            assert_eq!(
                (place.path(), place.parent(), place.name()),
                (path, parent, name)
            );
        }
        assert!(Place::parse(b"./", 9).unwrap().is_root());
        let deep = Place::parse(b"a/b/c", 9).unwrap();
        assert_eq!(
            deep.ancestors()
                .map(|p| p.path().to_owned())
                .collect::<Vec<_>>(),
            ["a", "a/b"]
        );
    }

    #[test]
    fn names_that_some_file_systems_hold_equal_fold_alike() {
        let folded = |text: &str| Place::parse(text.as_bytes(), 9).unwrap().folded();
        for (one, two) in [
            ("README", "readme"),
            ("é", "e\u{301}"),
            ("É", "e\u{301}"),
            ("STRASSE", "straße"),
            ("ſ", "S"),
        ] {
            assert_eq!(folded(one), folded(two), "{one} {two}");
        }
        assert_ne!(folded("a"), folded("b"));
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_beneath(bytes in prop::collection::vec(prop::sample::select(b"ab./\\\0\n".to_vec()), 0..24)) {
            if let Ok(place) = Place::parse(&bytes, 99) {
                prop_assert!(!place.path().starts_with('/') && !place.path().ends_with('/'));
                prop_assert!(place.path().split('/').all(|c| c != ".." && c != "."));
            }
        }
    }
}
