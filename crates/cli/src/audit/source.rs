//! The files of a log, oldest first, line by line. Never holds more than one line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use postern_proxy::audit::{LOG_FILE, pieces};

/// The longest line that is read, in bytes; the gate writes none of this length.
const LINE_BYTES_MAX: u64 = 128 * 1024;

/// A log on its files.
#[derive(Debug)]
pub(crate) struct Log {
    files: Vec<PathBuf>,
}

/// One line as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The file it stands in.
    pub(crate) file: PathBuf,
    /// Its number in that file, from 1.
    pub(crate) at: u64,
    /// Its bytes without the line break.
    pub(crate) bytes: Vec<u8>,
    /// Whether it has its line break.
    pub(crate) ended: bool,
}

impl Log {
    /// The log that this file belongs to: with `audit.jsonl`, all that was put aside before it; else the file alone.
    pub(crate) fn of(file: &Path) -> io::Result<Self> {
        File::open(file)?;
        let mut files = Vec::new();
        if file.file_name().is_some_and(|name| name == LOG_FILE) {
            files.extend(pieces(directory(file))?.into_iter().map(|piece| piece.path));
        }
        files.push(file.to_owned());
        Ok(Self { files })
    }

    /// Hands every line over until the taker says stop.
    pub(crate) fn each<E: From<io::Error>>(
        &self,
        mut take: impl FnMut(Raw) -> Result<(), E>,
    ) -> Result<(), E> {
        for path in &self.files {
            let mut reader = BufReader::new(File::open(path)?);
            for at in 1.. {
                let Some(raw) = next(&mut reader, path, at)? else {
                    break;
                };
                take(raw)?;
            }
        }
        Ok(())
    }
}

/// Where a log's file lies.
pub(crate) fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn next(reader: &mut impl BufRead, path: &Path, at: u64) -> io::Result<Option<Raw>> {
    let mut bytes = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let ended = bytes.pop_if(|last| *last == b'\n').is_some();
    Ok(Some(Raw {
        file: path.to_owned(),
        at,
        bytes,
        ended,
    }))
}
