//! Reads `postern.toml` and says what is wrong with it as `file:line:column: what, and what would be right`. Never
//! knows what a key means: that is each daemon's own.

mod locate;
mod nearest;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postern_contract::config::Problem;
use serde::de::DeserializeOwned;

use crate::files;

/// The largest config file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The most mistakes that are told at once.
const PROBLEMS_TOLD_MAX: usize = 20;

/// A file that has the right shape, and its text to point into.
#[derive(Debug)]
pub struct Loaded<Document> {
    /// What stands in it.
    pub document: Document,
    /// Where it stands.
    pub source: Source,
}

/// The text of a config file.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
}

/// What is wrong with a config file: one line a mistake, first to last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The mistakes, a line each.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

/// Reads a file and checks its shape.
///
/// # Errors
/// When it cannot be read, is no TOML, has an unknown key or a value of the wrong kind.
pub fn read<Document: DeserializeOwned>(path: &Path) -> Result<Loaded<Document>, ConfigError> {
    let text =
        text_of(path).map_err(|error| ConfigError(vec![format!("{}: {error}", path.display())]))?;
    parse(Source {
        path: path.to_owned(),
        text: text.into(),
    })
}

fn text_of(path: &Path) -> io::Result<String> {
    let bytes = files::read_bounded(path, FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

fn parse<Document: DeserializeOwned>(source: Source) -> Result<Loaded<Document>, ConfigError> {
    match toml::from_str(&source.text) {
        Ok(document) => Ok(Loaded { document, source }),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let mut message = nearest::with_hint(error.message());
            if locate::is_secret(&source.text, at) {
                message = nearest::without_value(&message);
            }
            Err(ConfigError(vec![source.line(at, &message)]))
        }
    }
}

impl Source {
    /// A source that did not come from a file, for tests and embedded examples.
    #[must_use]
    pub fn of_text(name: &str, text: &str) -> Self {
        Self {
            path: name.into(),
            text: text.into(),
        }
    }

    /// Checks the shape of this text.
    ///
    /// # Errors
    /// As [`read`].
    pub fn parse<Document: DeserializeOwned>(self) -> Result<Loaded<Document>, ConfigError> {
        parse(self)
    }

    /// Where the text was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that relative paths in the file start from.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// One mistake, with its place.
    #[must_use]
    pub fn error_at(&self, problem: &Problem) -> ConfigError {
        self.errors(std::slice::from_ref(problem))
    }

    /// Several mistakes in the order of the file, as many as are worth reading at once.
    #[must_use]
    pub fn errors(&self, problems: &[Problem]) -> ConfigError {
        let mut placed: Vec<_> = problems
            .iter()
            .map(|problem| (locate::offset(&self.text, &problem.path), &problem.message))
            .collect();
        placed.sort_by_key(|(offset, _)| *offset);
        placed.truncate(PROBLEMS_TOLD_MAX);
        ConfigError(
            placed
                .iter()
                .map(|(offset, message)| self.line(*offset, message))
                .collect(),
        )
    }

    fn line(&self, offset: usize, message: &str) -> String {
        let (line, column) = locate::line_and_column(&self.text, offset);
        let message = message.trim().replace('\n', " ");
        format!("{}:{line}:{column}: {message}", self.path.display())
    }
}

#[cfg(test)]
mod tests;
