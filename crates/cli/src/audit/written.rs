//! Logs for tests, written as the gate writes them, and ways to tamper with them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use postern_proxy::audit::{Head, HeadKey, KEY_FILE, LOG_FILE, NOTHING_BEFORE, line_hash};
use tempfile::TempDir;

/// A log in a directory of its own.
pub(super) struct WrittenLog {
    directory: TempDir,
    key: HeadKey,
}

impl WrittenLog {
    /// A log of this many calls.
    pub(super) fn of(lines: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = HeadKey::open_or_make(&directory.path().join(KEY_FILE)).unwrap();
        let log = Self { directory, key };
        let lines = chained((1, NOTHING_BEFORE), lines, "");
        log.write(&log.path(), &lines);
        log
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join(LOG_FILE)
    }

    pub(super) fn heads(&self) -> PathBuf {
        self.directory.path().join("audit.heads")
    }

    pub(super) fn key(&self) -> &HeadKey {
        &self.key
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn write(&self, path: &Path, lines: &[String]) {
        fs::write(
            path,
            lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
        .unwrap();
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut lines = self.lines();
        change(&mut lines);
        self.write(&self.path(), &lines);
    }

    /// Sends the head of a line out.
    pub(super) fn attest(&self, line: u64) {
        let text = self
            .lines()
            .into_iter()
            .nth(usize::try_from(line).unwrap() - 1)
            .unwrap();
        let hash = line_hash(text.as_bytes());
        self.send(&self.key.head(format!("time {line}"), (line, &hash)));
    }

    pub(super) fn send(&self, head: &Head) {
        let mut text = fs::read_to_string(self.heads()).unwrap_or_default();
        text.push_str(&serde_json::to_string(head).unwrap());
        text.push('\n');
        fs::write(self.heads(), text).unwrap();
    }

    /// Puts the first lines aside, as a rotation does.
    pub(super) fn rotate(&self, first: u64, last: u64) -> PathBuf {
        let lines = self.lines();
        let count = usize::try_from(last - first + 1).unwrap();
        let name = format!("audit-{first:012}-{last:012}.jsonl");
        let path = self.directory.path().join(name);
        self.write(&path, &lines[..count]);
        self.write(&self.path(), &lines[count..]);
        path
    }
}

/// Lines that follow one another.
pub(super) fn chained((first, before): (u64, &str), count: u64, salt: &str) -> Vec<String> {
    let mut before = before.to_owned();
    let line = |seq: u64| {
        let line = format!(
            r#"{{"seq":{seq},"before":"{before}","kind":"call","time":"2026-01-01T00:00:00.000Z","request":"req_{seq}{salt}","path":"/{seq}"}}"#
        );
        before = line_hash(line.as_bytes());
        line
    };
    (first..first + count).map(line).collect()
}
