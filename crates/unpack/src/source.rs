//! The bytes of a tar archive: inflated, counted, and read to their very end. Never stops before the last byte was looked at.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::{
    Kind, Limits, UnpackError,
    kind::{self, FIRST_BYTES, Looks},
    member::BLOCK_BYTES,
    packed::{Packed, Ratio},
    trouble::Trouble,
    zstandard::Frame,
};

/// How much padding may follow the end of a tar archive, in bytes.
const PADDING_BYTES_MAX: u64 = 1024 * 1024;

/// How much is inflated at once, in bytes: a little at a time costs half as much again.
const BUFFER_BYTES: usize = 128 * 1024;

enum Stream<R: Read> {
    Plain(Box<Packed<R>>),
    Gzip(Box<GzDecoder<Packed<R>>>),
    Zstd(Box<Frame<R>>),
}

/// The unpacked bytes of an archive.
pub(crate) struct Source<R: Read> {
    stream: BufReader<Stream<R>>,
    /// The first block, which was looked at already.
    head: Vec<u8>,
    ratio: Ratio,
    trouble: Trouble,
}

impl<R: Read> Source<R> {
    /// Begins to inflate, and makes sure that it is tar.
    pub(crate) fn open(
        packed: Packed<R>,
        looks: Looks,
        limits: &Limits,
    ) -> Result<Self, UnpackError> {
        let trouble = packed.trouble();
        let stream = match looks {
            Looks::Gzip => Stream::Gzip(Box::new(GzDecoder::new(packed))),
            Looks::Zstd => Stream::Zstd(Box::new(Frame::open(packed)?)),
            _ => Stream::Plain(Box::new(packed)),
        };
        let is_packed = !matches!(stream, Stream::Plain(_));
        let mut source = Self {
            stream: BufReader::with_capacity(BUFFER_BYTES, stream),
            head: Vec::new(),
            ratio: Ratio::new(limits, trouble.clone()),
            trouble,
        };
        if is_packed {
            source.look_inside()?;
        }
        Ok(source)
    }

    fn look_inside(&mut self) -> Result<(), UnpackError> {
        let mut head = vec![0; FIRST_BYTES];
        let mut filled = 0;
        while filled < FIRST_BYTES {
            match self.stream.read(&mut head[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return Err(self.trouble.of(&error)),
            }
        }
        head.truncate(filled);
        if !kind::is_tar(&head) {
            return Err(kind::unknown("compressed, but no tar archive inside"));
        }
        head.reverse();
        self.head = head;
        Ok(())
    }

    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.stream.get_ref() {
            Stream::Plain(_) => Kind::Tar,
            Stream::Gzip(_) => Kind::TarGz,
            Stream::Zstd(_) => Kind::TarZst,
        }
    }

    /// Reads the end of the archive: two empty blocks after the last entry, padding of zeros, and then nothing more, neither
    /// inside the compression nor after it. Gives the digest of all that came.
    pub(crate) fn finish(mut self, end_of_entries: u64) -> Result<String, UnpackError> {
        // The parser has read one empty block; at the end of a cut archive it has not.
        if self.ratio.unpacked_bytes() != end_of_entries.saturating_add(BLOCK_BYTES) {
            return Err(UnpackError::cut_off());
        }
        let padding = self.read_padding()?;
        if padding < BLOCK_BYTES || !padding.is_multiple_of(BLOCK_BYTES) {
            return Err(UnpackError::cut_off());
        }
        let trouble = self.trouble.clone();
        // It was read to its end: nothing is left in the buffer.
        let mut packed = match self.stream.into_inner() {
            Stream::Plain(packed) => *packed,
            Stream::Gzip(decoder) => decoder.into_inner(),
            Stream::Zstd(frame) => frame.into_inner(),
        };
        let rest = packed.fill_buf().map_err(|e| trouble.of(&e))?;
        let what = match Looks::of(rest) {
            _ if rest.is_empty() => return packed.into_digest(),
            Ok(Looks::Gzip) => "a second gzip member",
            Ok(Looks::Zstd) => "a second Zstandard frame",
            _ => "bytes that belong to nothing",
        };
        Err(UnpackError::Trailing(what.to_owned()))
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

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(packed) => packed.read(into),
            Self::Gzip(decoder) => decoder.read(into),
            Self::Zstd(frame) => frame.read(into),
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while let Some(room) = into.get_mut(count)
            && let Some(byte) = self.head.pop()
        {
            *room = byte;
            count += 1;
        }
        if count == 0 {
            count = self.stream.read(into)?;
        }
        self.ratio.count(count)?;
        Ok(count)
    }
}
