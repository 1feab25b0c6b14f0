//! What the gate told others about its log: heads, each with the number and hash of a line and a MAC. Never believes one
//! that the key did not make.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use postern_proxy::audit::{Head, HeadKey, older};

/// The most bytes of heads that are read; more than the gate keeps in its two files.
const HEADS_BYTES_MAX: u64 = 256 << 20;

/// The heads of one log, by line.
#[derive(Debug, Default)]
pub(super) struct Heads {
    by_line: BTreeMap<u64, Head>,
    /// What is wrong with some of them.
    pub(super) problems: Vec<String>,
    /// How many were of another key.
    pub(super) strangers: u64,
}

impl Heads {
    /// Reads a file of heads, and the one before it if there is one. Without a key every head is taken as it stands.
    pub(super) fn read(path: &Path, key: Option<&HeadKey>) -> io::Result<Self> {
        let mut heads = Self::default();
        match heads.read_one(&older(path), key) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        heads.read_one(path, key)?;
        Ok(heads)
    }

    fn read_one(&mut self, path: &Path, key: Option<&HeadKey>) -> io::Result<()> {
        let name = key.map(HeadKey::name);
        let lines = BufReader::new(File::open(path)?.take(HEADS_BYTES_MAX)).lines();
        for line in lines {
            // A journal puts words of its own before and between; a crash cuts one short.
            let line = line?;
            let text = line.find('{').and_then(|start| line.get(start..));
            let Some(Ok(head)) = text.map(serde_json::from_str::<Head>) else {
                continue;
            };
            match (&name, key) {
                (Some(name), _) if *name != head.key => self.strangers += 1,
                (_, Some(key)) if !key.made(&head) => self.problems.push(format!(
                    "a head for line {} says that this key made it, and it did not",
                    head.seq
                )),
                _ => self.keep(head),
            }
        }
        Ok(())
    }

    fn keep(&mut self, head: Head) {
        match self.by_line.get(&head.seq) {
            Some(other) if other.hash != head.hash => self.problems.push(format!(
                "two heads name different lines {}, at {} and at {}: the log was made again",
                head.seq, other.time, head.time
            )),
            _ => drop(self.by_line.insert(head.seq, head)),
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_line.is_empty()
    }

    /// The head for a line.
    pub(super) fn of(&self, line: u64) -> Option<&Head> {
        self.by_line.get(&line)
    }

    /// The head for the last line that has one.
    pub(super) fn last(&self) -> Option<&Head> {
        self.by_line.last_key_value().map(|(_, head)| head)
    }
}
