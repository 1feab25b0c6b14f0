//! Which parts of the log are old enough to go: by age, and only after they were exported, unless the config says that they
//! need not be. Never looks at how large the log is, so no sandbox can make another's lines go.

use std::{
    fs, io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use postern_daemon::files;
use serde::{Deserialize, Serialize};

use super::pieces::{MARK_FILE, Piece, pieces};

/// The largest mark, in bytes.
const MARK_BYTES_MAX: u64 = 1024;

/// How far a log was exported: `audit.exported`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The number of the last line that was exported.
    pub seq: u64,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

impl Mark {
    /// The mark in a log's directory, if there is one.
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        match files::read_bounded(&directory.join(MARK_FILE), MARK_BYTES_MAX) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The parts that may go now.
pub(super) fn overdue(
    directory: &Path,
    (keep, unexported_too): (Duration, bool),
    now_ms: i64,
) -> io::Result<Vec<Piece>> {
    let exported = if unexported_too {
        u64::MAX
    } else {
        Mark::read(directory)?.map_or(0, |mark| mark.seq)
    };
    let mut found = Vec::new();
    // The oldest go first, and none before one that is older.
    for piece in pieces(directory)? {
        let written = fs::metadata(&piece.path)?.modified()?;
        let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        let age_ms = now_ms.saturating_sub(i64::try_from(written.as_millis()).unwrap_or(i64::MAX));
        let old = u128::try_from(age_ms).is_ok_and(|age| age > keep.as_millis());
        if !old || piece.last > exported {
            break;
        }
        found.push(piece);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    #[test]
    fn only_what_is_old_and_exported_goes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 3600);
        for (first, last, day) in [(1, 10, 1), (11, 20, 2), (21, 30, 40)] {
            let piece = Piece::new(directory.path(), (first, last));
            let file = fs::File::create(piece.path).unwrap();
            file.set_modified(at(day)).unwrap();
        }
        let keep = Duration::from_secs(30 * 24 * 3600);
        let overdue = |too: bool, day: i64| -> Vec<u64> {
            let found = overdue(directory.path(), (keep, too), day * DAY_MS).unwrap();
            found.iter().map(|piece| piece.last).collect()
        };
        assert!(overdue(false, 60).is_empty(), "nothing was exported");
        assert_eq!(overdue(true, 60), [10, 20]);
        assert_eq!(overdue(true, 32), [10]);
        let mark = r#"{"seq":15,"hash":"ab"}"#;
        fs::write(directory.path().join(MARK_FILE), mark).unwrap();
        assert_eq!(overdue(false, 60), [10]);
        fs::write(directory.path().join(MARK_FILE), "nonsense").unwrap();
        assert!(super::overdue(directory.path(), (keep, false), 60 * DAY_MS).is_err());
    }
}
