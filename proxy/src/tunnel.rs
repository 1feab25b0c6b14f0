//! Bytes both ways between an agent and a host that a rule allows as a whole. Never looks inside, and never adds a
//! credential.
//!
//! ```text
//! 200 ─▶ carrying ── the host is done, either side fails, or both fall silent ──▶ audit line ─▶ both closed
//! ```

use std::{io, time::Duration};

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    body::{self, Body},
    dial::Pipe,
    record::{Count, Record},
    scope::Scope,
};

/// What one read takes at first and at most, in bytes: most tunnels are idle most of the time.
const CHUNK_BYTES_MIN: usize = 2 * 1024;
const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// A tunnel that stands ready at the far end.
pub(crate) struct Tunnel {
    pub(crate) agent: OnUpgrade,
    pub(crate) pipe: Pipe,
    /// How long it may carry nothing in either direction.
    pub(crate) silence_max: Duration,
}

impl Tunnel {
    /// Tells the agent that the tunnel stands, and carries until it ends.
    pub(crate) fn open(self, scope: &Scope, mut record: Record) -> Response<Body> {
        let response = Response::new(body::empty());
        record.answered(response.status());
        scope.spawn(async move {
            match self.agent.await {
                Ok(upgraded) => {
                    let ends = (TokioIo::new(upgraded), self.pipe.stream);
                    carry(ends, self.silence_max, record).await;
                }
                Err(error) => tracing::debug!(%error, "a tunnel was not taken up"),
            }
        });
        response
    }
}

/// Carries until the host has said all, then writes the line, then closes: bytes that an agent sends after that are none.
pub(crate) async fn carry<A, H>((agent, host): (A, H), silence_max: Duration, mut record: Record)
where
    A: AsyncRead + AsyncWrite + Send,
    H: AsyncRead + AsyncWrite + Send,
{
    let (from_agent, mut to_agent) = tokio::io::split(agent);
    let (from_host, mut to_host) = tokio::io::split(host);
    let (up, down) = (record.up.clone(), record.down.clone());
    let upward = async {
        pass(from_agent, &mut to_host, &up).await?;
        to_host.shutdown().await?;
        // The agent is done; the host may not be.
        std::future::pending::<io::Result<()>>().await
    };
    let ended = tokio::select! {
        ended = pass(from_host, &mut to_agent, &down) => ended,
        ended = upward => ended,
        () = silence(&up, &down, silence_max) => Err(io::ErrorKind::TimedOut.into()),
    };
    let cut = ended.err().map(|error| error.to_string());
    if record.close(cut.as_deref()).is_ok() {
        drop(to_agent.shutdown().await);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    count: &Count,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES_MIN];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
        count.add(length);
        if length == buffer.len() && length < CHUNK_BYTES_MAX {
            buffer.resize(length * 4, 0);
        }
    }
}

/// Returns once nothing was carried for a whole period.
async fn silence(up: &Count, down: &Count, period: Duration) {
    let mut before = None;
    loop {
        let now = (up.get(), down.get());
        if before.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(period).await;
    }
}
