//! The files that one log is kept in: `audit.jsonl`, which is written, and those before it, each named by its first and
//! last line. Never reads a line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file that is written.
pub const LOG_FILE: &str = "audit.jsonl";

/// What the gate's heads are appended to, unless the config says otherwise.
pub const HEADS_FILE: &str = "audit.heads";

/// The key of the heads' MACs.
pub const KEY_FILE: &str = "audit.key";

/// How far the log was exported, as `postern audit export --mark` wrote it.
pub const MARK_FILE: &str = "audit.exported";

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// A part of the log that is no longer written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// The number of its first line.
    pub first: u64,
    /// The number of its last line.
    pub last: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl Piece {
    /// A piece with its place in a directory.
    pub(super) fn new(directory: &Path, (first, last): (u64, u64)) -> Self {
        let path = directory.join(format!("{PREFIX}{first:012}-{last:012}{SUFFIX}"));
        Self { first, last, path }
    }

    /// The piece that a file of this name is.
    fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let span = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (first, last) = span.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(Self { first, last, path })
    }
}

/// The pieces in a directory, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn pieces(directory: &Path) -> io::Result<Vec<Piece>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        found.extend(Piece::named(entry?.path()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_in_order_and_nothing_else_is_one() {
        let directory = tempfile::tempdir().unwrap();
        for span in [(11, 20), (1, 10), (1_000_000_000_000, 1_000_000_000_001)] {
            fs::write(Piece::new(directory.path(), span).path, "").unwrap();
        }
        for stranger in [
            "audit.jsonl",
            "audit-1.jsonl",
            "audit-9-1.jsonl",
            "audit-x-y.jsonl",
        ] {
            fs::write(directory.path().join(stranger), "").unwrap();
        }
        let spans = pieces(directory.path()).unwrap();
        let spans: Vec<_> = spans
            .iter()
            .map(|piece| (piece.first, piece.last))
            .collect();
        assert_eq!(
            spans,
            [(1, 10), (11, 20), (1_000_000_000_000, 1_000_000_000_001)]
        );
    }
}
