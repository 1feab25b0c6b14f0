//! Looks at how a connection begins without taking anything from it: bounded in bytes and in time. Never answers, and
//! never waits for a client that waits for the server.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::hello::{BadHello, Opening, Reader};

/// What one read takes at most, in bytes.
const CHUNK_BYTES: usize = 4 * 1024;

/// Why a connection's beginning was not understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unopened {
    #[error(transparent)]
    Bad(#[from] BadHello),
    #[error("neither a TLS greeting nor a request came in time")]
    Late,
    #[error("the connection ended before anything was asked")]
    Ended,
    #[error("the connection broke: {0}")]
    Broke(#[from] io::Error),
}

/// How a connection begins, and all bytes that were read to know it. The limit holds for the whole of it.
pub(super) async fn opening<S>(
    stream: &mut S,
    limit: Duration,
) -> Result<(Opening, Bytes), Unopened>
where
    S: AsyncRead + Unpin,
{
    match timeout(limit, read(stream)).await {
        Ok(read) => read,
        Err(_) => Err(Unopened::Late),
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Opening, Bytes), Unopened> {
    let mut reader = Reader::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err(Unopened::Ended);
        }
        if let Some(opening) = reader.push(&chunk[..length])? {
            return Ok((opening, reader.into_wire().into()));
        }
    }
}

/// A connection whose first bytes were read already and are read again.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    first: Bytes,
    rest: S,
}

impl<S> Rewound<S> {
    pub(super) fn new(first: Bytes, rest: S) -> Self {
        Self { first, rest }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.rest.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        let (mut near, mut far) = duplex(64);
        far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (opening, first) = opening(&mut near, SOON).await.unwrap();
        assert_eq!(opening, Opening::Plain);
        far.write_all(b"host: a\r\n").await.unwrap();
        drop(far);
        let mut text = String::new();
        let mut rewound = Rewound::new(first, near);
        rewound.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nhost: a\r\n");
    }

    #[tokio::test]
    async fn a_greeting_that_never_ends_is_not_waited_for() {
        let (mut near, mut far) = duplex(64);
        // A record that says it has a hundred bytes, and two of them.
        far.write_all(&[22, 3, 1, 0, 100, 1, 0]).await.unwrap();
        let unopened = opening(&mut near, Duration::from_millis(1)).await;
        assert!(matches!(unopened, Err(Unopened::Late)), "{unopened:?}");
    }

    #[tokio::test]
    async fn a_connection_that_ends_early_is_told_apart() {
        let (mut near, mut far) = duplex(64);
        far.write_all(&[22, 3]).await.unwrap();
        drop(far);
        let unopened = opening(&mut near, SOON).await;
        assert!(matches!(unopened, Err(Unopened::Ended)), "{unopened:?}");
    }
}
