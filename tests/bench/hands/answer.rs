//! Reads HTTP/1.1 answers as little as they can be read: a status, a length, and bytes that are thrown away. Never keeps a
//! body, and never takes an answer without a length for a whole one.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// The longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection's answers, one after the other.
pub(crate) struct Answers {
    buffer: Vec<u8>,
    /// How much of the buffer is filled.
    filled: usize,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its status.
    pub(crate) status: u16,
    /// Its body's length, if it says one.
    pub(crate) length: Option<u64>,
    /// Whether the connection is of no more use after it.
    pub(crate) last: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            buffer: vec![0; 16 * 1024],
            filled: 0,
        }
    }
}

impl Answers {
    /// Reads one whole answer and gives its head.
    pub(crate) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> anyhow::Result<Head> {
        let head = self.head(stream).await?;
        let length = head.length.context("an answer without a length")?;
        self.skip(stream, length).await?;
        Ok(head)
    }

    /// Reads a head; what comes behind it stays in the buffer.
    pub(crate) async fn head<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> anyhow::Result<Head> {
        let mut seen = 0;
        loop {
            let from = usize::saturating_sub(seen, 3);
            if let Some(at) = end_of_head(&self.buffer[from..self.filled]) {
                let end = from + at;
                let head = read_head(&self.buffer[..end])?;
                self.buffer.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(head);
            }
            seen = self.filled;
            if seen >= HEAD_BYTES_MAX {
                bail!("a head without end");
            }
            self.fill(stream).await?;
        }
    }

    /// Throws the next bytes away.
    async fn skip<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        length: u64,
    ) -> anyhow::Result<()> {
        let mut left = length;
        loop {
            let here = left.min(self.filled as u64);
            left -= here;
            let here = usize::try_from(here)?;
            self.buffer.copy_within(here..self.filled, 0);
            self.filled -= here;
            if left == 0 {
                return Ok(());
            }
            if left > self.buffer.len() as u64 && self.buffer.len() < READ_BYTES {
                self.buffer.resize(READ_BYTES, 0);
            }
            self.fill(stream).await?;
        }
    }

    /// Waits for at least one byte more.
    pub(crate) async fn fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> anyhow::Result<()> {
        let length = stream.read(&mut self.buffer[self.filled..]).await?;
        if length == 0 {
            bail!("the connection ended in the middle of an answer");
        }
        self.filled += length;
        Ok(())
    }

    /// Whether bytes are left that nobody read yet.
    pub(crate) fn has_more(&self) -> bool {
        self.filled > 0
    }
}

/// Where a head ends, just behind its empty line.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\r') {
        at += found;
        if bytes[at..].starts_with(b"\r\n\r\n") {
            return Some(at + 4);
        }
        at += 1;
    }
    None
}

fn read_head(head: &[u8]) -> anyhow::Result<Head> {
    let status = head.get(9..12).context("no status")?;
    let status = std::str::from_utf8(status)?.parse()?;
    let last = field(head, b"connection:").map(<[u8]>::trim_ascii);
    Ok(Head {
        status,
        last: head.starts_with(b"HTTP/1.0")
            || last.is_some_and(|value| value.eq_ignore_ascii_case(b"close")),
        length: field(head, b"content-length:")
            .map(|value| {
                std::str::from_utf8(value.trim_ascii())?
                    .parse()
                    .map_err(Into::into)
            })
            .transpose()
            .map_err(|error: anyhow::Error| error.context("a length"))?,
    })
}

/// The value of a field, by its name in lower case with the colon.
pub(crate) fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines
        .find(|line| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name))?;
    Some(&line[name.len()..])
}
