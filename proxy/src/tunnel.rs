//! Bytes both ways between an agent and a tool whose config says `tls = "tunnel"`, or that speaks no HTTP, or between a
//! WebSocket's two ends. Never looks further inside than the first greeting, and never adds a credential.
//!
//! ```text
//! 200 ─▶ greeting.rs ─▶ carrying ── the host is done, either side fails, both fall silent, ─▶ audit line ─▶ both closed
//!                                   the greeting is for another, or a new policy cuts it
//! ```

use std::{io, time::Duration};

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use postern_policy::Scheme;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    body::{self, Body},
    call::Subject,
    count::Count,
    decide::Permit,
    dial::Pipe,
    greeting::Greeting,
    intercept::Uninvited,
    live::Cut,
    mask::Sieve,
    record::Record,
    scope::Scope,
};

/// What one read takes at first and at most, in bytes: most tunnels are idle most of the time.
const CHUNK_BYTES_MIN: usize = 2 * 1024;
const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// A tunnel that stands ready at the far end.
pub(crate) struct Tunnel {
    agent: OnUpgrade,
    pipe: Pipe,
    terms: Terms,
}

/// Something that bytes go to and come from.
pub(crate) trait Ends: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Ends for S {}

/// What a tunnel is carried on.
pub(crate) struct Terms {
    /// How long it may carry nothing in either direction.
    pub(crate) silence_max: Duration,
    /// How the agent's side must begin; `None` where that is known already, or anything will do.
    pub(crate) greeting: Option<Greeting>,
    /// What the host's side goes through; `None` where no credential went there.
    pub(crate) sieve: Option<Box<Sieve>>,
    /// Whether nobody has judged, or will, what goes through it.
    pub(crate) is_opaque: bool,
}

/// What the audit says of every tunnel: nobody looked into it.
const OPAQUE: &str = "anything behind this front end";

/// Why a tunnel ended before its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Broke(#[from] io::Error),
    #[error(transparent)]
    Uninvited(#[from] Uninvited),
    #[error(transparent)]
    Cut(#[from] Cut),
}

impl Tunnel {
    /// A tunnel for a call that is permitted as a whole. To a tool it is for TLS alone, as its config said, unless the tool
    /// speaks no HTTP: then it is for whatever that does.
    pub(crate) fn new(
        (agent, pipe): (OnUpgrade, Pipe),
        (permit, subject): (&Permit, &Subject),
        silence_max: Duration,
    ) -> Self {
        let authority = permit.url().authority();
        let greeting = Greeting {
            host: authority.host().clone(),
            is_tls: !subject.is_plain_host(),
        };
        let terms = Terms {
            silence_max,
            greeting: (authority.scheme() != Scheme::Tcp).then_some(greeting),
            sieve: None,
            is_opaque: true,
        };
        Self { agent, pipe, terms }
    }

    /// Tells the agent that the tunnel stands, and carries until it ends.
    pub(crate) fn open(self, scope: &Scope, mut record: Box<Record>) -> Response<Body> {
        let response = Response::new(body::empty());
        record.answered(response.status());
        scope.spawn(async move {
            match self.agent.await {
                Ok(upgraded) => {
                    let ends = (TokioIo::new(upgraded), self.pipe.stream);
                    carry(ends, self.terms, record).await;
                }
                Err(error) => tracing::debug!(%error, "a tunnel was not taken up"),
            }
        });
        response
    }
}

/// Carries until the host has said all, then writes the line, then closes: bytes that an agent sends after that are none.
pub(crate) async fn carry<A, H>((agent, host): (A, H), terms: Terms, mut record: Box<Record>)
where
    A: AsyncRead + AsyncWrite + Send,
    H: AsyncRead + AsyncWrite + Send,
{
    let Terms {
        silence_max,
        greeting,
        sieve,
        is_opaque,
    } = terms;
    record.flows();
    // A WebSocket began with a request that was judged.
    record.line.tunnel = is_opaque.then_some(OPAQUE);
    let (mut from_agent, mut to_agent) = tokio::io::split(agent);
    let (from_host, mut to_host) = tokio::io::split(host);
    let (up, down) = (record.up.clone(), record.down.clone());
    let upward = async {
        if let Some(greeting) = &greeting {
            let first = greeting.read(&mut from_agent).await?;
            to_host.write_all(&first).await?;
            up.add(first.len());
        }
        pass(from_agent, &mut to_host, (&up, None)).await?;
        to_host.shutdown().await?;
        // The agent is done; the host may not be.
        std::future::pending::<Result<(), Ended>>().await
    };
    let ended: Result<(), Ended> = tokio::select! {
        biased;
        cut = record.cut() => Err(cut.into()),
        ended = pass(from_host, &mut to_agent, (&down, sieve)) => ended.map_err(Ended::from),
        ended = upward => ended,
        () = silence(&up, &down, silence_max) => {
            Err(io::Error::from(io::ErrorKind::TimedOut).into())
        }
    };
    let cut = match ended {
        Err(Ended::Uninvited(uninvited)) => return record.abandon(uninvited.into()),
        ended => ended.err().map(|error| error.to_string()),
    };
    if record.close(cut.as_deref()).is_ok() {
        drop(to_agent.shutdown().await);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    (count, mut sieve): (&Count, Option<Box<Sieve>>),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES_MIN];
    let mut sifted = Vec::new();
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let out = match &mut sieve {
            Some(sieve) => {
                sifted.clear();
                sieve.push(&buffer[..length], &mut sifted)?;
                &sifted
            }
            None => &buffer[..length],
        };
        to.write_all(out).await?;
        count.add(out.len());
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
