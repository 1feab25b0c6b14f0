//! A connection whose first bytes must come soon: until it is clear which HTTP version is spoken, hyper waits for ever.
//! Never looks past the preface, and never delays what has come.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails with `TimedOut` if its client does not soon show which version it speaks.
#[derive(Debug)]
pub struct Prompt<Stream> {
    stream: Stream,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    /// How much of the preface has come.
    matched: usize,
}

impl<Stream> Prompt<Stream> {
    /// Gives the client `patience` from now.
    pub fn new(stream: Stream, patience: Duration) -> Self {
        let deadline = Box::pin(sleep(patience));
        Self {
            stream,
            waiting: Some(Waiting {
                deadline,
                matched: 0,
            }),
        }
    }
}

impl Waiting {
    /// Whether the version is clear after these bytes: they differ from the preface, or complete it.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if PREFACE.get(self.matched) != Some(byte) {
                return true;
            }
            self.matched += 1;
        }
        self.matched == PREFACE.len()
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Prompt<Stream> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(waiting) = &mut this.waiting else {
            return read;
        };
        if read.is_pending() {
            ready!(waiting.deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if waiting.is_over(&buffer.filled()[before..]) {
            this.waiting = None;
        }
        read
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Prompt<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn read(stream: &mut Prompt<tokio::io::DuplexStream>) -> io::Result<usize> {
        stream.read(&mut [0; 64]).await
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection() {
        let (_client, server) = duplex(64);
        let error = read(&mut Prompt::new(server, PATIENCE)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_preface_ends_a_connection_too() {
        let (mut client, server) = duplex(64);
        let mut server = Prompt::new(server, PATIENCE);
        client.write_all(&PREFACE[..7]).await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), 7);
        assert_eq!(
            read(&mut server).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_version_is_clear_a_connection_may_be_silent() {
        for beginning in [&b"GET"[..], b"POST / HTTP/1.1\r\n", PREFACE] {
            let (mut client, server) = duplex(64);
            let mut server = Prompt::new(server, PATIENCE);
            client.write_all(beginning).await.unwrap();
            assert_eq!(read(&mut server).await.unwrap(), beginning.len());
            let late = tokio::spawn(async move {
                sleep(PATIENCE * 10).await;
                client.write_all(b"late").await.unwrap();
                client
            });
            assert_eq!(read(&mut server).await.unwrap(), 4);
            drop(late.await.unwrap());
        }
    }
}
