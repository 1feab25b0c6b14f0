//! The archive's bytes as they came: counted, hashed, and handed on in pieces. Never lets more through than the limits say.

use std::{
    collections::VecDeque,
    io::{self, BufRead, Read},
    sync::Arc,
};

use crate::{Limits, UnpackError, hash::Hash, kind::HEAD_BYTES, trouble::Trouble};

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// From here on the ratio counts, in unpacked bytes: small archives of zeros harm nobody.
const RATIO_FROM_BYTES: u64 = 1024 * 1024;

/// The bytes of an archive, front to back.
pub(crate) struct Packed<R> {
    from: R,
    piece: Arc<Vec<u8>>,
    filled: usize,
    at: usize,
    /// Pieces that were read; the hash may still be busy with the last ones.
    spent: VecDeque<Arc<Vec<u8>>>,
    hash: Hash,
    bytes_max: u64,
    trouble: Trouble,
}

impl<R: Read> Packed<R> {
    /// Reads the first bytes, by which the kind is told.
    pub(crate) fn open(from: R, limits: &Limits) -> Result<Self, UnpackError> {
        let trouble = Trouble::default();
        let mut packed = Self {
            from,
            piece: Arc::default(),
            filled: 0,
            at: 0,
            spent: VecDeque::new(),
            hash: Hash::new(),
            bytes_max: limits.archive_bytes_max,
            trouble: trouble.clone(),
        };
        packed.read_piece(HEAD_BYTES).map_err(|e| trouble.of(&e))?;
        Ok(packed)
    }

    /// What lies ready; right after [`Self::open`] the first [`HEAD_BYTES`], or all there is.
    pub(crate) fn head(&self) -> &[u8] {
        &self.piece[self.at..self.filled]
    }

    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// How many bytes were used.
    pub(crate) fn position(&self) -> u64 {
        let ahead = self.filled - self.at;
        self.trouble.packed_bytes() - ahead as u64
    }

    /// Whether nothing more comes.
    pub(crate) fn is_at_end(&mut self) -> Result<bool, UnpackError> {
        let trouble = self.trouble();
        let rest = self.fill_buf().map_err(|e| trouble.of(&e))?;
        Ok(rest.is_empty())
    }

    /// The digest of all that came.
    pub(crate) fn into_digest(self) -> Result<String, UnpackError> {
        self.hash.finish()
    }

    /// Reads until so many bytes are there, or the end.
    fn read_piece(&mut self, at_least: usize) -> io::Result<()> {
        let fresh = self.fresh_piece();
        let done = std::mem::replace(&mut self.piece, fresh);
        if !done.is_empty() {
            self.spent.push_back(done);
        }
        (self.at, self.filled) = (0, 0);
        let Some(room) = Arc::get_mut(&mut self.piece) else {
            return Err(io::Error::other("a piece is held twice"));
        };
        while self.filled < at_least {
            match self.from.read(&mut room[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                // The parsers above would take it for the end.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let doing = "reading the archive".to_owned();
                    let why = error.to_string();
                    return Err(self.trouble.hit(UnpackError::System { doing, why }));
                }
            }
        }
        self.hash.update((Arc::clone(&self.piece), self.filled));
        if self.trouble.count_packed(self.filled) > self.bytes_max {
            let limit = format!("it is larger than {} bytes", self.bytes_max);
            return Err(self.trouble.hit(UnpackError::Limit(limit)));
        }
        Ok(())
    }

    fn fresh_piece(&mut self) -> Arc<Vec<u8>> {
        let mut oldest = self.spent.pop_front().unwrap_or_default();
        if oldest.is_empty() || Arc::get_mut(&mut oldest).is_none() {
            return Arc::new(vec![0; PIECE_BYTES]);
        }
        oldest
    }
}

impl<R: Read> BufRead for Packed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.filled {
            self.read_piece(1)?;
        }
        Ok(&self.piece[self.at..self.filled])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.filled);
    }
}

impl<R: Read> Read for Packed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// How much became of the packed bytes.
pub(crate) struct Ratio {
    unpacked_bytes: u64,
    ratio_max: u64,
    trouble: Trouble,
}

impl Ratio {
    pub(crate) fn new(limits: &Limits, trouble: Trouble) -> Self {
        Self {
            unpacked_bytes: 0,
            ratio_max: limits.ratio_max,
            trouble,
        }
    }

    /// Counts what was unpacked.
    pub(crate) fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(bytes as u64);
        let most = self.trouble.packed_bytes().saturating_mul(self.ratio_max);
        if self.unpacked_bytes > RATIO_FROM_BYTES && self.unpacked_bytes > most {
            let limit = format!("one byte became more than {}", self.ratio_max);
            return Err(self.trouble.hit(UnpackError::Limit(limit)));
        }
        Ok(())
    }

    pub(crate) fn unpacked_bytes(&self) -> u64 {
        self.unpacked_bytes
    }
}
