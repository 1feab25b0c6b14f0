//! Lines of JSON in which each names the hash of the one before, so that a line that was cut out, edited or put in shows.
//! The chain goes on from file to file. Never reads more of a file than its first line and its end.
//!
//! ```text
//! append ─▶ room left? ── no ──▶ the file gets its numbers as a name, the next one begins ──▶ write(2)
//!                └── yes ──────────────────────────────────────────────────────────────────────▲
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::pieces::{LOG_FILE, Piece, pieces};

/// The longest line, in bytes; what could be long in one is cut before.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the first line names as the one before it.
pub const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Held by the one gate that writes.
const LOCK: &str = "audit.lock";

/// What one line takes in most cases, in bytes.
const LINE_BYTES_USUAL: usize = 1024;

/// The open file and what the next line must say.
pub(super) struct Chain {
    file: File,
    /// How long the file is, in bytes.
    length: u64,
    /// The number of the file's first line.
    first: u64,
    /// The number of the next line, from 1.
    seq: u64,
    /// The hash of the last line, in hexadecimal.
    before: String,
    /// Whether the file's last line was cut by a crash and needs its end.
    cut: bool,
    /// The line in hand; kept for its memory.
    line: Vec<u8>,
    place: Option<Place>,
}

/// Where a log's files lie.
struct Place {
    directory: PathBuf,
    /// How long a file may get, in bytes.
    rotate: u64,
    /// When to try again, where a file could not be put aside.
    again_at: u64,
    /// Files put aside, and their directory, that are not on the disk for certain.
    retired: Vec<File>,
    _lock: File,
}

/// What is read of a line at start.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

/// The end of a file of lines.
struct End {
    seq: u64,
    hash: String,
    cut: bool,
}

/// The hash by which the next line names this one, in hexadecimal.
#[must_use]
pub fn line_hash(line: &[u8]) -> String {
    format!("{:x}", Sha256::digest(line))
}

/// Whether a gate writes the log of a directory now. What cannot be looked at is said when the log is opened.
pub(super) fn is_written(directory: &Path) -> bool {
    let lock = opened(&directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

impl Chain {
    /// Opens or makes the log of a directory, 0600, and holds it alone.
    pub(super) fn open(directory: &Path, rotate: u64) -> io::Result<Self> {
        let path = directory.join(LOG_FILE);
        let file = opened(&path)?;
        let lock = opened(&directory.join(LOCK))?;
        lock.try_lock()
            .map_err(|_| named(&path, &io::Error::other("another gate writes it")))?;
        let mut chain = Self::resume(file, directory).map_err(|error| named(&path, &error))?;
        chain.place = Some(Place {
            directory: directory.to_owned(),
            rotate,
            again_at: 0,
            retired: Vec::new(),
            _lock: lock,
        });
        Ok(chain)
    }

    /// A chain that begins with the next line, in one file only.
    pub(super) fn fresh(file: File) -> Self {
        Self {
            file,
            length: 0,
            first: 1,
            seq: 1,
            before: NOTHING_BEFORE.to_owned(),
            cut: false,
            line: Vec::with_capacity(LINE_BYTES_USUAL),
            place: None,
        }
    }

    /// Goes on behind the last line that was written.
    fn resume(file: File, directory: &Path) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let last = pieces(directory)?.pop();
        let following = last.as_ref().map_or(1, |piece| piece.last + 1);
        let mut chain = Self::fresh(file);
        chain.length = length;
        chain.first = following;
        let end = match last {
            _ if length > 0 => {
                chain.first = first_seq(&chain.file)?.unwrap_or(following);
                end_of(&chain.file, chain.first)?
            }
            Some(piece) => {
                // The end of a piece was whole before it was put aside, or stands there cut for good.
                let end = end_of(&File::open(&piece.path)?, piece.first)?;
                End { cut: false, ..end }
            }
            None => return Ok(chain),
        };
        chain.seq = end.seq + 1;
        chain.before = end.hash;
        chain.cut = end.cut;
        Ok(chain)
    }

    /// Writes one line; all of it or, after an error, none.
    pub(super) fn append(&mut self, event: &impl Serialize) -> io::Result<()> {
        self.make_room();
        let start = self.compose(event)?;
        let hash = line_hash(&self.line[start..]);
        self.line.push(b'\n');
        if let Err(error) = self.file.write_all(&self.line) {
            // Half a line would hide the next one: take it back, or remember that it stands there.
            self.cut = self.file.set_len(self.length).is_err() || self.cut;
            return Err(error);
        }
        self.length += self.line.len() as u64;
        self.seq += 1;
        self.before = hash;
        self.cut = false;
        Ok(())
    }

    /// The number and the hash of the last line.
    pub(super) fn head(&self) -> (u64, &str) {
        (self.seq - 1, &self.before)
    }

    /// What must be synced: the file, those put aside, and their directory.
    pub(super) fn unsynced(&mut self) -> io::Result<Vec<File>> {
        let mut files = vec![self.file.try_clone()?];
        if let Some(place) = &mut self.place {
            files.append(&mut place.retired);
        }
        Ok(files)
    }

    /// Whether files were put aside that are not on the disk for certain.
    pub(super) fn has_retired(&self) -> bool {
        self.place
            .as_ref()
            .is_some_and(|place| !place.retired.is_empty())
    }

    /// The file, for syncing.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts the line together and says where it starts behind the end that a cut one needs.
    fn compose(&mut self, event: &impl Serialize) -> io::Result<usize> {
        self.line.clear();
        if self.cut {
            self.line.push(b'\n');
        }
        let start = self.line.len();
        write!(
            self.line,
            "{{\"seq\":{},\"before\":\"{}\"",
            self.seq, self.before
        )?;
        let joint = self.line.len();
        serde_json::to_writer(&mut self.line, event)?;
        // An event is an object with its kind in it, so its first byte is a brace and something follows.
        self.line[joint] = b',';
        if (self.line.len() - start) as u64 > LINE_BYTES_MAX {
            return Err(io::Error::other("a line is too long"));
        }
        Ok(start)
    }

    /// Puts the file aside where it is long enough. A file that cannot be put aside is written on.
    fn make_room(&mut self) {
        let Some(place) = &mut self.place else {
            return;
        };
        if self.length < place.rotate.max(place.again_at) || self.cut {
            return;
        }
        let piece = Piece::new(&place.directory, (self.first, self.seq - 1));
        match put_aside(&place.directory, &piece) {
            Ok((fresh, directory)) => {
                let full = std::mem::replace(&mut self.file, fresh);
                place.retired.extend([full, directory]);
                place.again_at = 0;
                self.first = self.seq;
                self.length = 0;
            }
            Err(error) => {
                tracing::error!(%error, "the audit log could not begin a new file");
                place.again_at = self.length.saturating_add(place.rotate);
            }
        }
    }
}

/// Names the written file after its lines and begins the next; or leaves everything as it was.
fn put_aside(directory: &Path, piece: &Piece) -> io::Result<(File, File)> {
    let current = directory.join(LOG_FILE);
    let itself = File::open(directory)?;
    fs::rename(&current, &piece.path)?;
    match opened(&current) {
        Ok(fresh) => Ok((fresh, itself)),
        Err(error) => {
            fs::rename(&piece.path, &current)?;
            Err(error)
        }
    }
}

/// Opens or makes a file of the gate's own.
pub(super) fn opened(path: &Path) -> io::Result<File> {
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
    Ok(file)
}

fn first_seq(mut file: &File) -> io::Result<Option<u64>> {
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    BufReader::new(file.take(LINE_BYTES_MAX)).read_until(b'\n', &mut first)?;
    Ok(serde_json::from_slice::<Numbered>(&first)
        .ok()
        .map(|line| line.seq))
}

fn end_of(mut file: &File, first: u64) -> io::Result<End> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2 * LINE_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(2 * LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let cut = !tail.ends_with(b"\n");
    let whole = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let mut lines = whole.rsplit(|byte| *byte == b'\n');
    let last = lines.next().unwrap_or_default();
    // A cut line counts as one; its number is told by the whole line before it.
    let numbered = if cut { lines.next() } else { Some(last) };
    let seq = match numbered {
        Some(line) => serde_json::from_slice::<Numbered>(line)?.seq + u64::from(cut),
        None => first,
    };
    Ok(End {
        seq,
        hash: line_hash(last),
        cut,
    })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
