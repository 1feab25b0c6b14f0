//! Paths that stand in the config: which are plain, and where sources may lie. Never opens a file.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use postern_contract::config::Problem;

/// Where local sources of agents may lie, with links resolved.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    directory: PathBuf,
    roots: Vec<PathBuf>,
}

impl Places {
    /// The config's own directory and its `object_roots`.
    pub(crate) fn new(directory: &Path, object_roots: &[PathBuf]) -> Result<Self, Problem> {
        let directory = fs::canonicalize(directory)
            .map_err(|error| Problem::at([], format!("{}: {error}", directory.display())))?;
        let mut roots = vec![directory.clone()];
        for (position, root) in object_roots.iter().enumerate() {
            let real = fs::canonicalize(directory.join(root)).map_err(|error| {
                let at = position.to_string();
                Problem::at(
                    ["object_roots", &at],
                    format!("{}: {error}", root.display()),
                )
            })?;
            roots.push(real);
        }
        Ok(Self { directory, roots })
    }

    /// Where a path of the config leads, if that is beneath one of the roots.
    pub(crate) fn resolve(&self, written: &Path) -> Result<PathBuf, String> {
        let real = fs::canonicalize(self.directory.join(written))
            .map_err(|error| format!("{}: {}", written.display(), cause(&error)))?;
        if self.roots.iter().any(|root| real.starts_with(root)) {
            return Ok(real);
        }
        Err(format!(
            "{} lies outside the config's directory: add its directory to `object_roots`",
            written.display()
        ))
    }
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a path is absolute, more than `/`, and has no `.`, `..` or doubled slash.
pub(crate) fn plain_absolute(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && path != Path::new("/") && is_plain(path)
}

/// Whether a text is a relative path without `.`, `..` or doubled slashes.
pub(crate) fn plain_relative(text: &str) -> bool {
    let path = Path::new(text);
    !text.is_empty() && path.is_relative() && !text.ends_with('/') && is_plain(path)
}

fn is_plain(path: &Path) -> bool {
    let normal = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    let text = path.to_string_lossy();
    normal && !text.contains("//") && !text.contains("/./") && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths() {
        for good in ["/agent", "/opt/x/y"] {
            assert!(plain_absolute(Path::new(good)), "{good}");
        }
        for bad in ["", "/", "agent", "/a/../b", "/a/./b", "/a//b", "/a\nb"] {
            assert!(!plain_absolute(Path::new(bad)), "{bad}");
        }
        for bad in ["", "/a", "../a", "a/../b", "a/", "./a"] {
            assert!(!plain_relative(bad), "{bad}");
        }
        assert!(plain_relative("pkg/agent.py"));
    }

    #[test]
    fn a_source_outside_the_roots_is_refused_also_through_a_link() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("a.tar"), "").unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.tar"), inside.path().join("link"))
            .unwrap();
        let places = Places::new(inside.path(), &[]).unwrap();
        assert!(
            places
                .resolve(Path::new("link"))
                .unwrap_err()
                .contains("object_roots")
        );
        let wider = Places::new(inside.path(), &[outside.path().to_owned()]).unwrap();
        assert!(wider.resolve(Path::new("link")).is_ok());
        assert!(
            places
                .resolve(Path::new("absent"))
                .unwrap_err()
                .contains("no such file")
        );
    }
}
