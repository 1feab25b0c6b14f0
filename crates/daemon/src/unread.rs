//! A connection whose other side must read what it is sent: who asks and never listens holds memory, a place and an
//! upstream connection. Never waits for anybody to speak, and never delays what can be written.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream that fails with `TimedOut` if nothing that is to be written can be for too long.
#[derive(Debug)]
pub struct Unread<S> {
    stream: S,
    silence_max: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Unread<S> {
    /// Gives whoever reads `silence_max` for each piece.
    pub fn new(stream: S, silence_max: Duration) -> Self {
        Self {
            stream,
            silence_max,
            waiting: None,
        }
    }

    /// What became of a try to write, or an error once tries have come to nothing for too long.
    fn paced<T>(
        &mut self,
        tried: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if tried.is_ready() {
            self.waiting = None;
            return tried;
        }
        let limit = self.silence_max;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unread<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unread<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.paced(tried, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.paced(tried, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_flush(context);
        self.paced(tried, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tried = Pin::new(&mut self.stream).poll_shutdown(context);
        self.paced(tried, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_not_waited_for() {
        let (_agent, gate) = duplex(64);
        let mut gate = Unread::new(gate, SILENCE);
        let error = gate.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_gets_all_of_it_and_silence_is_free() {
        let (mut agent, gate) = duplex(64);
        let mut gate = Unread::new(gate, SILENCE);
        let reading = tokio::spawn(async move {
            let mut chunk = [0; 64];
            for _ in 0..4 {
                sleep(SILENCE * 2 / 3).await;
                agent.read_exact(&mut chunk).await.unwrap();
            }
            sleep(SILENCE * 2).await;
            agent.write_all(b"more").await.unwrap();
        });
        gate.write_all(&[0; 256]).await.unwrap();
        let mut more = [0; 4];
        gate.read_exact(&mut more).await.unwrap();
        reading.await.unwrap();
    }
}
