//! Whether files are still what they were, told by a look at each from outside. Never opens one.
//!
//! A look a second instead of inotify: what counts is what a path leads to now, through every link on the way, and one
//! `stat` answers that alike for a file written in place, one renamed over it, a link (or a directory of links, as secrets
//! are mounted) pointed elsewhere, and files on shares, whose changes inotify never hears of. It costs a few microseconds.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// What a path leads to, as far as it can be seen without opening it; `None` where it leads nowhere.
type Stamp = Option<[i64; 8]>;

/// Files, each with what was there when it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files(Vec<(PathBuf, Stamp)>);

impl Files {
    /// Looks at each of these.
    pub(crate) fn look(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let looked = paths.into_iter().map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        });
        Self(looked.collect())
    }

    /// These and the others, each once.
    #[must_use]
    pub(crate) fn and(mut self, others: &Self) -> Self {
        for other in &others.0 {
            if !self.0.iter().any(|(path, _)| *path == other.0) {
                self.0.push(other.clone());
            }
        }
        self
    }

    /// The same files as they are now.
    pub(crate) fn again(&self) -> Self {
        Self::look(self.0.iter().map(|(path, _)| path.clone()))
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some([
        found.dev().cast_signed(),
        found.ino().cast_signed(),
        found.size().cast_signed(),
        i64::from(found.mode()),
        found.mtime(),
        found.mtime_nsec(),
        // Changes with owner and mode too, and cannot be set back.
        found.ctime(),
        found.ctime_nsec(),
    ])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_seen_in_place_by_rename_and_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (folder, text) in [("one", "a"), ("two", "a")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("file"), text).unwrap();
        }
        symlink("one", at("data")).unwrap();
        symlink("data/file", at("file")).unwrap();
        let seen = Files::look([at("file"), at("none")]);
        assert_eq!(seen, seen.again());

        // The directory behind the link is another one now.
        symlink("two", at("data2")).unwrap();
        fs::rename(at("data2"), at("data")).unwrap();
        let turned = seen.again();
        assert_ne!(turned, seen);

        fs::write(at("two/file"), "longer").unwrap();
        let written = turned.again();
        assert_ne!(written, turned);

        fs::write(at("fresh"), "longer").unwrap();
        fs::rename(at("fresh"), at("two/file")).unwrap();
        let renamed = written.again();
        assert_ne!(renamed, written);

        fs::remove_file(at("two/file")).unwrap();
        let gone = renamed.again();
        assert_ne!(gone, renamed);
        fs::write(at("none"), "").unwrap();
        assert_ne!(gone.again(), gone);
    }
}
