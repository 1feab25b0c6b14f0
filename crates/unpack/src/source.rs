//! The archive's bytes on their way in: counted, hashed, told apart by content, inflated, and read to their very end. Never lets
//! more through than the limits say, and never stops before the last byte was looked at.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    rc::Rc,
};

use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use crate::{
    Kind, Limits, UnpackError,
    error::shown,
    member::{BLOCK_BYTES, cut_off},
};

/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// From here on the ratio counts, in unpacked bytes: small archives of zeros harm nobody.
const RATIO_FROM_BYTES: u64 = 1024 * 1024;

/// How much padding may follow the end of a tar archive, in bytes.
const PADDING_BYTES_MAX: u64 = 1024 * 1024;

/// How gzip begins.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// Where tar says that it is tar.
const TAR_MAGIC_AT: std::ops::Range<usize> = 257..262;

/// What was read so far, and the first limit that was hit: the parsers between would only say "an error".
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Rc<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    packed_bytes: Cell<u64>,
    first: RefCell<Option<UnpackError>>,
}

impl Trouble {
    fn hit(&self, error: UnpackError) -> io::Error {
        self.0.first.borrow_mut().get_or_insert(error);
        io::Error::other("refused")
    }

    /// The limit that was hit, or else the error itself.
    pub(crate) fn first(&self, error: UnpackError) -> UnpackError {
        self.0.first.borrow().clone().unwrap_or(error)
    }

    /// What a reader's error means.
    pub(crate) fn of(&self, error: &io::Error) -> UnpackError {
        let what = if error.kind() == io::ErrorKind::UnexpectedEof {
            cut_off()
        } else {
            UnpackError::damaged(shown(&error.to_string()))
        };
        self.first(what)
    }
}

/// Counts and hashes the bytes as they came.
struct Tap<R> {
    from: R,
    hash: Sha256,
    bytes_max: u64,
    trouble: Trouble,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.from.read(into) {
                Ok(count) => break count,
                // The parsers above would take it for the end.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let doing = "reading the archive".to_owned();
                    let why = error.to_string();
                    return Err(self.trouble.hit(UnpackError::System { doing, why }));
                }
            }
        };
        self.hash.update(&into[..count]);
        let packed = &self.trouble.0.packed_bytes;
        packed.set(packed.get() + count as u64);
        if packed.get() > self.bytes_max {
            let limit = format!("it is larger than {} bytes", self.bytes_max);
            return Err(self.trouble.hit(UnpackError::Limit(limit)));
        }
        Ok(count)
    }
}

/// The packed bytes; the first ones were looked at already.
type Packed<R> = BufReader<Chain<Cursor<Vec<u8>>, Tap<R>>>;

enum Stream<R: Read> {
    Plain(Packed<R>),
    Gzip(Box<GzDecoder<Packed<R>>>),
}

/// The unpacked bytes of an archive.
pub(crate) struct Source<R: Read> {
    stream: Stream<R>,
    unpacked_bytes: u64,
    ratio_max: u64,
    trouble: Trouble,
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes and chooses how to read the rest.
    pub(crate) fn open(from: R, limits: &Limits) -> Result<Self, UnpackError> {
        let (mut tap, trouble) = tap(from, limits);
        let mut head = Vec::new();
        tap.by_ref()
            .take(BLOCK_BYTES)
            .read_to_end(&mut head)
            .map_err(|e| trouble.of(&e))?;
        let is_gzip = head.starts_with(GZIP_MAGIC);
        if !is_gzip && head.get(TAR_MAGIC_AT) != Some(b"ustar".as_slice()) {
            return Err(UnpackError::UnknownKind);
        }
        let packed = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(tap));
        let stream = if is_gzip {
            Stream::Gzip(Box::new(GzDecoder::new(packed)))
        } else {
            Stream::Plain(packed)
        };
        Ok(Self {
            stream,
            unpacked_bytes: 0,
            ratio_max: limits.ratio_max,
            trouble,
        })
    }

    /// Reads the bytes as they are, whatever they are.
    pub(crate) fn plain(from: R, limits: &Limits) -> Self {
        let (tap, trouble) = tap(from, limits);
        let packed = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(Vec::new()).chain(tap));
        let stream = Stream::Plain(packed);
        Self {
            stream,
            unpacked_bytes: 0,
            ratio_max: limits.ratio_max,
            trouble,
        }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.stream {
            Stream::Plain(_) => Kind::Tar,
            Stream::Gzip(_) => Kind::TarGz,
        }
    }

    /// Reads the end of the archive: two empty blocks after the last entry, padding of zeros, and then nothing more, neither
    /// inside the compression nor after it. Gives the digest of all that came.
    pub(crate) fn finish(mut self, end_of_entries: u64) -> Result<String, UnpackError> {
        // The parser has read one empty block; at the end of a cut archive it has not.
        if self.unpacked_bytes != end_of_entries.saturating_add(BLOCK_BYTES) {
            return Err(cut_off());
        }
        let padding = self.read_padding()?;
        if padding < BLOCK_BYTES || !padding.is_multiple_of(BLOCK_BYTES) {
            return Err(cut_off());
        }
        let trouble = self.trouble.clone();
        let mut packed = match self.stream {
            Stream::Plain(packed) => packed,
            Stream::Gzip(decoder) => decoder.into_inner(),
        };
        let rest = packed.fill_buf().map_err(|e| trouble.of(&e))?;
        if rest.starts_with(GZIP_MAGIC) {
            return Err(UnpackError::Trailing("a second gzip member".to_owned()));
        }
        if !rest.is_empty() {
            return Err(UnpackError::Trailing(
                "bytes that belong to nothing".to_owned(),
            ));
        }
        Ok(digest(packed))
    }

    /// Gives the digest of all that was read.
    pub(crate) fn into_digest(self) -> String {
        match self.stream {
            Stream::Plain(packed) => digest(packed),
            Stream::Gzip(decoder) => digest(decoder.into_inner()),
        }
    }

    fn read_padding(&mut self) -> Result<u64, UnpackError> {
        let mut block = [0; 4_096];
        let mut padding = 0;
        loop {
            let count = match self.read(&mut block) {
                Ok(0) => return Ok(padding),
                Ok(count) => count,
                Err(error) => return Err(self.trouble.of(&error)),
            };
            padding += count as u64;
            if block[..count].iter().any(|byte| *byte != 0) {
                return Err(UnpackError::Trailing(
                    "bytes after the end of the tar archive".to_owned(),
                ));
            }
            if padding > PADDING_BYTES_MAX {
                return Err(UnpackError::Limit(format!(
                    "more than {PADDING_BYTES_MAX} bytes of padding"
                )));
            }
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.stream {
            Stream::Plain(packed) => packed.read(into)?,
            Stream::Gzip(decoder) => decoder.read(into)?,
        };
        self.unpacked_bytes += count as u64;
        let packed = self.trouble.0.packed_bytes.get();
        if self.unpacked_bytes > RATIO_FROM_BYTES
            && self.unpacked_bytes > packed.saturating_mul(self.ratio_max)
        {
            let limit = format!("one byte became more than {}", self.ratio_max);
            return Err(self.trouble.hit(UnpackError::Limit(limit)));
        }
        Ok(count)
    }
}

fn tap<R: Read>(from: R, limits: &Limits) -> (Tap<R>, Trouble) {
    let trouble = Trouble::default();
    let hash = Sha256::new();
    (
        Tap {
            from,
            hash,
            bytes_max: limits.archive_bytes_max,
            trouble: trouble.clone(),
        },
        trouble,
    )
}

fn digest<R: Read>(packed: Packed<R>) -> String {
    let (_, tap) = packed.into_inner().into_inner();
    hex::encode(tap.hash.finalize())
}
