//! A file of JSON lines in which each line names the hash of the one before, so that a line that was cut out, edited or
//! put in shows. Never reads more of the file than its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest line, in bytes; what could be long in one is cut before.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the first line names as the one before it.
const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The open file and what the next line must say.
pub(super) struct Chain {
    file: File,
    /// The number of the next line, from 1.
    seq: u64,
    /// The hash of the last line, in hexadecimal.
    before: String,
    /// Whether the file's last line was cut by a crash and needs its end.
    cut: bool,
}

#[derive(Serialize)]
struct Linked<'a, Event> {
    seq: u64,
    before: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// What is read of the last line at start.
#[derive(Deserialize)]
struct Last {
    seq: u64,
}

impl Chain {
    /// Opens or makes the file, 0600, and holds it alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A planted link or FIFO is not followed and not waited for.
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| named(path, &error))?;
        if !file.metadata()?.is_file() {
            return Err(named(path, &io::Error::other("no regular file")));
        }
        file.try_lock()
            .map_err(|_| named(path, &io::Error::other("another gate writes it")))?;
        Self::resume(file).map_err(|error| named(path, &error))
    }

    /// A chain that begins with the next line.
    pub(super) fn fresh(file: File) -> Self {
        Self {
            file,
            seq: 1,
            before: NOTHING_BEFORE.to_owned(),
            cut: false,
        }
    }

    /// Goes on behind the last line of a file.
    fn resume(mut file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        if length == 0 {
            return Ok(Self::fresh(file));
        }
        file.seek(SeekFrom::Start(length.saturating_sub(2 * LINE_BYTES_MAX)))?;
        let mut tail = Vec::new();
        (&file).take(2 * LINE_BYTES_MAX).read_to_end(&mut tail)?;
        let cut = !tail.ends_with(b"\n");
        let whole = tail.strip_suffix(b"\n").unwrap_or(&tail);
        let mut lines = whole.rsplit(|byte| *byte == b'\n');
        let last = lines.next().unwrap_or_default();
        // A cut line counts as one; its number is told by the whole line before it.
        let numbered = if cut { lines.next() } else { Some(last) };
        let seq = match numbered {
            Some(line) => serde_json::from_slice::<Last>(line)?.seq + u64::from(cut),
            None => 1,
        };
        Ok(Self {
            file,
            seq: seq + 1,
            before: hex::encode(Sha256::digest(last)),
            cut,
        })
    }

    /// Writes one line; all of it or, after an error, none.
    pub(super) fn append(&mut self, event: &impl Serialize) -> io::Result<()> {
        let linked = Linked {
            seq: self.seq,
            before: &self.before,
            event,
        };
        let mut bytes = Vec::with_capacity(512);
        if self.cut {
            bytes.push(b'\n');
        }
        let start = bytes.len();
        serde_json::to_writer(&mut bytes, &linked)?;
        if (bytes.len() - start) as u64 > LINE_BYTES_MAX {
            return Err(io::Error::other("a line is too long"));
        }
        let hash = hex::encode(Sha256::digest(&bytes[start..]));
        bytes.push(b'\n');
        let length = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a line would hide the next one: take it back, or remember that it stands there.
            self.cut = self.file.set_len(length).is_err() || self.cut;
            return Err(error);
        }
        self.seq += 1;
        self.before = hash;
        self.cut = false;
        Ok(())
    }

    /// The file, for syncing.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[derive(Serialize)]
    struct Note {
        text: &'static str,
    }

    /// Follows the chain through a whole file and gives the number of its lines.
    fn verified(path: &Path) -> u64 {
        let mut before = NOTHING_BEFORE.to_owned();
        let mut seq = 0;
        for line in fs::read_to_string(path).unwrap().lines() {
            seq += 1;
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(line) {
                assert_eq!(value["before"], before.as_str());
                assert_eq!(value["seq"], seq);
            }
            before = hex::encode(Sha256::digest(line));
        }
        seq
    }

    #[test]
    fn a_chain_goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        for _start in 0..3 {
            let mut chain = Chain::open(&path).unwrap();
            chain.append(&Note { text: "one" }).unwrap();
            chain.append(&Note { text: "two" }).unwrap();
        }
        assert_eq!(verified(&path), 6);
    }

    #[test]
    fn a_line_that_a_crash_cut_stays_visible_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut chain = Chain::open(&path).unwrap();
        chain.append(&Note { text: "whole" }).unwrap();
        drop(chain);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"{\"seq\":2")
            .unwrap();
        Chain::open(&path)
            .unwrap()
            .append(&Note { text: "after" })
            .unwrap();
        assert_eq!(verified(&path), 3);
    }

    #[test]
    fn two_gates_cannot_write_one_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let _first = Chain::open(&path).unwrap();
        let error = Chain::open(&path).err().unwrap().to_string();
        assert!(error.contains("another gate"), "{error}");
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Chain::open(&path).is_err());
    }
}
